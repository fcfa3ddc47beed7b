"""Opens a page of what a training would learn from, before it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui.controls import button
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import overviewing

if TYPE_CHECKING:
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.overviewing import OverviewRequest
    from napari_cellal.workflows.worker import Failed

    from .picture_source import PictureSource


class DataPage(QWidget):
    """A button, and the progress of the page.

    Parameters
    ----------
    source : PictureSource or None
        Says whether a folder is learned from; None for the project's labels.
    """

    def __init__(self, workspace: Workspace, source: PictureSource | None = None) -> None:
        super().__init__()
        self.session = workspace.session
        self._jobs = workspace.jobs
        self._source = source
        self.see = button(
            "See the data…",
            "A page in the web browser: labels by source and split, sizes, intensities, how the "
            "cells look by class and by source, and some of each class. Worth a look before "
            "training: what is mislabelled or differs from source to source shows here",
            self._see,
        )
        self.bar = JobBar("Stop; nothing is written")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.see)
        layout.addWidget(self.bar)

    def _see(self) -> None:
        project, source = self.session.project, self._source
        if project is None:
            return
        if self.bar.busy:
            self.session.tell("The page is being written. Cancel it first, or wait.")
            return
        file = project.cache_folder / "data.html"
        if source is None or not source.is_folder:
            self.session.works.add(
                overviewing.overview_steps(project, file),
                lambda request: self._write(project, request),
            )
        elif source.found is None:
            self.session.tell("Choose a folder of pictures first.")
        else:
            request = overviewing.request_folder_overview(source.folder, file, source.found)
            self._write(project, request)

    def _write(self, project: Project, request: OverviewRequest) -> None:
        if self.session.project is not project:
            return
        handle = self._jobs.run("Looking at the data", overviewing.write_overview, request)
        self.bar.follow(handle)
        handle.finished.connect(self._show)
        handle.failed.connect(self._on_failed)

    def _show(self, done: dict[str, Any]) -> None:
        opened = QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(done["file"]).resolve())))
        said = "It is open in the web browser" if opened else "Open it in a web browser"
        self.session.tell(f"Written: {done['file']}. {said}.")

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
