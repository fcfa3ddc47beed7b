"""Cells in an order that shows what needs a look: doubt, group, likeness, slips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import Job, Progress

from . import learner as learners
from .matrix import load_matrix
from .mislabels import FEWEST, judge
from .requests import OrderRequest, OrderResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .matrix import Matrix
    from .mislabels import Judged

_GROUPS_AT_MOST = 24
_CELLS_A_GROUP = 50


def order_cells(request: OrderRequest) -> Job[OrderResult]:
    """Return the job that puts every measured cell in the order asked for.

    What the learner says of each comes with them.

    ``doubt``: the least probable best guess first; without a learner, the cells farthest from
    the middle of their group. ``group``: large groups first, in a group the most typical first.
    ``alike``: nearest to ``request.like`` first. ``mislabels``: the labels that a
    learner which was not shown them confidently disagrees with (`mislabels.judge`), then those that
    it finds least probable, then the cells without a label.

    Raises
    ------
    ProjectError
        If the table of features cannot be read.
    """
    words = "Putting the cells in order"
    yield Progress(0, 3, words)
    matrix = load_matrix(request.features_path)
    yield Progress(1, 3, words)
    labels = matrix.rows_of(request.labelled)
    rows = np.array(sorted(labels), np.intp)
    ids = np.array([labels[int(row)] for row in rows], np.int64)
    model = learners.fit(matrix.points[rows], ids, seed=request.seed)
    classes = tuple(dict.fromkeys([*request.class_names, *sorted(set(ids.tolist()))]))
    found = None
    if model is not None:
        found = learners.probabilities(model, matrix.points, classes).astype(np.float32)
    yield Progress(2, 3, words)
    note = ""
    if request.order == "alike":
        value = _distance(matrix, request.like)
    elif request.order == "mislabels":
        judged = judge(matrix, labels, request.seed)
        value = np.full(len(matrix), 2.0)
        value[judged.rows] = np.where(judged.gap > 0, -judged.gap, judged.of_label)
        note = _on_labels(judged, len(labels))
        if found is not None:  # what it says of cells that it was shown would always be right
            found[judged.rows] = 0
            columns = [classes.index(class_id) for class_id in judged.class_ids.tolist()]
            found[judged.rows[:, None], columns] = judged.probabilities
    elif request.order == "doubt" and found is not None:
        value = found.max(axis=1)
    else:
        groups, far = _grouped(matrix, request.seed)
        if request.order == "group":
            size = np.bincount(groups, minlength=1)
            place = np.lexsort((far, groups, -size[groups]))
            return _result(matrix, place, classes, found)
        value = -far
        note = "Doubt needs labels of two classes. Until then cells unlike all others come first."
    return _result(matrix, np.argsort(value, kind="stable"), classes, found, note)


def _on_labels(judged: Judged, labels: int) -> str:
    """Return what a person should know who looks for wrong labels, e.g. that nothing is judged."""
    if not len(judged.rows):
        return (
            f"Too few labels to compare with each other: {FEWEST} are needed, and two each of two "
            f"classes. There are {labels} on measured cells. Until then cells stand by image."
        )
    if (judged.gap > 0).any():
        return ""
    n, first = len(judged.rows), "The least probable come first."
    if leaning := int((judged.probabilities.argmax(axis=1) != judged.own).sum()):
        look = "looks" if leaning == 1 else "look"
        return (
            f"None of {n:,} labels is clearly wrong, {leaning:,} {look} like another class. {first}"
        )
    return f"None of {n:,} labels looks like a mistake. {first}"


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
    note: str = "",
) -> OrderResult:
    cell_ids = tuple(matrix.cell_ids[row] for row in place)
    return OrderResult(cell_ids, classes, None if found is None else found[place], note)
