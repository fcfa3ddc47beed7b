"""A cell seen closely in a dock: all channels together, and each in a row under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from .controls import DOCK_WIDTH
from .crops import pictures_of, pixmap_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

    from napari_cellal.core.records import Cell

    from .images import ImageView
    from .session import Session

_GAP_PX = 4
_NAME_PX = 15
_MOST_IN_A_ROW = 6
_LARGEST_PX = 60
_WIDTH_PX = DOCK_WIDTH - 40  # less margins and a scroll bar


class ChannelStrip(QWidget):
    """Small named pictures, in as many rows as the width of a dock makes necessary."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: tuple[tuple[QPixmap | None, str], ...] = ()
        self._per_row = 1
        self.side_px = _LARGEST_PX
        """Of one picture, chosen by how many there are; see `arrange`."""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hide()

    @property
    def names(self) -> list[str]:
        """The channels, in the order of the pictures."""
        return [name for _, name in self._cells]

    def arrange(self, n: int) -> None:
        """Choose rows and size for so many pictures."""
        rows = -(-n // _MOST_IN_A_ROW)
        self._per_row = -(-n // max(1, rows)) or 1
        free = _WIDTH_PX - (self._per_row - 1) * _GAP_PX
        self.side_px = min(_LARGEST_PX, free // self._per_row)
        self.setFixedHeight(max(1, rows * (self.side_px + _NAME_PX)))

    def show_channels(self, cells: Sequence[tuple[QPixmap | None, str]]) -> None:
        """Show (picture, channel) of each channel; nothing hides the strip."""
        self._cells = tuple(cells)
        self.setToolTip("Each channel alone: " + ", ".join(self.names))
        self.setVisible(bool(cells))
        self.update()

    def sizeHint(self) -> QSize:
        """Return the room that the pictures need."""
        return QSize(_WIDTH_PX, self.height())

    def place(self, number: int) -> QRect:
        """Return where a picture and its name are, from 0."""
        row, column = divmod(number, self._per_row)
        high = self.side_px + _NAME_PX
        return QRect(column * (self.side_px + _GAP_PX), row * high, self.side_px, high)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the pictures and their names."""
        painter = QPainter(self)
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        for place, (picture, name) in enumerate(self._cells):
            foot = self.place(place)
            frame = QRect(foot.left(), foot.top(), self.side_px, self.side_px)
            foot.setTop(frame.bottom() + 1)
            painter.fillRect(frame, QColor("black"))
            if picture is not None:
                at = picture.rect()
                at.moveCenter(frame.center())
                painter.drawPixmap(at.topLeft(), picture)
            text = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, foot.width())
            painter.drawText(foot, int(Qt.AlignmentFlag.AlignCenter), text)


class CropView:
    """The two widgets that show one cell, ``composite`` and ``channels``, for a dock to place.

    Parameters
    ----------
    side_px : int
        Of the composite.
    """

    def __init__(self, session: Session, images: ImageView, side_px: int, tooltip: str) -> None:
        self._session = session
        self._images = images
        self._side_px = side_px
        self.composite = QLabel()
        self.composite.setFixedSize(side_px + 2, side_px + 2)  # themes give labels 1 px of padding
        self.composite.setToolTip(tooltip)
        self.channels = ChannelStrip()
        self._shown: object = None

    def show_cell(self, cell: Cell | None) -> QPixmap | None:
        """Show a cell, if its image has been read, and return the composite."""
        project = self._session.project
        pixels = None if cell is None else self._images.pixels(cell.image_id)
        if cell is None or pixels is None or project is None:
            self._shown = None
            self._show([], self._images.looks.channels)
            return None
        record = project.images[cell.image_id]
        styles = self._images.looks.styles(record)
        shown = (cell.image_id, cell.box, styles, id(pixels))
        if shown != self._shown:  # every edit asks, most of them change nothing here
            self._shown = shown
            self._show(pictures_of(pixels, cell.box, styles), record.channels if styles else ())
        return self.composite.pixmap()

    def _show(self, pictures: list[NDArray[np.float64]], names: tuple[str, ...]) -> None:
        # The strip keeps its place without a cell: buttons under it must not jump.
        if len(names) < 2:
            names = ()
        self.channels.arrange(len(names))
        side = self.channels.side_px
        singles = [pixmap_of(p, side) for p in pictures[1:]] or [None] * len(names)
        self.channels.show_channels(list(zip(singles, names, strict=True)))
        if pictures:
            self.composite.setPixmap(pixmap_of(pictures[0], self._side_px))
        else:
            self.composite.clear()
