"""What a person chooses from: a network with settings, and what it costs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_cellal.core.errors import ModelError

from .architectures import ARCHITECTURES
from .settings import TrainSettings


@dataclass(frozen=True)
class Preset:
    """A network and how it is trained.

    Attributes
    ----------
    cost : str
        For whom it is, in a sentence; times are for images of 640x480 px.
    """

    architecture: str
    cost: str
    settings: TrainSettings = field(default_factory=TrainSettings)


PRESETS = {
    "fast": Preset(
        "mobilenet_v2",
        "For any computer: a minute or two of training for 5 images on two CPU cores, about 10 "
        "minutes for 180 and more.",
    ),
    "balanced": Preset(
        "mobilenet_v2",
        "The same network on pictures 1.5 times as large, for longer: about an hour on two CPU "
        "cores, less on a GPU. For small cells.",
        TrainSettings(steps=1500, shrink=0.67, crop_px=640),
    ),
    "dense": Preset(
        "fcos_mobilenet_v2",
        "For fields with hundreds of cells close together: one stage instead of two.",
    ),
    "masks": Preset(
        "mobilenet_v2_masks",
        "The fast network with the outline of each cell: learned from label images, or from "
        "outlines of COCO or QuPath. A step takes about 1.7 times as long.",
    ),
    "accurate": Preset(
        "resnet50",
        "A larger network; wants a GPU, since it would take many hours on a CPU.",
        TrainSettings(steps=3000, batch_size=4),
    ),
}


_MANY = 180  # training images for which a preset's steps were chosen
_MOST_KEPT = 0.3  # of the starting weights; 0.6 was too much where they knew one class badly
_KEPT_IMAGES = 1.5  # the share is this by the number of images
_FEWEST_STEPS = 60  # after 29 a detector was worse than before (BCCD, docs/benchmarks.md)


def for_images(settings: TrainSettings, n_images: int) -> TrainSettings:
    """Return settings with as many steps as so many images are worth, less of them the fewer.

    For weights that know cells already. The steps grow with the images: with the preset
    ``fast`` 75 for 5, 120 for 20, 600 from 180 on. The share of the starting weights that stays
    falls from 0.3 for 5 images and fewer as 1.5 divided by their number: 20 teach a class that
    the start knew badly well enough for the start to be in the way.
    """
    share = min(1.0, n_images / _MANY)
    steps = min(settings.steps, max(_FEWEST_STEPS, round(settings.steps * (0.1 + 0.9 * share))))
    kept = min(_MOST_KEPT, round(_KEPT_IMAGES / max(1, n_images), 2)) if share < 1 else 0.0
    return settings.model_copy(update={"steps": steps, "keep_start": kept})


def find_preset(name: str) -> Preset:
    """Return a preset, or one made of the architecture of that name.

    Raises
    ------
    ModelError
        If there is neither.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in ARCHITECTURES:
        return Preset(name, ARCHITECTURES[name].summary)
    known = ", ".join([*PRESETS, *ARCHITECTURES])
    raise ModelError(f"There is no preset or architecture '{name}'. Known are: {known}.")
