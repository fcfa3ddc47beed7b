"""Choosing cells that the learner doubts, and saying what it doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .choices import Choice, Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def least_sure(p: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 minus the probability of the best guess (Lewis and Gale, SIGIR 1994)."""
    return np.asarray(1 - p.max(axis=1))


def entropy_of(p: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the entropy of each row in nats (Settles, TR 1648, 2009)."""
    return -np.asarray((p * np.log(np.maximum(p, 1e-12))).sum(axis=1))


def most(context: Context, wanted: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the positions of the ``count`` highest values, ties in random order."""
    count = min(len(wanted), count)
    if not count:
        return np.zeros(0, np.intp)
    tie = context.tie()
    top = np.arange(len(wanted))
    if count < len(wanted):
        level = np.partition(wanted, len(wanted) - count)[len(wanted) - count]
        above = np.flatnonzero(wanted > level)
        equal = np.flatnonzero(wanted == level)
        top = np.concatenate([above, equal[np.argsort(tie[equal])][: count - len(above)]])
    return np.asarray(top[np.lexsort((tie[top], -wanted[top]))], np.intp)


def chosen(context: Context, positions: NDArray[np.intp], doubt: NDArray[np.floating]) -> Choice:
    """Return the choice of these positions, with reasons from the learner's guesses."""
    return Choice(positions, np.asarray(doubt[positions], np.float64), reasons(context, positions))


def reasons(context: Context, positions: NDArray[np.intp]) -> tuple[str, ...]:
    """Return for each position between which classes the learner wavers."""
    assert context.learner is not None
    ids = [int(c) for c in context.learner.estimator.classes_]
    found = []
    for row in context.probabilities[positions]:
        second, first = np.argsort(row)[-2:]
        a, b = name_of(context.classes, ids[first]), name_of(context.classes, ids[second])
        if row[first] - row[second] < 0.5:
            found.append(f"the model cannot tell {a} from {b}")
        else:
            found.append(f"the least sure of those left: probably {a}, perhaps {b}")
    return tuple(found)


def name_of(classes: Mapping[int, str], class_id: int) -> str:
    """Return a class's name, or its number where it has none."""
    return classes.get(class_id, f"class {class_id}")
