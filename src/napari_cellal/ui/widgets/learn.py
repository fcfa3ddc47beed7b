"""The Learn dock: one worthwhile cell after the other, and what the answers bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import (
    ComboBox,
    Dock,
    JobBar,
    Needs,
    SpinBox,
    button,
    empty,
    heading,
    note,
    row,
    swatch,
)
from napari_cellal.ui.crops import crop_pixmaps
from napari_cellal.ui.images import channel_color
from napari_cellal.ui.plots import CurvePlot, ProbabilityBars
from napari_cellal.workflows import learning, training

if TYPE_CHECKING:
    from napari_cellal.detect.requests import TrainedModel, TrainPoint
    from napari_cellal.io.store import Project
    from napari_cellal.ui.learn_loop import Question
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed

CROP_PX = 112
STRATEGIES = (
    ("automatic", "Automatic (recommended)", "Typical cells first, then doubtful ones"),
    ("margin", "Margin", "Cells whose two best classes are close"),
    ("entropy", "Entropy", "Cells that may be of many classes"),
    ("uncertainty", "Uncertainty", "Cells whose best class is weak"),
    ("typical", "Typical", "Cells that stand for many others"),
    ("random", "Random", "For comparison"),
)


class LearnDock(Dock):
    """The suggested cell with its crop, probabilities and reason; a class key answers it."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.loop = workspace.learn
        self.needs = Needs()
        self.add(self.needs)
        self.page = QWidget()
        self._answers: list[QWidget] = []
        self._class_rows: list[Any] = []
        self._new_model: TrainedModel | None = None
        self._recount = QTimer(self)
        self._recount.setSingleShot(True)
        self._recount.setInterval(400)
        self._recount.timeout.connect(self._show_training_set)
        self._build()
        self.add(self.page)
        self.column.addStretch(1)
        self.listen(
            (session.project_changed, self.refresh),
            (session.classes_changed, self.refresh),
            (session.edited, self._on_edit),
            (self.loop.question_changed, self._show_question),
            (self.loop.curve_changed, self._show_curve),
            (self.loop.state_changed, self._show_state),
            (self.loop.job_started, self._follow),
        )
        workspace.images.shown.connect(self._on_pixels)
        self.refresh()

    def _build(self) -> None:
        loop = self.loop
        self.start = button(
            "Start",
            "Measure the cells and show the first one worth a label",
            loop.start,
            main=True,
        )
        self.bar = JobBar()
        self._state = note()
        self._crop = QLabel()
        self._crop.setFixedSize(CROP_PX + 2, CROP_PX + 2)  # themes give labels 1 px of padding
        self._crop.setToolTip("The cell that is asked about")
        self._channels = QWidget()
        self._channel_grid = QGridLayout(self._channels)
        self._channel_grid.setContentsMargins(0, 0, 0, 0)
        self._channel_grid.setSpacing(2)
        self._bars = ProbabilityBars()
        pictures = QWidget()
        line = QHBoxLayout(pictures)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._crop)
        line.addWidget(self._channels)
        line.addWidget(self._bars, 1)
        self._why = note()
        self._why.setToolTip("Why this cell was chosen")
        self._answer_grid = QGridLayout()
        self._answer_grid.setSpacing(3)
        answers = QWidget()
        answers.setLayout(self._answer_grid)
        self._answer_grid.setContentsMargins(0, 0, 0, 0)
        self._question = QWidget()
        column = QVBoxLayout(self._question)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            pictures,
            self._why,
            answers,
            row(
                button("0  Unsure", "Set aside; ask no more (0)", loop.mark_unsure),
                button("No cell", "The box holds no cell: reject it (Delete)", loop.reject),
            ),
            row(
                button("‹ Back", "See the last cell again (B)", loop.back),
                button("Skip ›", "Another cell; this one comes again later (N)", loop.skip),
            ),
        ):
            column.addWidget(widget)
        self._summary = note()
        self.curve = CurvePlot()
        self.strategy = ComboBox("How the next cell is chosen. Automatic need never be changed.")
        for place, (key, text, tip) in enumerate(STRATEGIES):
            self.strategy.addItem(text, key)
            self.strategy.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.strategy.activated.connect(self._on_strategy)
        self._sure = SpinBox(
            0, 100, 1, 95, "Only cells whose most probable class is at least this sure, %", 0
        )
        self._sure.setSuffix(" %")
        self._sure.setFixedWidth(92)
        self._rest = button(
            "Class the rest above",
            "Give every other proposal its most probable class, in one step that can be undone. "
            "They stay proposals: nobody has looked at them.",
            self._class_rest,
        )
        self.train = button(
            "Retrain the detector",
            "Train a network on your labels, here, in the background",
            self._train,
        )
        self._training_set = note()
        self.train_bar = JobBar()
        self._train_text = note()
        self._use = button("Use the new model", "Make it the model of Detect", self._use_new)
        self._keep = button("Keep the old one", "It stays in the list of models", self._keep_old)
        self._verdict = row(self._use, self._keep)
        self._verdict.hide()
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            self.start,
            self.bar,
            self._state,
            self._question,
            self._summary,
            self.curve,
            self.strategy,
            row(self._rest, self._sure),
            heading("Detector"),
            self._training_set,
            self.train,
            self.train_bar,
            self._train_text,
            self._verdict,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be done now."""
        project = self.session.project
        if project is None or not project.images:
            self._need("Nothing to learn from yet: open a project with images.", "Project")
        elif not project.active_classes:
            self._need("Name the classes first, e.g. RBC, WBC, Platelets.", "Project")
        elif not project.cells.counts():
            self._need("No cells yet: let a detector find some.", "Detect")
        else:
            self.needs.hide()
            self.page.show()
            self._fill_answers()
            self._show_question(self.loop.question)
            self._show_curve()
            self.when_seen(self._show_training_set)

    def _need(self, text: str, dock: str) -> None:
        self.page.hide()
        self.needs.say(
            text, f"Go to {dock}", lambda: self.workspace.raise_dock(dock), f"Shows the {dock} dock"
        )

    def _on_edit(self, edit: Any) -> None:
        if not self.needs.isHidden():
            self.refresh()
        elif self.isVisible():
            self._recount.start()  # once after a quick series of answers, not for each
        else:
            self.when_seen(self._show_training_set)

    def _show_training_set(self) -> None:
        project = self.session.project
        if project is not None:
            self._training_set.setText(training.training_set(project).line())

    def _fill_answers(self) -> None:
        project = self.session.project
        assert project is not None
        wanted = [(c.class_id, c.name, c.color, c.shortcut) for c in project.active_classes]
        if wanted == self._class_rows:
            return
        self._class_rows = wanted
        empty(self._answer_grid)
        for place, c in enumerate(project.active_classes):
            key = f"{c.shortcut}  " if c.shortcut else ""
            press = button(
                f"{key}{c.name}",
                f"It is {c.name}; go to the next" + (f" ({c.shortcut})" if c.shortcut else ""),
                lambda class_id=c.class_id: self.loop.answer(class_id),
            )
            press.setIcon(swatch(c.color))
            self._answer_grid.addWidget(press, place // 2, place % 2)

    def _show_state(self, text: str) -> None:
        self._state.setText(text)
        self._state.setVisible(bool(text))

    def _show_question(self, question: Question | None) -> None:
        self._question.setVisible(question is not None)
        self.start.setVisible(question is None)
        self.start.setText("Go on" if self.loop.features_path else "Start")
        if question is None:
            return
        self._why.setText(f"<b>Why this one:</b> {question.reason}")
        self._show_probabilities(question)
        self._show_crop()

    def _show_probabilities(self, question: Question) -> None:
        project = self.session.project
        assert project is not None
        said = dict(question.probabilities)
        text = "Answered without the model's help." if question.is_check else "No guess yet."
        rows = [
            (c.name, c.color, said[c.class_id])
            for c in project.active_classes
            if c.class_id in said
        ]
        self._bars.show_rows(rows, text)

    def _show_crop(self) -> None:
        question, project = self.loop.question, self.session.project
        if question is None or project is None:
            return
        cell = project.cells.get(question.cell_id)
        pixels = None if cell is None else self.workspace.images.pixels(cell.image_id)
        empty(self._channel_grid)
        if cell is None or pixels is None:
            self._crop.clear()
            return
        record = project.images[cell.image_id]
        n = pixels.shape[0]
        pictures = crop_pixmaps(
            pixels,
            cell.box,
            rgb=record.rgb,
            colors=[channel_color(i, n) for i in range(n)],
            side=CROP_PX,
        )
        self._crop.setPixmap(pictures[0])
        for place, picture in enumerate(pictures[1:]):
            label = QLabel()
            label.setPixmap(picture)
            label.setToolTip(record.channels[place])
            self._channel_grid.addWidget(label, place % 2, place // 2)

    def _on_pixels(self, _image_id: str) -> None:
        self._show_crop()

    def _show_curve(self) -> None:
        self.curve.show_points(self.loop.curve)
        text = f"{self.loop.labels} labels learned from"
        if self.loop.curve:
            s = self.loop.curve[-1].score
            text += (
                f" · {s.accuracy:.2f} right ({s.low:.2f} to {s.high:.2f}) on {s.cells} "
                "held-out cells"
            )
        elif self.loop.holdout_labels:
            text += f" · {self.loop.holdout_labels} held out to measure"
        if self.loop.remaining:
            text += f" · {self.loop.remaining:,} cells without an answer"
        self._summary.setText(text + ".")

    def _on_strategy(self, *_: object) -> None:
        self.loop.strategy = self.strategy.currentData()

    def _follow(self, handle: Any) -> None:
        self.bar.follow(handle)

    # -- the rest -------------------------------------------------------------------------

    def _class_rest(self) -> None:
        project, path = self.session.project, self.loop.features_path
        if project is None or path is None:
            self.session.tell("Start first and answer a few cells.")
            return
        pool = learning.Pool(project)
        if len(set(pool.labelled.values())) < 2:
            self.session.tell("The learner needs labels of two classes at least.")
            return
        request = learning.request_rest(project, path, pool)
        handle = self.workspace.jobs.run(
            "Classing the rest", learning.class_rest, request, lane="quick"
        )
        handle.finished.connect(lambda predicted: self._on_rest(project, predicted))
        handle.failed.connect(self._on_failed)

    def _on_rest(self, project: Project, predicted: Any) -> None:
        if self.session.project is not project:
            return
        sure = self._sure.value() / 100
        self.session.work_off(
            learning.class_steps(project, predicted, sure),
            lambda n: self.session.tell(
                f"Classed {n:,} of {len(predicted):,} cells, those at least {sure:.0%} sure. "
                "Ctrl+Z takes it back."
            ),
        )

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self._train_text.setText("")

    # -- the detector ---------------------------------------------------------------------

    def _train(self) -> None:
        project = self.session.project
        if project is None:
            return
        if self.train_bar.busy:
            self.session.tell("Training is under way already.")
            return
        try:
            request = training.request_training(project)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self._verdict.hide()
        handle = self.workspace.jobs.run("Training the detector", training.train, request)
        self.train_bar.follow(handle)
        self._train_text.setText("You can go on labelling meanwhile.")
        handle.progressed.connect(lambda step: self._on_point(step.item))
        handle.finished.connect(lambda trained: self._on_trained(project, trained))
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(lambda: self._train_text.setText("Training was stopped."))

    def _on_point(self, point: TrainPoint | None) -> None:
        if getattr(point, "val_map50", None) is not None:
            self._train_text.setText(
                f"Step {point.step}: mAP50 {point.val_map50:.2f} on held-out images."
            )

    def _on_trained(self, project: Project, trained: TrainedModel) -> None:
        if self.session.project is not project:
            # It is registered when its project is opened again.
            self.session.tell(f"The new detector of {project.name} is ready there.")
            return
        training.register_model(project, trained, use=False)
        self._new_model = trained
        new = trained.record.metrics.get("map50")
        measured = "There were no held-out images to measure it on."
        if new is not None:
            measured = f"mAP50 {new:.2f} on {trained.record.metrics['images']} held-out images."
        self._train_text.setText(f"The new model is ready. {measured}")
        self._verdict.show()
        self.session.tell(f"The new detector is ready. {measured} Use it? See Learn.")

    def _use_new(self) -> None:
        if self.session.project is not None and self._new_model is not None:
            training.use_detector(self.session.project, self._new_model.record.model_id)
            self.session.models_changed.emit()
            self._train_text.setText("The new model is in use in Detect.")
        self._verdict.hide()

    def _keep_old(self) -> None:
        self._train_text.setText("The old model stays in use; the new one is in Detect's list.")
        self._verdict.hide()
