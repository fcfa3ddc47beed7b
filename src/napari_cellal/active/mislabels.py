"""Labels that are probably slips, found by what the other labels say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedKFold

from . import learner as learners
from .matrix import load_matrix
from .requests import Mislabel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .matrix import Matrix
    from .requests import OrderRequest

_FOLDS = 5
FEWEST = 10
"""Labels without which nothing is judged."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a learner says of labelled cells when it was not shown their labels.

    Attributes
    ----------
    rows : intp[n]
        Of the matrix, rising; the labels of classes with one label are left out.
    class_ids : int64[K]
    own, rival : intp[n]
        Columns of the cell's label and of the class that speaks most against it.
    probabilities : float64[n, K]
    gap : float64[n], -1..1
        How much more probable the rival is; above 0 the label is suspected.
    """

    rows: NDArray[np.intp]
    class_ids: NDArray[np.int64]
    own: NDArray[np.intp]
    rival: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    gap: NDArray[np.float64]

    @property
    def of_label(self) -> NDArray[np.float64]:
        """float64[n]: how probable each label is."""
        return self.probabilities[np.arange(len(self.rows)), self.own]


def judge(matrix: Matrix, labels: Mapping[int, int], seed: int) -> Judged:
    """Return what speaks for and against labels, {row: class_id}.

    Confident learning (Northcutt, Jiang and Chuang, J. Artif. Intell. Res. 70, 2021):
    every label is predicted by a learner that was not shown it, in five folds. A cell is
    suspected where another class is as probable as that class's own cells are on average,
    and its label's class is not. Nothing is judged with fewer than ten labels or two classes of
    two.
    """
    rows = np.array(sorted(labels), np.intp)
    known = np.array([labels[int(row)] for row in rows], np.int64)
    ids, counts = np.unique(known, return_counts=True)
    usable = np.isin(known, ids[counts >= 2])
    rows, known = rows[usable], known[usable]
    ids, counts = ids[counts >= 2], counts[counts >= 2]
    if len(rows) < FEWEST or len(ids) < 2:
        none = np.zeros(0, np.intp)
        return Judged(none, ids, none, none, np.zeros((0, len(ids))), np.zeros(0))
    p = np.zeros((len(rows), len(ids)))
    points = matrix.points[rows]
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    for learn, check in folds.split(points, known):
        model = learners.fit(points[learn], known[learn], estimator="logistic", seed=seed)
        p[check] = learners.probabilities(model, points[check], ids.tolist())
    own = np.searchsorted(ids, known)
    at = np.arange(len(rows))
    level = np.array([p[own == k, k].mean() for k in range(len(ids))])
    against = np.where(p >= level, p, 0.0)
    against[at, own] = 0.0
    rival = against.argmax(axis=1)
    gap = np.where(against[at, rival] > 0, against[at, rival] - p[at, own], -1.0)
    return Judged(rows, ids, own, rival, p, gap)


def likely_mislabels(request: OrderRequest, n: int) -> tuple[Mislabel, ...]:
    """Return the labels that a learner confidently disagrees with, ``n`` at most.

    Most confident first, as the order ``mislabels`` has them; see `judge`.
    """
    matrix = load_matrix(request.features_path)
    judged = judge(matrix, matrix.rows_of(request.labelled), request.seed)
    p, of_label = judged.probabilities, judged.of_label
    order = np.argsort(-judged.gap, kind="stable")
    return tuple(
        Mislabel(
            matrix.cell_ids[judged.rows[k]],
            int(judged.class_ids[judged.own[k]]),
            int(judged.class_ids[judged.rival[k]]),
            float(of_label[k]),
            float(p[k, judged.rival[k]]),
        )
        for k in order[judged.gap[order] > 0][:n]
    )
