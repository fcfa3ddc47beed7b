"""The learning-rate finder: a short training with a rising rate, and what it suggests.

L. N. Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress

from .points import FoundRate, RatePoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .course import Batches
    from .settings import CourseSettings
    from .stepping import Stepper

STEPS = 60
LOWEST, HIGHEST = 1e-6, 0.1
_MEMORY = 0.9  # share of the running loss that a step keeps
_EXPLODED = 3.0  # times the best loss: no higher rate is worth a look
_SURE = 5  # steps before a running mean is taken for the lowest


def find_rate(
    stepper: Stepper, batches: Batches, settings: CourseSettings, steps: int | None = None
) -> Job[FoundRate]:
    """Yield a `RatePoint` a step and return them with a suggestion, also after an `EndEarly`.

    The network is to be thrown away afterwards.

    Parameters
    ----------
    stepper, batches, settings
        Those that a training would begin with.

    Raises
    ------
    ModelError
        If no rate gave a loss.
    """
    steps = steps or STEPS
    stepper.freeze(settings.frozen_share > 0)
    points: list[RatePoint] = []
    running = 0.0
    for number, batch in enumerate(batches(0)):
        if number == steps:
            break
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / max(1, steps - 1))
        loss = stepper.step(batch, rate, number)
        if not math.isfinite(loss):
            break
        running = _MEMORY * running + (1 - _MEMORY) * loss
        points.append(RatePoint(rate, running / (1 - _MEMORY ** (number + 1))))
        words = f"Looking for a learning rate: {rate:.1e}, loss {points[-1].loss:.3f}{stepper.note}"
        try:
            yield Progress(number + 1, steps, words, points[-1])
        except EndEarly:
            break
        if points[-1].loss > _EXPLODED * min(p.loss for p in points):
            break
    if not points:
        raise ModelError(
            "No learning rate can be found: the loss was not a number from the beginning. Look "
            "for images without any contrast."
        )
    return FoundRate(tuple(points), suggested_rate(points))


def suggested_rate(points: Sequence[RatePoint]) -> float:
    """Return a tenth of the rate at which the loss was lowest, at two digits.

    The other usual choice, where the loss falls most steeply, says nothing where training
    goes on from a network that knows cells already: its loss hardly falls before it rises,
    so the steepest place is noise.
    """
    lowest = min(points[min(_SURE, len(points) - 1) :], key=lambda p: p.loss)
    return float(f"{lowest.rate / 10:.1e}")
