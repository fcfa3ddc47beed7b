"""What images are for: a menu for those chosen in the list."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QMenu, QWidget

from napari_cellal.core.records import Split
from napari_cellal.ui.controls import button
from napari_cellal.workflows.splitting import change_split

if TYPE_CHECKING:
    from napari_cellal.ui.session import Session

    from .image_list import ImageList

USES = {
    Split.TRAIN: "for training",
    Split.VAL: "held out to compare models (val)",
    Split.TEST: "held out for the last test (test)",
}


class ImageUse(QWidget):
    """Says whether the images chosen in a list are trained on or held out."""

    def __init__(self, session: Session, images: ImageList) -> None:
        super().__init__()
        self.session = session
        self._images = images
        self.menu = QMenu(self)
        for split, words in USES.items():
            action = self.menu.addAction(words[0].upper() + words[1:])
            action.triggered.connect(partial(self._use, split))
        opens = button(
            "Use",
            "Whether the images chosen in the list are trained on, or held out to measure models "
            "on once they are finished. Images of one well go together.",
            lambda: None,
        )
        opens.setMenu(self.menu)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(opens)

    def _use(self, split: Split, _checked: bool = False) -> None:
        project, chosen = self.session.project, self._images.chosen()
        if project is None:
            return
        if not chosen:
            self.session.tell("Choose images in the list first; Shift and Ctrl choose several.")
            return
        changed = change_split(project, chosen, split)
        n = len({*chosen, *changed})
        text = f"{project.images[chosen[0]].name if n == 1 else f'{n} images'}: {USES[split]}."
        if others := len(set(changed) - set(chosen)):
            text += f" {others} of them go along, for they are of the same group."
        if changed and project.models:
            text += " Models that are there may have been trained on them: train anew."
        self.session.tell(text)
