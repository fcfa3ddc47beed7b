"""Masks of cells as a picture of labels: two values a class, for its cells' inside and rim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Bits, Mask, Window
    from napari_cellal.core.records import Cell

UNCLASSED = 1
"""The value inside cells without a class; one more is always the rim."""


class MaskPicture:
    """The masks in a window of an image.

    The rim tells two cells of a class from each other where they touch.

    Attributes
    ----------
    window : (y0, x0, y1, x1)
        px of the image.
    labels : unsigned [y1 - y0, x1 - x0]
        0 where no cell is.
    """

    def __init__(self, window: Window, class_ids: Sequence[int]) -> None:
        self.window = window
        self._value_of = {c: UNCLASSED + 2 * k for k, c in enumerate(class_ids, 1)}
        y0, x0, y1, x1 = window
        most = UNCLASSED + 2 * len(class_ids) + 1
        self.labels: NDArray[np.unsignedinteger] = np.zeros(
            (y1 - y0, x1 - x0), np.min_scalar_type(most)
        )

    def value_of(self, class_id: int | None) -> int:
        """Return the value inside cells of a class."""
        return UNCLASSED if class_id is None else self._value_of.get(class_id, UNCLASSED)

    def draw(self, cells: Iterable[Cell], within: Window | None = None) -> None:
        """Draw masks, each over those before it, only inside ``within`` if that is given."""
        for cell in cells:
            if cell.mask is not None:
                self._paste(cell.mask, self.value_of(cell.class_id), within or self.window)

    def redraw(self, place: Window, cells: Iterable[Cell]) -> None:
        """Clear a place, and draw what lies there of cells that come in the order of `draw`."""
        part = overlap(place, self.window)
        if part is None:
            return
        y, x = self.window[:2]
        self.labels[part[0] - y : part[2] - y, part[1] - x : part[3] - x] = 0
        self.draw((c for c in cells if c.mask is not None and overlap(c.mask.window, part)), part)

    def _paste(self, mask: Mask, value: int, within: Window) -> None:
        part = overlap(overlap(mask.window, within) or (0, 0, 0, 0), self.window)
        if part is None:
            return
        bits = mask.bits()
        values = np.where(rim_of(bits), value + 1, value)
        y, x = self.window[:2]
        here = self.labels[part[0] - y : part[2] - y, part[1] - x : part[3] - x]
        own = np.s_[part[0] - mask.y0 : part[2] - mask.y0, part[1] - mask.x0 : part[3] - mask.x0]
        np.copyto(here, values[own], where=bits[own], casting="unsafe")


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that have a mask, larger ones first, so that smaller ones stay seen."""
    masked = [(c.mask.height * c.mask.width, c) for c in cells if c.mask is not None]
    return [cell for _, cell in sorted(masked, key=lambda item: -item[0])]


def rim_of(bits: Bits) -> Bits:
    """Return bool[h, w], True in pixels that touch the outside along a side."""
    padded = np.pad(bits, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(bits & ~inner)


def overlap(a: Window, b: Window) -> Window | None:
    """Return what two windows share; None where that is nothing."""
    y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (y0, x0, y1, x1) if y1 > y0 and x1 > x0 else None
