"""The Project dock: projects, images and classes, and what comes in and goes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project
from napari_cellal.ui import recent
from napari_cellal.ui.controls import button, heading, note, row
from napari_cellal.ui.dock import Dock
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import finishing

from .class_list import ClassList
from .exchange import Exchange
from .founding import Founding
from .image_adding import ImageAdding
from .image_list import ImageList
from .image_removal import ImageRemoval
from .image_use import ImageUse
from .recent_projects import RecentProjects

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_cellal.active.images import ImageWorth
    from napari_cellal.core.history import Edit
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed


class ProjectDock(Dock):
    """Opens projects, adds images, lists them, and exchanges annotations."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.setAcceptDrops(True)
        self._welcome = QWidget()
        self._page = QWidget()
        self._report = note()
        self._report.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = JobBar()
        self.founding = Founding(workspace, self.bar.follow, self._say)
        self._build_welcome()
        self._build_page()
        self.add(self._welcome, self.founding, self.bar, self._report, self._page)
        self.column.addStretch(1)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self._on_images),
            (session.image_changed, self._on_image),
            (session.classes_changed, self.classes.refresh),
            (session.edited, self._on_edit),
        )
        self._on_project(session.project)

    def _build_welcome(self) -> None:
        self.recent = RecentProjects(self.workspace.open_project)
        layout = QVBoxLayout(self._welcome)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (
            note(
                "A project keeps your boxes, classes and models in one folder. "
                "Everything is saved as you go."
            ),
            button("New project…", "Make a project folder for your images", self.new, main=True),
            button("Open project…", "Open a folder that ends in .cellal", self.open),
            button(
                "Try the sample smears",
                "Makes a small project of synthetic blood smears to play with",
                lambda: self.founding.make_samples(),
            ),
            self.recent,
        ):
            layout.addWidget(widget)

    def _build_page(self) -> None:
        self._name = QElidingLabel()
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.classes = ClassList(self.session)
        self.list = ImageList(self.session)
        self.list.clicked.connect(lambda _index: self.setFocus())  # the keys go to the image
        self.removal = ImageRemoval(self.session, self.list)
        self.use = ImageUse(self.session, self.list)
        self.worth = button(
            "Image most worth finishing",
            "Shows the image whose open boxes would teach a detector most: those it is unsure of, "
            "of classes with few labels",
            self._show_worthiest,
        )
        self.plate = button(
            "Plate",
            "The wells of the plates, coloured by how many cells they hold, and of which class",
            lambda: self.workspace.raise_dock("Plate"),
        )
        self._count = note()
        self.adding = ImageAdding(self.workspace, self.bar.follow, self._say)
        self.exchange = Exchange(self.workspace, self.bar.follow, self._say)
        layout = QVBoxLayout(self._page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            row(self._name),
            row(
                button("Open other…", "Open another project", self.open),
                button("Close", "Close the project; everything is saved", self.close_project),
            ),
            heading("Images"),
            self.adding,
            self.list,
            row(
                button("‹ Previous", "The image before (A)", lambda: self.session.step_image(-1)),
                button("Next ›", "The next image (D)", lambda: self.session.step_image(1)),
                self.use,
                button(
                    "Remove…",
                    "Take the images chosen in the list out of the project: says first what goes "
                    "with them. Files are never touched.",
                    self.removal.ask,
                ),
            ),
            self.removal,
            self.worth,
            self.plate,
            self._count,
            heading("Classes"),
            self.classes,
            self.exchange,
        ):
            layout.addWidget(widget)

    # -- projects -------------------------------------------------------------------------

    def new(self) -> None:
        """Ask for a name and make a project."""
        chosen, _ = QFileDialog.getSaveFileName(
            self, "New project", str(Path(recent.folder(), "cells.cellal")), "Project (*.cellal)"
        )
        if chosen:
            recent.note_folder(chosen)
            self.make(chosen)

    def make(self, folder: str) -> None:
        """Make a project in a new folder and show it."""
        try:
            project = Project.create(folder)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self.session.open_project(project)

    def open(self) -> None:
        """Ask for a project and show it."""
        chosen = QFileDialog.getExistingDirectory(self, "Open a .cellal folder", recent.folder())
        if chosen:
            recent.note_folder(chosen)
            self.workspace.open_project(chosen)

    def close_project(self) -> None:
        """Let go of the project."""
        self.session.close_project()

    def _on_project(self, project: Project | None) -> None:
        self._welcome.setVisible(project is None)
        self._page.setVisible(project is not None)
        self._say([])
        self.list.table.reload()
        self.classes.refresh()
        if project is None:
            self.recent.refresh()
        else:
            self._name.setText(project.name)
            self._name.setToolTip(str(project.folder))
        self._on_images()

    def _on_images(self) -> None:
        self.list.table.reload()
        self.list.show_current()
        project = self.session.project
        if project is None:
            return
        self.plate.setVisible(any("well" in r.place for r in project.images.values()))
        n = len(project.images)
        done = sum(r.finished for r in project.images.values())
        held = sum(r.split.value != "train" for r in project.images.values())
        self._count.setText(
            f"{n} {'image' if n == 1 else 'images'}, {done} finished, {held or 'none'} held out to "
            "measure models on."
            if n
            else "No images yet. Add some, or drop a folder here."
        )
        if self.session.image_id is None and project.images:
            self.session.show_image(next(iter(project.images)))

    def _show_worthiest(self) -> None:
        project = self.session.project
        if project is None:
            return

        def show(ranked: tuple[ImageWorth, ...]) -> None:
            if self.session.project is not project:
                return
            best = next((w for w in ranked if w.image_id in project.images), None)
            if best is None:
                self.session.tell(
                    "No training image has boxes that the detector doubts. Detect in more images."
                )
                return
            self.session.show_image(best.image_id)
            self.session.tell(f"{project.images[best.image_id].name}: {best.reason}.")

        request = finishing.request_images(project)
        handle = self.workspace.jobs.run(
            "Comparing the images", finishing.images_to_finish, request, lane="quick"
        )
        handle.finished.connect(show)
        handle.failed.connect(self._on_failed)

    def _on_image(self, _image_id: str | None) -> None:
        self.list.show_current()

    def _on_edit(self, _edit: Edit) -> None:
        if self.is_on_screen:
            self.list.table.refresh_states()
        else:
            self.when_seen(self._on_images)

    def _say(self, lines: list[str]) -> None:
        shown = lines[:8]
        if len(lines) > 8:
            shown.append(f"… and {len(lines) - 8} more; hover to see all.")
        self._report.setVisible(bool(shown))
        self._report.setText("\n".join(shown))
        self._report.setToolTip("\n".join(lines[:200]))

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self._say([failed.message])

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open a dropped project, or add dropped images."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        projects = [p for p in paths if p.endswith(".cellal")]
        if projects:
            self.workspace.open_project(projects[0])
        elif paths:
            self.adding.add(paths)
        event.acceptProposedAction()
