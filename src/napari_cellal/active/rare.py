"""Finding more cells of a class that is rare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .choices import Choice, Context
from .doubt import most, name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRUSTED_FROM = 3  # labels of the class; below, likeness to them says more than a model


def hunted_class(context: Context) -> int | None:
    """Return the class asked for, else that with the fewest labels; None without labels."""
    if context.like is not None:
        return context.like if (context.labels == context.like).any() else None
    ids, counts = np.unique(context.labels, return_counts=True)
    return int(ids[np.argmin(counts)]) if len(ids) else None


def likeness(context: Context, class_id: int) -> NDArray[np.floating]:
    """Return how much each candidate looks like the class, float[M], 0..1.

    With three labels of the class and a learner, its probability. Before, how much nearer
    the nearest cell of the class is than the nearest of another.
    """
    is_class = context.labels == class_id
    if context.learner is not None and is_class.sum() >= _TRUSTED_FROM:
        known = [int(c) for c in context.learner.estimator.classes_]
        return context.probabilities[:, known.index(class_id)]
    near = _nearest(context, context.labelled[is_class])
    if is_class.all():
        return np.asarray(1 / (1 + near))
    far = _nearest(context, context.labelled[~is_class])
    return np.asarray(far / np.maximum(near + far, 1e-12))


def hunt(context: Context, class_id: int) -> Choice:
    """Return the n candidates that look most like the class, found or not.

    Certainty, not doubt: the surest guesses hold the most cells of a rare class (the greedy
    policy of active search: Garnett et al., ICML 2012).
    """
    wanted = likeness(context, class_id)
    top = most(context, wanted, context.n)
    why = f"it looks like {name_of(context.classes, class_id)}, of which there are few"
    return Choice(top, np.asarray(wanted[top], np.float64), (why,) * len(top))


def _nearest(context: Context, rows: NDArray[np.intp]) -> NDArray[np.floating]:
    points, known = context.features, context.matrix.points[rows]
    least = np.full(len(points), np.inf)
    for one in known:
        least = np.minimum(least, np.sqrt(((points - one) ** 2).sum(axis=1)))
    return least
