"""Cells in an order that shows what needs a look: doubt, group, likeness, disagreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedKFold

from . import learner as learners
from .matrix import Matrix, load_matrix
from .requests import OrderRequest, OrderResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_GROUPS_AT_MOST = 24
_CELLS_A_GROUP = 50
_FOLDS = 5


def order_cells(request: OrderRequest) -> OrderResult:
    """Return every measured cell in the order asked for, and what the learner says of each.

    ``doubt``: the least probable best guess first; without a learner, the cells farthest from
    the middle of their group. ``group``: large groups first, in a group the most typical first.
    ``alike``: nearest to ``request.like`` first. ``disagreement``: labels that a learner, which
    was not shown them, finds least probable first; then the cells without a label.

    Raises
    ------
    ProjectError
        If the table of features cannot be read.
    """
    matrix = load_matrix(request.features_path)
    labels = {matrix.row_of[c]: k for c, k in request.labelled.items() if c in matrix.row_of}
    rows = np.array(sorted(labels), np.intp)
    ids = np.array([labels[int(row)] for row in rows], np.int64)
    model = learners.fit(matrix.points[rows], ids, seed=request.seed)
    classes = tuple(dict.fromkeys([*request.class_names, *sorted(set(ids.tolist()))]))
    found = None
    if model is not None:
        found = learners.probabilities(model, matrix.points, classes).astype(np.float32)
    if request.order == "alike":
        value = _distance(matrix, request.like)
    elif request.order == "disagreement":
        value, judged = disagreement(matrix, labels, classes, request.seed)
        if found is not None:  # what it says of cells that it was shown would always be right
            seen = value <= 1
            found[seen] = judged[seen]
    elif request.order == "doubt" and found is not None:
        value = found.max(axis=1)
    else:
        groups, far = _grouped(matrix, request.seed)
        if request.order == "group":
            size = np.bincount(groups, minlength=1)
            place = np.lexsort((far, groups, -size[groups]))
            return _result(matrix, place, classes, found)
        value = -far
    return _result(matrix, np.argsort(value, kind="stable"), classes, found)


def disagreement(
    matrix: Matrix, labels: Mapping[int, int], classes: Sequence[int], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how probable each label is to a learner that did not see it, and what it says.

    float64[N], 2 where there is nothing to judge; float64[N, K], the probability of each of
    ``classes``.

    Out-of-fold probabilities of the given label, as in confident learning (Northcutt, Jiang and
    Chuang, JAIR 70, 2021). A class with one label cannot be judged and counts as without one.
    """
    value = np.full(len(matrix), 2.0)
    judged = np.zeros((len(matrix), len(classes)))
    rows = np.array(sorted(labels), np.intp)
    ids = np.array([labels[int(row)] for row in rows], np.int64)
    known, counts = np.unique(ids, return_counts=True)
    enough = np.isin(ids, known[counts >= 2])
    rows, ids = rows[enough], ids[enough]
    known, counts = np.unique(ids, return_counts=True)
    if len(known) < 2:
        return value, judged
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    for learn, judge in folds.split(rows, ids):
        model = learners.fit(matrix.points[rows[learn]], ids[learn], seed=seed)
        judged[rows[judge]] = learners.probabilities(model, matrix.points[rows[judge]], classes)
        given = [classes.index(class_id) for class_id in ids[judge].tolist()]
        value[rows[judge]] = judged[rows[judge], given]
    return value, judged


def _distance(matrix: Matrix, cell_id: str) -> NDArray[np.float64]:
    row = matrix.row_of.get(cell_id)
    if row is None:
        return np.zeros(len(matrix))
    points = matrix.components.astype(np.float64)
    return np.asarray(((points - points[row]) ** 2).sum(axis=1))


def _grouped(matrix: Matrix, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each row's group and its distance from the group's middle."""
    count = max(2, min(_GROUPS_AT_MOST, len(matrix) // _CELLS_A_GROUP))
    groups = matrix.groups(count, seed)
    points = matrix.components.astype(np.float64)
    sums = np.zeros((groups.max(initial=0) + 1, points.shape[1]))
    np.add.at(sums, groups, points)
    middles = sums / np.maximum(np.bincount(groups, minlength=len(sums)), 1)[:, None]
    return groups, np.asarray(((points - middles[groups]) ** 2).sum(axis=1))


def _result(
    matrix: Matrix,
    place: NDArray[np.intp],
    classes: tuple[int, ...],
    found: NDArray[np.float32] | None,
) -> OrderResult:
    cell_ids = tuple(matrix.cell_ids[row] for row in place)
    return OrderResult(cell_ids, classes, None if found is None else found[place])
