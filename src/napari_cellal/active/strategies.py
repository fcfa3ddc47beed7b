"""Which cell to ask about next: a registry of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from modAL.uncertainty import classifier_entropy, classifier_margin, classifier_uncertainty

from napari_cellal.core.errors import ModelError

from .coldstart import typical_rows

if TYPE_CHECKING:
    from modAL.models import ActiveLearner
    from numpy.typing import NDArray

    from .matrix import Matrix

_DIVERSE_FROM = 8  # a batch is spread over this many times its size of doubtful cells


@dataclass(frozen=True)
class Context:
    """All that a strategy may look at.

    Attributes
    ----------
    matrix : Matrix
        Every cell's features, N rows.
    candidates : intp[M]
        Rows that may be chosen: neither labelled nor hold-out.
    labelled : intp[L]
        Rows with a label.
    labels : int[L]
        Their class ids.
    classes : {class_id: name}
        Every class of the project.
    learner : ActiveLearner or None
        Fitted to the labels; None while they name fewer than two classes.
    n : int
        How many to choose, at most M.
    seed : int
    """

    matrix: Matrix
    candidates: NDArray[np.intp]
    labelled: NDArray[np.intp]
    labels: NDArray[np.int64]
    classes: Mapping[int, str]
    learner: ActiveLearner | None
    n: int
    seed: int

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """float32[M, F]: the candidates' features."""
        return np.asarray(self.matrix.values[self.candidates])


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy chose: positions in ``candidates``, best first, and why."""

    positions: NDArray[np.intp]
    scores: NDArray[np.float64]
    reasons: tuple[str, ...]


Strategy = Callable[[Context], Choice]


def random(context: Context) -> Choice:
    """Choose at random: the baseline, and an honest sample of the images."""
    rng = np.random.default_rng([context.seed, len(context.labelled)])
    positions = rng.permutation(len(context.candidates))[: context.n]
    return Choice(positions, np.zeros(len(positions)), ("picked at random",) * len(positions))


def typical(context: Context) -> Choice:
    """Choose cells that stand for a group without labels; needs no labels at all.

    After TypiClust (Hacohen, Dekel and Weinshall, ICML 2022); see `coldstart`.
    """
    positions, scores, covered = typical_rows(
        context.matrix,
        context.candidates,
        context.labelled,
        n=context.n,
        classes=max(len(context.classes), 2),
        seed=context.seed,
    )
    reasons = tuple(
        "typical of a large group" if known else "typical of a group without labels"
        for known in covered
    )
    return Choice(positions, scores, reasons)


def uncertainty(context: Context) -> Choice:
    """Choose where the best guess is least probable (Lewis and Gale, SIGIR 1994)."""
    return _doubtful(context, classifier_uncertainty, diverse=False)


def margin(context: Context) -> Choice:
    """Choose where the two best guesses are closest (Scheffer et al., IDA 2001)."""
    return _doubtful(context, lambda m, x: 1 - classifier_margin(m, x), diverse=False)


def entropy(context: Context) -> Choice:
    """Choose where the probabilities are spread most (Settles, TR 1648, 2009)."""
    return _doubtful(context, classifier_entropy, diverse=False)


def automatic(context: Context) -> Choice:
    """Start with typical cells, go on with doubtful ones that differ from each other.

    Uncertainty loses to random while labels are few, so typical cells come first: until
    every class has a label, or four a class are spent (a class of the project may not
    occur in these images at all). Then smallest margin, a batch spread out.
    """
    spent = len(context.labelled) >= 4 * max(len(context.classes), 2)
    known = set(context.labels.tolist())
    if context.learner is None or not (spent or known >= set(context.classes)):
        return typical(context)
    return _doubtful(context, lambda m, x: 1 - classifier_margin(m, x), diverse=True)


STRATEGIES: MappingProxyType[str, Strategy] = MappingProxyType(
    {
        "automatic": automatic,
        "margin": margin,
        "entropy": entropy,
        "uncertainty": uncertainty,
        "typical": typical,
        "random": random,
    }
)


def strategy(name: str) -> Strategy:
    """Return the strategy of a name.

    Raises
    ------
    ModelError
        If there is none.
    """
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ModelError(f"There is no strategy '{name}'. Choose one of: {known}.")
    return STRATEGIES[name]


def _doubtful(
    context: Context,
    doubt_of: Callable[[ActiveLearner, NDArray[np.float32]], NDArray[np.float64]],
    *,
    diverse: bool,
) -> Choice:
    """Choose the candidates with the highest doubt; typical ones while there is no model."""
    if context.learner is None:
        return typical(context)
    doubt = np.asarray(doubt_of(context.learner, context.features), np.float64)
    # equal doubts in random order: a forest gives many, and rows come in image order
    tie = np.random.default_rng([context.seed, len(context.labelled)]).random(len(doubt))
    count = min(len(doubt), context.n * (_DIVERSE_FROM if diverse and context.n > 1 else 1))
    top = np.argpartition(-doubt, count - 1)[:count] if count < len(doubt) else np.arange(count)
    if count and count < len(doubt):
        level = doubt[top].min()
        equal = np.flatnonzero(doubt == level)
        above = np.flatnonzero(doubt > level)
        top = np.concatenate([above, equal[np.argsort(tie[equal])][: count - len(above)]])
    top = top[np.lexsort((tie[top], -doubt[top]))]
    if diverse and context.n > 1:
        top = top[_spread(context.matrix.components[context.candidates[top]], context.n)]
    return Choice(top, doubt[top], _doubt_reasons(context, top))


def _spread(points: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    """Return n positions: the first, then always the one farthest from those chosen.

    The k-centre greedy of core-set selection (Sener and Savarese, ICLR 2018).
    """
    chosen = [0] if len(points) else []
    distance = np.full(len(points), np.inf)
    while 0 < len(chosen) < min(n, len(points)):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen, np.intp)


def _doubt_reasons(context: Context, positions: NDArray[np.intp]) -> tuple[str, ...]:
    if not len(positions) or context.learner is None:
        return ()
    found = context.learner.predict_proba(context.features[positions])  # [n, known]
    ids = [int(c) for c in context.learner.estimator.classes_]
    reasons = []
    for row in found:
        second, first = np.argsort(row)[-2:]
        a, b = _name(context.classes, ids[first]), _name(context.classes, ids[second])
        if row[first] - row[second] < 0.5:
            reasons.append(f"the model cannot tell {a} from {b}")
        else:
            reasons.append(f"the least sure of those left: probably {a}, perhaps {b}")
    return tuple(reasons)


def _name(classes: Mapping[int, str], class_id: int) -> str:
    return classes.get(class_id, f"class {class_id}")
