"""What the feature sets look at: one cell's pixels, its outline, its image's own levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT_BITS = 16  # whole numbers up to here are counted, not sorted
_SAMPLE_PX = 1 << 17
_ABSURD = 1e30  # beyond this float32 arithmetic overflows


@dataclass(frozen=True, slots=True)
class Levels:
    """A whole image's own levels, float64[C] each: what "bright" means in this image.

    ``scale`` is the interquartile range, but at least a quarter of the 1-99 % span:
    in an image that is nearly empty the quartiles hold only noise.
    """

    low: NDArray[np.float64]
    """1st percentile."""
    median: NDArray[np.float64]
    bright: NDArray[np.float64]
    """95th percentile: the unstained background of a brightfield slide."""
    high: NDArray[np.float64]
    """99th percentile."""
    scale: NDArray[np.float64]
    darkest: NDArray[np.float64]
    """0.1st percentile; hot pixels lie beyond this one and the next, cells do not."""
    brightest: NDArray[np.float64]
    """99.9th percentile."""


@dataclass(frozen=True)
class CellView:
    """One cell as the feature sets see it.

    Attributes
    ----------
    size : (height, width) of the box, px of the image, both > 0
    pixels : float32[C, h, w]
        Box and margin, shrunk where large; the image's own units, all finite.
    relative : float32[C, h, w]
        The same as (value - image's median) / image's scale.
    mask : bool[h, w]
        The cell, by its mask or the outline found in its box; never empty.
    inside : bool[h, w]
        The box without its margin.
    px : float
        Image pixels per pixel of this view, >= 1.
    levels : Levels
    filled : float
        Share of the outline found that was a hole in it, as the pale centre of a red cell is.
    rgb : bool
    """

    size: tuple[float, float]
    pixels: NDArray[np.float32]
    relative: NDArray[np.float32]
    mask: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    px: float
    levels: Levels
    filled: float
    rgb: bool

    def inside_mask(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mask's pixels of planes [C, h, w] as float32[C, n]."""
        index = np.flatnonzero(self.mask)
        # take keeps each channel in one run of memory; planes[:, mask] does not (3 x slower)
        return planes.reshape(len(planes), -1).take(index, axis=1)

    @cached_property
    def coordinates(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the mask's pixels."""
        ys, xs = np.nonzero(self.mask)
        return ys, xs

    @cached_property
    def radius(self) -> NDArray[np.float64]:
        """float64[n]: distance from the centroid, 1 at the rim of a disc of equal area."""
        ys, xs = self.coordinates
        r2 = (ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2
        return np.asarray(np.sqrt(r2 * (np.pi / len(ys))))


def finite_pixels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the image with NaN, infinities and absurd values as their channel's median."""
    if not np.issubdtype(pixels.dtype, np.floating):
        return pixels
    bad = ~(np.abs(pixels) < _ABSURD)
    if not bad.any():
        return pixels
    out = pixels.copy()
    for channel, wrong in zip(out, bad, strict=True):
        channel[wrong] = np.median(channel[~wrong]) if not wrong.all() else 0
    return out


def image_levels(pixels: NDArray[Any]) -> Levels:
    """Return the levels of an image [C, Y, X] of finite values.

    8- and 16-bit images are counted in full; others are sampled on a regular grid of
    about 130,000 pixels.
    """
    quantiles = np.array([0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 0.001, 0.999])
    found = np.array([_quantiles(channel, quantiles) for channel in pixels])  # [C, 8]
    low, lower, median, upper, bright, high, darkest, brightest = found.T
    scale = np.maximum(upper - lower, (high - low) / 4)
    flat = ~(scale > 0)
    if flat.any():  # constant, or nearly empty: any spread will do, then 1
        spread = np.array([np.ptp(channel.astype(np.float64)) for channel in pixels])
        scale = np.where(flat, np.where(spread > 0, spread, 1.0), scale)
    return Levels(low, median, bright, high, scale, darkest, brightest)


def _quantiles(channel: NDArray[Any], quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    dtype = channel.dtype
    if dtype.kind == "u" and dtype.itemsize * 8 <= _EXACT_BITS:
        total = np.cumsum(np.bincount(channel.ravel()))
        found = np.searchsorted(total, quantiles * (total[-1] - 1), side="right")
        return np.asarray(found, np.float64)
    step = max(1, int(np.sqrt(channel.size / _SAMPLE_PX)))
    sample = channel[::step, ::step].astype(np.float64)
    return np.asarray(np.quantile(sample, quantiles))
