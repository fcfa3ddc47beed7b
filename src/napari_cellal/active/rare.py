"""Finding the first cells of a class that is rare, and then more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .choices import Choice, Context
from .diversity import nearest, unlike_all
from .doubt import most, name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRUSTED_FROM = 3  # labels of the class; below, likeness to them says more than a model
_LOOKED_FOR = 100
"""Labels after which a class that nobody asked for is held not to occur. Of 20 searches for a
class of 2 %, one took longer (108)."""


def hunted_class(context: Context) -> int | None:
    """Return the class asked for, else that with the fewest labels.

    None while that class has no label, and so nothing can be like it, and while the labels
    name one class only.
    """
    count = dict.fromkeys(context.classes, 0)
    for class_id in context.labels.tolist():
        count[class_id] = count.get(class_id, 0) + 1
    known = {class_id: n for class_id, n in count.items() if n}
    if context.like is not None:
        return context.like if context.like in known else None
    if len(known) < 2 or (len(known) < len(count) and len(context.labelled) < _LOOKED_FOR):
        return None
    return min(known, key=known.__getitem__)


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


def explore(context: Context) -> Choice:
    """Return n candidates unlike all labelled cells, and unlike each other.

    What stands for many cells comes from the common classes: typical cells found a class of
    2 % later than random ones did, these sooner (docs/benchmarks.md).
    """
    positions, far = unlike_all(context)
    than = "every cell with a label" if len(context.labelled) else "most others"
    why = f"it is unlike {than}, as cells of a rare class are"
    return Choice(positions, np.asarray(far, np.float64), (why,) * len(positions))


def _nearest(context: Context, rows: NDArray[np.intp]) -> NDArray[np.floating]:
    return nearest(context.features, context.matrix.points[rows])
