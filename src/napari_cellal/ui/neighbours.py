"""Pictures of the confirmed cells that look most like the one that is asked about."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.io.planes import read_plane, read_plane_region

from .crops import pictures_of, pixmap_of, window_around

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell

    from .images import ImageView
    from .session import Session

PICTURE_PX = 60
NAME_PX = 16
FRAME_PX = 2
KEPT = 1000
"""Pictures in memory, 11 kB each."""
LARGEST_BYTES = 64 * 2**20
"""Of a larger image only the part around the cell is read, with a contrast of its own."""

_Key = tuple[str, "Box"]


class CellPictures(QObject):
    """Small pictures of cells, made away from the window's thread and kept.

    ``arrived`` tells that more of those asked for are there.
    """

    arrived = Signal()
    _made = Signal(object, object)

    def __init__(self, session: Session, images: ImageView) -> None:
        super().__init__()
        self._session = session
        self._images = images
        self._kept: OrderedDict[_Key, QPixmap] = OrderedDict()
        self._wanted: frozenset[_Key] = frozenset()
        self._asked: set[_Key] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cellal-crops")
        self._made.connect(self._on_made)

    def close(self) -> None:
        """Make no more pictures."""
        self._wanted = frozenset()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Let go of every picture; another project is open."""
        self._kept.clear()
        self._wanted = frozenset()
        self._asked.clear()

    def keep(self, cell: Cell, picture: QPixmap) -> None:
        """Keep a picture that was made for another purpose."""
        side = Qt.AspectRatioMode.KeepAspectRatio
        how = Qt.TransformationMode.SmoothTransformation
        self._store((cell.cell_id, cell.box), picture.scaled(PICTURE_PX, PICTURE_PX, side, how))

    def of(self, cells: Iterable[Cell]) -> list[QPixmap | None]:
        """Return the pictures of cells, None where one is not there yet; it is made now."""
        wanted = {(c.cell_id, c.box): c for c in cells}
        self._wanted = frozenset(wanted)
        for key, cell in wanted.items():
            if key not in self._kept and key not in self._asked:
                self._ask(cell)
        return [self._kept.get(key) for key in wanted]

    def _ask(self, cell: Cell) -> None:
        project = self._session.project
        if project is None:
            return
        key = (cell.cell_id, cell.box)
        record, path = project.images[cell.image_id], project.image_path(cell.image_id)
        plane, there = project.plane(cell.image_id), self._images.pixels(cell.image_id)
        styles = self._images.looks.styles(record)

        def read() -> tuple[NDArray[np.generic], Box]:
            if there is not None:
                return there, cell.box
            if np.dtype(record.dtype).itemsize * np.prod(record.shape, dtype=float) < LARGEST_BYTES:
                return read_plane(path, plane), cell.box
            rows, columns = window_around(cell.box, record.shape[1:])
            y, x = rows.start, columns.start
            y0, x0, y1, x1 = cell.box
            part = read_plane_region(path, plane, (y, x, rows.stop, columns.stop))
            return part, (y0 - y, x0 - x, y1 - y, x1 - x)

        def make() -> None:
            picture: NDArray[np.float64] | None = None
            if key in self._wanted:  # else the question has been answered meanwhile
                try:
                    pixels, box = read()
                    picture = pictures_of(pixels, box, styles)[0]
                except (CellalError, ValueError):  # its file is gone or another one
                    picture = None
            try:
                self._made.emit(key, picture)
            except RuntimeError:  # the window closed meanwhile
                return

        self._asked.add(key)
        self._pool.submit(make)

    def _on_made(self, key: _Key, picture: NDArray[np.float64] | None) -> None:
        self._asked.discard(key)
        if picture is not None:
            self._store(key, pixmap_of(picture, PICTURE_PX))
            self.arrived.emit()

    def _store(self, key: _Key, picture: QPixmap) -> None:
        self._kept[key] = picture
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)


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
