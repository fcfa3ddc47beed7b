"""Boxes of other programs into the project: what would come in is shown before it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cellal.io.exchange.columns import ROLES
from napari_cellal.io.exchange.formats import AUTO, FORMATS
from napari_cellal.io.exchange.report import ReadOptions
from napari_cellal.ui import recent
from napari_cellal.ui.controls import ComboBox, button, empty, note, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import annotating

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed

LEAVE_OUT = "(leave out)"
NO_CLASS = "(no class)"
NOT_THERE = "(none)"
MAIN_ROLES = {
    "image": "Image",
    "class": "Class",
    "xmin": "Left",
    "ymin": "Top",
    "xmax": "Right",
    "ymax": "Bottom",
    "x": "Left",
    "y": "Top",
    "x_center": "Centre x",
    "y_center": "Centre y",
    "box_width": "Width",
    "box_height": "Height",
}
PREVIEW_MS = 300
"""After a quick series of changes the preview is worked out once."""


class ImportDialog(QDialog):
    """Files, what they seem to hold, what becomes of their classes, and then Import.

    Parameters
    ----------
    say : callable
        Is told the lines of the report when boxes were imported.
    """

    def __init__(
        self, workspace: Workspace, project: Project, say: Callable[[list[str]], object]
    ) -> None:
        super().__init__(workspace.viewer.window._qt_window)
        self.setWindowTitle("Import boxes")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptDrops(True)
        self.resize(560, 640)
        self._workspace = workspace
        self._session = workspace.session
        self._project = project
        self._tell = say
        self._paths: list[str] = []
        self._found: Any = None
        self._job: Any = None
        self._asked = 0  # counts previews: only the last one asked for is shown
        self._classes: dict[str, QComboBox] = {}
        self._columns: dict[str, QComboBox] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PREVIEW_MS)
        self._timer.timeout.connect(self._preview)
        self.bar = JobBar()
        self._build()
        self._session.project_changed.connect(self._on_project)
        self.finished.connect(self._on_end)

    def _build(self) -> None:
        self._where = note("Choose the files, or drop them here.")
        self._format = ComboBox("How the files are read; Automatic goes by what they are")
        self._format.addItem("Automatic", AUTO)
        for name, known in FORMATS.items():
            self._format.addItem(known.title, name)
        self._format.currentIndexChanged.connect(lambda _: self._read())
        self._from_one = QCheckBox("Pixels are counted from 1")
        self._from_one.setToolTip("As in tables made from Pascal VOC files; else from 0.")
        self._split = QCheckBox("Parts that do not touch are cells of their own")
        self._split.setToolTip("Where one value of a label image stands for several cells.")
        self._grid = QWidget()
        self._grid_layout = QGridLayout(self._grid)
        self._grid_layout.setContentsMargins(0, 0, 0, 0)
        self._table = QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["In the files", "Boxes", "In this project"])
        self._table.verticalHeader().hide()
        self._table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self._table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._table.setMinimumHeight(160)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self._confirm = QCheckBox("They count as my labels")
        self._confirm.setToolTip("Confirmed, so that models learn from them; else they stay open.")
        self._complete = QCheckBox("The files box every cell of their images")
        self._complete.setToolTip(
            "Marks their images finished: a detector may learn background from them. "
            "Take the tick away if the files leave cells without a box."
        )
        for box in (self._confirm, self._complete):
            box.setChecked(True)
            box.toggled.connect(lambda _: self._timer.start())
        for box in (self._from_one, self._split):
            box.toggled.connect(lambda _: self._read())
        self._confirm.toggled.connect(self._complete.setEnabled)
        self._report = QPlainTextEdit()
        self._report.setReadOnly(True)
        self._report.setPlaceholderText("What would come in is shown here before it does.")
        self._import = button(
            "Import", "Write the boxes into the project; one step to undo", self.bring, main=True
        )
        self._import.setEnabled(False)
        layout = QVBoxLayout(self)
        for widget in (
            row(
                button("Files…", "Annotation files", self._choose_files),
                button("Folder…", "A folder of annotation files", self._choose_folder),
            ),
            self._where,
            row(QLabel("Format"), self._format),
            self._from_one,
            self._split,
            self._grid,
            self.bar,
            self._table,
            self._confirm,
            self._complete,
            self._report,
            row(button("Close", "Import nothing", self.close), self._import),
        ):
            layout.addWidget(widget)
        for each in self.findChildren(QPushButton):
            each.setAutoDefault(False)  # Enter in a field is not a press of the first button
        layout.setStretchFactor(self._table, 2)
        layout.setStretchFactor(self._report, 3)
        self._show_options("")

    # -- reading --------------------------------------------------------------------------

    def _choose_files(self) -> None:
        kinds = " ".join(f"*{s}" for known in FORMATS.values() for s in known.suffixes)
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Annotation files", recent.folder(), f"Annotations ({kinds});;All files (*)"
        )
        if chosen:
            recent.note_folder(chosen[0])
            self.look_at(chosen)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of annotations", recent.folder())
        if chosen:
            recent.note_folder(chosen)
            self.look_at([chosen])

    def look_at(self, paths: Sequence[str]) -> None:
        """Read files and folders in the background and show what they hold."""
        self._paths = list(paths)
        self._clear_columns()
        shown = ", ".join(Path(p).name or p for p in self._paths[:3])
        more = f" and {len(self._paths) - 3} more" if len(self._paths) > 3 else ""
        self._where.setText(f"{shown}{more}")
        self._read()

    def _read(self) -> None:
        if not self._paths:
            return
        self._forget()
        columns = {role: box.currentText() for role, box in self._columns.items()}
        columns = {role: "" if text == NOT_THERE else text for role, text in columns.items()}
        options = ReadOptions(columns, self._from_one.isChecked(), self._split.isChecked())
        request = (list(self._paths), self._format.currentData(), options)
        self._job = handle = self._workspace.jobs.run(
            "Reading annotations", annotating.read_annotations, *request, lane="quick"
        )
        self.bar.follow(handle)
        handle.finished.connect(lambda found: self._on_read(handle, found))
        handle.failed.connect(lambda failed: self._on_failed(handle, failed))

    def _forget(self) -> None:
        """Let go of what was read: it no longer is what is asked for."""
        self._found = None
        self._asked += 1
        self._timer.stop()
        if self._job is not None:
            self._job.cancel()
            self._job = None
        self._import.setEnabled(False)

    def _on_failed(self, handle: Any, failed: Failed) -> None:
        if handle is not self._job:
            return
        self._job = None
        self._table.setRowCount(0)
        self._classes = {}
        self._show_options("csv" if self._is_table() else "")
        self._report.setPlainText(failed.message)

    def _on_read(self, handle: Any, found: Any) -> None:
        if handle is not self._job:
            return
        self._job = None
        self._found = found
        images, report = found
        suffix = images[0].file.suffix.lower()
        kind = next((n for n, f in FORMATS.items() if suffix in f.suffixes), "")
        self._show_options(self._format.currentData() if kind == "" else kind)
        if report.headings:
            self._show_columns(report)
        self._classes = {}
        self._preview()

    def _is_table(self) -> bool:
        names = FORMATS["csv"].suffixes
        return all(Path(p).suffix.lower() in names for p in self._paths)

    def _show_options(self, kind: str) -> None:
        self._from_one.setVisible(kind == "csv")
        self._grid.setVisible(kind == "csv" and bool(self._columns))
        self._split.setVisible(kind == "labels")

    # -- columns and classes --------------------------------------------------------------

    def _clear_columns(self) -> None:
        self._columns = {}
        empty(self._grid_layout)

    def _show_columns(self, report: Any) -> None:
        if self._columns:
            return  # a person has chosen them already
        roles = [r for r in ROLES if r in MAIN_ROLES and (r in report.columns or r == "class")]
        for k, role in enumerate(roles):
            box = ComboBox(f"The column that holds: {MAIN_ROLES[role].lower()}")
            box.addItems([NOT_THERE, *report.headings])
            box.setCurrentText(report.columns.get(role, NOT_THERE))
            box.currentTextChanged.connect(lambda _: self._read())
            self._columns[role] = box
            self._grid_layout.addWidget(QLabel(MAIN_ROLES[role]), k // 2, k % 2 * 2)
            self._grid_layout.addWidget(box, k // 2, k % 2 * 2 + 1)
        self._show_options("csv")

    def _show_classes(self, links: Sequence[annotating.ClassLink]) -> None:
        self._table.setRowCount(len(links))
        names = [c.name for c in self._project.active_classes]
        for k, link in enumerate(links):
            box = ComboBox("Choose a class, write a new one, or leave these boxes out")
            box.setEditable(True)
            box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            extra = [NO_CLASS] if not link.name else [LEAVE_OUT]
            box.addItems(list(dict.fromkeys([link.becomes or NO_CLASS, *names, *extra])))
            box.currentTextChanged.connect(lambda _: self._timer.start())
            for column, text in enumerate((link.name or NO_CLASS, f"{link.boxes:,}")):
                item = QTableWidgetItem(text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled)
                item.setToolTip(text)
                self._table.setItem(k, column, item)
            self._table.setCellWidget(k, 2, box)
            self._classes[link.name] = box

    def class_map(self) -> dict[str, str]:
        """Return what becomes of each class of the files, as `import_annotations` takes it."""
        chosen = {name: box.currentText().strip() for name, box in self._classes.items()}
        return {n: "" if text in (LEAVE_OUT, NO_CLASS) else text for n, text in chosen.items()}

    # -- the preview and the import -------------------------------------------------------

    def _steps(self, *, dry_run: bool) -> Any:
        return annotating.import_steps(
            self._project,
            *self._found,
            classes=self.class_map(),
            confirm=self._confirm.isChecked(),
            finished=self._complete.isChecked(),
            dry_run=dry_run,
        )

    def _preview(self) -> None:
        if self._found is None:
            return
        self._asked += 1
        asked = self._asked
        self._session.works.add(
            self._steps(dry_run=True), lambda done: self._on_preview(asked, done)
        )

    def _on_preview(self, asked: int, done: annotating.Imported) -> None:
        if asked != self._asked:
            return
        if not self._classes:
            self._show_classes(done.classes)
        found = self._found[1].lines()[0].removesuffix(".")
        lines = [f"{found}; {done.matched:,} of the images in this project.", *done.lines()]
        if done.finished:
            lines.insert(2, f"{done.finished} images would be marked finished.")
        self._report.setPlainText("\n".join(lines[:500]))
        self._import.setEnabled(done.matched > 0)

    def bring(self) -> None:
        """Write the boxes and close."""
        steps = self._steps(dry_run=False)
        self._session.works.add(steps, lambda done: self._tell(done.lines()))
        self.close()

    # -- Qt -------------------------------------------------------------------------------

    def _on_project(self, project: Project | None) -> None:
        if project is not self._project:
            self.close()

    def _on_end(self, _result: int) -> None:
        self._forget()
        self._session.project_changed.disconnect(self._on_project)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Look at what was dropped."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            self.look_at(paths)
        event.acceptProposedAction()
