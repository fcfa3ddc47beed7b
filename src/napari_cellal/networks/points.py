"""What a training tells at each step, and what a search for a rate comes to. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainPoint:
    """One step of training.

    Attributes
    ----------
    score : float or None
        Of what is held out, 0..1: a detector's mAP50, a classifier's F1 averaged over classes.
        None between two looks.
    """

    step: int
    loss: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One step of the search for a learning rate: the loss is a running mean."""

    rate: float
    loss: float


@dataclass(frozen=True, slots=True)
class FoundRate:
    """What a search for a learning rate came to.

    Attributes
    ----------
    points : tuple of RatePoint
        Rates rising; they end where the loss exploded.
    suggested : float
        The rate for `CourseSettings.learning_rate`.
    """

    points: tuple[RatePoint, ...]
    suggested: float
