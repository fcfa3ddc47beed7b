"""The Evaluate dock: how good a model is, and which cells its figures rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Split, local_time
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.evaluate.matches import NOTHING
from napari_cellal.evaluate.tables import (
    class_lines,
    gives_classes,
    joined,
    macro_f1,
    mix_ups,
    source_lines,
    totals_of,
)
from napari_cellal.ui.confusion import ConfusionMatrix
from napari_cellal.ui.controls import ComboBox, Dock, JobBar, Needs, button, heading, note, row
from napari_cellal.ui.counting import Counting
from napari_cellal.ui.marked_place import MarkedPlace
from napari_cellal.ui.slider import Slider
from napari_cellal.workflows import detecting, evaluating, reporting, scoring

from .evaluate_places import Places
from .evaluate_tables import (
    MISSED,
    NO_CELL,
    class_table,
    headline,
    in_words,
    n_of,
    name_of,
    source_table,
)

if TYPE_CHECKING:
    from napari_cellal.evaluate.matches import Confusion
    from napari_cellal.io.store import Project
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers
    from napari_cellal.workflows.worker import Failed

USUAL_SCORE = 0.5
AGAIN_MS = 1200
"""After a series of mended labels the average precision is computed once, not for each."""
SLIDER_MS = 120
MOST_PAIRS = 8
_SPLITS = (
    (Split.VAL.value, "Held-out images (val)"),
    (Split.TEST.value, "Test images"),
    (evaluating.ALL, "All finished images"),
)


class EvaluateDock(Dock):
    """Measures a model on finished images; what is wrong is one click from being looked at."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.counting = Counting(session)
        self.table: Confusion | None = None
        self.figures: dict[str, Any] = {}
        self._what = ""
        self._again: JobHandle | None = None
        self.needs = Needs()
        self.page = QWidget()
        self._build()
        self.add(self.needs, self.page)
        self.column.addStretch(1)
        self._later = _timer(self, AGAIN_MS, lambda: self.when_seen(self._measure_again))
        self._slid = _timer(self, SLIDER_MS, lambda: self.counting.set_score(self.score.value()))
        self.counting.changed.connect(lambda: self.when_seen(self._show_figures))
        self.counting.relabelled.connect(self._later.start)
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
        self.model = ComboBox("What is measured. Models that you train appear here.")
        self.split = ComboBox(
            "On which images. Only finished ones say where no cell is. A model should be measured "
            "on images that it did not learn from"
        )
        for key, text in _SPLITS:
            self.split.addItem(text, key)
        self.model.activated.connect(self._show_about)
        self.split.activated.connect(self._show_about)
        self._about = note()
        self.score = Slider(Qt.Orientation.Horizontal)
        self.score.setRange(0, 1)
        self.score.setSingleStep(0.01)
        self.score.setDecimals(2)
        self.score.setValue(USUAL_SCORE)
        self.score.setToolTip(
            "Boxes that score less count as not found, in everything but mAP50; at once, without "
            "measuring again"
        )
        self.score.valueChanged.connect(lambda _value: self._slid.start())
        self._score_head = heading("Count boxes that score at least")
        self.measure = button(
            "Measure",
            "Have the model search these images, in the background, and compare with your labels. "
            "It changes nothing",
            self._measure,
            main=True,
        )
        self.bar = JobBar("Stop measuring; the figures before stay")
        self.result = QWidget()
        self._line = _rich()
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
        self._pairs_head = heading("Most often wrong")
        self.pairs = QListWidget()
        self.pairs.setToolTip("Click one to see the cells")
        self.pairs.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.pairs.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.pairs.itemClicked.connect(self._open_pair)
        self._classes = _rich("Counted from the matrix above; below each figure its 95 % interval")
        self._sources_head = heading("Source by source, the worst first")
        self._sources = _rich(
            "Plate, group or folder of the images. ▼: worse than the others, by more than chance"
        )
        self.write = button(
            "Write a report…",
            "One HTML file with all of this, curves and the worst images, for a colleague or the "
            "lab book. Nothing else is needed to read it",
            self._ask_file,
        )
        self.writing = JobBar("Stop writing; no file is left")
        _stack(
            self.result,
            self._line,
            self._notes,
            _head_row(heading("What was taken for what"), self.shares),
            self.matrix,
            note("Click a square to see its cells; mend a label there, and the table follows."),
            self.places,
            self._pairs_head,
            self.pairs,
            heading("Class by class"),
            self._classes,
            self._sources_head,
            self._sources,
            self.write,
            self.writing,
        )
        _stack(
            self.page,
            heading("Model"),
            self.model,
            heading("Measured on"),
            self.split,
            self._about,
            self._score_head,
            self.score,
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
            self.when_seen(self._show_about)

    def _need(self, text: str, dock: str) -> None:
        self.page.hide()
        self.needs.say(
            text, f"Go to {dock}", lambda: self.workspace.raise_dock(dock), f"Shows the {dock} dock"
        )

    def _on_project(self, project: Project | None) -> None:
        self.counting.forget()
        self.table, self.figures = None, {}
        self.result.hide()
        self.places.put_away()
        self._fill_models()
        if project is not None:
            self._choose_split(project)
        self.refresh()

    def _on_images(self) -> None:
        self.refresh()
        self.counting.on_images()

    def _on_classes(self) -> None:
        self.refresh()
        self.when_seen(self._show_figures)

    def _on_edit(self, edit: Any) -> None:
        if not self.needs.isHidden():
            self.refresh()
        self.counting.on_edit(edit)

    def _fill_models(self, *_: object) -> None:
        project, kept = self.session.project, self.model.currentData()
        self.model.clear()
        self.model.addItem("Shipped (blood cells and nuclei)", SHIPPED)
        self.model.addItem("Classical (no training needed)", detecting.CLASSICAL)
        if project is None:
            return
        for record in project.models:
            name = f"{self.workspace.model_name(record.model_id)} · "
            self.model.addItem(name + local_time(record.created_at), record.model_id)
            kind = "gives classes only" if record.kind == "classifier" else "finds cells"
            self.model.setItemData(self.model.count() - 1, kind, Qt.ItemDataRole.ToolTipRole)
        self.model.addItem("What was proposed before review", scoring.PROPOSED)
        at = self.model.findData(kept or detecting.choose_model(project))
        self.model.setCurrentIndex(max(0, at))

    def choose_model(self, model_id: str) -> None:
        """Choose what is measured next; nothing is measured yet."""
        self.model.setCurrentIndex(max(0, self.model.findData(model_id)))
        self.when_seen(self._show_about)

    def _choose_split(self, project: Project) -> None:
        """Choose held-out images where some are finished, else test images, else all."""
        done = {r.split for r in project.images.values() if r.finished}
        chosen = next((s.value for s in (Split.VAL, Split.TEST) if s in done), evaluating.ALL)
        self.split.setCurrentIndex(self.split.findData(chosen))

    @property
    def _finds_cells(self) -> bool:
        """Whether the chosen model looks for boxes."""
        project, chosen = self.session.project, self.model.currentData()
        kinds = {m.model_id: m.kind for m in (project.models if project else [])}
        return chosen != scoring.PROPOSED and kinds.get(chosen) != "classifier"

    def _show_about(self, *_: object) -> None:
        project = self.session.project
        if project is None:
            return
        ids = evaluating.in_split(project, self.split.currentData())
        done = sum(project.images[key].finished for key in ids)
        text = f"{done:,} of {n_of(len(ids), 'image')} finished."
        if self.split.currentData() == evaluating.ALL:
            text += " Those that a model learned from flatter it."
        if not self._finds_cells:
            text = "Compares the classes of confirmed cells; boxes are not searched."
        self._about.setText(text)
        for widget in (self._score_head, self.score):
            widget.setVisible(self._finds_cells)

    # -- measuring ------------------------------------------------------------------------

    def _measure(self) -> None:
        project = self.session.project
        if project is None:
            return
        if self.bar.busy:
            self.session.tell("A measurement is under way. Cancel it first, or wait.")
            return
        model = self.model.currentData()
        try:
            request = scoring.request_score(
                project,
                model=model,
                split=self.split.currentData(),
                score=self.score.value(),
                seed=project.settings.seed,
            )
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        lanes = {detecting.CLASSICAL: "classical", scoring.PROPOSED: "quick"}
        name = self.model.currentText()
        what = f"{name}, {self.split.currentText().lower()}"
        handle = self.workspace.jobs.run(
            f"Measuring {name}", scoring.score, request, lane=lanes.get(model, "heavy")
        )
        self.bar.follow(handle)
        handle.finished.connect(lambda answers: self._on_answers(project, answers, what))
        handle.failed.connect(self._on_failed)

    def _on_answers(self, project: Project, answers: Answers, what: str) -> None:
        if self.session.project is not project:
            return
        self._what = what
        self.figures = answers.figures
        self.counting.score = self.score.value()
        self.places.put_away()
        self.result.show()
        self.counting.take(answers)
        if not self.is_on_screen:
            self.session.tell(f"Measured: {what}. See Evaluate.")

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)

    def _measure_again(self) -> None:
        """Have the average precision of the kept answers computed against the labels of now."""
        project, answers = self.session.project, self.counting.answers
        if project is None or answers is None or answers.found is None:
            return
        request = scoring.request_again(project, answers)
        if not request.truth:
            return
        self._again = handle = self.workspace.jobs.run(
            "Measuring again", scoring.measure_again, request, answers, lane="quick"
        )

        def take(figures: dict[str, Any]) -> None:
            if self.counting.answers is answers and self._again is handle:
                self.figures = figures
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
                self._what, totals, self.figures, macro_f1(lines), boxes=boxes, classes=classes
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
        sources = {key: scoring.source_of(project.images[key]) for key in self.counting.tallies}
        by_source = source_table(source_lines(self.counting.tallies, sources), boxes=boxes)
        self._sources.setText(by_source)
        for widget in (self._sources_head, self._sources):
            widget.setVisible(bool(by_source))
        self._fill_pairs(table, names)

    def _describe(self, rows: list[str], columns: list[str], i: int, j: int) -> str:
        if self.table is None:
            return ""
        n, share = int(self.table.counts[i, j]), float(self.table.shares()[i, j])
        return f"Labelled {rows[i]}, said {columns[j]}: {n:,} ({share:.1%} of the row)"

    def _fill_pairs(self, table: Confusion, names: dict[int, str]) -> None:
        self.pairs.clear()
        for mix in mix_ups(table, MOST_PAIRS):
            item = QListWidgetItem(in_words(mix, names))
            item.setToolTip(item.text())
            item.setData(Qt.ItemDataRole.UserRole, (mix.true, mix.said))
            self.pairs.addItem(item)
        n = self.pairs.count()
        height = sum(self.pairs.sizeHintForRow(k) for k in range(n))
        self.pairs.setFixedHeight(height + 8)
        for widget in (self._pairs_head, self.pairs):
            widget.setVisible(n > 0)

    def _switch(self) -> None:
        self.matrix.set_shares(self.shares.isChecked())

    # -- from figures to cells ------------------------------------------------------------

    def _open_square(self, row_: int, column: int) -> None:
        if self.table is not None:
            self.open_cells(self.table.rows[row_], self.table.columns[column])

    def _open_pair(self, item: QListWidgetItem) -> None:
        self.open_cells(*item.data(Qt.ItemDataRole.UserRole))

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

    # -- report ---------------------------------------------------------------------------

    def _ask_file(self) -> None:
        project = self.session.project
        if project is None:
            return
        usual = str(project.folder.parent / f"{project.name} evaluation.html")
        file, _ = QFileDialog.getSaveFileName(self, "Write a report", usual, "Web page (*.html)")
        if file:
            self.write_report(file)

    def write_report(self, file: str) -> None:
        """Write what is measured as a page, in the background."""
        project, answers = self.session.project, self.counting.answers
        if project is None or answers is None:
            return
        if self.writing.busy:
            self.session.tell("A report is being written. Cancel it first, or wait.")
            return
        try:
            request = reporting.request_report(project, file, [answers], score=self.counting.score)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        handle = self.workspace.jobs.run(
            "Writing the report", reporting.write_report, request, lane="quick"
        )
        self.writing.follow(handle)
        handle.finished.connect(
            lambda done: self.session.tell(f"Written: {done['file']}. Open it in a web browser.")
        )
        handle.failed.connect(self._on_failed)


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
