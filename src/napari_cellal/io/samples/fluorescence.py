"""Drawn fields of cultured cells in the five channels of Cell Painting, with exact truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .drawing import Blob, SyntheticImage, box_of, grain, soft_inside, wobbly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .drawing import Window

FIELD_CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
FIELD_CLASSES = ("interphase", "mitotic", "large")
CELL_PX = 74.0  # a cell in interphase; in BBBC022 at 0.656 µm a pixel they are as large
PIXEL_SIZE_UM = 0.656
CELL_AREA_PX = 12_000.0  # of the field for each cell: 30 in 520 x 696


@dataclass(frozen=True, slots=True)
class _Cell:
    body: Blob
    nucleus: Blob
    kind: str
    brightness: float
    golgi: Blob


def make_field(
    seed: int, shape: tuple[int, int] = (520, 696), *, cell_px: float = CELL_PX
) -> SyntheticImage:
    """Return a field of cultured cells, uint16 [5, Y, X], with the truth about it.

    About 30 cells at the default size: in interphase, in mitosis (round, bright, DNA in a
    plate), and large flat ones. Cells touch and do not overlap, so each box is tight on its
    region of ``labels``. The same seed, shape and cell size give the same image.

    Parameters
    ----------
    shape : (Y, X), px
    cell_px : float
        Diameter of a cell in interphase; the others are in proportion.
    """
    rng = np.random.default_rng([seed, 0xF1E1])
    cells = _cells(rng, shape, cell_px)
    labels, boxes, kept = _share_out(cells, shape)
    scale = cell_px / CELL_PX
    textures = _textures(rng, shape, scale)
    signal = np.zeros((len(FIELD_CHANNELS), *shape))
    for number, cell in enumerate(kept, 1):
        window = cell.body.window(shape)
        own = labels[window] == number
        local = {name: texture[window] for name, texture in textures.items()}
        for channel, light in enumerate(_light(rng, cell, window, local, scale)):
            signal[(channel, *window)] += light * own * cell.brightness
    return SyntheticImage(
        _camera(rng, signal, scale),
        np.array(boxes, np.float32).reshape(-1, 4),
        tuple(cell.kind for cell in kept),
        False,
        FIELD_CHANNELS,
        labels,
    )


def _cells(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> list[_Cell]:
    """Return cells that overlap a little, to be shared out where they do."""
    wanted = max(1, round(shape[0] * shape[1] / CELL_AREA_PX * (CELL_PX / cell_px) ** 2))
    cells: list[_Cell] = []
    for _ in range(wanted):
        kind = str(rng.choice(FIELD_CLASSES, p=[0.74, 0.12, 0.14]))
        factor = {"mitotic": 0.62, "large": 1.45}.get(kind, 1.0)
        size = cell_px / 2 * factor * float(np.clip(rng.normal(1, 0.1), 0.75, 1.3))
        for _ in range(300):
            y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
            free = all(
                np.hypot(y - c.body.center[0], x - c.body.center[1]) > 0.8 * (size + c.body.radius)
                for c in cells
            )
            if free:
                cells.append(_cell(rng, (float(y), float(x)), size, kind, cell_px))
                break
    return cells


def _cell(
    rng: np.random.Generator, at: tuple[float, float], size: float, kind: str, cell_px: float
) -> _Cell:
    if kind == "mitotic":
        body = wobbly(rng, at, size, stretch=0.04, wave=0.02)
        turn = float(rng.uniform(0, np.pi))
        plate = Blob(at, size * 0.46, 1.7, turn, ((4, 0.09, 0.0), (7, 0.04, 1.0)))
        return _Cell(body, plate, kind, float(rng.normal(1.1, 0.08)), Blob(at, size * 0.01))
    body = wobbly(rng, at, size, stretch=0.22, wave=0.1)
    off = rng.normal(0, size * 0.08, 2)
    center = (at[0] + off[0], at[1] + off[1])
    radius = cell_px * (0.27 if kind == "large" else 0.22) * rng.uniform(0.9, 1.1)
    nucleus = wobbly(rng, center, radius, stretch=0.14, wave=0.03)
    turn = float(rng.uniform(0, 2 * np.pi))
    beside = (center[0] + radius * 1.25 * np.sin(turn), center[1] + radius * 1.25 * np.cos(turn))
    golgi = wobbly(rng, beside, cell_px * 0.1, stretch=0.3, wave=0.15)
    brightness = 0.72 if kind == "large" else 1.0
    return _Cell(body, nucleus, kind, brightness * float(np.exp(rng.normal(0, 0.13))), golgi)


def _share_out(
    cells: list[_Cell], shape: tuple[int, int]
) -> tuple[NDArray[np.int32], list[tuple[int, int, int, int]], list[_Cell]]:
    """Return labels, boxes and the cells that have a region: each pixel to the nearest."""
    nearest = np.ones(shape)
    owner = np.zeros(shape, np.int32)
    for number, cell in enumerate(cells, 1):
        window = cell.body.window(shape)
        depth = cell.body.depth(window)
        closer = depth < nearest[window]
        nearest[window][closer] = depth[closer]
        owner[window][closer] = number
    labels = np.zeros(shape, np.int32)
    boxes: list[tuple[int, int, int, int]] = []
    kept: list[_Cell] = []
    for number, cell in enumerate(cells, 1):
        window = cell.body.window(shape)
        mask = owner[window] == number
        if mask.sum() < 0.25 * np.pi * cell.body.radius**2:
            continue  # a sliver at the edge, which nobody could name
        kept.append(cell)
        boxes.append(box_of(mask, window))
        labels[window][mask] = len(kept)
    return labels, boxes, kept


def _textures(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> dict[str, NDArray[np.float64]]:
    """Return what the parts of all cells are made of, one field each."""
    mesh = grain(rng, shape, 1.1 * scale, 4 * scale)
    worms = grain(rng, shape, 1.0 * scale, 3.2 * scale)
    fibers = grain(rng, shape, 1.2 * scale, 5 * scale)
    return {
        "mesh": mesh,
        "threads": np.exp(-((worms / 0.45) ** 2)) * (grain(rng, shape, 6 * scale, 20 * scale) > -1),
        "fibers": np.exp(-((fibers / 0.35) ** 2)),
        "fine": grain(rng, shape, 0.9 * scale, 2.5 * scale),
        "spots": grain(rng, shape, 1.8 * scale, 5 * scale),
    }


def _light(
    rng: np.random.Generator,
    cell: _Cell,
    window: Window,
    texture: dict[str, NDArray[np.float64]],
    scale: float,
) -> list[NDArray[np.float64]]:
    """Return the light of one cell in each channel, 0 to about 1."""
    depth = cell.body.depth(window)
    body = soft_inside(depth, 1.5 * scale / cell.body.radius)
    nuclear_depth = cell.nucleus.depth(window)
    nucleus = soft_inside(nuclear_depth, 1.3 * scale / cell.nucleus.radius)
    if cell.kind == "mitotic":
        halo = body * (1 - 0.75 * nucleus) * (1 - 0.35 * depth**2)
        return [
            nucleus * 1.25 * (1 + 0.08 * texture["fine"]) + 0.03 * body,
            halo * 0.75 * (1 + 0.12 * texture["mesh"]),
            halo * 0.85 * (1 + 0.08 * texture["fine"]),
            halo * 0.5 + body * 0.5 * np.exp(-(((depth - 0.93) / 0.07) ** 2)),
            halo * 0.7 * (1 + 0.18 * texture["spots"]),
        ]
    outside = body * (1 - nucleus)
    # Thick by the nucleus, thin towards the rim.
    height = np.exp(-2.1 * np.clip(depth, 0, 1.2) ** 1.5)
    nucleoli = np.clip(texture["spots"] - 0.9, 0, 1.2) * (nuclear_depth < 0.8)
    rim = np.exp(-(((depth - 0.95) / 0.05) ** 2))
    golgi = soft_inside(cell.golgi.depth(window), 0.25) * (1 - nucleus)
    return [
        nucleus * (0.62 + 0.09 * texture["spots"] + 0.04 * texture["fine"]) + 0.012 * body,
        (outside + 0.25 * nucleus * body) * height * (0.95 + 0.3 * texture["mesh"]),
        outside * height * 0.7 * (1 + 0.15 * texture["fine"]) + nucleus * (0.22 + 0.75 * nucleoli),
        body * (0.2 + 0.24 * height + 0.16 * texture["fibers"] + 0.12 * rim)
        + 0.55 * golgi * (1 + 0.3 * texture["fine"]),
        outside * height * (0.16 + 1.3 * height * texture["threads"]),
    ]


def _camera(
    rng: np.random.Generator, signal: NDArray[np.float64], scale: float
) -> NDArray[np.uint16]:
    """Return uint16 counts: blur, glow, uneven lamp, offset, photon and read noise."""
    from scipy import ndimage

    shape = signal.shape[1:]
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None]
    gains = np.array([3000, 2300, 2600, 2400, 2100]) * rng.normal(1, 0.08, 5)
    blur, glow = 0.8 * scale, 14 * scale
    out = np.empty(signal.shape, np.uint16)
    for k, (plane, gain) in enumerate(zip(signal, gains, strict=True)):
        light = ndimage.gaussian_filter(np.maximum(plane, 0), blur)
        light += 0.05 * ndimage.gaussian_filter(plane, glow) + 0.03  # out of focus, medium
        cy, cx = rng.uniform(-0.25, 0.25, 2)
        light *= 1 - 0.13 * ((x - cx) ** 2 + (y - cy) ** 2)
        electrons = np.maximum(light * gain, 0) * 0.9
        counts = rng.poisson(electrons) / 0.9 + rng.normal(60, 3, shape)
        out[k] = np.clip(np.rint(counts), 0, 65535)
    return out
