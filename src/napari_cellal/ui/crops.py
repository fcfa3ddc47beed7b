"""Small pictures of cells for the docks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from .images import contrast_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box

    from .looks import Style

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


def image_of(rgb: NDArray[np.float64], side: int) -> QImage:
    """Return a picture of at most ``side`` px from float[Y, X, 3] in 0..1; any thread may ask."""
    data = np.ascontiguousarray((rgb * 255).astype(np.uint8))
    height, width = data.shape[:2]
    image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    how = Qt.TransformationMode.SmoothTransformation
    return image.copy().scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, how)


def pixmap_of(rgb: NDArray[np.float64], side: int) -> QPixmap:
    """Return a pixmap of at most ``side`` px from float[Y, X, 3] in 0..1."""
    return QPixmap.fromImage(image_of(rgb, side))


def pictures_of(
    pixels: NDArray[np.generic], box: Box, styles: Sequence[Style]
) -> list[NDArray[np.float64]]:
    """Return pictures of a cell: the composite, then each channel in grey if there are several.

    Knows no Qt.

    Parameters
    ----------
    pixels : [C, Y, X]
    styles : sequence of Style
        One a channel; empty for a colour picture.

    Returns
    -------
    list of float[Y, X, 3] in 0..1
    """
    rows, columns = window_around(box, pixels.shape[1:])
    if not styles:
        top = 255.0 if pixels.dtype == np.uint8 else contrast_limits(pixels[0])[1]
        return [np.moveaxis(scaled(pixels[:, rows, columns], (0.0, top)), 0, -1)]
    planes = [
        scaled(plane[rows, columns], style.limits or contrast_limits(plane)) ** style.gamma
        for plane, style in zip(pixels, styles, strict=True)
    ]
    singles = [np.repeat(p[..., None], 3, axis=2) for p in planes] if len(planes) > 1 else []
    return [_added(planes, styles), *singles]


def _added(planes: list[NDArray[np.float64]], styles: Sequence[Style]) -> NDArray[np.float64]:
    total = np.zeros((*planes[0].shape, 3))
    for values, style in zip(planes, styles, strict=True):
        if style.shown:
            colors = ensure_colormap(style.colormap).map(values.ravel())
            total += colors[:, :3].reshape(total.shape)
    return np.clip(total, 0, 1)
