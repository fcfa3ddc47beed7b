"""Asks whether a folder of images and VOC files should become a project, and makes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout

from napari_cellal.io.store.project import SUFFIX
from napari_cellal.ui.controls import button, note, row
from napari_cellal.workflows.founding import found_project
from napari_cellal.workflows.sampling import SAMPLES, make_samples

from .project_part import ProjectPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace


class Founding(ProjectPart):
    """Makes projects of samples and of folders that were dropped, in the background."""

    def __init__(
        self,
        workspace: Workspace,
        follow: Callable[[JobHandle], object],
        say: Callable[[list[str]], object],
    ) -> None:
        super().__init__(workspace, follow, say)
        self._source = Path()
        self._text = note()
        self.make = button("Make the project", "Nothing in the folder is changed", self._go)
        self.no = button("No", "Leave the folder as it is", self.hide)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(row(self.make, self.no))
        self.hide()

    @property
    def _target(self) -> Path:
        return self._source.with_name(self._source.name + SUFFIX)

    def ask(self, folder: Path) -> None:
        """Ask about a folder; one that has its project already is opened."""
        self._source = folder
        if self._target.is_dir():
            self._workspace.open_project(self._target)
            return
        self._text.setText(
            f"<b>{folder.name}</b> holds images with Pascal VOC boxes. Make the project "
            f"{self._target.name} of them, beside the folder? The boxes count as your labels."
        )
        self.show()

    def _go(self) -> None:
        self.hide()
        handle = self._workspace.jobs.run(
            "Making the project", found_project, self._source, self._target, lane="quick"
        )
        self._watch(handle)

    def make_samples(self, kind: str = "smears") -> None:
        """Make a project of samples in the home folder and show it."""
        made = partial(make_samples, kind=kind)
        handle = self._workspace.jobs.run(f"Making {SAMPLES[kind]}", made, lane="quick")
        self._watch(handle)

    def _watch(self, handle: JobHandle) -> None:
        before = self._session.project
        self._follow(handle)
        handle.finished.connect(lambda folder: self._on_made(folder, before))
        handle.failed.connect(self._on_failed)

    def _on_made(self, folder: str, before: object) -> None:
        if self._session.project is before:
            self._workspace.open_project(folder)
        else:  # the person has opened another one meanwhile
            self._say([f"The project is ready in {folder}."])
