"""How good the labels so far are, measured on labels that nothing was learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from napari_cellal.core.rates import macro_f1

from .calibration import reliability
from .requests import HoldoutScore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modAL.models import ActiveLearner
    from numpy.typing import NDArray

    from .matrix import Matrix

_SAMPLES = 200


def score_holdout(
    matrix: Matrix, model: ActiveLearner | None, holdout: Mapping[int, int]
) -> HoldoutScore | None:
    """Return how well the model does on {row: class_id}; None without model or labels."""
    if model is None or not holdout:
        return None
    rows = np.array(sorted(holdout), np.intp)
    truth = np.array([holdout[int(row)] for row in rows])
    ids = [int(c) for c in model.estimator.classes_]
    p = np.asarray(model.predict_proba(matrix.points[rows]))
    guess = np.array(ids)[p.argmax(axis=1)]
    right = int(np.count_nonzero(guess == truth))
    # 95 % interval of a share: Wilson, J. Am. Stat. Assoc. 22, 1927
    interval = binomtest(right, len(rows)).proportion_ci(0.95, method="wilson")
    table = _confusion(truth, guess)
    low, high = _f1_interval(table)
    return HoldoutScore(
        len(rows),
        right / len(rows),
        float(interval.low),
        float(interval.high),
        float(_macro_f1(table[None])[0]),
        low,
        high,
        reliability(truth, p, ids),
    )


def _confusion(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> NDArray[np.int64]:
    ids, flat = np.unique(np.concatenate([truth, guess]), return_inverse=True)
    k = len(ids)
    pairs = flat[: len(truth)] * k + flat[len(truth) :]
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def _macro_f1(tables: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean F1 over the classes of each confusion table [S, K, K]."""
    hits = np.diagonal(tables, axis1=1, axis2=2)  # [S, K]
    return macro_f1(hits, tables.sum(axis=2), tables.sum(axis=1), also_said=True)


def _f1_interval(table: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % interval of macro-F1 over bootstrap samples of the cells (Efron, 1979)."""
    n = int(table.sum())
    drawn = np.random.default_rng(0).multinomial(n, table.ravel() / n, size=_SAMPLES)
    low, high = np.quantile(_macro_f1(drawn.reshape(_SAMPLES, *table.shape)), [0.025, 0.975])
    return float(low), float(high)
