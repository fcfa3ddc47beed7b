"""Brightness of a cell in each channel, relative to its own image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .view import CellView

_STATISTICS = (
    "MeanIntensity",
    "StdIntensity",
    "MinIntensity",
    "LowerQuartileIntensity",
    "MedianIntensity",
    "UpperQuartileIntensity",
    "MaxIntensity",
    "IntegratedIntensity",
    "MeanIntensityEdge",
    "CenterToEdge",
    "LocalContrast",
)


def names(channels: Sequence[str], rgb: bool) -> tuple[str, ...]:
    """Return the names of what `values` measures, channel by channel."""
    return tuple(f"Intensity_{name}_{channel}" for channel in channels for name in _STATISTICS)


def values(view: CellView) -> list[float]:
    """Return 11 figures a channel, in units of the image's own spread.

    0 is the image's median and 1 its scale (see `Levels`), so that lamp, exposure and
    bit depth do not matter. Minimum and maximum are the 2nd and 98th percentile: single
    hot pixels do not count. The integrated intensity is mean x area / 1000 px. Centre
    is within half the cell's radius, edge beyond 80 % of it; local contrast is the
    cell's mean less the mean around it in the box and its margin.
    """
    inside = view.inside_mask(view.relative)  # [C, n]
    n = inside.shape[1]
    ordered = np.sort(inside, axis=1)
    at = (np.array([0.02, 0.25, 0.5, 0.75, 0.98]) * (n - 1)).round().astype(int)
    quantiles = ordered[:, at]  # [C, 5]
    mean, std = inside.mean(axis=1, dtype=np.float64), inside.std(axis=1, dtype=np.float64)
    radius = view.radius
    zones = np.stack([radius < 0.5, radius > 0.8]).astype(np.float32)  # [2, n]
    counts = zones.sum(axis=1)
    sums = inside @ zones.T  # [C, 2]
    center_mean, edge_mean = np.where(counts > 0, sums / np.maximum(counts, 1), mean[:, None]).T
    around = view.mask.size - n
    whole = view.relative.reshape(len(inside), -1).sum(axis=1)
    around_mean = (whole - mean * n) / around if around else mean
    area = n * view.px**2
    table = np.column_stack(
        [
            mean,
            std,
            quantiles,
            mean * area / 1000,
            edge_mean,
            center_mean - edge_mean,
            mean - around_mean,
        ]
    )
    return [float(v) for v in table.ravel()]
