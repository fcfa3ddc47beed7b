"""The cell inside its box: a quick segmentation for the sake of measuring."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 64
_LEAST, _MOST = 0.08, 0.97  # of the box: outside this the threshold found something else


def cell_mask(
    plane: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], float]:
    """Return the cell's mask, bool[h, w], and the share of it that was a hole.

    Otsu's threshold (IEEE Trans. SMC 9, 1979), holes filled, the piece nearest to the
    middle. The cell is the side of the threshold that is commoner in the ellipse inside
    the box than around it, so that dark and bright cells both work, also where
    neighbours crowd the border. Where that finds nothing sensible the mask is the box.

    Parameters
    ----------
    plane : float32[h, w]
        The channel with the most contrast: box and margin.
    inside : bool[h, w]
        True in the box; at least one pixel.
    """
    if min(plane.shape) >= 7:
        plane = ndimage.uniform_filter(plane, 3, mode="nearest")
    threshold = otsu_threshold(plane)
    if threshold is None:
        return inside, 0.0
    high = plane > threshold
    rows, cols = _extent(inside)
    weight = np.zeros(plane.shape, np.float32)
    weight[rows, cols] = _bump(rows.stop - rows.start, cols.stop - cols.start)
    core = weight > 0
    outer = high[~core]
    bright = high[core].mean() >= (outer.mean() if outer.size else 0.5)
    piece = _main_piece((high if bright else ~high) & inside, weight)
    filled, hole = _fill_holes(piece)
    share = filled.sum() / inside.sum()
    if not _LEAST <= share <= _MOST:
        return inside, 0.0
    return filled, hole


def otsu_threshold(values: NDArray[np.float32]) -> float | None:
    """Return the value that parts ``values`` best in two, or None where all are equal."""
    low, high = float(values.min()), float(values.max())
    if not high - low > 1e-6 * max(abs(low), abs(high), 1e-12):
        return None
    index = ((values - low) * np.float32((_BINS - 1e-3) / (high - low))).astype(np.uint8)
    count = np.bincount(index.ravel(), minlength=_BINS)[:_BINS].astype(np.float64)
    below = np.cumsum(count)
    moment = np.cumsum(count * np.arange(_BINS))
    total, whole = below[-1], moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (whole * below - moment * total) ** 2 / (below * (total - below))
    best = int(np.argmax(np.nan_to_num(between, nan=-1.0, posinf=-1.0)))
    return low + (best + 1) * (high - low) / _BINS


def _extent(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


@lru_cache(maxsize=512)
def _bump(height: int, width: int) -> NDArray[np.float32]:
    """Return 1 in the middle, falling to 0 at the ellipse that touches the box."""
    y = (np.arange(height) - (height - 1) / 2) / (height / 2)
    x = (np.arange(width) - (width - 1) / 2) / (width / 2)
    return np.clip(1 - y[:, None] ** 2 - x[None, :] ** 2, 0, None).astype(np.float32)


def _main_piece(mask: NDArray[np.bool_], weight: NDArray[np.float32]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    mass = np.bincount(labels.ravel(), weight.ravel(), count + 1)
    mass[0] = -1
    return np.asarray(labels == int(np.argmax(mass)))


def _fill_holes(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    labels, count = ndimage.label(~mask)
    if count < 2:
        return mask, 0.0
    outside = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[edge] = True
    outside[0] = False  # 0 is the mask itself
    filled = ~outside[labels]
    area = int(filled.sum())
    return filled, (area - int(mask.sum())) / area if area else 0.0
