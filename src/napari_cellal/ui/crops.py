"""Small pictures of cells for the docks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from .images import contrast_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box

CONTEXT = 0.35
"""How much of its surroundings a crop shows, as a share of the cell's longer side."""


def window_around(box: Box, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the square around a box, with context, cut to an image of (height, width)."""
    y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(box[2] - box[0], box[3] - box[1]) * (0.5 + CONTEXT)
    y0, y1 = int(max(0, y - half)), int(min(shape[0], np.ceil(y + half)))
    x0, x1 = int(max(0, x - half)), int(min(shape[1], np.ceil(x + half)))
    return slice(y0, max(y0 + 1, y1)), slice(x0, max(x0 + 1, x1))


def scaled(plane: NDArray[np.generic], limits: tuple[float, float]) -> NDArray[np.float64]:
    """Return a plane in 0..1 between its contrast limits."""
    low, high = limits
    values = np.nan_to_num(np.asarray(plane, dtype=float), nan=low)
    return np.clip((values - low) / (high - low), 0, 1)


def pixmap_of(rgb: NDArray[np.float64], side: int) -> QPixmap:
    """Return a pixmap of at most ``side`` px from float[Y, X, 3] in 0..1."""
    data = np.ascontiguousarray((rgb * 255).astype(np.uint8))
    height, width = data.shape[:2]
    image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy()).scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def crop_pixmaps(
    pixels: NDArray[np.generic], box: Box, *, rgb: bool, colors: list[str], side: int
) -> list[QPixmap]:
    """Return pictures of a cell: the composite, then each channel of a multichannel image.

    Parameters
    ----------
    pixels : [C, Y, X]
    colors : list of str
        A napari colormap a channel; ignored where ``rgb``.
    side : int
        px of the composite; the channels get half of it.
    """
    if rgb:
        return [pixmap_of(composite(pixels, box, rgb=True, colors=colors), side)]
    planes = _scaled_planes(pixels, box)
    singles = [pixmap_of(np.repeat(p[..., None], 3, axis=2), side // 2) for p in planes]
    return [pixmap_of(_added(planes, colors), side), *(singles if len(singles) > 1 else [])]


def composite(
    pixels: NDArray[np.generic], box: Box, *, rgb: bool, colors: list[str]
) -> NDArray[np.float64]:
    """Return float[Y, X, 3] in 0..1, the surroundings of a box; see `crop_pixmaps`. Knows no Qt."""
    if not rgb:
        return _added(_scaled_planes(pixels, box), colors)
    rows, columns = window_around(box, pixels.shape[1:])
    top = 255.0 if pixels.dtype == np.uint8 else contrast_limits(pixels[0])[1]
    return np.moveaxis(scaled(pixels[:, rows, columns], (0.0, top)), 0, -1)


def _scaled_planes(pixels: NDArray[np.generic], box: Box) -> list[NDArray[np.float64]]:
    rows, columns = window_around(box, pixels.shape[1:])
    return [scaled(plane[rows, columns], contrast_limits(plane)) for plane in pixels]


def _added(planes: list[NDArray[np.float64]], colors: list[str]) -> NDArray[np.float64]:
    total = np.zeros((*planes[0].shape, 3))
    for values, color in zip(planes, colors, strict=True):
        total += ensure_colormap(color).map(values.ravel())[:, :3].reshape(*values.shape, 3)
    return np.clip(total, 0, 1)
