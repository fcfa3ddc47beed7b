"""A slider with its number beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget
from superqt import QLabeledDoubleSlider

if TYPE_CHECKING:
    from qtpy.QtCore import Qt


class Slider(QLabeledDoubleSlider):
    """A slider that the wheel does not change while the dock is scrolled."""

    def __init__(self, orientation: Qt.Orientation) -> None:
        super().__init__(orientation)
        for part in self.findChildren(QWidget):
            part.installEventFilter(self)

    def eventFilter(self, _part: QObject, event: QEvent) -> bool:
        """Leave the wheel to the dock, over the bar and over the number."""
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return False

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the dock."""
        event.ignore()
