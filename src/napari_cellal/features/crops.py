"""Pictures of single cells, cut out without distortion."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.geometry import Box, normalized_box

if TYPE_CHECKING:
    from numpy.typing import NDArray


def crop(
    pixels: NDArray[Any],
    box: Box,
    *,
    context: float = 0.0,
    size_px: int | None = None,
) -> NDArray[Any]:
    """Return the pixels of one cell, [C, h, w], of the image's dtype.

    What lies outside the image is its mirror image (reflected without repeating the
    edge), so that no artificial dark frame tells a model where the border was.

    Parameters
    ----------
    pixels : [C, Y, X]
        One plane of an image.
    box : (y0, x0, y1, x1), px, half-open
        May lie partly or wholly outside the image, or have no area (1 px is cut then).
    context : float, >= 0
        Margin on every side, as a share of the box's height and width.
    size_px : int or None
        None cuts the box as it is. A number cuts the square around the box, as wide as
        its longer side, and scales it to ``size_px`` x ``size_px``: height and width
        keep their proportion, more of the surroundings is seen instead.

    Raises
    ------
    ValueError
        If the image has no pixels or the box is not finite.
    """
    channels, height, width = pixels.shape
    if not (channels and height and width):
        raise ValueError("cannot cut a cell out of an image without pixels")
    if not np.all(np.isfinite(box)):
        raise ValueError(f"the box {tuple(box)} is not finite")
    y0, x0, y1, x1 = normalized_box(box)
    h, w = (y1 - y0) * (1 + 2 * context), (x1 - x0) * (1 + 2 * context)
    if size_px is not None:
        top, left, bottom, right = square_of(box, context)
        rows, cols = _indices(top, bottom - top, height), _indices(left, right - left, width)
    else:
        rows = _indices(*_covered((y0 + y1) / 2, h), height)
        cols = _indices(*_covered((x0 + x1) / 2, w), width)
    cut = pixels[:, rows[:, None], cols[None, :]]
    return cut if size_px is None else resample(cut, size_px, size_px)


def square_of(box: Box, context: float = 0.0) -> tuple[int, int, int, int]:
    """Return (y0, x0, y1, x1), px, half-open: the square that `crop` cuts for a ``size_px``."""
    y0, x0, y1, x1 = normalized_box(box)
    side = max(y1 - y0, x1 - x0) * (1 + 2 * context)
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    count = max(_covered(y, side)[1], _covered(x, side)[1])  # rounding may leave them 1 px apart
    top, left = (_covered(middle, count)[0] for middle in (y, x))
    return top, left, top + count, left + count


def _covered(center: float, extent: float) -> tuple[int, int]:
    """Return the first px of a stretch, and how many it covers."""
    start = int(np.floor(center - extent / 2 + 1e-6))
    return start, max(1, int(np.ceil(center + extent / 2 - 1e-6)) - start)


def _indices(start: int, count: int, size: int) -> NDArray[Any]:
    """Return ``count`` row (or column) numbers from ``start`` on, mirrored into the image."""
    index = np.arange(start, start + count)
    period = max(1, 2 * size - 2)
    index = np.abs(index) % period
    return np.asarray(np.where(index < size, index, period - index))


def resample(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return [C, height, width]: linear interpolation, averaging where it shrinks.

    A triangle filter as wide as the step between output pixels, as in Pillow's
    ``BILINEAR``: two small matrix products, no aliasing. Whole numbers are rounded
    back to the dtype of ``pixels``.
    """
    rows = _weights(pixels.shape[1], height)  # [height, Y]
    cols = _weights(pixels.shape[2], width)  # [width, X]
    out = rows @ pixels.astype(np.float32, copy=False) @ cols.T
    if np.issubdtype(pixels.dtype, np.integer):
        return np.asarray(np.rint(out), pixels.dtype)
    return np.asarray(out, pixels.dtype)


@lru_cache(maxsize=512)
def _weights(size: int, count: int) -> NDArray[np.float32]:
    """Return the [count, size] matrix that takes ``size`` samples to ``count``."""
    step = size / count
    reach = max(step, 1.0)
    centers = (np.arange(count) + 0.5) * step - 0.5
    distance = np.abs(np.arange(size)[None, :] - centers[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
