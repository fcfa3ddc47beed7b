"""Drawn blood smears with exact truth, at BCCD's size and with its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .drawing import SyntheticImage
from .smear_cells import Slide, draw_platelet, draw_red, draw_white

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMEAR_CLASSES = ("RBC", "WBC", "Platelets")
WHITE_SUBTYPES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")
CELL_PX = 84.0  # a red cell in 480 x 640, so that 20 of them fill the field as in BCCD

Disc = tuple[float, float, float]  # y, x, radius


def make_smear(
    seed: int, shape: tuple[int, int] = (480, 640), *, cell_px: float = CELL_PX
) -> SyntheticImage:
    """Return a blood smear, uint8 [3, Y, X], with the truth about it.

    At the default size about 20 red cells, 0 to 2 white cells and 0 to 4 platelets. The
    same seed, shape and cell size give the same image.

    Parameters
    ----------
    shape : (Y, X), px
    cell_px : float
        Diameter of a red cell; the others are in proportion.
    """
    from scipy import ndimage

    rng = np.random.default_rng([seed, 0x5EA5])
    slide = Slide(rng, np.zeros((3, *shape)), np.zeros(shape, np.int32))
    radius = cell_px / 2
    fields = shape[0] * shape[1] / (480 * 640) * (CELL_PX / cell_px) ** 2
    taken: list[Disc] = []

    whites: list[Disc] = []
    for _ in range(_count(rng, [0, 1, 2], [0.1, 0.75, 0.15], fields)):
        size = radius * rng.uniform(1.3, 1.75)
        if disc := _place(rng, shape, size, [(d, 1.0) for d in taken], margin=0.6):
            taken.append(disc)
            whites.append(disc)
    spread = rng.uniform(0.04, 0.09)  # how unequal the red cells of this smear are
    reds: list[Disc] = []
    for _ in range(max(1, round(fields * rng.normal(20.5, 2.5)))):
        size = radius * float(np.clip(rng.normal(1, spread), 0.75, 1.25))
        gap = rng.uniform(0.62, 0.85) if rng.random() < 0.45 else rng.uniform(0.9, 1.02)
        others = [(d, 0.97 if d in whites else gap) for d in taken]
        if disc := _place(rng, shape, size, others, margin=0.15):
            taken.append(disc)
            reds.append(disc)
    pallor = rng.uniform(0.55, 0.95)
    for y, x, size in reds:
        draw_red(slide, (y, x), size, pallor)
    for y, x, size in whites:
        draw_white(slide, (y, x), size, str(rng.choice(WHITE_SUBTYPES, p=[0.5, 0.28, 0.13, 0.09])))
    for _ in range(_count(rng, [0, 1, 2, 3, 4], [0.3, 0.3, 0.2, 0.12, 0.08], fields)):
        size = radius * rng.uniform(0.22, 0.38)
        if disc := _place(rng, shape, size, [(d, 1.05) for d in taken], margin=1.3):
            taken.append(disc)
            draw_platelet(slide, disc[:2], disc[2])

    blur = cell_px / CELL_PX * rng.uniform(0.6, 1.1)
    density = ndimage.gaussian_filter(slide.density, (0, blur, blur))
    return SyntheticImage(
        _photograph(rng, density),
        np.array(slide.boxes, np.float32).reshape(-1, 4),
        tuple(slide.class_names),
        True,
        ("red", "green", "blue"),
        slide.labels,
        tuple(slide.subtypes),
    )


def _count(rng: np.random.Generator, n: list[int], p: list[float], fields: float) -> int:
    """Return how many of a kind there are, given how many in one field of view."""
    whole = max(1, round(fields))
    many = sum(int(rng.choice(n, p=p)) for _ in range(whole))
    return many if fields >= 1 else int(rng.binomial(many, fields))


def _place(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: float,
    others: list[tuple[Disc, float]],
    *,
    margin: float,
) -> Disc | None:
    """Return a free place, or None where there is none.

    ``others`` come with the least distance from each, as a part of both radii; ``margin`` is
    the least distance of the centre from the edge, as a part of the radius.
    """
    edge = min(size * margin, min(shape) / 2 - 1)
    discs = np.array([(*d, gap) for d, gap in others]).reshape(-1, 4)
    for _ in range(500):
        y, x = rng.uniform(edge, shape[0] - edge), rng.uniform(edge, shape[1] - edge)
        distance = np.hypot(discs[:, 0] - y, discs[:, 1] - x)
        if (distance >= discs[:, 3] * (discs[:, 2] + size)).all():
            return (float(y), float(x), float(size))
    return None


def _photograph(rng: np.random.Generator, density: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return uint8 [3, Y, X] of an optical density under an uneven lamp and a noisy camera."""
    from scipy import ndimage

    shape = density.shape[1:]
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None]
    turn = rng.uniform(0, 2 * np.pi)
    slope = 1 + 0.05 * (x * np.cos(turn) + y * np.sin(turn))
    cy, cx = rng.uniform(-0.3, 0.3, 2)
    lamp = slope * (1 - 0.09 * ((x - cx) ** 2 + (y - cy) ** 2))
    tint = np.array([224, 212, 214]) * rng.normal(1, 0.02, 3) * rng.uniform(0.95, 1.04)
    haze = ndimage.gaussian_filter(rng.standard_normal(shape), 18) * 18 * 0.012  # plasma
    light = tint[:, None, None] * lamp * (1 + haze) * np.exp(-density)
    noise = ndimage.gaussian_filter(rng.standard_normal(density.shape), (0, 0.5, 0.5))
    light = light + noise * np.sqrt(np.maximum(light, 1)) * 0.42
    return np.asarray(np.clip(np.rint(light), 0, 255).astype(np.uint8))
