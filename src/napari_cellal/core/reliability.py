"""Whether a model that says 0.8 is right in eight of ten cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ReliabilityPoint:
    """Answers of about one confidence: their mean confidence, and the share that was right."""

    confidence: float
    right: float
    n: int


def reliability(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10
) -> tuple[ReliabilityPoint, ...]:
    """Return a point for each stretch of confidence, 0..1, in which there are answers."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    return tuple(
        ReliabilityPoint(
            float(confidence[place == k].mean()),
            float(right[place == k].mean()),
            int((place == k).sum()),
        )
        for k in range(bins)
        if (place == k).any()
    )


def calibration_error(points: tuple[ReliabilityPoint, ...]) -> float | None:
    """Return the mean distance of confidence and share right, 0..1; None without answers.

    The expected calibration error of Naeini et al., AAAI 2015.
    """
    total = sum(p.n for p in points)
    if not total:
        return None
    return sum(p.n * abs(p.confidence - p.right) for p in points) / total
