"""Images into the project: plain files at once, files of single channels after a look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout

from napari_cellal.core.errors import CellalError
from napari_cellal.io.image_files import IMAGE_SUFFIXES
from napari_cellal.ui import recent
from napari_cellal.ui.controls import button
from napari_cellal.workflows import adding, previewing

from .grouping_dialog import GroupingDialog
from .project_part import ProjectPart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.io.store import Project
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace


class ImageAdding(ProjectPart):
    """Buttons to add images, and the dialog for files that need one."""

    def __init__(
        self,
        workspace: Workspace,
        follow: Callable[[JobHandle], object],
        say: Callable[[list[str]], object],
    ) -> None:
        super().__init__(workspace, follow, say)
        self.dialog: GroupingDialog | None = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            button(
                "Add images…",
                "PNG, JPEG, TIFF, OME-TIFF files. You can also drop files or a folder here.",
                self._ask_for_files,
                main=True,
            ),
            button("Add folder…", "Every image below a folder", self._ask_for_folder),
            button(
                "By pattern…",
                "A folder in which each channel has a file of its own: shows first which files "
                "become one image. Also chooses z-planes and time points.",
                self._ask_for_pattern,
            ),
        ):
            layout.addWidget(widget)

    def _ask_for_files(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES))
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Add images", recent.folder(), f"Images ({kinds});;All files (*)"
        )
        if chosen:
            recent.note_folder(chosen[0])
            self.add(chosen)

    def _ask_for_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Add a folder of images", recent.folder())
        if chosen:
            recent.note_folder(chosen)
            self.add([chosen])

    def _ask_for_pattern(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Folder with a file a channel", recent.folder()
        )
        if chosen:
            recent.note_folder(chosen)
            self.add([chosen], ask=True)

    def add(self, paths: Sequence[str], *, ask: bool = False) -> None:
        """Look at files and folders in the background, then add them.

        The dialog opens where a file seems to hold one channel, where there are stacks or
        series, and with ``ask``.
        """
        project = self._session.project
        if project is None:
            self._session.tell("Make or open a project first; then add images.")
            return
        given = list(paths)
        handle = self._workspace.jobs.run(
            "Looking for images", previewing.preview_images, given, lane="quick"
        )
        self._follow(handle)
        handle.finished.connect(lambda found: self._on_preview(project, given, found, ask))
        handle.failed.connect(self._on_failed)

    def _on_preview(
        self, project: Project, paths: list[str], found: previewing.Preview, ask: bool
    ) -> None:
        if self._is_gone(project):
            return
        if ask or found.pattern or found.n_z > 1 or found.n_t > 1:
            self._open(project, paths, found)
            return
        handle = self._workspace.jobs.run(
            "Looking at the images", adding.look_at_images, paths, lane="quick"
        )
        self._follow(handle)
        handle.finished.connect(lambda looked: self._on_looked(project, paths, looked))
        handle.failed.connect(self._on_failed)

    def _on_looked(self, project: Project, paths: list[str], looked: adding.LookResult) -> None:
        if self._is_gone(project):
            return
        n_z = max((item.info.n_z for item in looked.images), default=1)
        n_t = max((item.info.n_t for item in looked.images), default=1)
        if n_z > 1 or n_t > 1:  # the first file was none of the stacks
            self._open(project, paths, previewing.Preview("", len(looked.images), None, n_z, n_t))
            return
        try:
            added = adding.add_looked(project, looked)
        except CellalError as error:
            self._session.tell(str(error), error=True)
            return
        self._say(added.lines())

    def _open(self, project: Project, paths: list[str], found: previewing.Preview) -> None:
        if self.dialog is not None:
            self.dialog.close()
        self.dialog = GroupingDialog(self._workspace, project, paths, found, self._say)
        self.dialog.finished.connect(self._on_closed)
        self.dialog.show()

    def _on_closed(self, _result: int) -> None:
        self.dialog = None

    def _is_gone(self, project: Project) -> bool:
        """Return whether another project was opened while a job ran, and say so."""
        if self._session.project is project:
            return False
        self._session.tell(
            f"{project.name} was closed meanwhile, so nothing was added. Open it and repeat."
        )
        return True
