"""What detector jobs are given and what they yield. Picklable, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_cellal.core.geometry import Box
from napari_cellal.core.masks import Mask
from napari_cellal.core.records import WHOLE, ModelRecord, Plane, new_id
from napari_cellal.io.composites import Composite

from .settings import TrainSettings


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One plane to be searched for cells."""

    image_id: str
    path: str
    rgb: bool = False
    plane: Plane = WHOLE


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """An image that could not be used, and why, in one sentence."""

    image_id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class TrainImage:
    """One plane with its labels.

    Attributes
    ----------
    boxes : tuple of Box
        (y0, x0, y1, x1), image px.
    class_ids : tuple of int
        One a box. A box of a class that the model does not learn makes the image incomplete.
    complete : bool
        True where every cell has its box, so that the rest is background.
    rejected : tuple of Box
        Where a person said that there is no cell: background also in incomplete images.
    unreviewed : tuple of Box
        What may be a cell, but nobody has confirmed or classed it: nothing is pasted over it.
    masks : tuple of Mask or None
        One a box, image px; or empty. Only a network of masks learns from them.
    """

    path: str
    boxes: tuple[Box, ...]
    class_ids: tuple[int, ...]
    complete: bool = True
    rejected: tuple[Box, ...] = ()
    rgb: bool = False
    plane: Plane = WHOLE
    unreviewed: tuple[Box, ...] = ()
    masks: tuple[Mask | None, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """All that a detector is trained from.

    Attributes
    ----------
    models_folder : str
        The model is written to ``models_folder/model_id`` once it is whole.
    start : str
        ``auto``, ``shipped``, ``coco``, ``imagenet``, ``scratch``, a .safetensors file, or the
        folder of a model to go on from.
    composite : Composite or None
        How the channels become the three that the network sees; None shows it all of them.
    preset : str
        The name of what a person chose; for the card.
    """

    images: tuple[TrainImage, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    models_folder: str
    val_images: tuple[TrainImage, ...] = ()
    channels: tuple[str, ...] = ()
    architecture: str = "mobilenet_v2"
    start: str = "auto"
    device: str = "auto"
    settings: TrainSettings = field(default_factory=TrainSettings)
    pixel_size_um: float | None = None
    composite: Composite | None = None
    preset: str = ""
    model_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model on disk."""

    record: ModelRecord
    folder: str
