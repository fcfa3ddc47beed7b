"""Values far from most others, by a measure that the outliers themselves do not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTLIER = 3.5
"""A robust z-score beyond this is an outlier."""
LEAST = 6
"""Fewer values say nothing about what is usual."""


def robust_z(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how far each value lies from the median, in robust standard deviations, float64[N].

    The modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (ASQC,
    1993), with their limit of 3.5; NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17:
    0.6745 (x - median) / MAD. For plates: Malo et al., doi 10.1038/nbt1186. Where more than half
    of the values are the same, the MAD is 0 and the mean absolute deviation stands for it.

    Parameters
    ----------
    values : float[N]
        NaN where there is none; its score is NaN. Fewer than `LEAST` values give zeros.
    """
    found = np.asarray(values, np.float64)
    known = np.isfinite(found)
    scores = np.full(len(found), np.nan)
    scores[known] = 0.0
    if known.sum() < LEAST:
        return scores
    off = found[known] - np.median(found[known])
    spread = np.median(np.abs(off)) / 0.6745
    if spread == 0:
        spread = np.abs(off).mean() * 1.253314  # sqrt(pi / 2): of a normal distribution, its sigma
    if spread > 0:
        scores[known] = off / spread
    return scores


def is_outlier(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which robust z-scores are beyond `OUTLIER`, bool[N]."""
    return np.abs(np.nan_to_num(scores)) > OUTLIER
