"""Taking images out of the project: a button, then the consequence and a second click."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import button, note, row
from napari_cellal.workflows.removing import Removal, look_at_removal, remove_images

if TYPE_CHECKING:
    from napari_cellal.ui.session import Session

    from .image_list import ImageList


class ImageRemoval(QWidget):
    """Says what would go with the images chosen in a list, and removes them when told again."""

    def __init__(self, session: Session, images: ImageList) -> None:
        super().__init__()
        self.session = session
        self._images = images
        self._asked: Removal | None = None
        self._text = note()
        self.remove = button(
            "Remove from the project",
            "Take these images and their boxes out of the project; the files stay",
            self._go,
        )
        self.keep = button("Keep", "Leave everything as it is", self.forget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(row(self.remove, self.keep))
        images.selectionModel().selectionChanged.connect(self.forget)
        self.hide()

    def ask(self) -> None:
        """Show what would go with the images chosen in the list."""
        removal = self._look()
        if removal is None:
            self.session.tell("Choose images in the list first; Shift and Ctrl choose several.")
            return
        self._asked = removal
        self._text.setText(removal.consequence())
        self.show()

    def forget(self, *_: object) -> None:
        """Remove nothing."""
        self._asked = None
        self.hide()

    def _look(self) -> Removal | None:
        project, chosen = self.session.project, self._images.chosen()
        return look_at_removal(project, chosen) if project is not None and chosen else None

    def _go(self) -> None:
        project, asked = self.session.project, self._asked
        if project is None or asked is None or self._look() != asked:
            self.ask()  # boxes came or were reviewed since it was said what would go
            return
        self.forget()
        self.session.works.finish()
        self._step_aside(asked)
        try:
            remove_images(project, asked, with_reviewed=True)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        n = len(asked.image_ids)
        what = asked.names[0] if n == 1 else f"{n} images"
        self.session.tell(
            f"{what} and {asked.cells:,} boxes left the project; no file was touched."
        )

    def _step_aside(self, asked: Removal) -> None:
        """Show an image that stays, the next one if there is one."""
        project, image_id = self.session.project, self.session.image_id
        if project is None or image_id not in asked.image_ids:
            return
        ids = list(project.images)
        at = ids.index(image_id)
        gone = set(asked.image_ids)
        order = [*ids[at + 1 :], *reversed(ids[:at])]
        self.session.show_image(next((key for key in order if key not in gone), None))
