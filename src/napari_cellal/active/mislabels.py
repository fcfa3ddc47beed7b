"""Labels that are probably slips, found by what the other labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedKFold

from . import learner as learners
from .requests import Mislabel
from .suggest import resolve

if TYPE_CHECKING:
    from .requests import SuggestRequest

_FOLDS = 5
_FEWEST = 10


def likely_mislabels(request: SuggestRequest) -> tuple[Mislabel, ...]:
    """Return the labels that a learner confidently disagrees with, most confident first.

    Confident learning (Northcutt, Jiang and Chuang, J. Artif. Intell. Res. 70, 2021):
    every label is predicted by a learner that was not shown it, in five folds. A cell is
    suspected where another class is as probable as that class's own cells are on average,
    and its label's class is not. Labels to learn from and to measure on are both looked
    through. Empty with fewer than ten labels or two classes of two.

    ``request.n`` is the most that are returned.
    """
    pool, labels, holdout = resolve(request)
    said = labels | holdout
    rows = np.array(sorted(said), np.intp)
    known = np.array([said[int(row)] for row in rows], np.int64)
    ids, counts = np.unique(known, return_counts=True)
    usable = np.isin(known, ids[counts >= 2])
    rows, known = rows[usable], known[usable]
    ids = ids[counts >= 2]
    if len(rows) < _FEWEST or len(ids) < 2:
        return ()
    p = np.zeros((len(rows), len(ids)))
    folds = min(_FOLDS, int(counts[counts >= 2].min()))
    points = pool.matrix.points[rows]
    for learn, check in StratifiedKFold(folds, shuffle=True, random_state=request.seed).split(
        points, known
    ):
        model = learners.fit(points[learn], known[learn], estimator="logistic", seed=request.seed)
        p[check] = learners.probabilities(model, points[check], ids.tolist())
    own = np.searchsorted(ids, known)
    at = np.arange(len(rows))
    level = np.array([p[own == k, k].mean() for k in range(len(ids))])
    rival = np.where(p >= level, p, 0.0)
    rival[at, own] = 0.0
    best = rival.argmax(axis=1)
    gap = rival[at, best] - p[at, own]
    suspects = [k for k in np.argsort(-gap, kind="stable") if rival[k, best[k]] > 0 and gap[k] > 0]
    return tuple(
        Mislabel(
            pool.matrix.cell_ids[rows[k]],
            int(known[k]),
            int(ids[best[k]]),
            float(p[k, own[k]]),
            float(p[k, best[k]]),
        )
        for k in suspects[: request.n]
    )
