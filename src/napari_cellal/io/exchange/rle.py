"""Run-length encoded masks of whole images, as COCO stores them: they are never unpacked.

The form of the text is described in `core.masks`, which holds the masks of single cells in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.masks import Mask, pack_runs, unpack_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_SIDE = 10_000_000
_LARGEST = 1 << 60


def mask_of_counts(counts: str | Sequence[int], height: int, width: int) -> Mask | None:
    """Return the mask of one cell, of an image's run lengths; None for an empty one.

    Parameters
    ----------
    counts : str or sequence of int
        Compressed or plain run lengths.
    height, width : int
        Of the image, px.

    Raises
    ------
    ValueError
        If the runs are no mask of this size.
    """
    runs = unpack_runs(counts).tolist() if isinstance(counts, str) else counts
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
    x0, x1 = int(first[0] // height), int(last[-1] // height) + 1
    if (first // height != last // height).any():  # a run goes on in the next column
        y0, y1 = 0, height
    else:
        y0, y1 = int((first % height).min()), int((last % height).max()) + 1
    # Only full columns join, so a run is as long in the window as it is in the image.
    start = (first // height - x0) * (y1 - y0) + first % height - y0
    end = start + last - first + 1
    runs_inside = _runs_between(start, end, (y1 - y0) * (x1 - x0))
    return Mask(y0, x0, y1 - y0, x1 - x0, pack_runs(runs_inside))


def _runs_between(
    starts: NDArray[np.integer], ends: NDArray[np.integer], length: int
) -> NDArray[np.int64]:
    """Return the run lengths of ``length`` pixels with ones from each start to its end."""
    # Where one run ends as the next begins, the place falls out: they are one.
    places, counts = np.unique(np.concatenate([starts, ends]), return_counts=True)
    runs: NDArray[np.int64] = np.diff(places[counts == 1], prepend=0, append=length)
    return runs if runs[-1] else runs[:-1]


def counts_of_mask(mask: Mask, height: int, width: int) -> str:
    """Return a mask as compressed run lengths of its image, ``height`` and ``width`` px large.

    What lies outside the image is left out.
    """
    inside = mask.cut((0, 0, height, width))
    if inside is None:
        return pack_runs([height * width])
    steps = np.diff(np.pad(inside.bits().T, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    edges = []
    for step in (1, -1):  # down each column: where the cell begins, and where it ends
        x, y = np.nonzero(steps == step)
        edges.append((x + inside.x0) * height + y + inside.y0)
    return pack_runs(_runs_between(edges[0], edges[1], height * width))
