"""The Evaluate dock: how good a model is, and which cells its figures rest on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.evaluate.matches import NOTHING
from napari_cellal.evaluate.tables import (
    class_lines,
    gives_classes,
    joined,
    macro_f1,
    source_lines,
    totals_of,
)
from napari_cellal.ui.confusion import ConfusionMatrix
from napari_cellal.ui.controls import button, heading, note, row
from napari_cellal.ui.counting import Counting
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.marked_place import MarkedPlace
from napari_cellal.workflows import scoring

from .evaluate_against import AgainstPanel
from .evaluate_choices import EvaluateChoices
from .evaluate_pairs import Pairs
from .evaluate_places import Places
from .evaluate_report import ReportPart
from .evaluate_tables import (
    MISSED,
    NO_CELL,
    class_table,
    headline,
    name_of,
    source_table,
)
from .evaluate_worst import WorstAnswers
from .measure_bar import MeasureBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.progress import Job
    from napari_cellal.evaluate.matches import Confusion
    from napari_cellal.io.store import Project
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers
    from napari_cellal.workflows.worker import Failed

AGAIN_MS = 1200
"""After a series of mended labels the average precision is computed once, not for each."""
SLIDER_MS = 120


class EvaluateDock(Dock):
    """Measures a model on finished images; what is wrong is one click from being looked at."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.counting = Counting(session)
        self.table: Confusion | None = None
        self._stale = False
        """Whether labels have changed since the figures were measured."""
        self.figures: dict[str, Any] = {}
        self._what = ""
        self._again: JobHandle | None = None
        self.needs = Needs()
        self.page = QWidget()
        self._build()
        self.add(self.needs, self.page)
        self.column.addStretch(1)
        self._later = _timer(self, AGAIN_MS, lambda: self.when_seen(self._measure_again))
        self._slid = _timer(self, SLIDER_MS, self._set_score)
        self.counting.changed.connect(lambda: self.when_seen(self._show_figures))
        self.counting.relabelled.connect(self._on_relabelled)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self._on_images),
            (session.classes_changed, self._on_classes),
            (session.models_changed, self._fill_models),
            (session.edited, self._on_edit),
        )
        self._fill_models()
        self.refresh()

    def _build(self) -> None:
        self.choices = EvaluateChoices(self.workspace)
        self.model, self.split = self.choices.model, self.choices.split
        self.score = self.choices.score
        self.score.valueChanged.connect(lambda _value: self._slid.start())
        self.measure = button(
            "Measure",
            "Have the model search these images, in the background, and compare with your labels. "
            "It changes nothing",
            self._measure,
            main=True,
        )
        self.bar = MeasureBar(self.workspace, "Stop measuring; the figures before stay")
        self.result = QWidget()
        self._line = _rich()
        self._line.setToolTip(
            "mAP50: average precision, the mean of the classes, 0 to 1; a box is right if it "
            "shares half of the area that it and the cell's box cover together. Precision: "
            "share of the boxes that are cells. Recall: share of the cells that have a box. "
            "F1: both in one figure. In brackets: the 95 % interval. ROC-AUC: how surely a cell of "
            "a class is ranked above one of another; 0.5 is chance. Calibration error: how far "
            "what a classifier says, such as 0.8, is from how often it is right"
        )
        self._notes = note()
        self.matrix = ConfusionMatrix()
        self.matrix.setToolTip("Click a square to see its cells")
        self.matrix.clicked.connect(self._open_square)
        self.shares = button(
            "Shares", "Show shares of each row instead of numbers of cells", self._switch
        )
        self.shares.setCheckable(True)
        self.shares.setFixedWidth(70)
        self.places = Places(self.session, MarkedPlace(self.workspace.viewer, self.session))
        self.pairs = Pairs()
        self.pairs.chosen.connect(self.open_cells)
        self.worst = WorstAnswers(self.workspace)
        self._classes = _rich("Counted from the matrix above; below each figure its 95 % interval")
        self._sources_head = heading("Source by source, the worst first")
        self._sources = _rich(
            "Plate, group or folder of the images. ▼: worse than the others, by more than chance"
        )
        self.against = AgainstPanel(self.workspace, self.counting)
        self.against.measured.connect(self._show_part)
        self.against.second.changed.connect(self._show_both)
        self.report = ReportPart(self.workspace, self._asked)
        _stack(
            self.result,
            self._line,
            self._notes,
            _head_row(heading("What was taken for what"), self.shares),
            self.matrix,
            note("Click a square to see its cells; mend a label there, and the table follows."),
            self.places,
            self.pairs,
            self.worst,
            heading("Class by class"),
            self._classes,
            self._sources_head,
            self._sources,
            self.against,
            self.report,
        )
        _stack(
            self.page,
            self.choices,
            self.measure,
            self.bar,
            self.result,
        )
        self.result.hide()

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be done now."""
        project = self.session.project
        if project is None or not project.images:
            self._need("Nothing to measure yet: open a project with images.", "Project")
        elif not project.cells.has_labels():
            self._need(
                "No labels yet: a model is measured against boxes that you confirmed or drew.",
                "Review",
            )
        else:
            self.needs.hide()
            self.page.show()
            self.when_seen(self.choices.show_about)

    def _need(self, text: str, dock: str) -> None:
        self.page.hide()
        self.needs.say(
            text, f"Go to {dock}", lambda: self.workspace.raise_dock(dock), f"Shows the {dock} dock"
        )

    def _on_project(self, project: Project | None) -> None:
        self.counting.forget()
        self.against.forget()
        self.table, self.figures = None, {}
        self.result.hide()
        self.places.put_away()
        self._fill_models()
        if project is not None:
            self.choices.choose_split(project)
        self.refresh()

    def _on_images(self) -> None:
        self.refresh()
        self.counting.on_images()
        self.against.second.on_images()

    def _on_classes(self) -> None:
        self.refresh()
        self.when_seen(self._show_figures)

    def _on_edit(self, edit: Any) -> None:
        if not self.needs.isHidden():
            self.refresh()
        self.counting.on_edit(edit)
        self.against.second.on_edit(edit)

    def _fill_models(self, *_: object) -> None:
        self.choices.fill()
        self.against.fill(self.model)

    def choose_model(self, model_id: str) -> None:
        """Choose what is measured next; nothing is measured yet."""
        self.choices.choose_model(model_id)

    # -- measuring ------------------------------------------------------------------------

    def _measure(self) -> None:
        own_range = self.choices.own_range.isChecked()
        request = self.bar.request(
            self.model.currentData(),
            self.split.currentData(),
            self.score.value(),
            own_range=own_range,
        )
        if request is None:
            return
        name = self.model.currentText()
        what = f"{name}, {self.split.currentText().lower()}"
        if own_range and self.choices.classes:
            what += ", each cell by its own intensities"
        self.bar.run(request, name, lambda answers: self._on_answers(answers, what))

    def _on_answers(self, answers: Answers, what: str) -> None:
        self._what = what
        self.figures, self._stale = answers.figures, False
        self.against.forget()
        self.counting.score = self.score.value()
        self.places.put_away()
        self.result.show()
        self.counting.take(answers)
        if not self.is_on_screen:
            self.session.tell(f"Measured: {what}. See Evaluate.")

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)

    def _on_relabelled(self) -> None:
        self._stale = True  # the counts follow at once, the average precision after a pause
        self._later.start()

    def _measure_again(self) -> None:
        """Have the average precision of the kept answers computed against the labels of now."""
        project, answers = self.session.project, self.counting.answers
        if project is None or answers is None:
            return
        if answers.found is not None:
            request = scoring.request_again(project, answers)
            if request.truth:
                self._begin_again(answers, partial(scoring.measure_again, request, answers))
        elif answers.request.classes is not None:  # else no more than a class was proposed
            names = {c.class_id: c.name for c in project.active_classes}
            self.session.works.add(
                scoring.truth_steps(project, answers),
                lambda truth: self._begin_again(
                    answers, partial(scoring.measure_classes_again, truth, names, answers)
                ),
            )

    def _begin_again(self, answers: Answers, job: Callable[[], Job[dict[str, Any]]]) -> None:
        if self.counting.answers is not answers:
            return
        self._again = handle = self.workspace.jobs.run("Measuring again", job, lane="quick")

        def take(figures: dict[str, Any]) -> None:
            if self.counting.answers is answers and self._again is handle:
                self.figures, self._stale = figures, self._later.isActive()
                self._show_figures()

        handle.finished.connect(take)
        handle.failed.connect(self._on_failed)

    # -- the result -----------------------------------------------------------------------

    def _show_figures(self) -> None:
        project, answers = self.session.project, self.counting.answers
        if project is None or answers is None:
            return
        boxes = answers.found is not None
        names = {c.class_id: c.name for c in project.active_classes}
        self.table = table = self.counting.confusion()
        lines = class_lines(table)
        classes = gives_classes(joined(self.counting.tallies.values()))
        totals = totals_of(self.counting.tallies.values())
        self._line.setText(
            headline(
                self._what,
                totals,
                self.figures,
                macro_f1(lines),
                boxes=boxes,
                classes=classes,
                stale=self._stale,
            )
        )
        self._notes.setText("\n".join(answers.notes[:4]))
        self._notes.setVisible(bool(answers.notes))
        rows = [name_of(c, names, NO_CELL) for c in table.rows]
        columns = [name_of(c, names, MISSED) for c in table.columns]
        same = [(k, k) for k, c in enumerate(table.rows) if c is not None and c != NOTHING]
        self.matrix.show_table(
            rows, columns, table.counts, same, lambda i, j: self._describe(rows, columns, i, j)
        )
        self._classes.setText(class_table(lines, names))
        # of an image that was removed the counts go a moment later
        there = {k: tallied for k, tallied in self.counting.tallies.items() if k in project.images}
        sources = {key: project.images[key].source for key in there}
        by_source = source_table(source_lines(there, sources), boxes=boxes)
        self._sources.setText(by_source)
        for widget in (self._sources_head, self._sources):
            widget.setVisible(bool(by_source))
        self.pairs.show_table(table, names)
        self.worst.show_answers(answers, self.counting.matches, names)
        self._show_both()

    def _describe(self, rows: list[str], columns: list[str], i: int, j: int) -> str:
        if self.table is None:
            return ""
        n, share = int(self.table.counts[i, j]), float(self.table.shares()[i, j])
        return f"Labelled {rows[i]}, said {columns[j]}: {n:,} ({share:.1%} of the row)"

    def _switch(self) -> None:
        self.matrix.set_shares(self.shares.isChecked())

    def _show_both(self) -> None:
        self.when_seen(self._compare)

    def _compare(self) -> None:
        self.against.show_both({} if self._stale else self.figures)

    def _show_part(self) -> None:
        self.ensureWidgetVisible(self.against)

    def _asked(self) -> tuple[list[Answers], float]:
        """Return what a report is written of."""
        both = (self.counting.answers, self.against.answers)
        return [answers for answers in both if answers is not None], self.counting.score

    def _set_score(self) -> None:
        for counting in (self.counting, self.against.second):
            counting.set_score(self.score.value())

    # -- from figures to cells ------------------------------------------------------------

    def _open_square(self, row_: int, column: int) -> None:
        if self.table is not None:
            self.open_cells(self.table.rows[row_], self.table.columns[column])

    def open_cells(self, true: int | None, said: int | None) -> None:
        """Show a square's cells in the gallery; boxes without a cell as a list of places."""
        project = self.session.project
        matches = self.counting.on_square(true, said)
        if project is None or not matches:
            return
        if true == NOTHING:
            names = {c.class_id: c.name for c in project.active_classes}
            self.places.show_matches(matches, name_of(said, names, ""))
            QTimer.singleShot(0, self._show_places)
            return
        cells = [m.cell_id for m in matches if m.cell_id is not None]
        self.workspace.batch.show_only(cells, pick=False)
        self.workspace.raise_dock("Gallery")

    def _show_places(self) -> None:
        self.ensureWidgetVisible(self.places)


def _timer(parent: QWidget, after_ms: int, do: Any) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(after_ms)
    timer.timeout.connect(do)
    return timer


def _rich(tooltip: str = "") -> Any:
    label = note()
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setToolTip(tooltip)
    return label


def _stack(body: QWidget, *widgets: QWidget) -> None:
    layout = QVBoxLayout(body)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(6)
    for widget in widgets:
        layout.addWidget(widget)


def _head_row(title: QWidget, switch: QWidget) -> QWidget:
    both = row(title, switch)
    both.layout().setStretch(0, 1)
    return both
