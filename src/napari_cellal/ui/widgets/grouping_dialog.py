"""One file a channel: which files become one image is shown before they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import ComboBox, SpinBox, button, note, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import adding, previewing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.io.groups import FileGroup, Grouping
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed

CUSTOM = "custom"
PATTERNS = (
    ("", "Each file is an image"),
    ("plate", "Plate: plate1_A14_site1_Ch1.tif"),
    ("hpa", "Human Protein Atlas: <id>_red.png"),
    ("rxrx1", "RxRx1: Plate1/B02_s1_w1.png"),
    (CUSTOM, "Custom…"),
)
FIRST_PATTERN = "{id}_{channel}"
PLANES = (
    ("max", "Maximum of all planes"),
    ("mean", "Mean of all planes"),
    ("focus", "The sharpest plane"),
    ("each", "An image for each plane"),
    ("number", "Plane number"),
)
TIMES = tuple(
    (key, text.replace("plane", "time point").replace("Plane", "Time point"))
    for key, text in PLANES
    if key != "focus"
)
PREVIEW_MS = 300
"""After a quick series of changes the preview is worked out once."""
MOST_ROWS = 1000
"""Images that the table lists; more are counted."""


class PlaneChooser:
    """A list of choices and a number, for z or for t; hidden while there is one plane only."""

    def __init__(self, word: str, choices: Sequence[tuple[str, str]], tooltip: str) -> None:
        self._word = word
        self.label = QLabel()
        self.choice = ComboBox(tooltip)
        for key, text in choices:
            self.choice.addItem(text, key)
        self.choice.setCurrentIndex(self.choice.findData("number"))
        self.number = SpinBox(1, 1, 1, 1, "Counted from 1", 0)
        self.line = row(self.label, self.choice, self.number)
        self.choice.currentIndexChanged.connect(self._show_number)
        self.line.hide()

    def show_count(self, n: int) -> None:
        """Offer so many planes."""
        self.label.setText(f"{n:,} {self._word}")
        self.number.setMaximum(n)
        self.line.setVisible(n > 1)

    def _show_number(self, *_: object) -> None:
        self.number.setEnabled(self.choice.currentData() == "number")

    def value(self) -> adding.PlaneChoice | None:
        """Return the choice as `adding.LookOptions` takes it."""
        if self.line.isHidden():
            return None
        chosen = self.choice.currentData()
        return int(self.number.value()) - 1 if chosen == "number" else chosen


class GroupingDialog(QDialog):
    """A pattern, the images that it makes of the files, what is missing or left over, and Add.

    Parameters
    ----------
    paths : sequence of str
        Files and folders.
    preview : Preview
        What is known of them by now.
    say : callable
        Is told the lines of the report when images were added.
    """

    def __init__(
        self,
        workspace: Workspace,
        project: Project,
        paths: Sequence[str],
        preview: previewing.Preview,
        say: Callable[[list[str]], object],
    ) -> None:
        super().__init__(workspace.viewer.window._qt_window)
        self.setWindowTitle("Add images")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(680, 600)
        self._workspace = workspace
        self._session = workspace.session
        self._project = project
        self._paths = list(paths)
        self._tell = say
        self._job: Any = None
        self._is_adding = False
        self._named: tuple[str, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PREVIEW_MS)
        self._timer.timeout.connect(self._preview)
        self._build(preview.pattern)
        self._show(preview)
        self._session.project_changed.connect(self._on_project)
        self.finished.connect(self._on_end)

    def _build(self, pattern: str) -> None:
        self.pattern = ComboBox("How the names of the files say what belongs together")
        for key, text in PATTERNS:
            self.pattern.addItem(text, key)
        known = self.pattern.findData(pattern)
        self.custom = QLineEdit(FIRST_PATTERN if known >= 0 else pattern)
        self.custom.setToolTip(
            "The name of a file, with {channel} where the files of an image differ, and {plate}, "
            "{well}, {site}, {field}, {batch}, {id}, {z}, {t} for what else changes. It may begin "
            "with folders; {channel:A|B} takes only A and B."
        )
        self.pattern.setCurrentIndex(known if known >= 0 else self.pattern.findData(CUSTOM))
        self.custom.setVisible(self.pattern.currentData() == CUSTOM)
        self.pattern.currentIndexChanged.connect(self._on_pattern)
        self.custom.textEdited.connect(lambda _: self._ask_again())
        self.names = QLineEdit()
        self.names.setToolTip("What the channels show, in the order of the table; commas between")
        self._names_line = row(QLabel("Channels"), self.names)
        self.z = PlaneChooser("planes", PLANES, "What becomes of the planes of a stack")
        self.t = PlaneChooser("time points", TIMES, "What becomes of the time points of a series")
        self.summary = note()
        self.table = QTableWidget(0, 0)
        self.table.verticalHeader().hide()
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setToolTip("Each line becomes an image; hover for the files")
        self.left_over = QPlainTextEdit()
        self.left_over.setReadOnly(True)
        self.left_over.setToolTip("Files that become no image, and why")
        self.bar = JobBar()
        self.add = button("Add", "Add these images to the project", self.bring, main=True)
        layout = QVBoxLayout(self)
        for widget in (
            row(QLabel("Pattern"), self.pattern),
            self.custom,
            self._names_line,
            self.z.line,
            self.t.line,
            self.summary,
            self.table,
            self.left_over,
            self.bar,
            row(button("Cancel", "Add nothing", self.close), self.add),
        ):
            layout.addWidget(widget)
        layout.setStretchFactor(self.table, 4)
        layout.setStretchFactor(self.left_over, 1)
        for each in self.findChildren(QPushButton):
            each.setAutoDefault(False)  # Enter in a field is not a press of the first button

    # -- the preview ----------------------------------------------------------------------

    def _on_pattern(self, *_: object) -> None:
        self.custom.setVisible(self.pattern.currentData() == CUSTOM)
        self._ask_again()

    def _chosen(self) -> str:
        chosen = self.pattern.currentData()
        return self.custom.text().strip() if chosen == CUSTOM else str(chosen)

    def _ask_again(self) -> None:
        self.add.setEnabled(False)
        self._timer.start()

    def _preview(self) -> None:
        self._forget()
        self._job = handle = self._workspace.jobs.run(
            "Looking at the names",
            previewing.preview_images,
            self._paths,
            self._chosen(),
            lane="quick",
        )
        self.bar.follow(handle)
        handle.finished.connect(lambda found: self._on_preview(handle, found))
        handle.failed.connect(lambda failed: self._on_failed(handle, failed))

    def _forget(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _on_preview(self, handle: Any, found: previewing.Preview) -> None:
        if handle is self._job:
            self._job = None
            self._show(found)

    def _on_failed(self, handle: Any, failed: Failed) -> None:
        if handle is not self._job:
            return
        self._job = None
        if self._is_adding:
            self._is_adding = False
            self.add.setEnabled(True)
        else:
            self.table.setRowCount(0)
            self.left_over.clear()
        self.summary.setText(failed.message)

    def _show(self, found: previewing.Preview) -> None:
        self.z.show_count(found.n_z)
        self.t.show_count(found.n_t)
        grouping = found.grouping
        for widget in (self.table, self.left_over, self._names_line):
            widget.setVisible(grouping is not None)
        self._named = () if grouping is None else grouping.channels
        if grouping is None:
            n = found.files
            n = found.files
            self.summary.setText(f"{n:,} files, each an image of its own." if n != 1 else "1 file.")
        else:
            n = len(grouping.complete)
            self.summary.setText(_in_words(grouping, found.files))
            self._fill(grouping)
        self.add.setText(f"Add {n:,} images" if n != 1 else "Add 1 image")
        self.add.setEnabled(n > 0)

    def _fill(self, grouping: Grouping) -> None:
        self.names.setText(", ".join(grouping.channels))
        places = _parts(grouping.groups)
        heads = ["Image", *places, *grouping.channels]
        shown = grouping.groups[:MOST_ROWS]
        self.table.setColumnCount(len(heads))
        self.table.setHorizontalHeaderLabels(heads)
        self.table.setRowCount(len(shown))
        for line, group in enumerate(shown):
            there = ["–" if c in group.missing else "✓" for c in grouping.channels]
            texts = [group.name, *(group.place.get(p, "") for p in places), *there]
            files = "\n".join(file.name for file in group.files)
            for column, text in enumerate(texts):
                item = QTableWidgetItem("missing" if text == "–" else text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled)
                item.setToolTip(files)
                if column > 0:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(line, column, item)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        self.table.resizeColumnToContents(0)
        self.table.setColumnWidth(0, min(260, self.table.columnWidth(0)))
        hidden = len(grouping.groups) - len(shown)
        lines = [f"The table shows the first {MOST_ROWS:,}; {hidden:,} more follow."] * (hidden > 0)
        lines += grouping.problems
        lines += [f"{file.name} does not fit the pattern." for file in grouping.unmatched]
        self.left_over.setPlainText("\n".join(lines[:500]))
        self.left_over.setVisible(bool(lines))

    # -- adding ---------------------------------------------------------------------------

    def options(self) -> adding.LookOptions:
        """Return what the person chose."""
        names = tuple(n.strip() for n in self.names.text().split(",")) if self._named else ()
        renamed = names if names != self._named else ()
        return adding.LookOptions(self._chosen(), renamed, self.z.value(), self.t.value())

    def bring(self) -> None:
        """Open the files in the background, add the images, and close."""
        self._forget()
        self._timer.stop()
        self._is_adding = True
        self.add.setEnabled(False)
        self._job = handle = self._workspace.jobs.run(
            "Looking at the images",
            adding.look_at_images,
            self._paths,
            self.options(),
            lane="quick",
        )
        self.bar.follow(handle)
        handle.finished.connect(lambda looked: self._on_looked(handle, looked))
        handle.failed.connect(lambda failed: self._on_failed(handle, failed))
        handle.cancelled.connect(self._on_cancelled)

    def _on_cancelled(self) -> None:
        self._is_adding = False
        self.add.setEnabled(True)

    def _on_looked(self, handle: Any, looked: adding.LookResult) -> None:
        if handle is not self._job:
            return
        self._job = None
        self._is_adding = False
        try:
            added = adding.add_looked(self._project, looked)
        except CellalError as error:
            self.summary.setText(str(error))
            self.add.setEnabled(True)
            return
        if not looked.images:  # the dialog stays, so that another way can be tried
            self.summary.setText("No image could be read.")
            self.left_over.setPlainText("\n".join(looked.problems[:500]))
            self.left_over.show()
            self.add.setEnabled(True)
            return
        self._tell(added.lines())
        self.close()

    # -- Qt -------------------------------------------------------------------------------

    def _on_project(self, project: Project | None) -> None:
        if project is not self._project:
            self.close()

    def _on_end(self, _result: int) -> None:
        self._timer.stop()
        self._forget()
        self._session.project_changed.disconnect(self._on_project)


def _parts(groups: Sequence[FileGroup]) -> list[str]:
    """Return what the names tell of the images' places, where it tells them apart."""
    parts = dict.fromkeys(part for group in groups for part in group.place if part != "id")
    return list(parts)


def _in_words(grouping: Grouping, files: int) -> str:
    n, broken = len(grouping.complete), len(grouping.groups) - len(grouping.complete)
    text = f"{files:,} files: {n:,} {_s(n, 'image')} of {len(grouping.channels)} channels"
    if broken:
        text += f"; {broken:,} {_s(broken, 'image')} with a missing channel left out"
    if grouping.unmatched:
        left = len(grouping.unmatched)
        text += f"; {left:,} {_s(left, 'file')} left over"
    return text + "."


def _s(n: int, word: str) -> str:
    return word if n == 1 else f"{word}s"
