"""How the learning rate goes: one cycle, or down wherever nothing gets better any more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

_CUT = 0.3  # what is left of the rate after a plateau


class RateSettings(Protocol):
    """What the rate depends on."""

    @property
    def learning_rate(self) -> float:
        """The highest rate."""

    @property
    def warmup(self) -> float:
        """Share of the training in which it rises."""

    @property
    def schedule(self) -> Literal["one_cycle", "plateau"]:
        """How it falls."""


def learning_rate(progress: float, settings: RateSettings, share: float = 1.0) -> float:
    """Return the rate at ``progress`` 0..1.

    One cycle: up in a straight line, down as a cosine; Smith's policy (arXiv:1708.07120)
    without the momentum. Plateau: up the same way, then ``share`` of the highest, which
    `Plateau` counts.
    """
    if progress < settings.warmup:
        return settings.learning_rate * (0.04 + 0.96 * progress / settings.warmup)
    if settings.schedule == "plateau":
        return settings.learning_rate * share
    rest = (progress - settings.warmup) / (1 - settings.warmup)
    cosine = 0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
    return settings.learning_rate * cosine


@dataclass
class Plateau:
    """Cuts the rate after some looks that brought nothing better; plain numbers, to be kept.

    A look is one at the validation images, or, where there are none, at the mean loss of as
    many steps.
    """

    share: float = 1.0
    best: float = -math.inf
    without_gain: int = 0
    loss: float = 0.0
    steps: int = 0

    def tell(self, score: float, patience: int) -> None:
        """Take in a look's score, higher is better."""
        if score > self.best:
            self.best, self.without_gain = score, 0
            return
        self.without_gain += 1
        if self.without_gain >= patience:
            self.share, self.without_gain = self.share * _CUT, 0

    def tell_loss(self, loss: float, every: int, patience: int) -> None:
        """Take in a step's loss; each ``every`` of them are a look."""
        self.loss += loss
        self.steps += 1
        if self.steps >= every:
            self.tell(-self.loss / self.steps, patience)
            self.loss, self.steps = 0.0, 0
