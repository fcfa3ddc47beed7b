"""A cell seen closely in a dock: all channels together, and each in a row under it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from .asking import Asker
from .crops import pictures_of, pixmap_of, window_around
from .dock import DOCK_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell

    from .images import ImageView
    from .looks import Style
    from .session import Session

_Key = tuple[str, "Box", "tuple[Style, ...]"]
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


class CropView(QObject):
    """The two widgets that show one cell, ``composite`` and ``channels``, for a dock to place.

    Parameters
    ----------
    side_px : int
        Of the composite.
    """

    def __init__(self, session: Session, images: ImageView, side_px: int, tooltip: str) -> None:
        super().__init__()
        self._session = session
        self._images = images
        self._side_px = side_px
        self.composite = QLabel()
        self.composite.setFixedSize(side_px + 2, side_px + 2)  # themes give labels 1 px of padding
        self.composite.setToolTip(tooltip)
        self.channels = ChannelStrip()
        self._wanted: _Key | None = None
        self._asker = Asker("crop", self)

    def close(self) -> None:
        """Read no more, before the window closes."""
        self._wanted = None
        self._asker.close()

    def show_cell(self, cell: Cell | None) -> QPixmap | None:
        """Show a cell, if its image has been read, and return the composite.

        Of a large image the part around the cell is read first: None until then.
        """
        picture = None if cell is None else self._images.picture(cell.image_id)
        if cell is None or picture is None or self._session.project is None:
            self._wanted = None
            self._show([], self._images.looks.channels)
            return None
        key = (cell.image_id, cell.box, self._images.styles(cell.image_id))
        if key != self._wanted:  # every edit asks, most of them change nothing here
            self._wanted = key
            if picture.is_lazy:
                self._show([], self._images.looks.channels)
                self._ask(key, picture.levels[0])
            else:
                self._show(pictures_of(picture.levels[0], cell.box, key[2]), self._names(key))
        shown = self.composite.pixmap()
        return None if shown.isNull() else shown

    def _names(self, key: _Key) -> tuple[str, ...]:
        project = self._session.project
        assert project is not None
        return project.images[key[0]].channels if key[2] else ()

    def _ask(self, key: _Key, pixels: Any) -> None:
        y0, x0, y1, x1 = key[1]
        rows, columns = window_around(key[1], pixels.shape[1:])
        top, left = rows.start, columns.start

        def read() -> list[NDArray[np.float64]]:
            part = np.asarray(pixels[:, rows, columns])
            box = (y0 - top, x0 - left, y1 - top, x1 - left)
            return pictures_of(part, box, key[2])

        # Where its file is gone the picture has said so.
        self._asker.ask(read, partial(self._on_read, key), is_wanted=lambda: key is self._wanted)

    def _on_read(self, key: _Key, pictures: list[NDArray[np.float64]]) -> None:
        project = self._session.project
        if project is not None and key[0] in project.images:
            self._show(pictures, self._names(key))

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
