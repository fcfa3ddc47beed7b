"""Pictures of the confirmed cells that look most like the one that is asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

PICTURE_PX = 60
NAME_PX = 16
FRAME_PX = 2


class NeighbourStrip(QWidget):
    """Pictures in a row, each in its class's colour and with its class's name under it."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: tuple[tuple[QPixmap | None, str, str], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def names(self) -> list[str]:
        """The class names, in the order of the pictures."""
        return [name for _, name, _ in self._cells]

    @property
    def pictures(self) -> list[QPixmap | None]:
        """The pictures, None where one is not there yet."""
        return [picture for picture, _, _ in self._cells]

    def sizeHint(self) -> QSize:
        """Return room for three pictures."""
        return QSize(3 * (PICTURE_PX + 12), PICTURE_PX + 2 * FRAME_PX + NAME_PX)

    def show_cells(self, cells: Sequence[tuple[QPixmap | None, str, str]]) -> None:
        """Show (picture, class name, class colour) of each cell."""
        self._cells = tuple(cells)
        self.setToolTip(
            "The cells that you confirmed and that look most like this one, nearest first: "
            + ", ".join(self.names)
        )
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw frames, pictures and names."""
        painter = QPainter(self)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        step = self.width() / max(3, len(self._cells))
        for place, (picture, name, color) in enumerate(self._cells):
            side = PICTURE_PX + 2 * FRAME_PX
            left = round(place * step + (step - side) / 2)
            painter.fillRect(QRect(left, 0, side, side), QColor(color))
            inner = QRect(left + FRAME_PX, FRAME_PX, PICTURE_PX, PICTURE_PX)
            painter.fillRect(inner, QColor("black"))
            if picture is not None:
                at = picture.rect()
                at.moveCenter(inner.center())
                painter.drawPixmap(at.topLeft(), picture)
            painter.setPen(ink)
            foot = QRect(round(place * step), side, round(step), NAME_PX)
            text = painter.fontMetrics().elidedText(
                name, Qt.TextElideMode.ElideRight, foot.width() - 4
            )
            painter.drawText(foot, int(Qt.AlignmentFlag.AlignCenter), text)
