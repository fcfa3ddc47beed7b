"""Masks of cells: which pixels of a window belong to a cell, run-length encoded.

A window is read down its columns, and its runs of 0 and 1 are counted in turn, beginning with
0. As text each count (from the fourth on as the difference to the one two before) is written
in 5-bit groups, low ones first, as characters from "0"; bit 5 says that more follow, bit 4 of
the last is the sign. This is COCO's form. Source: the format's description in ``maskApi.h``
(https://github.com/cocodataset/cocoapi), written anew here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .geometry import Box

Window: TypeAlias = tuple[int, int, int, int]
"""(y0, x0, y1, x1), px, half-open."""
Bits: TypeAlias = NDArray[np.bool_]
_MOST_GROUPS = 10  # of 5 bits; no image has so many pixels


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of one cell, in the smallest window that holds them all.

    Attributes
    ----------
    y0, x0 : int
        The window's corner, px of the full-resolution plane. Pixel (y, x) of the window is
        the square from (y0 + y, x0 + x) to one px further.
    height, width : int
    counts : str
        The window's runs, see `pack_runs`.
    """

    y0: int
    x0: int
    height: int
    width: int
    counts: str

    @property
    def window(self) -> Window:
        """(y0, x0, y1, x1), px, half-open."""
        return (self.y0, self.x0, self.y0 + self.height, self.x0 + self.width)

    @property
    def box(self) -> Box:
        """The window as a box."""
        y0, x0, y1, x1 = self.window
        return (float(y0), float(x0), float(y1), float(x1))

    @property
    def area(self) -> int:
        """Pixels of the cell."""
        return int(unpack_runs(self.counts)[1::2].sum())

    @property
    def is_rectangle(self) -> bool:
        """True where every pixel of the window belongs to the cell."""
        return self.area == self.height * self.width

    def bits(self) -> Bits:
        """Return bool[height, width], True in the cell.

        Raises
        ------
        ValueError
            If the runs do not fill the window.
        """
        runs = unpack_runs(self.counts)
        if (runs < 0).any() or runs.sum() != self.height * self.width:
            raise ValueError("the runs do not fill the mask")
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(flat.reshape(self.width, self.height).T)

    def within(self, window: Window) -> Bits:
        """Return bool[y1 - y0, x1 - x0], True in the cell, of another window."""
        y0, x0, y1, x1 = window
        result = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), np.bool_)
        top, left = max(y0, self.y0), max(x0, self.x0)
        low, right = min(y1, self.y0 + self.height), min(x1, self.x0 + self.width)
        if low > top and right > left:
            own = self.bits()[top - self.y0 : low - self.y0, left - self.x0 : right - self.x0]
            result[top - y0 : low - y0, left - x0 : right - x0] = own
        return result

    def moved(self, dy: int, dx: int) -> Mask:
        """Return the mask ``dy`` px further down and ``dx`` px further right."""
        return replace(self, y0=self.y0 + dy, x0=self.x0 + dx)

    def cut(self, window: Window) -> Mask | None:
        """Return the part that lies in a window; None where nothing does."""
        y0, x0, y1, x1 = window
        own = self.window
        if y0 <= own[0] and x0 <= own[1] and y1 >= own[2] and x1 >= own[3]:
            return self
        return mask_of(self.within(window), y0, x0)


def mask_of(bits: Bits, y0: int = 0, x0: int = 0) -> Mask | None:
    """Return the mask of bool[h, w] whose corner lies at (y0, x0) px; None where it is empty."""
    rows, cols = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(cols[0])
    inner = bits[top : int(rows[-1]) + 1, left : int(cols[-1]) + 1]
    flat = inner.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=len(flat))
    if flat[0]:
        runs = np.concatenate([[0], runs])
    height, width = inner.shape
    return Mask(y0 + top, x0 + left, height, width, pack_runs(runs))


def mask_iou(a: Mask, b: Mask) -> float:
    """Return the intersection over the union of two masks, 0..1."""
    common = int((a.bits() & b.within(a.window)).sum())
    return common / (a.area + b.area - common)


def moved_with(mask: Mask | None, old: Box, new: Box) -> Mask | None:
    """Return the mask of a cell whose box was moved; None where the box got another size.

    A box that is drawn larger or smaller says that the outline was wrong.
    """
    if mask is None or old == new:
        return mask
    sizes = [(y1 - y0, x1 - x0) for y0, x0, y1, x1 in (old, new)]
    if max(abs(a - b) for a, b in zip(*sizes, strict=True)) > _SAME_SIZE_PX:
        return None
    # The difference of rounded places, not the rounded difference: many moves add up right.
    return mask.moved(round(new[0]) - round(old[0]), round(new[1]) - round(old[1]))


_SAME_SIZE_PX = 0.01  # a screen's coordinates come back a little rounded


def pack_runs(runs: Sequence[int] | NDArray[np.integer]) -> str:
    """Return run lengths as text."""
    whole = np.asarray(runs, np.int64)
    left = whole.copy()
    left[3:] -= whole[1:-2]
    going_on = np.ones(len(left), np.bool_)
    groups = []
    while going_on.any():
        group = left & 31
        left = left >> 5
        more = np.where(group & 16, left != -1, left != 0)
        groups.append(np.where(going_on, group | (more << 5), -1))
        going_on &= more
    table = np.stack(groups, axis=1) if groups else np.zeros((0, 1), np.int64)
    return (table[table >= 0] + 48).astype(np.uint8).tobytes().decode("ascii")


def unpack_runs(text: str) -> NDArray[np.int64]:
    """Return the run lengths that a text stands for, int64[N].

    Raises
    ------
    ValueError
        If the text is no such mask.
    """
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if not len(groups):
        return groups
    if groups.min() < 0 or groups.max() > 63:
        raise ValueError("no run-length encoded mask")
    if groups[-1] & 32:
        raise ValueError("the mask ends in the middle of a number")
    starts = np.flatnonzero(np.concatenate([[True], (groups[:-1] & 32) == 0]))
    lengths = np.diff(starts, append=len(groups))
    if lengths.max() > _MOST_GROUPS:
        raise ValueError("no run-length encoded mask")
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 31) << (5 * place), starts)
    is_negative = (groups[starts + lengths - 1] & 16) > 0
    values -= is_negative.astype(np.int64) << (5 * lengths)
    if float(np.abs(values).max()) * len(values) > 2**62:
        raise ValueError("no run-length encoded mask")
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
