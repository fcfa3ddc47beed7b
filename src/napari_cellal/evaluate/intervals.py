"""How sure a share is that was counted on so many cells."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson_interval(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a share ``right / total``; (0, 1) where nothing was counted.

    Wilson, J. Am. Stat. Assoc. 22, 1927: holds its level also near 0 and 1 and for few
    cells, where the textbook interval does not.
    """
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, weight = right / total, z * z / total
    middle = share + weight / 2
    half = z * sqrt(share * (1 - share) / total + weight / total / 4)
    low, high = ((middle + sign * half) / (1 + weight) for sign in (-1, 1))
    return max(0.0, low) if right else 0.0, min(1.0, high) if right < total else 1.0
