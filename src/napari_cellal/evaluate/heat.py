"""Colours of a heat map: one scale for the window and for pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .outliers import is_outlier, robust_z

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# Viridis (S. van der Walt, N. Smith, E. Firing; CC0), at tenths: even steps for the eye, also in
# grey and for the colour-blind.
_VIRIDIS = (
    "#440154", "#482475", "#414487", "#355F8D", "#2A788E", "#21918C",
    "#22A884", "#44BF70", "#7AD151", "#BDDF26", "#FDE725",
)  # fmt: skip
# From blue over white to orange, for changes (Okabe and Ito's two ends).
_CHANGE = ("#0072B2", "#80B9D9", "#F7F7F7", "#EEB27F", "#D55E00")


@dataclass(frozen=True, slots=True)
class Scale:
    """From which value to which the colours go.

    Attributes
    ----------
    low, high : float
    cut_low, cut_high : bool
        Some values lie beyond that end, and have its colour.
    is_change : bool
        0 is the middle, and white.
    """

    low: float
    high: float
    cut_low: bool = False
    cut_high: bool = False
    is_change: bool = False

    def color(self, value: float) -> str:
        """Return the colour of a value, #RRGGBB."""
        wide = self.high - self.low
        return color_at((value - self.low) / wide if wide > 0 else 0.5, self.is_change)


def scale_of(parts: Iterable[NDArray[np.floating]], *, is_change: bool = False) -> Scale | None:
    """Return the scale of a column over several plates; None where there is no value.

    It spans the values that are no outliers of their plate: one odd well would give all others
    the same colour.

    Parameters
    ----------
    parts : iterable of float[N]
        The values of each plate, NaN where there is none.
    """
    some = [np.asarray(p, np.float64) for p in parts]
    known = np.concatenate([p[np.isfinite(p)] for p in some] or [np.zeros(0)])
    if not len(known):
        return None
    usual = np.concatenate([p[np.isfinite(p) & ~is_outlier(robust_z(p))] for p in some])
    low, high = (float(f(usual)) for f in (np.min, np.max))
    if is_change:
        high = max(abs(low), abs(high))
        low = -high
    return Scale(low, high, bool(known.min() < low), bool(known.max() > high), is_change)


def color_at(share: float, is_change: bool = False) -> str:
    """Return the colour of a place on the scale, 0..1, beyond it that of its end."""
    stops = _CHANGE if is_change else _VIRIDIS
    at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    k = min(int(at), len(stops) - 2)
    ends = (tuple(int(s[c : c + 2], 16) for c in (1, 3, 5)) for s in stops[k : k + 2])
    mixed = (round(a + (b - a) * (at - k)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{v:02X}" for v in mixed)


def brief(value: float) -> str:
    """Return a figure as it stands beside a scale: three digits that count."""
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
