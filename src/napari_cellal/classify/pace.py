"""How long a step of a training takes on this computer, measured by a few of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.core.records import new_id
from napari_cellal.io.reading import Reader, read_plane
from napari_cellal.networks.step_times import STEPS, take_times

from .architectures import architecture
from .start import has_imagenet
from .train import train_classifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.progress import Job

    from .requests import ClassifierRequest, Patch

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
            update={"steps": 1000, "minutes": None, "validate_every": STEPS, "frozen_share": 0.0}
        ),
        model_id=new_id(),
    )
    times = yield from take_times(train_classifier(few, reader=reader))
    a_look = times.look * len(held) / max(1, len(held[:_LOOKED_AT]))
    return times.step + a_look / request.settings.validate_every


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
