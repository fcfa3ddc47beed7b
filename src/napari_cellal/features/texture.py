"""Texture of a cell: grey-level co-occurrence, local binary patterns, gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .view import CellView

_LEVELS = 16
_OFFSETS_PX = (1, 3)
_GLCM = ("Contrast", "InverseDifferenceMoment", "Correlation", "Entropy")

_i, _j = np.meshgrid(np.arange(_LEVELS), np.arange(_LEVELS), indexing="ij")
_DIFFERENCE2 = ((_i - _j) ** 2).ravel().astype(np.float64)
_INVERSE = 1 / (1 + _DIFFERENCE2)
_ROW, _COLUMN = _i.ravel().astype(np.float64), _j.ravel().astype(np.float64)


def _uniform_patterns() -> NDArray[np.intp]:
    """Return the bin, 0-9, of each of the 256 patterns of eight neighbours."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # [256, 8], around the circle
    jumps = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(jumps <= 2, bits.sum(axis=1), 9)


_PATTERN = _uniform_patterns()
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def names(channels: Sequence[str], rgb: bool) -> tuple[str, ...]:
    """Return the names of what `values` measures: one grey plane if RGB, else every channel."""
    planes = ("gray",) if rgb else tuple(channels)
    found: list[str] = []
    for plane in planes:
        found += [f"Texture_{name}_{plane}_{d}" for d in _OFFSETS_PX for name in _GLCM]
        found += [f"Texture_GradientEnergy_{plane}", f"Texture_LaplacianEnergy_{plane}"]
        found += [f"Texture_Pattern{k}_{plane}" for k in range(10)]
    return tuple(found)


def values(view: CellView) -> list[float]:
    """Return 20 figures a plane, of the mask's pixels, in units of the image's spread.

    Haralick, Shanmugam and Dinstein, IEEE Trans. SMC 3, 1973: co-occurrence of 16 grey
    levels at 1 and 3 px, rows and columns pooled. Ojala, Pietikainen and Maenpaa, IEEE
    Trans. PAMI 24, 2002: shares of the uniform local binary patterns (9 and the rest).
    """
    planes = view.relative
    levels = view.levels
    low = (levels.low - levels.median) / levels.scale
    high = (levels.high - levels.median) / levels.scale
    if view.rgb:
        planes = planes.mean(axis=0, keepdims=True)
        low, high = low.mean(keepdims=True), high.mean(keepdims=True)
    found: list[float] = []
    for plane, bottom, top in zip(planes, low, high, strict=True):
        step = (_LEVELS - 1) / max(float(top - bottom), 1e-6)
        quantised = np.clip((plane - bottom) * step + 0.5, 0, _LEVELS - 1).astype(np.intp)
        for distance in _OFFSETS_PX:
            found += _cooccurrence(quantised, view.mask, distance)
        found += _energies(plane, view.mask)
        found += _patterns(plane, view.mask)
    return found


def _cooccurrence(levels: NDArray[np.intp], mask: NDArray[np.bool_], distance: int) -> list[float]:
    count = np.zeros(_LEVELS * _LEVELS)
    for first, second in (
        (np.s_[distance:, :], np.s_[:-distance, :]),
        (np.s_[:, distance:], np.s_[:, :-distance]),
    ):
        both = mask[first] & mask[second]
        pairs = (levels[first] * _LEVELS + levels[second])[both]
        count += np.bincount(pairs, minlength=_LEVELS * _LEVELS)
    total = count.sum()
    if total == 0:  # a cell no wider than the distance has no pairs: as if constant
        return [0.0, 1.0, 0.0, 0.0]
    p = count / total
    row, column = float(p @ _ROW), float(p @ _COLUMN)
    spread = float(np.sqrt((p @ (_ROW - row) ** 2) * (p @ (_COLUMN - column) ** 2)))
    covariance = float(p @ ((_ROW - row) * (_COLUMN - column)))
    positive = p[p > 0]
    return [
        float(p @ _DIFFERENCE2),
        float(p @ _INVERSE),
        covariance / spread if spread > 1e-9 else 0.0,
        -float(positive @ np.log2(positive)),
    ]


def _energies(plane: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[float]:
    """Return the mean length of the gradient and of the Laplacian."""
    if min(plane.shape) < 3:
        return [0.0, 0.0]
    core = mask[1:-1, 1:-1]
    if not core.any():
        return [0.0, 0.0]
    dy = (plane[2:, 1:-1] - plane[:-2, 1:-1])[core] / 2
    dx = (plane[1:-1, 2:] - plane[1:-1, :-2])[core] / 2
    around = plane[2:, 1:-1] + plane[:-2, 1:-1] + plane[1:-1, 2:] + plane[1:-1, :-2]
    laplacian = (around - 4 * plane[1:-1, 1:-1])[core]
    return [float(np.sqrt(dy**2 + dx**2).mean()), float(np.abs(laplacian).mean())]


def _patterns(plane: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[float]:
    if min(plane.shape) < 3:
        return [0.0] * 10
    core = mask[1:-1, 1:-1]
    if not core.any():
        return [0.0] * 10
    height, width = plane.shape
    middle = plane[1:-1, 1:-1]
    code = np.zeros(middle.shape, np.uint8)
    for bit, (dy, dx) in enumerate(_AROUND):
        neighbour = plane[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        code |= (neighbour >= middle).astype(np.uint8) << np.uint8(bit)
    count = np.bincount(_PATTERN[code[core]], minlength=10)
    return [float(c) for c in count / count.sum()]
