"""The Train dock: a detector or a classifier of one's own, beside the one in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QButtonGroup, QRadioButton, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import button, heading, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.workflows import training

from .classifier_training import ClassifierTraining
from .model_table import ModelTable
from .train_choices import TrainChoices
from .train_cut_off import CutOff
from .train_run import TrainingRun
from .train_verdict import VerdictPanel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_cellal.detect.requests import TrainedModel, TrainRequest
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.promoting import Verdict

LAID_OUT_MS = 600
"""By then a progress bar has come that was to come."""
RECOUNT_MS = 400
"""After a quick series of answers the labels are counted once, not for each."""


class TrainDock(Dock):
    """Chooses, starts and watches a training; what comes of it is used only if a person says so."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self._recount = QTimer(self)
        self._recount.setSingleShot(True)
        self._recount.setInterval(RECOUNT_MS)
        self._part: QWidget = self
        self._scroll = QTimer(self)
        self._scroll.setSingleShot(True)
        self._scroll.setInterval(LAID_OUT_MS)
        self._scroll.timeout.connect(lambda: self.ensureWidgetVisible(self._part))
        self.kinds = QButtonGroup(self)
        radios = []
        for place, (text, tip) in enumerate(
            (
                ("Detector", "Finds cells and draws boxes around them"),
                ("Classifier", "Tells of boxes that are there, or of pictures, what they show"),
            )
        ):
            radio = QRadioButton(text)
            radio.setToolTip(tip)
            self.kinds.addButton(radio, place)
            radios.append(radio)
        radios[0].setChecked(True)
        self.kinds.idToggled.connect(self._on_kind)
        self._kinds_line = row(*radios, 1)
        self.needs = Needs()
        self.choices = TrainChoices(workspace)
        self.start = button(
            "Train",
            "Train a network on your labels, here, in the background; go on labelling meanwhile",
            self._start,
            main=True,
        )
        self.cut_off = CutOff(training.find_unfinished)
        self.running = TrainingRun(workspace)
        self.verdict = VerdictPanel(workspace)
        self.models = ModelTable(workspace)
        self._recount.timeout.connect(self._count)
        # The page goes with the project; what is under way stays.
        self.page, self._below = QWidget(), QWidget()
        for page, widgets in (
            (self.page, (self.choices, self.start)),
            (self._below, (self.verdict, heading("Models"), self.models)),
        ):
            layout = QVBoxLayout(page)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(6)
            for widget in widgets:
                layout.addWidget(widget)
        self.detector = QWidget()
        layout = QVBoxLayout(self.detector)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.needs, self.cut_off, self.page, self.running, self._below):
            layout.addWidget(widget)
        self.classifier = ClassifierTraining(workspace, self._show_part, lambda: self.is_on_screen)
        self.classifier.hide()
        self.add(self._kinds_line, self.detector, self.classifier)
        self.column.addStretch(1)
        self.choices.measure_asked.connect(self._measure)
        self.choices.advanced.rate_asked.connect(self._find_rate)
        self.running.rate_found.connect(self.choices.advanced.show_rate)
        self.running.measured.connect(self.choices.show_time)
        self.running.compared.connect(self._on_compared)
        self.running.began.connect(self._look_for_cut_off)
        self.running.ended.connect(self._look_for_cut_off)
        self.running.ended.connect(lambda: self.choices.look_for_weights(anew=True))
        self.running.drawn.connect(lambda: self._show_part(self.running))
        self.cut_off.wanted.connect(self._go_on)
        workspace.device_found.connect(self.choices.show_time)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self.refresh),
            (session.classes_changed, self.refresh),
            (session.models_changed, self.refresh),
            (session.models_changed, self.verdict.show_in_use),
            (session.models_changed, self.classifier.class_with.refresh),
            (session.edited, self._on_edit),
        )
        self._look_for_cut_off()
        self.refresh()

    # -- showing --------------------------------------------------------------------------

    @property
    def is_for_classifier(self) -> bool:
        """Whether the part for classifiers is shown."""
        return self.kinds.checkedId() == 1

    def _on_kind(self, _place: int, is_checked: bool) -> None:
        if is_checked:
            self.detector.setVisible(not self.is_for_classifier)
            self.classifier.setVisible(self.is_for_classifier)
            self.refresh()

    def refresh(self, *_: object) -> None:
        """Show what can be done now."""
        if self.is_for_classifier:
            self.when_seen(self.classifier.refresh)
            return
        project = self.session.project
        if project is None or not project.images:
            self._need("Nothing to train on yet: open a project with images.", "Project")
        elif not project.cells.has_labels():
            self._need(
                "No labels yet: a detector learns from boxes that you confirmed or drew.", "Review"
            )
        else:
            self.needs.hide()
            self.page.show()
            self.workspace.find_device()
            self.when_seen(self.choices.show_all)
        self._below.setVisible(project is not None)
        self.when_seen(self.models.refresh)

    def _need(self, text: str, dock: str) -> None:
        self.page.hide()
        self.needs.say(
            text, f"Go to {dock}", lambda: self.workspace.raise_dock(dock), f"Shows the {dock} dock"
        )

    def _on_project(self, _project: object) -> None:
        self.verdict.forget()
        self.running.forget()
        self.classifier.forget()
        if self._look_for_cut_off():
            self.session.tell("A training was cut off. Go on with it? See Train.")
        self.refresh()

    def _on_edit(self, _edit: Any) -> None:
        if not self.is_for_classifier and not self.needs.isHidden():
            self.refresh()
        elif self.is_on_screen:
            self._recount.start()
        else:
            self.when_seen(self._count)

    def _count(self) -> None:
        project = self.session.project
        if self.is_for_classifier:
            self.classifier.choices.count()
        elif project is not None and not project.cells.has_labels():  # the last was taken back
            self.refresh()
        else:
            self.choices.count()

    # -- training -------------------------------------------------------------------------

    def _look_for_cut_off(self) -> bool:
        # what is under way lies there too
        return self.cut_off.look(None if self.running.busy else self.session.project)

    def _go_on(self, file: Path) -> None:
        project = self.session.project
        if project is None or self._is_busy():
            return
        self.verdict.forget()
        self.running.go_on(project, file)
        self._show_part(self.running)

    def _start(self) -> None:
        project = self.session.project
        if project is None:
            return
        if self._is_busy():
            return
        choices = self.choices
        self.verdict.forget()
        try:
            pace = choices.kind
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self.running.start(project, choices.request, choices.kind_seen, pace)
        self._show_part(self.running)

    def _is_busy(self) -> bool:
        """Return whether something must end first, and say so."""
        if self.running.busy:
            self.session.tell("What is shown below is under way. Cancel it first, or wait.")
        return self.running.busy

    def _show_part(self, part: QWidget) -> None:
        """Scroll to a part, once it has been laid out."""
        self._part = part
        self._scroll.start()

    def _measure(self) -> None:
        self._try_out(lambda request: self.running.measure(request, self.choices.kind))

    def _find_rate(self) -> None:
        self._try_out(self.running.find_rate)

    def _try_out(self, run: Callable[[TrainRequest], None]) -> None:
        """Run something short on the training as chosen."""
        project = self.session.project
        if project is None:
            return
        if self._is_busy():
            return
        try:
            run(self.choices.request(project))
        except CellalError as error:
            self.session.tell(str(error), error=True)

    def _on_compared(self, model: TrainedModel, verdict: Verdict | None, problem: str) -> None:
        text = self.verdict.show_verdict(model, verdict, problem)
        self._show_part(self.verdict)
        self.session.tell(f"The new detector is ready. {text} Use it? See Train.")
