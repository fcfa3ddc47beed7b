"""Which cell to ask about next: a registry of plain functions."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from modAL.disagreement import KL_max_disagreement

from napari_cellal.core.errors import ModelError

from . import diversity
from .choices import Choice, Context
from .coldstart import typical_rows
from .doubt import chosen, entropy_of, least_sure, most
from .learner import fit_committee
from .rare import explore, hunt, hunted_class

_JUDGED = 2000  # cells that a committee is asked about: a forest takes 20 us each

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


def herding(context: Context) -> Choice:
    """Choose cells that cover as many others as possible; needs no labels at all.

    After MaxHerding (Bae, Noh and Sutherland, ECCV 2024); see `diversity.herded`.
    """
    positions, gains = diversity.herded(context)
    return Choice(positions, gains, ("it stands for many cells without labels",) * len(positions))


def uncertainty(context: Context) -> Choice:
    """Choose where the best guess is least probable (Lewis and Gale, SIGIR 1994)."""
    if context.learner is None:
        return typical(context)
    doubt = least_sure(context.probabilities)
    return chosen(context, most(context, doubt, context.n), doubt)


def margin(context: Context) -> Choice:
    """Choose where the two best guesses are closest (Scheffer et al., IDA 2001)."""
    if context.learner is None:
        return typical(context)
    doubt = 1 - context.margin
    return chosen(context, most(context, doubt, context.n), doubt)


def entropy(context: Context) -> Choice:
    """Choose where the probabilities are spread most (Settles, TR 1648, 2009)."""
    if context.learner is None:
        return typical(context)
    doubt = entropy_of(context.probabilities)
    return chosen(context, most(context, doubt, context.n), doubt)


def committee(context: Context) -> Choice:
    """Choose where models of different kinds disagree most.

    The largest divergence of one member from the mean of all (McCallum and Nigam, ICML
    1998), by modAL; among the cells that the learner itself doubts most.
    """
    if context.learner is None:
        return typical(context)
    known = context.matrix.points[context.labelled]
    members = fit_committee(known, context.labels, seed=context.seed)
    asked = most(context, 1 - context.margin, max(_JUDGED, context.n))
    disputed = np.full(len(context.candidates), -1.0)
    disputed[asked] = KL_max_disagreement(members, context.features[asked])
    top = most(context, disputed, context.n)
    return Choice(top, disputed[top], ("models of three kinds disagree about it",) * len(top))


def density(context: Context) -> Choice:
    """Choose doubtful cells that many others resemble (Settles and Craven, EMNLP 2008)."""
    if context.learner is None:
        return typical(context)
    weighed = diversity.weigh_by_density(context, 1 - context.margin)
    return chosen(context, most(context, weighed, context.n), weighed)


def ranked(context: Context) -> Choice:
    """Choose doubtful cells unlike all labelled ones (Cardoso et al., Inf. Sci. 379, 2017)."""
    if context.learner is None:
        return typical(context)
    doubt = least_sure(context.probabilities)
    return chosen(context, diversity.ranked(context, doubt), doubt)


def diverse(context: Context) -> Choice:
    """Choose one doubtful cell of each kind (Zhdanov, arXiv 1901.05954, 2019)."""
    if context.learner is None:
        return typical(context)
    doubt = 1 - context.margin
    return chosen(context, diversity.spread_over(context, doubt), doubt)


def rare(context: Context) -> Choice:
    """Choose cells that look like the class with the fewest labels, or a named one.

    Until that has a label: cells unlike all that have one.
    """
    hunted = hunted_class(context)
    return explore(context) if hunted is None else hunt(context, hunted)


def detector(context: Context) -> Choice:
    """Choose boxes of which the detector is least sure that they are cells: score near 0.5."""
    known = context.scores if len(context.scores) else np.full(len(context.matrix), np.nan)
    found = known[context.candidates]
    doubt = np.nan_to_num(1 - np.abs(2 * found - 1), nan=-1.0)
    top = most(context, doubt, context.n)
    why = [
        "the detector gave it no score"
        if np.isnan(found[k])
        else f"the detector is unsure whether it is a cell (score {found[k]:.2f})"
        for k in top
    ]
    return Choice(top, doubt[top], tuple(why))


def automatic(context: Context) -> Choice:
    """Start with typical cells, go on with doubtful ones that differ from each other.

    Uncertainty loses to random while labels are few, so typical cells come first: until
    every class has a label, or four a class are spent (a class of the project may not
    occur in these images at all). Then `diverse`, which goes from covering all cells to
    the most doubtful as the labels of each class grow. While all those labels are of one
    class, the others are rare, and cells unlike them are asked about.
    """
    spent = len(context.labelled) >= 4 * max(len(context.classes), 2)
    known = set(context.labels.tolist())
    if context.learner is None:
        return explore(context) if spent else typical(context)
    return diverse(context) if spent or known >= set(context.classes) else typical(context)


STRATEGIES: MappingProxyType[str, Strategy] = MappingProxyType(
    {
        "automatic": automatic,
        "diverse": diverse,
        "margin": margin,
        "entropy": entropy,
        "uncertainty": uncertainty,
        "committee": committee,
        "density": density,
        "ranked": ranked,
        "typical": typical,
        "herding": herding,
        "rare": rare,
        "detector": detector,
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
