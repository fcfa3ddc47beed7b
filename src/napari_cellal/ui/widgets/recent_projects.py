"""The projects that were open last, one click away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui import recent
from napari_cellal.ui.controls import button, empty, heading

if TYPE_CHECKING:
    from collections.abc import Callable


class RecentProjects(QWidget):
    """A button for each project opened last that is still there.

    Parameters
    ----------
    open_project : callable(str)
        Hears the folder that is chosen.
    """

    def __init__(self, open_project: Callable[[str], object]) -> None:
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
        for place in places:
            name = self.fontMetrics().elidedText(place.stem, Qt.TextElideMode.ElideMiddle, 300)
            self._rows.addWidget(
                button(
                    name.replace("&", "&&"), str(place), lambda place=place: self._open(str(place))
                )
            )
        self.setVisible(bool(places))
