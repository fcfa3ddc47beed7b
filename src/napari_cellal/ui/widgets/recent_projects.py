"""The projects that were open last, one click away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui import recent
from napari_cellal.ui.controls import button, empty, heading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class RecentProjects(QWidget):
    """A button for each project opened last; one that is not there any more leaves when clicked.

    Parameters
    ----------
    open_project : callable(folder) -> bool
        Opens the one that is chosen, or tells why it cannot.
    """

    def __init__(self, open_project: Callable[[Path], bool]) -> None:
        super().__init__()
        self._open = open_project
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)

    def refresh(self) -> None:
        """Offer what there is now."""
        empty(self._rows)
        places = recent.projects()
        if places:
            self._rows.addWidget(heading("Go on with"))
        stems = [place.stem for place in places]
        for place in places:
            name = place.stem
            if stems.count(name) > 1:
                name += f" in {place.parent.name}"
            name = self.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, 300)
            self._rows.addWidget(
                button(name.replace("&", "&&"), str(place), lambda place=place: self._go(place))
            )
        self.setVisible(bool(places))

    def _go(self, place: Path) -> None:
        if not self._open(place) and not place.is_dir():
            recent.forget_project(place)
            self.refresh()
