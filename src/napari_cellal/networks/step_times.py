"""How long a step of a training takes on this computer, measured by a few of them."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress

from .points import TrainPoint

STEPS = 3  # the first one warms up
"""Steps that are timed. The training looks at what is held out after the last of them."""


class Times(NamedTuple):
    """How long a step takes and a look at what is held out, s."""

    step: float
    look: float


def take_times(training: Job[Any]) -> Job[Times]:
    """Time the first steps of a training, then close it.

    Raises
    ------
    ModelError
        If it has fewer steps.
    """
    times: list[float] = []
    try:
        for step in training:
            if isinstance(step.item, TrainPoint):
                times.append(time.monotonic())
            yield Progress(len(times), STEPS, "Measuring the speed of this computer")
            if len(times) == STEPS:
                break
    finally:
        training.close()
    if len(times) < STEPS:
        raise ModelError("The training ended by itself before its speed was measured.")
    a_step = times[1] - times[0]
    return Times(a_step, max(0.0, times[2] - times[1] - a_step))
