"""Run-length encoded masks, as COCO stores them, to boxes: no mask is ever unpacked.

A mask is read down its columns, and its runs of 0 and 1 are counted in turn, beginning with
0. The compressed form writes each count (from the third on as the difference to the one two
before) in 5-bit groups, low ones first, as characters from "0"; bit 5 says that more
follow, bit 4 of the last is the sign. Source: the format's description in COCO's
``maskApi.h`` (https://github.com/cocodataset/cocoapi), written anew here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_cellal.core.geometry import Box

MAX_SIDE = 10_000_000
_LARGEST = 1 << 60


def unpack_counts(text: str) -> list[int]:
    """Return the run lengths that a compressed mask stands for.

    Raises
    ------
    ValueError
        If the text is no such mask.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise ValueError("no run-length encoded mask")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the mask ends in the middle of a number")
    return counts


def mask_box(counts: str | list[int], height: int, width: int) -> Box | None:
    """Return the half-open box (y0, x0, y1, x1) around a mask, px; None for an empty one.

    Parameters
    ----------
    counts : str or list of int
        Compressed or plain run lengths.

    Raises
    ------
    ValueError
        If the runs are no mask of this size.
    """
    runs = unpack_counts(counts) if isinstance(counts, str) else counts
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError("a mask of no or of an impossible size")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _LARGEST for n in runs):
        raise ValueError("a run that is no whole number")
    if sum(runs) != height * width:
        raise ValueError("the runs do not fill the mask")
    ends = np.cumsum(np.asarray(runs, np.int64))
    first, last = ends[0:-1:2], ends[1::2] - 1  # of each run of ones, along the columns
    filled = last >= first
    first, last = first[filled], last[filled]
    if not len(first):
        return None
    x0, x1 = first[0] // height, last[-1] // height + 1
    if (first // height != last // height).any():  # a run goes on in the next column
        return (0.0, float(x0), float(height), float(x1))
    y0, y1 = (first % height).min(), (last % height).max() + 1
    return (float(y0), float(x0), float(y1), float(x1))
