"""The part of the Project dock where boxes come in from and go out to other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMenu, QVBoxLayout

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.formats import FORMATS
from napari_cellal.ui import recent
from napari_cellal.ui.controls import ComboBox, button, heading, row
from napari_cellal.ui.layer_boxes import LayerBoxes
from napari_cellal.workflows import cropping, exporting

from .import_dialog import ImportDialog
from .project_part import ProjectPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace

CROPS = "crops"


class Exchange(ProjectPart):
    """Buttons to import and export, and the dialog that the first one opens."""

    def __init__(
        self,
        workspace: Workspace,
        follow: Callable[[JobHandle], object],
        say: Callable[[list[str]], object],
    ) -> None:
        super().__init__(workspace, follow, say)
        self.dialog: ImportDialog | None = None
        self.format = ComboBox("What the boxes are written as")
        for name, known in FORMATS.items():
            self.format.addItem(known.title, name)
        self.format.addItem("Cells as pictures", CROPS)
        self.layer_boxes = LayerBoxes(workspace)
        menu = QMenu(self)
        menu.aboutToShow.connect(lambda: self.layer_boxes.fill(menu))
        self._from_layer = button(
            "From a layer",
            "Bring the shapes or labels of another layer in this window into the image on screen",
            lambda: None,
        )
        self._from_layer.setMenu(menu)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Annotations"),
            row(
                button(
                    "Import boxes…",
                    "From Pascal VOC, COCO, YOLO, CSV, QuPath or label images; shows what would "
                    "come in first",
                    self.open_import,
                ),
                self._from_layer,
            ),
            row(
                self.format,
                button("Export…", "Write every box but rejected ones into a folder", self._ask),
            ),
        ):
            layout.addWidget(widget)

    def open_import(self) -> ImportDialog | None:
        """Open the dialog, or bring it to the front."""
        if self._session.project is None:
            return None
        if self.dialog is None:
            self.dialog = ImportDialog(self._workspace, self._session.project, self._say)
            self.dialog.finished.connect(self._on_closed)
            self.dialog.show()
        self.dialog.raise_()
        return self.dialog

    def _on_closed(self, _result: int) -> None:
        self.dialog = None

    def _ask(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder to write to", recent.folder())
        if chosen:
            recent.note_folder(chosen)
            self.export(chosen)

    def export(self, folder: str) -> None:
        """Write the boxes, or the cells, into a folder in the background."""
        project = self._session.project
        if project is None:
            return
        name = self.format.currentData()
        jobs = self._workspace.jobs
        try:
            if name == CROPS:
                request = run_job(cropping.request_crops(project, folder))
                handle = jobs.run("Cutting out cells", cropping.cut_crops, request, lane="quick")
            else:
                images, classes = (
                    exporting.export_images(project),
                    exporting.export_classes(project),
                )
                said = (name, folder, images, classes)
                handle = jobs.run(
                    "Writing annotations", exporting.write_images, *said, lane="quick"
                )
        except CellalError as error:
            self._session.tell(str(error), error=True)
            return
        self._follow(handle)
        handle.finished.connect(lambda report: self._say(report.lines()))
        handle.failed.connect(self._on_failed)
