"""Choosing doubtful cells that differ from each other, and cells that stand for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from modAL.batch import ranked_batch
from modAL.density import information_density
from sklearn.cluster import KMeans

from .doubt import most

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .choices import Context

_GROUPS = 8
_A_GROUP = 25  # doubtful cells; the groups are made of so many times their number
_WIDEST = 2000
_COMPETENT = 4  # labels of every class from which on doubt is believed
_COMPARED = 1000
_BLOCK = 8192  # points compared with all labels at a time


def spread_over(context: Context, doubt: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return n positions: one for each group of doubtful cells, the weightiest group first.

    Groups by k-means over the doubtful, weighted by their doubt (Zhdanov, "Diverse
    mini-batch active learning", arXiv 1901.05954, 2019): many like cells that are all
    doubtful are worth more than one oddity, and one label serves them all.

    How many cells count as doubtful depends on how far the learner can be trusted: while a
    class has a single label it is nearly all of them, so that labels cover the cells; from
    four labels a class on, the 200 most doubtful. Likewise a doubt weighs its square at first
    and its fourth power then. A group is asked about where it is both doubtful and dense: its
    middle alone may be a cell that nobody doubts.
    """
    groups = max(context.n, _GROUPS)
    counts = np.unique(context.labels, return_counts=True)[1]
    competence = min(1.0, counts.min(initial=_COMPETENT) / _COMPETENT)
    narrow = groups * _A_GROUP
    wide = max(narrow, min(_WIDEST, len(doubt)))
    top = most(context, doubt, round(narrow + (1 - competence) * (wide - narrow)))
    if len(top) <= context.n:
        return top
    points = context.matrix.points[context.candidates[top]]
    weight = np.maximum(np.asarray(doubt[top], np.float64), 1e-6) ** (2 + 2 * competence)
    means = KMeans(min(groups, len(top)), n_init=1, max_iter=20, random_state=context.seed)
    group = means.fit_predict(points, sample_weight=weight)
    mass = np.bincount(group, weight)
    distance = ((points - means.cluster_centers_[group]) ** 2).sum(axis=1)
    width = max(float(np.average(distance, weights=weight)), 1e-9)
    worth = weight * np.exp(-distance / width)
    best = [
        int(members[np.argmax(worth[members])])
        for members in (np.flatnonzero(group == k) for k in np.argsort(-mass))
        if len(members)
    ]
    order = [best[k] for k in spread(points[best], context.n)]
    rest = np.setdiff1d(np.arange(len(top)), order)[: context.n - len(order)]  # doubles of cells
    return np.asarray(top[np.concatenate([np.array(order, np.intp), rest])])


def spread(points: NDArray[np.floating], n: int) -> NDArray[np.intp]:
    """Return n positions: the first, then always the one farthest from those chosen.

    The k-centre greedy of core-set selection (Sener and Savarese, ICLR 2018).
    """
    taken = [0] if len(points) else []
    distance = np.full(len(points), np.inf)
    while 0 < len(taken) < min(n, len(points)):
        distance = np.minimum(distance, ((points - points[taken[-1]]) ** 2).sum(axis=1))
        distance[taken] = -1.0
        taken.append(int(np.argmax(distance)))
    return np.array(taken, np.intp)


def ranked(context: Context, doubt: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return n positions, each doubtful and unlike all labelled and chosen before it.

    Ranked batch mode (Cardoso et al., Information Sciences 379, 2017) as in modAL, over the
    thousand most doubtful: it compares every cell with every label for each choice.
    """
    top = most(context, doubt, max(_COMPARED, context.n))
    assert context.learner is not None
    points = context.matrix.points[context.candidates[top]]
    order, _ = ranked_batch(context.learner, points, doubt[top], context.n, "euclidean", None)
    return np.asarray(top[order])


def weigh_by_density(context: Context, doubt: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the doubts times how many cells lie near (Settles and Craven, EMNLP 2008).

    Of the thousand most doubtful, against each other, by modAL's information density; the
    others keep a doubt below theirs.
    """
    top = most(context, doubt, max(_COMPARED, context.n))
    density = information_density(context.matrix.points[context.candidates[top]])
    weighed = doubt - 1 - doubt.max(initial=0)
    weighed[top] = doubt[top] * density / max(density.max(initial=0), 1e-12)
    return np.asarray(weighed)


def herded(context: Context) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return n positions that cover most of the cells not yet covered by a label, and the gain.

    MaxHerding (Bae, Noh and Sutherland, "Generalized coverage for more robust low-budget
    active learning", ECCV 2024): a label covers its surroundings by a Gaussian kernel,
    here of the median distance to the 20th neighbour. Of a thousand candidates.
    """
    rng = np.random.default_rng([context.seed, 1])
    at = context.candidates
    wide = max(_COMPARED, context.n)
    some = np.arange(len(at)) if len(at) <= wide else np.sort(rng.permutation(len(at))[:wide])
    points = context.matrix.points[at[some]]
    apart = _squared(points, points)
    near = np.partition(apart, min(20, len(some) - 1), axis=1)[:, min(20, len(some) - 1)]
    width = max(float(np.median(near)), 1e-9)
    kernel = np.exp(-apart / width)
    covered = np.zeros(len(some), np.float32)
    if len(context.labelled):
        known = context.matrix.points[context.labelled]
        covered = np.exp(-_squared(points, known) / width).max(axis=1)
    taken: list[int] = []
    gains: list[float] = []
    free = np.ones(len(some), bool)
    while len(taken) < context.n:
        gain = np.maximum(kernel - covered[:, None], 0).mean(axis=0)
        k = int(np.argmax(np.where(free, gain, -1)))
        taken.append(k)
        gains.append(float(gain[k]))
        free[k] = False
        covered = np.maximum(covered, kernel[:, k])
    return some[np.array(taken, np.intp)], np.array(gains)


def nearest(points: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each point's distance to the nearest of ``known`` [L, D], float32[M]; inf for none."""
    found = np.full(len(points), np.inf, np.float32)
    for start in range(0, len(points) if len(known) else 0, _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = np.sqrt(_squared(points[part], known).min(axis=1))
    return found


def unlike_all(context: Context) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return n positions, each farthest from all labelled and chosen before it, and how far.

    The k-centre greedy of core-set selection (Sener and Savarese, ICLR 2018). Without labels
    it begins with the cell farthest from the average.
    """
    points, known = context.features, context.matrix.points[context.labelled]
    far = nearest(points, known if len(known) else points.mean(axis=0, keepdims=True))
    taken: list[int] = []
    steps: list[float] = []
    while len(taken) < context.n:
        k = int(np.argmax(far))
        taken.append(k)
        steps.append(float(far[k]))
        far = np.minimum(far, nearest(points, points[k : k + 1]))
        far[taken] = -1.0
    return np.array(taken, np.intp), np.array(steps, np.float32)


def _squared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0))
