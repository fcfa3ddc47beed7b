"""What random picks would have given, replayed on a person's own labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import Job, Progress

from . import learner as learners
from .holdout import score_holdout
from .requests import ControlPoint
from .suggest import resolve, unlabelled_points

if TYPE_CHECKING:
    from .requests import SuggestRequest

_DRAWS = 5
_SIZES = 6
_FEWEST = 4


def random_control(request: SuggestRequest) -> Job[tuple[ControlPoint, ...]]:
    """Return the learner's accuracy on the hold-out after random subsets of the labels.

    Six sizes, five draws of each. The labels were chosen by the strategy, so that even a
    random part of them is better than cells picked at random would be (more balanced, and
    harder cells): the distance to the true curve is understated. With all labels both
    curves meet. ``simulate`` gives the unbiased comparison where everything is labelled.

    Empty without a hold-out, or with fewer than eight labels.
    """
    pool, labels, holdout = resolve(request)
    rows = np.array(sorted(labels), np.intp)
    if not holdout or len(rows) < 2 * _FEWEST:
        return ()
    known = np.array([labels[int(row)] for row in rows], np.int64)
    sizes = np.unique(np.geomspace(_FEWEST, len(rows), _SIZES).round().astype(int))
    found = []
    for done, size in enumerate(sizes):
        reached = []
        for draw in range(1 if size == len(rows) else _DRAWS):
            yield Progress(done, len(sizes), "Replaying random picks")
            some = np.random.default_rng([request.seed, draw]).permutation(len(rows))[:size]
            some = np.sort(some)
            model = learners.fit(
                pool.matrix.points[rows[some]],
                known[some],
                estimator=request.estimator,
                seed=request.seed,
                unlabelled=unlabelled_points(pool.matrix, pool.rows, rows, request.seed),
            )
            score = score_holdout(pool.matrix, model, holdout)
            if score is not None:
                reached.append((score.accuracy, score.macro_f1))
        if reached:
            accuracy, macro_f1 = np.mean(reached, axis=0)
            found.append(ControlPoint(int(size), float(accuracy), float(macro_f1)))
    return tuple(found)
