"""What more labels would bring, read off the learning curve so far. Light: numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TARGETS = (0.8, 0.9, 0.95, 0.97, 0.99)
ENOUGH = 8
"""Labels of a class from which on the learner's doubt about it can be believed."""

_FEWEST_POINTS = 5
_LEAST_SPAN = 2.0  # the last point has so many times the labels of the first
_MOST_OFF = 0.05  # root mean square distance of curve and points
_FARTHEST = 5.0  # times the labels so far; beyond, a forecast is a guess
_EXPONENTS = np.arange(0.2, 1.55, 0.1)
_FLAT_FROM = 40  # labels
_FLAT_GAIN = 0.005  # that half as many labels again would bring


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the curve says about labels to come.

    Attributes
    ----------
    target : float or None
        The next round figure above what is reached; None at the top.
    labels_to_go : int or None
        About so many more labels to the target; None where the curve cannot say.
    no_longer_helps : bool
        Half as many labels again would bring less than half a percentage point.
    """

    target: float | None = None
    labels_to_go: int | None = None
    no_longer_helps: bool = False


def forecast(points: Sequence[tuple[int, float]]) -> Forecast:
    """Return the forecast of a curve of (labels, accuracy), fewest labels first.

    An inverse power law, accuracy = a - b n^-c, is fitted by least squares (Figueroa et
    al., BMC Med. Inform. Decis. Mak. 12:8, 2012; they warn that it is optimistic early on).
    It says nothing with fewer than five points or points close together, where it lies
    far from them, and beyond five times the labels so far.
    """
    known = [(n, y) for n, y in points if n > 0 and np.isfinite(y)]
    if not known:
        return Forecast()
    labels = np.array([n for n, _ in known], float)
    reached = np.array([y for _, y in known], float)
    target = next((t for t in TARGETS if t > reached[-1]), None)
    if len(known) < _FEWEST_POINTS or labels[-1] < _LEAST_SPAN * labels[0]:
        return Forecast(target)
    off, a, b, c = min(_fit(labels, reached, c) for c in _EXPONENTS)
    if off > _MOST_OFF:
        return Forecast(target)
    now = labels[-1]
    gain = b * (now**-c - (1.5 * now) ** -c)
    flat = bool(now >= _FLAT_FROM and gain < _FLAT_GAIN)
    if target is None or b <= 0 or a <= target:
        return Forecast(target, None, flat)
    needed = float((b / (a - target)) ** (1 / c))
    if needed > _FARTHEST * now:
        return Forecast(target, None, flat)
    return Forecast(target, max(1, round(needed - now)), flat)


def _fit(labels: np.ndarray, reached: np.ndarray, c: float) -> tuple[float, float, float, float]:
    """Return (root mean square distance, a, b, c) of the best curve of this exponent."""
    x = labels**-c
    slope, a = np.polyfit(x, reached, 1)
    a, b = float(a), float(-slope)
    if a > 1:  # nothing is righter than right
        a = 1.0
        b = float(x @ (1 - reached) / (x @ x))
    b = max(b, 0.0)
    if b == 0:
        a = float(reached.mean())
    off = float(np.sqrt(np.mean((a - b * x - reached) ** 2)))
    return off, a, b, float(c)


def class_needs(counts: Mapping[int, int], classes: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Return {class: {labels, needs}}: what each has, and how many more it should have."""
    return {
        name: {"labels": counts.get(k, 0), "needs": max(0, ENOUGH - counts.get(k, 0))}
        for k, name in classes.items()
    }
