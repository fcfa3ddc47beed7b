"""Measurements of cells: which sets there are, and all of them for the boxes of an image."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.geometry import as_boxes

from . import color, intensity, shape, texture
from .crops import resample
from .outline import cell_mask
from .view import CellView, Levels, finite_pixels, image_levels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_cellal.core.masks import Mask

MEASUREMENT_VERSION = "1"
"""Changes whenever a figure would: cached measurements of another version are redone."""

_MARGIN = 0.1
_SIDE_PX = 80
"""Larger views are shrunk to this: 600 cells of 100 px a second instead of 480, and bounded."""
_LARGEST = 1e6


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """One family of measurements: its names, and a cell's values in the same order."""

    names: Callable[[Sequence[str], bool], tuple[str, ...]]
    values: Callable[[CellView], list[float]]
    rgb_only: bool = False


FEATURE_SETS = MappingProxyType(
    {
        "shape": FeatureSet(shape.names, shape.values),
        "intensity": FeatureSet(intensity.names, intensity.values),
        "color": FeatureSet(color.names, color.values, rgb_only=True),
        "texture": FeatureSet(texture.names, texture.values),
    }
)
"""A new set is one file and one line here."""


@dataclass(frozen=True, slots=True)
class Quick:
    """All of `FEATURE_SETS` together, a describer: some 600 cells a second."""

    name: str = "quick"
    key: str = MEASUREMENT_VERSION
    chunk: int = 200
    sees_masks: bool = True

    def names(self, channels: Sequence[str], *, rgb: bool) -> tuple[str, ...]:
        """Return `measurement_names`."""
        return measurement_names(channels, rgb=rgb)

    def rows(
        self,
        pixels: NDArray[Any],
        boxes: NDArray[Any],
        *,
        rgb: bool,
        channels: Sequence[str],
        levels: Levels,
        masks: Sequence[Mask | None] = (),
    ) -> NDArray[np.float32]:
        """Return the values of `measure_cells`."""
        _, values = measure_cells(
            pixels, boxes, rgb=rgb, channels=channels, levels=levels, masks=masks
        )
        return values


QUICK = Quick()


def measurement_names(channels: Sequence[str], *, rgb: bool) -> tuple[str, ...]:
    """Return the names of the columns that `measure_cells` fills."""
    return tuple(n for s in _sets(rgb) for n in s.names(channels, rgb))


def measure_cells(
    pixels: NDArray[Any],
    boxes: ArrayLike,
    *,
    rgb: bool,
    channels: Sequence[str],
    levels: Levels | None = None,
    masks: Sequence[Mask | None] = (),
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the measurements' names and the table, float32[N, F], finite throughout.

    Brightness and texture are relative to the image's own levels, so that exposure,
    illumination colour and bit depth do not matter; sizes are px of the image.

    Parameters
    ----------
    pixels : [C, Y, X]
        One plane, any real dtype. NaN and infinity count as the channel's median.
    boxes : float[N, 4]  (y0, x0, y1, x1), px, half-open
        May reach over the border (what is not there is not measured), lie outside (the
        nearest pixel is measured), or have no area (one pixel is).
    rgb : bool
        True where the three channels are one colour picture; adds the colour set.
    channels : sequence of str, C
        Names that end the columns of each channel.
    levels : Levels or None
        Of the whole image, where ``pixels`` are a part of it.
    masks : sequence of Mask or None, N
        A cell that has one is measured on it, others on the outline found in their box.
        Empty where none has.

    Raises
    ------
    ValueError
        If names and channels differ in number, or ``rgb`` is set for other than three.
    """
    if pixels.ndim != 3 or len(channels) != len(pixels) or (rgb and len(pixels) != 3):
        raise ValueError(
            f"{len(channels)} channel names (rgb={rgb}) for pixels of shape {pixels.shape}"
        )
    boxes = np.nan_to_num(as_boxes(boxes), nan=0.0, posinf=1e6, neginf=-1e6)
    names = measurement_names(channels, rgb=rgb)
    table = np.zeros((len(boxes), len(names)))
    if len(boxes) and pixels.size:
        pixels = finite_pixels(pixels)
        sets = _sets(rgb)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            levels = levels or image_levels(pixels)
            for row, box, mask in zip(table, boxes, masks or [None] * len(boxes), strict=True):
                view = cell_view(pixels, box, levels, rgb=rgb, mask=mask)
                row[:] = [v for s in sets for v in s.values(view)]
    table = np.nan_to_num(table, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    return names, table.astype(np.float32)


def cell_view(
    pixels: NDArray[Any],
    box: NDArray[np.float64],
    levels: Levels,
    *,
    rgb: bool,
    side_px: int = _SIDE_PX,
    mask: Mask | None = None,
) -> CellView:
    """Return one cell as the feature sets see it. ``pixels`` [C, Y, X] must be finite.

    Larger cells are shrunk to ``side_px``. Of a mask, what lies in the box and its margin is
    taken; without one, or where that is nothing, the cell is what `cell_mask` finds in the box.
    """
    y0, x0, y1, x1 = box
    y0, y1, x0, x1 = min(y0, y1), max(y0, y1), min(x0, x1), max(x0, x1)
    height, width = max(y1 - y0, 1.0), max(x1 - x0, 1.0)
    rows, inner_rows = _stretch(y0, y1, _MARGIN * height, pixels.shape[1])
    cols, inner_cols = _stretch(x0, x1, _MARGIN * width, pixels.shape[2])
    cut = pixels[:, rows, cols].astype(np.float32)
    inside = np.zeros((cut.shape[1], cut.shape[2]), np.bool_)
    inside[inner_rows, inner_cols] = True
    own = None
    if mask is not None:
        own = mask.within((rows.start, cols.start, rows.stop, cols.stop))
    px = max(1.0, max(inside.shape) / side_px)
    if px > 1:
        h, w = max(1, round(inside.shape[0] / px)), max(1, round(inside.shape[1] / px))
        inside = resample(inside[None].astype(np.float32), h, w)[0] > 0.5
        if not inside.any():
            inside[:] = True
        cut = resample(cut, h, w)
        if own is not None:
            share = resample(own[None].astype(np.float32), h, w)[0]
            own = share > min(0.5, share.max() / 2)  # of a thread no pixel is half covered
    offset, scale = levels.median.astype(np.float32), levels.scale.astype(np.float32)
    relative = (cut - offset[:, None, None]) / scale[:, None, None]
    np.clip(relative, -_LARGEST, _LARGEST, out=relative)
    main = int(np.argmax(relative.reshape(len(relative), -1).std(axis=1)))
    # The hole is a matter of brightness: it is looked for in cells with a mask alike.
    found, filled = cell_mask(relative[main], inside)
    if own is not None and own.any():
        found = own
    return CellView((height, width), cut, relative, found, inside, px, levels, filled, rgb)


def _stretch(low: float, high: float, margin: float, size: int) -> tuple[slice, slice]:
    """Return the rows to cut, and which of them are the box, cut to the image."""
    first = min(max(int(np.floor(low + 1e-6)), 0), size - 1)
    last = max(first + 1, min(int(np.ceil(high - 1e-6)), size))
    extra = max(1, round(margin))
    start, stop = max(0, first - extra), min(size, last + extra)
    return slice(start, stop), slice(first - start, last - start)


def _sets(rgb: bool) -> list[FeatureSet]:
    return [s for s in FEATURE_SETS.values() if rgb or not s.rgb_only]
