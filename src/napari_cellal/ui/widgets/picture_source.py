"""Where a classifier's pictures come from: the project's cells, or a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_cellal.ui import recent
from napari_cellal.ui.controls import ComboBox, note, row
from napari_cellal.workflows import patches

if TYPE_CHECKING:
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.patches import Lessons, PatchSet
    from napari_cellal.workflows.worker import Failed

CELLS, FOLDER = "cells", "folder"


class PictureSource(QWidget):
    """A combo; a worker reads the folder that is chosen.

    Attributes
    ----------
    changed : Signal()
        Other pictures are learned from.
    was_read : Signal(str)
        A folder's pictures are known.
    found : PatchSet or None
        The pictures of the folder, once they are read.
    folder : str
        Empty before one is chosen.
    """

    changed = Signal()
    was_read = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._jobs = workspace.jobs
        self.found: PatchSet | None = None
        self.folder = ""
        self.box = ComboBox(
            "The cells of this project that you confirmed, or pictures in a folder: one folder a "
            "class, or a table (CSV) that names each picture's class"
        )
        self.box.addItem("Confirmed cells", CELLS)
        self.box.addItem("A folder of pictures…", FOLDER)
        self.box.activated.connect(self._on_chosen)
        self._about = note()
        self._about.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(row(QLabel("Learns from"), self.box))
        layout.addWidget(self._about)

    @property
    def is_folder(self) -> bool:
        """Whether pictures of a folder are learned from, and not the project's cells."""
        return bool(self.box.currentData() == FOLDER)

    def lessons(self, project: Project) -> Lessons:
        """Return what there is to learn from, as chosen."""
        if self.is_folder and self.found is not None:
            return patches.lessons_in(self.found)
        return patches.lessons_of(project)

    def problem(self, project: Project) -> str:
        """Return why nothing can be trained yet; empty where it can."""
        if self.is_folder:
            return "" if self.found is not None else "Choose a folder of pictures first."
        if not self.lessons(project).of("train"):
            return (
                "No labels to learn from yet: confirm some cells with a class, or choose a folder "
                "of pictures."
            )
        return ""

    def forget(self) -> None:
        """Let go of the folder: another project is open."""
        self.folder, self.found = "", None
        self.box.setCurrentIndex(0)
        self._about.hide()

    def _on_chosen(self, *_: object) -> None:
        if self.is_folder:
            place = QFileDialog.getExistingDirectory(
                self, "A folder of pictures", self.folder or recent.folder()
            )
            if place:
                recent.note_folder(place)
                self._read(place)
            elif not self.folder:
                self.box.setCurrentIndex(0)
        self._about.setVisible(self.is_folder)
        self.changed.emit()

    def _read(self, folder: str) -> None:
        """Have a worker read a folder: it may hold very many pictures."""
        project = self.session.project
        if project is None:
            return
        self.folder, self.found = folder, None
        self._about.setText(f"Reading {folder}…")
        read = partial(patches.read_folder, folder, seed=project.settings.seed)
        handle = self._jobs.run(f"Reading {Path(folder).name}", read, lane="quick")

        def on_read(found: PatchSet) -> None:
            if self.folder == folder:
                self.found = found
                self._about.setText(folder)
                self.was_read.emit(folder)
                self.changed.emit()

        def on_failed(failed: Failed) -> None:
            if self.folder == folder:
                self.folder = ""
                self._about.setText(failed.message)
            self.session.tell(failed.message, error=True)

        handle.finished.connect(on_read)
        handle.failed.connect(on_failed)
