"""How long a step of a training takes on this computer, measured by a few of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_cellal.core.records import new_id
from napari_cellal.io.reading import Reader, read_plane
from napari_cellal.networks.step_times import STEPS, take_times

from .architectures import architecture
from .train import train_detector

if TYPE_CHECKING:
    from napari_cellal.core.progress import Job

    from .requests import TrainImage, TrainRequest

_IMAGES = 8


def measure_pace(request: TrainRequest, *, reader: Reader = read_plane) -> Job[float]:
    """Return how many seconds a step of the training takes here, its looks shared out.

    Three steps on some of the images, those with labels first, the last with a look at one
    held-out image; nothing is kept, and nothing is downloaded.

    Raises
    ------
    ModelError
        If such a training cannot begin.
    """
    ready = request.start not in ("auto", "coco", "imagenet")
    if not ready and not (request.start == "auto" and architecture(request.architecture).shipped):
        request = replace(request, start="scratch")
    # only finished images are looked at
    held = [image for image in request.val_images if image.complete]
    few = replace(
        request,
        images=tuple(sorted(request.images, key=_teaches, reverse=True)[:_IMAGES]),
        val_images=tuple(held[:1]),
        settings=request.settings.model_copy(
            update={"steps": 1000, "minutes": None, "validate_every": STEPS}
        ),
        model_id=new_id(),
    )
    times = yield from take_times(train_detector(few, reader=reader))
    looked_at = min(len(held), request.settings.validate_on)
    return times.step + times.look * looked_at / request.settings.validate_every


def _teaches(image: TrainImage) -> tuple[bool, bool]:
    """Return whether an image has outlines to learn, and boxes."""
    return any(mask is not None for mask in image.masks), bool(image.boxes)
