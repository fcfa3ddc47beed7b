"""Red cells, white cells and platelets of the drawn smears.

Drawn as light is absorbed (Beer-Lambert): every cell adds optical density, so overlapping
red cells are darker where they overlap, as on a slide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .drawing import Blob, Window, box_of, grain, soft_inside, wobbly

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Optical density of (red, green, blue) light in each part, by eye from BCCD.
STAIN = {
    "red cell": (0.12, 0.36, 0.24),
    "nucleus": (0.80, 1.15, 0.34),
    "cytoplasm": (0.27, 0.36, 0.08),
    "granule": (0.06, 0.55, 0.60),
    "platelet": (0.50, 0.74, 0.20),
}


@dataclass(slots=True)
class Slide:
    """A smear while it is drawn.

    Attributes
    ----------
    density : float64[3, Y, X]
        Optical density for red, green and blue light.
    labels : int32[Y, X]
    """

    rng: np.random.Generator
    density: NDArray[np.float64]
    labels: NDArray[np.int32]
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    subtypes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return (self.labels.shape[0], self.labels.shape[1])

    def stain(self, part: str, window: Window, amount: NDArray[np.float64]) -> None:
        """Add a part's density."""
        self.density[:, *window] += np.array(STAIN[part])[:, None, None] * amount

    def clear(self, window: Window, share: NDArray[np.float64]) -> None:
        """Take away what lies there, as a white cell pushes the red cells aside."""
        self.density[:, *window] *= 1 - share

    def enter(self, name: str, window: Window, mask: NDArray[np.bool_], subtype: str = "") -> None:
        """Write a cell into the truth."""
        self.boxes.append(box_of(mask, window))
        self.labels[window][mask] = len(self.boxes)
        self.class_names.append(name)
        self.subtypes.append(subtype)


def draw_red(slide: Slide, at: tuple[float, float], size: float, pallor: float) -> None:
    """Draw a red cell of radius ``size``, px; ``pallor`` 0..1 is how pale its middle is."""
    rng = slide.rng
    blob = wobbly(rng, at, size, stretch=0.07, wave=0.016)
    window = blob.window(slide.shape)
    depth = blob.depth(window)
    off = rng.normal(0, size * 0.05, 2)
    hollow = Blob((at[0] + off[0], at[1] + off[1]), size, blob.stretch, blob.angle).depth(window)
    # A disc that is thinner in the middle and rounds off at the rim.
    pale = pallor * rng.uniform(0.55, 1.2)
    thick = 1 - pale * np.exp(-((hollow / rng.uniform(0.38, 0.55)) ** 2.6))
    thick *= 1 - 0.3 * np.clip((depth - 0.8) / 0.2, 0, 1) ** 2
    thick += 0.22 * np.exp(-(((depth - 0.965) / 0.03) ** 2))  # light bent at the rim
    slide.stain("red cell", window, soft_inside(depth, 0.9 / size) * thick * rng.normal(1, 0.06))
    slide.enter("RBC", window, depth <= 1)


def draw_white(slide: Slide, at: tuple[float, float], size: float, subtype: str) -> None:
    """Draw a white cell of radius ``size``, px, with the nucleus of its subtype."""
    rng = slide.rng
    body = wobbly(rng, at, size, stretch=0.05, wave=0.025)
    window = body.window(slide.shape)
    depth = body.depth(window)
    inside = soft_inside(depth, 1.2 / size)
    texture = grain(rng, depth.shape, size * 0.03, size * 0.2)
    slide.clear(window, inside)
    strength = {"lymphocyte": 1.5, "monocyte": 1.15}.get(subtype, 0.7)
    slide.stain("cytoplasm", window, inside * strength * (1 + 0.16 * texture))
    if subtype == "eosinophil":
        grains = grain(rng, depth.shape, size * 0.022, size * 0.06)
        slide.stain("granule", window, inside * np.clip(grains + 0.2, 0, 1.6) * 0.45)
    elif subtype == "neutrophil":
        grains = grain(rng, depth.shape, size * 0.012, size * 0.04)
        slide.stain("platelet", window, inside * np.clip(grains - 0.6, 0, 2) * 0.16)
    nucleus = np.zeros_like(depth)
    for lobe in _nucleus(rng, at, size, subtype):
        nucleus = np.maximum(nucleus, soft_inside(lobe.depth(window), 1.6 / lobe.radius))
    nucleus *= inside
    chromatin = grain(rng, depth.shape, size * 0.045, size * 0.2)
    slide.clear(window, 0.85 * nucleus)
    density = {"monocyte": 0.8, "lymphocyte": 1.05}.get(subtype, 1.0)
    slide.stain("nucleus", window, nucleus * density * (1 + 0.15 * chromatin))
    slide.enter("WBC", window, depth <= 1, subtype)


def draw_platelet(slide: Slide, at: tuple[float, float], size: float) -> None:
    """Draw a platelet of radius ``size``, px."""
    rng = slide.rng
    blob = wobbly(rng, at, size, stretch=0.15, wave=0.07)
    window = blob.window(slide.shape)
    depth = blob.depth(window)
    specks = grain(rng, depth.shape, max(size * 0.09, 0.6), size * 0.5)
    inside = soft_inside(depth, 2.0 / size)
    middle = np.exp(-((depth / 0.75) ** 2))
    slide.stain("platelet", window, inside * (0.38 + 0.55 * middle) * (1 + 0.2 * specks))
    slide.enter("Platelets", window, depth <= 1)


def _nucleus(
    rng: np.random.Generator, at: tuple[float, float], size: float, subtype: str
) -> list[Blob]:
    """Return the lobes of a nucleus."""
    cy, cx = at
    turn = rng.uniform(0, 2 * np.pi)
    if subtype == "lymphocyte":
        off = size * 0.08
        center = (cy + off * np.sin(turn), cx + off * np.cos(turn))
        return [wobbly(rng, center, size * rng.uniform(0.74, 0.84), stretch=0.06, wave=0.03)]
    if subtype == "monocyte":  # a kidney: lobes along a short thick arc
        arc, wide, far = np.linspace(-0.95, 0.95, 7), 0.42, 0.34
    elif subtype == "eosinophil":  # two lobes and a bridge
        arc, wide, far = np.array([-0.95, 0.95]), 0.36, 0.42
    else:  # three to five lobes in a row
        n = int(rng.integers(3, 6))
        arc, wide, far = np.linspace(-1.9, 1.9, n) * n / 5, 0.29, 0.45
    lobes = []
    for k, a in enumerate(arc):
        way = turn + a + rng.normal(0, 0.06)
        where = far * size * (1 + rng.normal(0, 0.07))
        center = (cy + where * np.sin(way), cx + where * np.cos(way))
        lobes.append(wobbly(rng, center, size * wide * rng.uniform(0.88, 1.12), wave=0.04))
        if subtype != "monocyte" and k:  # the thread from lobe to lobe
            before = lobes[-2].center if len(lobes) < 3 else lobes[-3].center
            middle = ((center[0] + before[0]) / 2, (center[1] + before[1]) / 2)
            lobes.insert(-1, Blob(middle, size * 0.16))
    return lobes
