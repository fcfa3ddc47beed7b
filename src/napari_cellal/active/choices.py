"""What a strategy may look at, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modAL.models import ActiveLearner
    from numpy.typing import NDArray

    from .matrix import Matrix


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
    scores : float32[N]
        How sure the detector is that there is a cell in each row of the matrix, NaN where it was
        not asked; empty where that does not matter.
    like : int or None
        The class that is hunted, None for the one with the fewest labels.
    """

    matrix: Matrix
    candidates: NDArray[np.intp]
    labelled: NDArray[np.intp]
    labels: NDArray[np.int64]
    classes: Mapping[int, str]
    learner: ActiveLearner | None
    n: int
    seed: int
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    like: int | None = None

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """float32[M, D]: the candidates' points."""
        return np.asarray(self.matrix.points[self.candidates])

    @cached_property
    def probabilities(self) -> NDArray[np.floating]:
        """float[M, known]: the learner's, in the order of its ``classes_``; it must be there.

        Where most cells are candidates all are classed: copying 100,000 rows takes longer.
        """
        assert self.learner is not None
        if 2 * len(self.candidates) > len(self.matrix):
            found = self.learner.predict_proba(self.matrix.points)[self.candidates]
        else:
            found = self.learner.predict_proba(self.features)
        return np.asarray(found)

    @cached_property
    def margin(self) -> NDArray[np.floating]:
        """float[M], 0..1: the most probable class's lead over the second."""
        p = self.probabilities
        first = p.argmax(axis=1)
        lead = p[np.arange(len(p)), first]
        rest = p.copy()
        rest[np.arange(len(p)), first] = 0
        return np.asarray(lead - rest.max(axis=1))

    def tie(self) -> NDArray[np.float64]:
        """Return a random number for each candidate: a forest gives many equal doubts."""
        rng = np.random.default_rng([self.seed, len(self.labelled)])
        return rng.random(len(self.candidates))


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy chose: positions in ``candidates``, best first, and why."""

    positions: NDArray[np.intp]
    scores: NDArray[np.float64]
    reasons: tuple[str, ...]
