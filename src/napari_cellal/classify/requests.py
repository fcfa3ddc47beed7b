"""What classifier jobs are given and what they yield. Picklable, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_cellal.core.geometry import Box
from napari_cellal.core.masks import Mask
from napari_cellal.core.records import WHOLE, ModelRecord, Plane, new_id

from .settings import ClassifySettings, ViewSettings


@dataclass(frozen=True, slots=True)
class Patch:
    """One picture to be classed: a cell in an image, a patch, or a whole image.

    Attributes
    ----------
    key : str
        What it is known by: a cell's id, or a file's path within its folder.
    box : Box or None
        (y0, x0, y1, x1), image px; None is all of the image.
    class_ids : tuple of int
        What it is; several or none where a cell may have several classes.
    split : str
        ``train``, ``val`` or ``test``; empty until it is drawn.
    group : str
        What must not be torn apart by a split; empty where it stands for itself.
    source : str
        Where it is from (data set, plate, slide, folder): figures are given by this too.
    mask : Mask or None
        The cell's outline, where it is known; image px.
    """

    key: str
    path: str
    class_ids: tuple[int, ...] = ()
    box: Box | None = None
    plane: Plane = WHOLE
    split: str = ""
    group: str = ""
    source: str = ""
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class PatchFailure:
    """A picture that could not be used, and why, in one sentence."""

    key: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ClassifierRequest:
    """All that a classifier is trained from.

    Attributes
    ----------
    patches : tuple of Patch
        Each with its split: ``train`` is learned from, ``val`` says when to stop.
    models_folder : str
        The model is written to ``models_folder/model_id`` once it is whole.
    start : str
        ``auto`` (ImageNet if it can be had, else nothing), ``imagenet``, ``scratch``, a
        .safetensors file, or the folder of a classifier to go on from.
    name : str
        What the person calls the model; may be empty.
    """

    patches: tuple[Patch, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    models_folder: str
    channels: tuple[str, ...] = ()
    architecture: str = "mobilenet_v2"
    start: str = "auto"
    device: str = "auto"
    settings: ClassifySettings = field(default_factory=ClassifySettings)
    view: ViewSettings = field(default_factory=ViewSettings)
    pixel_size_um: float | None = None
    name: str = ""
    model_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A model on disk."""

    record: ModelRecord
    folder: str
    failures: tuple[PatchFailure, ...] = ()
