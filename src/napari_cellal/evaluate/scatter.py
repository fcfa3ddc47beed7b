"""Points of a map as SVG, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .drawing import svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .html import Markup

_SIDE, _ROW = 340, 18


@dataclass(frozen=True, slots=True)
class Dot:
    """A cell: where, what it belongs to, and that group's colour."""

    place: tuple[float, float]
    group: str
    color: str


def principal(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return float64[N, 2], the first two principal components, and their shares of the variance.

    Every feature counts by its spread; one that does not vary counts for nothing. The signs are
    such that the largest weight is positive, so that the same data give the same map.
    """
    rows = np.asarray(features, np.float64)
    rows = rows - rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows = rows[:, spread > 1e-12] / spread[spread > 1e-12]
    if len(rows) < 2 or not rows.shape[1]:
        return np.zeros((len(rows), 2)), (0.0, 0.0)
    left, size, weights = np.linalg.svd(rows, full_matrices=False)
    signs = np.sign(weights[np.arange(len(weights)), np.abs(weights).argmax(axis=1)])
    places = np.zeros((len(rows), 2))
    n = min(2, len(size))
    places[:, :n] = (left * size * signs)[:, :n]
    shares = np.zeros(2)
    shares[:n] = (size**2 / max(float((size**2).sum()), 1e-12))[:n]
    return places, (float(shares[0]), float(shares[1]))


def scatter_svg(dots: Sequence[Dot]) -> Markup:
    """Return a square of points, and below it what the colours stand for, the commonest first."""
    places = np.array([d.place for d in dots])
    low, high = places.min(axis=0), places.max(axis=0)
    unit = (places - low) / np.maximum(high - low, 1e-12)
    parts = [f'<rect width="{_SIDE}" height="{_SIDE}" fill="#f6f8fa"/>']
    for dot, (x, y) in zip(dots, unit, strict=True):
        parts.append(
            f'<circle cx="{8 + (_SIDE - 16) * x:.1f}" cy="{8 + (_SIDE - 16) * (1 - y):.1f}" r="3" '
            f'fill="{escape(dot.color)}" fill-opacity="0.65"/>'
        )
    groups = [(d.group, d.color) for d in dots]
    ranked = sorted(set(groups), key=lambda g: (-groups.count(g), g))
    for k, (name, color) in enumerate(ranked):
        x, y = (k % 2) * _SIDE / 2, _SIDE + 16 + _ROW * (k // 2)
        parts += [
            f'<circle cx="{x + 7}" cy="{y - 4}" r="5" fill="{escape(color)}"/>',
            f'<text x="{x + 17}" y="{y}">{escape(name)} ({groups.count((name, color)):,})</text>',
        ]
    return svg(_SIDE, _SIDE + 10 + _ROW * ((len(ranked) + 1) // 2), parts)
