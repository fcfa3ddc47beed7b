"""The next cells to label, and how good the labels so far are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import Progress, run_job
from napari_cellal.features.nearest import nearest
from napari_cellal.features.table import FeatureTable, join_tables

from . import learner as learners
from .choices import Context
from .holdout import score_holdout
from .matrix import Matrix, load_matrix
from .requests import Suggestions, SuggestRequest, SuggestResult, unpack_rows
from .strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modAL.models import ActiveLearner
    from numpy.typing import NDArray

    from napari_cellal.core.progress import Job

_NEIGHBOURS = 3
_UNLABELLED = 1000
"""Cells without a label that the learner looks at; twice as many took twice the time."""


@dataclass(frozen=True)
class PoolView:
    """The cells that may be suggested.

    Attributes
    ----------
    matrix : Matrix
        Every cell, N rows.
    rows : intp[M]
        Those that may be suggested, hold-out cells left out; labelled ones may be in.
    """

    matrix: Matrix
    rows: NDArray[np.intp]


def suggest(
    pool: PoolView,
    labels: Mapping[int, int],
    strategy_name: str = "automatic",
    n: int = 1,
    seed: int = 0,
    classes: Mapping[int, str] | None = None,
    *,
    estimator: str = "self_training",
) -> Suggestions:
    """Return the n cells to ask about next. Remembers nothing from call to call.

    Parameters
    ----------
    pool : PoolView
    labels : {row: class_id}
        Rows of the matrix with a label; never suggested again.
    strategy_name, estimator : str
        Keys of `STRATEGIES` and `ESTIMATORS`.
    classes : {class_id: name}
        Every class; those that only the labels name are added.

    Raises
    ------
    ModelError
        If there is no such strategy or estimator.
    """
    model = _fit(pool, labels, estimator, seed)
    asked = Context(
        pool.matrix, *_sides(pool, labels), _all_classes(classes, labels), model, n, seed
    )
    return _suggest(asked, strategy_name)


def run_suggest(request: SuggestRequest) -> SuggestResult:
    """Return what `suggest_job` does."""
    return run_job(suggest_job(request))


def suggest_job(request: SuggestRequest) -> Job[SuggestResult]:
    """Return suggestions and the hold-out score of a request; the job of a worker process.

    Refitting takes half of the time, ranking the other: between them it can be cancelled.

    Raises
    ------
    ProjectError
        If the table of features cannot be read.
    ModelError
        If there is no such strategy or estimator.
    """
    pool, labels, holdout = resolve(request)
    model = _fit(pool, labels, request.estimator, request.seed)
    yield Progress(1, 2, "Choosing the next cell")
    classes = _all_classes(request.class_names, labels)
    context = Context(
        pool.matrix,
        *_sides(pool, labels),
        classes,
        model,
        request.n,
        request.seed,
        np.frombuffer(request.scores, np.float32),
        request.like,
    )
    found = _suggest(context, request.strategy)
    left = int(np.count_nonzero(~np.isin(pool.rows, list(labels))))
    return SuggestResult(found, len(labels), left, score_holdout(pool.matrix, model, holdout))


def predict_all(request: SuggestRequest) -> dict[str, tuple[tuple[int, float], ...]]:
    """Return {cell_id: ((class_id, probability), ...)} of every cell without a label.

    Most probable class first; hold-out cells are left out. Empty while the labels name
    fewer than two classes: then there is nothing to say.
    """
    pool, labels, _ = resolve(request)
    model = _fit(pool, labels, request.estimator, request.seed)
    if model is None:
        return {}
    row_of = pool.matrix.row_of
    others = np.array([row_of[c] for c in request.others if c in row_of], np.intp)
    rows = np.union1d(pool.rows, others)
    rows = rows[~np.isin(rows, list(labels))]
    cell_ids = [pool.matrix.cell_ids[row] for row in rows]
    return _ranked(request, labels, model, cell_ids, pool.matrix.points[rows])


def predict_others(
    request: SuggestRequest,
) -> Callable[[FeatureTable], dict[str, tuple[tuple[int, float], ...]]]:
    """Return a function that does what `predict_all` does for cells that the table lacks.

    It takes their features; a column that they lack is 0, as in `features.table.join_tables`.
    """
    pool, labels, _ = resolve(request)
    model = _fit(pool, labels, request.estimator, request.seed)
    names = FeatureTable.load(request.features_path).names

    def predict(others: FeatureTable) -> dict[str, tuple[tuple[int, float], ...]]:
        if model is None or not len(others):
            return {}
        empty = FeatureTable((), names, np.zeros((0, len(names)), np.float32))
        values = join_tables([empty, others]).values[:, : len(names)]
        return _ranked(request, labels, model, others.cell_ids, pool.matrix.place(values))

    return predict


def _ranked(
    request: SuggestRequest,
    labels: Mapping[int, int],
    model: ActiveLearner,
    cell_ids: Sequence[str],
    points: NDArray[np.float32],
) -> dict[str, tuple[tuple[int, float], ...]]:
    classes = tuple(_all_classes(request.class_names, labels))
    found = learners.probabilities(model, points, classes)
    order = np.argsort(-found, axis=1, kind="stable")
    return {
        cell_id: tuple((classes[k], float(p[k])) for k in ranks)
        for cell_id, p, ranks in zip(cell_ids, found, order, strict=True)
    }


def resolve(request: SuggestRequest) -> tuple[PoolView, dict[int, int], dict[int, int]]:
    """Return a request's pool, labels and hold-out labels, {row: class_id}."""
    matrix = load_matrix(request.features_path)
    row_of = matrix.row_of
    holdout = {row_of[c]: k for c, k in request.holdout.items() if c in row_of}
    labels = {
        row_of[c]: k
        for c, k in request.labelled.items()
        if c in row_of and c not in request.holdout
    }
    n = len(matrix)
    rows = np.arange(n) if request.candidates is None else unpack_rows(request.candidates, n)
    if holdout:
        rows = rows[~np.isin(rows, list(holdout))]
    return PoolView(matrix, rows), labels, holdout


def unlabelled_points(
    matrix: Matrix, rows: NDArray[np.intp], labelled: NDArray[np.intp], seed: int
) -> NDArray[np.float32]:
    """Return the points of a thousand of ``rows`` that have no label, the same for each seed."""
    free = np.zeros(len(matrix), bool)
    free[rows] = True
    free[labelled] = False
    order = np.random.default_rng([seed, 2]).permutation(len(matrix))
    return np.asarray(matrix.points[np.sort(order[free[order]][:_UNLABELLED])])


def _fit(
    pool: PoolView, labels: Mapping[int, int], estimator: str, seed: int
) -> ActiveLearner | None:
    # in row order: the same labels give the same model, whatever order they came in
    rows = np.array(sorted(labels), np.intp)
    ids = np.array([labels[int(row)] for row in rows], np.int64)
    return learners.fit(
        pool.matrix.points[rows],
        ids,
        estimator=estimator,
        seed=seed,
        unlabelled=unlabelled_points(pool.matrix, pool.rows, rows, seed),
    )


def _all_classes(classes: Mapping[int, str] | None, labels: Mapping[int, int]) -> dict[int, str]:
    known = dict(classes or {})
    for class_id in sorted(set(labels.values()) - set(known)):
        known[class_id] = f"class {class_id}"
    return known


def _sides(
    pool: PoolView, labels: Mapping[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Return candidates, labelled rows, and their labels, all in row order."""
    labelled = np.array(sorted(labels), np.intp)
    free = np.zeros(len(pool.matrix), bool)
    free[pool.rows] = True
    free[labelled] = False
    return (
        np.flatnonzero(free),
        labelled,
        np.array([labels[int(row)] for row in labelled], np.int64),
    )


def _suggest(context: Context, strategy_name: str) -> Suggestions:
    choose = strategy(strategy_name)
    context = replace(context, n=min(context.n, len(context.candidates)))
    classes = tuple(context.classes)
    if context.n <= 0:
        empty = np.zeros(0, np.intp)
        return Suggestions((), empty, np.zeros(0), classes, np.zeros((0, len(classes))), (), ())
    choice = choose(context)
    rows = context.candidates[choice.positions]
    matrix = context.matrix
    return Suggestions(
        tuple(matrix.cell_ids[row] for row in rows),
        rows,
        choice.scores,
        classes,
        learners.probabilities(context.learner, matrix.points[rows], classes),
        choice.reasons,
        _neighbours(matrix, rows, context.labelled),
    )


def _neighbours(
    matrix: Matrix, rows: NDArray[np.intp], labelled: NDArray[np.intp]
) -> tuple[tuple[str, ...], ...]:
    points = matrix.components
    found, _ = nearest(points[rows], points[labelled], _NEIGHBOURS)
    return tuple(tuple(matrix.cell_ids[labelled[k]] for k in line) for line in found)
