"""The next cells to label, and how good the labels so far are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from . import learner as learners
from .matrix import Matrix, load_matrix
from .requests import HoldoutScore, Suggestions, SuggestRequest, SuggestResult
from .strategies import Context, strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modAL.models import ActiveLearner
    from numpy.typing import NDArray

_NEIGHBOURS = 3


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
    estimator: str = "logistic",
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
    model = _fit(pool.matrix, labels, estimator, seed)
    return _suggest(pool, labels, model, strategy_name, n, seed, _all_classes(classes, labels))


def run_suggest(request: SuggestRequest) -> SuggestResult:
    """Return suggestions and the hold-out score of a request; the job of a worker process.

    Raises
    ------
    ProjectError
        If the table of features cannot be read.
    ModelError
        If there is no such strategy or estimator.
    """
    pool, labels, holdout = _resolve(request)
    model = _fit(pool.matrix, labels, request.estimator, request.seed)
    classes = _all_classes(request.class_names, labels)
    found = _suggest(pool, labels, model, request.strategy, request.n, request.seed, classes)
    left = int(np.count_nonzero(~np.isin(pool.rows, list(labels))))
    return SuggestResult(found, len(labels), left, _holdout_score(pool.matrix, model, holdout))


def predict_all(request: SuggestRequest) -> dict[str, tuple[tuple[int, float], ...]]:
    """Return {cell_id: ((class_id, probability), ...)} of every cell without a label.

    Most probable class first; hold-out cells are left out. Empty while the labels name
    fewer than two classes: then there is nothing to say.
    """
    pool, labels, _ = _resolve(request)
    model = _fit(pool.matrix, labels, request.estimator, request.seed)
    if model is None:
        return {}
    rows = pool.rows[~np.isin(pool.rows, list(labels))]
    classes = tuple(_all_classes(request.class_names, labels))
    found = learners.probabilities(model, pool.matrix.values[rows], classes)
    order = np.argsort(-found, axis=1, kind="stable")
    return {
        pool.matrix.cell_ids[row]: tuple((classes[k], float(p[k])) for k in ranks)
        for row, p, ranks in zip(rows, found, order, strict=True)
    }


def _resolve(request: SuggestRequest) -> tuple[PoolView, dict[int, int], dict[int, int]]:
    """Return pool, labels and hold-out labels by row."""
    matrix = load_matrix(request.features_path)
    row_of = matrix.row_of
    holdout = {row_of[c]: k for c, k in request.holdout.items() if c in row_of}
    labels = {
        row_of[c]: k
        for c, k in request.labelled.items()
        if c in row_of and c not in request.holdout
    }
    if request.cell_ids is None:
        rows = np.arange(len(matrix))
    else:
        rows = np.array([row_of[c] for c in request.cell_ids if c in row_of], np.intp)
    if holdout:
        rows = rows[~np.isin(rows, list(holdout))]
    return PoolView(matrix, rows), labels, holdout


def _fit(
    matrix: Matrix, labels: Mapping[int, int], estimator: str, seed: int
) -> ActiveLearner | None:
    # in row order: the same labels give the same model, whatever order they came in
    rows = np.array(sorted(labels), np.intp)
    ids = np.array([labels[int(row)] for row in rows], np.int64)
    return learners.fit(matrix.values[rows], ids, estimator=estimator, seed=seed)


def _all_classes(classes: Mapping[int, str] | None, labels: Mapping[int, int]) -> dict[int, str]:
    known = dict(classes or {})
    for class_id in sorted(set(labels.values()) - set(known)):
        known[class_id] = f"class {class_id}"
    return known


def _suggest(
    pool: PoolView,
    labels: Mapping[int, int],
    model: ActiveLearner | None,
    strategy_name: str,
    n: int,
    seed: int,
    classes: Mapping[int, str],
) -> Suggestions:
    labelled = np.array(sorted(labels), np.intp)
    candidates = np.unique(pool.rows)
    candidates = candidates[~np.isin(candidates, labelled)]
    context = Context(
        pool.matrix,
        candidates,
        labelled,
        np.array([labels[int(row)] for row in labelled], np.int64),
        classes,
        model,
        min(n, len(candidates)),
        seed,
    )
    choose = strategy(strategy_name)
    if context.n <= 0:
        empty = np.zeros(0, np.intp)
        return Suggestions(
            (), empty, np.zeros(0), tuple(classes), np.zeros((0, len(classes))), (), ()
        )
    choice = choose(context)
    rows = candidates[choice.positions]
    return Suggestions(
        tuple(pool.matrix.cell_ids[row] for row in rows),
        rows,
        choice.scores,
        tuple(classes),
        learners.probabilities(model, pool.matrix.values[rows], tuple(classes)),
        choice.reasons,
        _neighbours(pool.matrix, rows, labelled),
    )


def _neighbours(
    matrix: Matrix, rows: NDArray[np.intp], labelled: NDArray[np.intp]
) -> tuple[tuple[str, ...], ...]:
    points = matrix.components
    distance = ((points[rows][:, None] - points[labelled][None]) ** 2).sum(axis=2)  # [n, L]
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :_NEIGHBOURS]
    return tuple(tuple(matrix.cell_ids[labelled[k]] for k in line) for line in nearest)


def _holdout_score(
    matrix: Matrix, model: ActiveLearner | None, holdout: Mapping[int, int]
) -> HoldoutScore | None:
    if model is None or not holdout:
        return None
    rows = np.array(sorted(holdout), np.intp)
    truth = np.array([holdout[int(row)] for row in rows])
    guess = model.predict(matrix.values[rows])
    right = int(np.count_nonzero(guess == truth))
    # 95 % interval of a share: Wilson, J. Am. Stat. Assoc. 22, 1927
    interval = binomtest(right, len(rows)).proportion_ci(0.95, method="wilson")
    return HoldoutScore(
        len(rows),
        right / len(rows),
        float(interval.low),
        float(interval.high),
        float(f1_score(truth, guess, average="macro", zero_division=0)),
    )
