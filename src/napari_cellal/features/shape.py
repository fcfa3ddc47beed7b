"""Size and shape of a cell, named as CellProfiler names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, QhullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .view import CellView


def names(channels: Sequence[str], rgb: bool) -> tuple[str, ...]:
    """Return the names of what `values` measures."""
    return tuple(
        f"AreaShape_{name}"
        for name in (
            "BoxHeight",
            "BoxWidth",
            "BoundingBoxArea",
            "AspectRatio",
            "Area",
            "Perimeter",
            "MajorAxisLength",
            "MinorAxisLength",
            "Eccentricity",
            "Solidity",
            "Extent",
            "FormFactor",
            "HoleFraction",
        )
    )


def values(view: CellView) -> list[float]:
    """Return lengths and areas in px of the image, and ratios.

    Form factor is 4 pi area / perimeter²: 1 for a disc. Axes and eccentricity are
    those of the ellipse with the same second moments, as in CellProfiler.
    """
    height, width = view.size
    ys, xs = view.coordinates
    area = len(ys)
    major, minor = _axes(ys, xs)
    perimeter = perimeter_px(view.mask)
    return [
        height,
        width,
        height * width,
        min(height, width) / max(height, width),
        area * view.px**2,
        perimeter * view.px,
        major * view.px,
        minor * view.px,
        float(np.sqrt(max(0.0, 1 - (minor / major) ** 2))),
        area / max(_hull_area(view.mask), area),
        area / ((np.ptp(ys) + 1) * (np.ptp(xs) + 1)),
        min(4 * np.pi * area / perimeter**2, 2.0),
        view.filled,
    ]


def perimeter_px(mask: NDArray[np.bool_]) -> float:
    """Return the length of the mask's outline: Cauchy-Crofton over four directions."""
    m = np.pad(mask, 1)
    straight = np.count_nonzero(m[1:] != m[:-1]) + np.count_nonzero(m[:, 1:] != m[:, :-1])
    oblique = np.count_nonzero(m[1:, 1:] != m[:-1, :-1]) + np.count_nonzero(
        m[1:, :-1] != m[:-1, 1:]
    )
    return float(np.pi / 8 * (straight + oblique / np.sqrt(2)))


def _axes(ys: NDArray[np.intp], xs: NDArray[np.intp]) -> tuple[float, float]:
    y, x = ys - ys.mean(), xs - xs.mean()
    n = len(ys)
    yy, xx, xy = y @ y / n + 1 / 12, x @ x / n + 1 / 12, y @ x / n  # 1/12: a pixel is not a point
    root = float(np.sqrt((yy - xx) ** 2 + 4 * xy**2))
    large, small = (yy + xx + root) / 2, (yy + xx - root) / 2
    return 4 * float(np.sqrt(large)), 4 * float(np.sqrt(max(small, 1e-12)))


def _hull_area(mask: NDArray[np.bool_]) -> float:
    """Return the area of the convex hull of the mask's pixel squares."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    y = np.concatenate([rows, rows, rows + 1, rows + 1])
    x = np.concatenate([first, last, first, last])
    try:
        return float(ConvexHull(np.column_stack([y, x]).astype(np.float64)).volume)
    except QhullError:
        return 0.0
