"""How long a step of a training takes on this computer, measured by a few of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import new_id
from napari_cellal.io.reading import Reader, read_plane
from napari_cellal.networks.points import TrainPoint

from .architectures import architecture
from .start import has_imagenet
from .train import train_classifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .requests import ClassifierRequest, Patch

_STEPS = 3  # the first one warms up
_PICTURES = 64
_LOOKED_AT = 32


def measure_classifier_pace(
    request: ClassifierRequest, *, reader: Reader = read_plane
) -> Job[float]:
    """Return how many seconds a step of the training takes here, its looks shared out.

    Three steps of the whole network on some of the pictures, of every class, the last with a
    look at some held-out ones; nothing is kept, and nothing is downloaded.

    Raises
    ------
    ModelError
        If such a training cannot begin, or has no steps.
    """
    if request.settings.head != "linear":
        raise ModelError("A head on features that stay as they are is fitted without steps.")
    if request.start in ("auto", "imagenet") and not has_imagenet(
        architecture(request.architecture)
    ):
        request = replace(request, start="scratch")
    held = [p for p in request.patches if p.split == "val"]
    learned = _some(p for p in request.patches if p.split == "train")
    few = replace(
        request,
        patches=(*learned, *held[:_LOOKED_AT]),
        settings=request.settings.model_copy(
            update={"steps": 1000, "minutes": None, "validate_every": _STEPS, "frozen_share": 0.0}
        ),
        model_id=new_id(),
    )
    job = train_classifier(few, reader=reader)
    times: list[float] = []
    try:
        for step in job:
            if isinstance(step.item, TrainPoint):
                times.append(time.monotonic())
            yield Progress(len(times), _STEPS, "Measuring the speed of this computer")
            if len(times) == _STEPS:
                break
    finally:
        job.close()
    if len(times) < _STEPS:
        raise ModelError("The training ended by itself before its speed was measured.")
    a_step = times[1] - times[0]
    a_look = max(0.0, times[2] - times[1] - a_step) * len(held) / max(1, len(held[:_LOOKED_AT]))
    return a_step + a_look / request.settings.validate_every


def _some(patches: Iterable[Patch]) -> list[Patch]:
    """Return about as many pictures of each class, the first ones."""
    chosen = list(patches)
    most = max(1, _PICTURES // max(1, len({p.class_ids for p in chosen})))
    taken: Counter[tuple[int, ...]] = Counter()
    some = []
    for patch in chosen:
        taken[patch.class_ids] += 1
        if taken[patch.class_ids] <= most:
            some.append(patch)
    return some
