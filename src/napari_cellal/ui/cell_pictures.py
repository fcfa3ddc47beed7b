"""Small pictures of many cells, made away from the window's thread and kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QImage, QPixmap

from napari_cellal.core.errors import CellalError
from napari_cellal.io.planes import read_plane, read_plane_region

from .crops import image_of, pictures_of, window_around
from .images import contrast_limits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell, ImageRecord, Plane

    from .images import ImageView
    from .looks import Style
    from .session import Session

LARGEST_BYTES = 64 * 2**20
"""Of a larger image only the part around the cell is read, with a contrast of its own."""
READ_BYTES = 192 * 2**20
"""Images that were read for pictures are kept until they take so much."""
TOLD_S = 0.05
"""Pictures come to the window in portions of about so long."""

_Key = tuple[str, "Box"]


class _Source:
    """One image's pixels, read when the first cell needs them. Used by one thread."""

    def __init__(
        self,
        path: Path,
        plane: Plane,
        record: ImageRecord,
        styles: tuple[Style, ...],
        there: NDArray[np.generic] | None,
    ) -> None:
        self.image_id = record.image_id
        self._path, self._plane, self._record = path, plane, record
        self._styles = styles
        self._there = there
        size = np.dtype(record.dtype).itemsize * np.prod(record.shape, dtype=float)
        self.is_large = size >= LARGEST_BYTES

    def picture(self, box: Box, read: OrderedDict[str, NDArray[np.generic]]) -> NDArray[np.float64]:
        """Return the composite around a box, float[Y, X, 3] in 0..1; ``read`` keeps images."""
        if self._there is None and self.is_large:
            rows, columns = window_around(box, self._record.shape[1:])
            y, x = rows.start, columns.start
            part = read_plane_region(self._path, self._plane, (y, x, rows.stop, columns.stop))
            inside = (box[0] - y, box[1] - x, box[2] - y, box[3] - x)
            return pictures_of(part, inside, self._styles)[0]
        if self._there is None:
            if self.image_id not in read:
                read[self.image_id] = read_plane(self._path, self._plane)
                while len(read) > 1 and sum(p.nbytes for p in read.values()) > READ_BYTES:
                    read.popitem(last=False)
            read.move_to_end(self.image_id)
            self._there = read[self.image_id]
        if any(style.limits is None for style in self._styles):
            self._styles = tuple(
                replace(style, limits=style.limits or contrast_limits(plane))
                for style, plane in zip(self._styles, self._there, strict=True)
            )
        return pictures_of(self._there, box, self._styles)[0]


class CellPictures(QObject):
    """Pictures of cells. ``arrived`` tells that more of those asked for are there.

    Parameters
    ----------
    side_px : int
        Longer side of a picture.
    kept : int
        So many stay in memory, 4 bytes a px each.
    """

    arrived = Signal()
    _made = Signal(object)

    def __init__(self, session: Session, images: ImageView, side_px: int, kept: int) -> None:
        super().__init__()
        self._session = session
        self._images = images
        self.side_px = side_px
        self._most = kept
        self._kept: OrderedDict[_Key, QPixmap] = OrderedDict()
        self._wanted: frozenset[_Key] = frozenset()
        self._asked: set[_Key] = set()
        self._failed: set[_Key] = set()
        self._read: OrderedDict[str, NDArray[np.generic]] = OrderedDict()  # the thread's
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cellal-crops")
        self._made.connect(self._on_made)

    def close(self) -> None:
        """Make no more pictures."""
        self._wanted = frozenset()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self, side_px: int | None = None) -> None:
        """Let go of every picture: another project is open, or they look different by now."""
        self.side_px = side_px or self.side_px
        self._kept.clear()
        self._wanted = frozenset()
        self._asked = set()  # another one: what is still on its way is not waited for
        self._failed.clear()
        self._read = OrderedDict()

    def keep(self, cell: Cell, picture: QPixmap) -> None:
        """Keep a picture that was made for another purpose."""
        side = Qt.AspectRatioMode.KeepAspectRatio
        how = Qt.TransformationMode.SmoothTransformation
        self._store((cell.cell_id, cell.box), picture.scaled(self.side_px, self.side_px, side, how))

    def of(self, cells: Iterable[Cell]) -> list[QPixmap | None]:
        """Return the pictures of cells, None where one is not there yet; it is made now."""
        wanted = {(c.cell_id, c.box): c for c in cells}
        self._wanted = frozenset(wanted)
        missing: dict[str, list[_Key]] = {}
        for key, cell in wanted.items():
            if key in self._kept:
                self._kept.move_to_end(key)
            elif key not in self._asked and key not in self._failed:
                missing.setdefault(cell.image_id, []).append(key)
        for image_id, keys in missing.items():
            self._ask(image_id, keys)
        return [self._kept.get(key) for key in wanted]

    def _ask(self, image_id: str, keys: list[_Key]) -> None:
        project = self._session.project
        if project is None or image_id not in project.images:
            return
        record = project.images[image_id]
        source = _Source(
            project.image_path(image_id),
            project.plane(image_id),
            record,
            self._images.looks.styles(record),
            self._images.pixels(image_id),
        )
        asked, read, side = self._asked, self._read, self.side_px
        asked.update(keys)

        def tell(made: dict[_Key, QImage | None]) -> None:
            try:
                self._made.emit((asked, made))
            except RuntimeError:  # the window closed meanwhile
                return

        def make() -> None:
            made: dict[_Key, QImage | None] = {}
            since = time.monotonic()
            for key in keys:
                if key not in self._wanted:  # scrolled past, or the question was answered
                    asked.discard(key)
                    continue
                try:
                    made[key] = image_of(source.picture(key[1], read), side)
                except (CellalError, ValueError):  # its file is gone or another one
                    made[key] = None
                if time.monotonic() - since > TOLD_S:
                    tell(made)
                    made, since = {}, time.monotonic()
            if made:
                tell(made)

        self._pool.submit(make)

    def _on_made(self, told: tuple[set[_Key], dict[_Key, QImage | None]]) -> None:
        asked, made = told
        asked.difference_update(made)
        if asked is not self._asked:  # from before `forget`
            return
        for key, image in made.items():
            if image is None:
                self._failed.add(key)
            else:
                self._store(key, QPixmap.fromImage(image))
        self.arrived.emit()

    def _store(self, key: _Key, picture: QPixmap) -> None:
        self._kept[key] = picture
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
