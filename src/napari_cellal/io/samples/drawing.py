"""Blobs and grain from which the drawn cells are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class SyntheticImage:
    """A drawn image and what is in it.

    Attributes
    ----------
    pixels : uint8 or uint16 [C, Y, X]
    boxes : float32[N, 4]  (y0, x0, y1, x1), px, half-open
        Tight on each cell as drawn, also where another lies over it; cut at the edge.
    class_names : tuple of str
        The class of each box.
    rgb : bool
    channels : tuple of str
    labels : int32[Y, X]
        0 background, k for the cell of box k - 1; of overlapping cells the upper one.
    subtypes : tuple of str
        A finer class of each box, empty where there is none.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    boxes: NDArray[np.float32]
    class_names: tuple[str, ...]
    rgb: bool
    channels: tuple[str, ...]
    labels: NDArray[np.int32]
    subtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blob:
    """A closed outline around a centre: an ellipse with waves on it.

    Attributes
    ----------
    center : (y, x), px
    radius : float, px
    stretch : float
        Long axis over round radius; the short axis shrinks alike.
    angle : float, rad
    waves : tuple of (number, height, phase)
        Radial waves, heights as a part of the radius.
    """

    center: tuple[float, float]
    radius: float
    stretch: float = 1.0
    angle: float = 0.0
    waves: tuple[tuple[int, float, float], ...] = ()

    def window(self, shape: tuple[int, int]) -> Window:
        """Return the part of an image that the blob and a little around it cover."""
        reach = self.radius * max(self.stretch, 1 / self.stretch)
        reach = reach * (1 + sum(abs(h) for _, h, _ in self.waves)) + 4
        low = [max(int(c - reach), 0) for c in self.center]
        high = [min(int(c + reach) + 2, n) for c, n in zip(self.center, shape, strict=True)]
        return (slice(low[0], high[0]), slice(low[1], high[1]))

    def depth(self, window: Window) -> NDArray[np.float64]:
        """Return, in a window of the image, 0 at the centre to 1 on the outline and on."""
        y, x = np.ogrid[window]
        dy, dx = y - self.center[0], x - self.center[1]
        along = (dx * np.cos(self.angle) + dy * np.sin(self.angle)) / self.stretch
        across = (dy * np.cos(self.angle) - dx * np.sin(self.angle)) * self.stretch
        turn = np.arctan2(across, along)
        radius = self.radius * (1 + sum(h * np.cos(n * turn + p) for n, h, p in self.waves))
        return np.asarray(np.hypot(along, across) / radius)


def wobbly(
    rng: np.random.Generator,
    center: tuple[float, float],
    radius: float,
    *,
    stretch: float = 0.06,
    wave: float = 0.02,
) -> Blob:
    """Return a blob of random outline around a centre."""
    waves = tuple(
        (n, float(rng.normal(0, wave / n * 2)), rng.uniform(0, 6.3)) for n in (2, 3, 4, 5)
    )
    longer = float(np.exp(abs(rng.normal(0, stretch))))
    return Blob(center, radius, longer, float(rng.uniform(0, np.pi)), waves)


def soft_inside(depth: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
    """Return 1 inside the outline to 0 outside, over ``edge`` as a part of the radius."""
    inside: NDArray[np.float64] = 1 / (1 + np.exp(np.clip((depth - 1) / edge, -30, 30)))
    return inside


def grain(
    rng: np.random.Generator, shape: tuple[int, int], fine: float, coarse: float
) -> NDArray[np.float64]:
    """Return noise of mean 0 and deviation 1 with structure between two sizes, px."""
    from scipy import ndimage

    noise = rng.standard_normal(shape)
    out = ndimage.gaussian_filter(noise, fine) - ndimage.gaussian_filter(noise, coarse)
    deviation = out.std()
    return np.asarray(out / deviation if deviation > 0 else out)


def box_of(mask: NDArray[np.bool_], window: Window) -> tuple[int, int, int, int]:
    """Return (y0, x0, y1, x1), half-open, of what is True in a window of the image."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = window[0].start, window[1].start
    return (
        int(top + rows[0]),
        int(left + cols[0]),
        int(top + rows[-1] + 1),
        int(left + cols[-1] + 1),
    )
