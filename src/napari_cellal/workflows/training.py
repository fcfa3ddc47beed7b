"""Training a detector on a project's labels, and measuring it against the one in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Cell, ImageRecord, Review, Split
from napari_cellal.detect.architectures import ARCHITECTURES, architecture
from napari_cellal.detect.presets import find_preset, for_images
from napari_cellal.detect.requests import TrainedModel, TrainImage, TrainRequest
from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.io.composites import Composite
from napari_cellal.networks import unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.detect.settings import TrainSettings
    from napari_cellal.io.store import Project
    from napari_cellal.networks.points import FoundRate


FEW_BOXES = 5
"""A class with fewer examples is warned about."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What would be trained on, for the person to see first."""

    images: int
    boxes: dict[str, int]
    """Boxes by class name."""
    complete: int
    """Images that are finished, so that their background counts too."""
    val_images: int
    val_boxes: int
    val_by_class: dict[str, int]
    """Boxes of the finished held-out images by class name."""
    missing: tuple[str, ...]
    """Classes of the project without a box to learn from."""

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that a person should mend or know first."""
        said = []
        if not self.val_images:
            said.append(
                "No held-out image is finished, so nobody can say how good the new model is: "
                "finish one that is marked val (F), or hold one out (Use, below the image list)."
            )
        if not self.boxes:
            return said
        if len(self.boxes) == 1:
            said.append(f"All boxes are {next(iter(self.boxes))}: the model will know no other.")
        few = [name for name, n in self.boxes.items() if n < FEW_BOXES]
        for name in few:
            n = _count(self.boxes[name], "example", "examples")
            said.append(f"{name} has only {n}: the model may not learn it. Label more.")
        if self.missing:
            names = ", ".join(self.missing)
            said.append(f"No examples of {names}: the model will not find them.")
        if unknown := [name for name in self.missing if self.val_by_class.get(name)]:
            said.append(
                f"Held-out images with {', '.join(unknown)} give no curve on the way: they are "
                "measured at the end only."
            )
        if self.val_images:
            unseen = [name for name in self.boxes if not self.val_by_class.get(name)]
            if unseen:
                said.append(
                    f"The held-out images show no {', '.join(unseen)}, so that is not measured."
                )
        if not self.complete:
            said.append(
                "No image to learn from is finished, so the model hardly learns where no cell "
                "is. Finish some (F)."
            )
        return said

    def line(self) -> str:
        """Return it in words."""
        classes = ", ".join(f"{n} {name}" for name, n in self.boxes.items())
        measured = (
            f"measured on {_count(self.val_images, 'held-out image')} with "
            f"{_count(self.val_boxes, 'box', 'boxes')}."
            if self.val_images
            else "not measured, for no held-out image (val) is finished."
        )
        return (
            f"Trains on {_count(self.images, 'image')} ({self.complete} finished) with "
            f"{classes or 'no boxes'}; {measured}"
        )


def _count(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def _train_image(project: Project, record: ImageRecord, cells: list[Cell]) -> TrainImage | None:
    labels = [c for c in cells if c.is_label]
    rejected = tuple(c.box for c in cells if c.review is Review.REJECTED)
    if not labels and not (record.finished or rejected):
        return None
    # A cell that a person left without a class is no background either.
    doubtful = any(
        c.review is Review.UNSURE or (c.review is Review.CONFIRMED and not c.is_label)
        for c in cells
    )
    return TrainImage(
        str(project.image_path(record.image_id)),
        tuple(c.box for c in labels),
        tuple(c.class_id for c in labels if c.class_id is not None),
        record.finished and not doubtful,
        rejected,
        record.rgb,
        project.plane(record.image_id),
        tuple(c.box for c in cells if not c.is_label and c.review is not Review.REJECTED),
        tuple(c.mask for c in labels),
    )


def _images_of(project: Project, split: Split) -> list[TrainImage]:
    images = []
    for record in project.images.values():
        if record.split is split:
            image = _train_image(project, record, project.cells.of_image(record.image_id))
            if image is not None:
                images.append(image)
    return images


def training_set(project: Project) -> TrainingSet:
    """Return what the project's labels offer for training."""
    counts = project.cells.label_counts()
    doubtful = project.cells.doubtful_images()
    boxes: dict[int, int] = {}
    held: dict[int, int] = {}
    images = complete = val_images = val_boxes = 0
    for key, record in project.images.items():
        mine = counts.get(key, {})
        if record.split is Split.VAL and mine:
            if record.finished and key not in doubtful:
                val_images += 1
                val_boxes += sum(mine.values())
                for class_id, n in mine.items():
                    held[class_id] = held.get(class_id, 0) + n
        elif record.split is Split.TRAIN and (mine or record.finished):
            images += 1
            complete += record.finished and key not in doubtful
            for class_id, n in mine.items():
                boxes[class_id] = boxes.get(class_id, 0) + n
    active = project.active_classes
    return TrainingSet(
        images,
        {c.name: boxes[c.class_id] for c in active if c.class_id in boxes},
        complete,
        val_images,
        val_boxes,
        {c.name: held[c.class_id] for c in active if c.class_id in held},
        tuple(c.name for c in active if c.class_id not in boxes),
    )


def request_training(
    project: Project,
    *,
    preset: str = "fast",
    start: str = "auto",
    device: str = "auto",
    settings: TrainSettings | None = None,
    composite: Composite | None = None,
) -> TrainRequest:
    """Return the training of a detector on the images whose split is ``train``.

    Parameters
    ----------
    preset : str
        One of `detect.presets`: ``fast``, ``balanced``, ``accurate``; or an architecture.
    start : str
        ``auto`` (the project's own detector in use, else the shipped one, see `detect.start`),
        ``shipped``, ``coco``, ``imagenet``, ``scratch``, a model's id, or a .safetensors file.
    composite : Composite or None
        How the channels become the three that the network sees; see `compositing`. A model
        that is trained further keeps its own.

    Raises
    ------
    ModelError
        If there is nothing to learn from.
    """
    images = _images_of(project, Split.TRAIN)
    used = {c for image in images for c in image.class_ids}
    classes = [c for c in project.active_classes if c.class_id in used]
    if not classes:
        raise ModelError(
            "There are no labels to train on yet. Confirm or draw some boxes with a class in "
            "images that are not held out."
        )
    channels = {r.channels for r in project.images.values()}
    if len({len(c) for c in channels}) > 1:
        raise ModelError(
            "The project's images differ in their number of channels. Train on images of one kind."
        )
    chosen = find_preset(preset)
    settings = settings or settings_for(project, preset, start)
    if start == "auto":
        start = _to_go_on_from(project, chosen.architecture, settings, composite) or start
    parent = _model(project, start)
    if parent is not None and composite is None:
        composite = composite_of(parent)
    models = project.folder / "models"
    models.mkdir(exist_ok=True)
    sizes = {r.pixel_size_um for r in project.images.values()}
    return TrainRequest(
        tuple(images),
        tuple(c.class_id for c in classes),
        tuple(c.name for c in classes),
        str(models),
        tuple(i for i in _images_of(project, Split.VAL) if i.boxes),
        next(iter(channels)),
        chosen.architecture if parent is None else parent.architecture,
        start if parent is None else str(project.model_folder(start)),
        device,
        settings,
        sizes.pop() if len(sizes) == 1 else None,
        composite,
        preset,
    )


def _model(project: Project, model_id: str) -> ModelRecord | None:
    return next((m for m in project.models if m.model_id == model_id), None)


def automatic_start(
    project: Project, preset: str, settings: TrainSettings, composite: Composite | None = None
) -> str:
    """Return what ``auto`` stands for: a model's id, ``shipped`` or ``published``.

    ``published`` are COCO's or ImageNet's weights, or none where they cannot be had.
    """
    chosen = find_preset(preset).architecture
    model_id = _to_go_on_from(project, chosen, settings, composite)
    return model_id or (SHIPPED if architecture(chosen).shipped else "published")


def find_published() -> Job[frozenset[tuple[str, str]]]:
    """Return which published weights are on this computer, as (network, coco or imagenet).

    Runs in the worker.
    """
    yield Progress(0, 0, "Looking for starting weights")
    from napari_cellal.detect.start import has_published

    return frozenset(
        (name, kind)
        for name, network in ARCHITECTURES.items()
        for kind in ("coco", "imagenet")
        if has_published(kind, network)
    )


def _to_go_on_from(
    project: Project, architecture: str, settings: TrainSettings, composite: Composite | None
) -> str | None:
    """Return the detector in use where it can be trained further on the project's images."""
    model = _model(project, project.settings.detector)
    if model is None or model.architecture != architecture or settings.shrink != 1:
        return None  # a model keeps its own scale
    same_channels = all(len(r.channels) == len(model.channels) for r in project.images.values())
    same_colours = composite is None or composite == composite_of(model)
    return model.model_id if same_channels and same_colours else None


def composite_of(model: ModelRecord) -> Composite | None:
    """Return how a model turns channels into colour, None where it sees them as they are."""
    kept = model.settings.get("composite")
    return None if kept is None else Composite.from_dict(kept)


def settings_for(
    project: Project, preset: str = "fast", start: str = "auto", **changes: Any
) -> TrainSettings:
    """Return a preset's settings with some changed; a change to None is none.

    A model that is trained further keeps its own scale. Where the starting weights know cells
    already, few images get fewer steps; see `presets.for_images`.

    Raises
    ------
    ModelError
        If there is no such preset.
    """
    chosen = find_preset(preset)
    settings = chosen.settings
    begun = automatic_start(project, preset, settings) if start == "auto" else start
    # another network takes over the shipped one's body only: its heads begin anew
    whole = begun == SHIPPED and chosen.architecture == shipped_record().architecture
    if whole or _model(project, begun) is not None:
        settings = for_images(settings, training_set(project).images)
    update = {"seed": project.settings.seed}
    if _model(project, start) is not None:
        update["shrink"] = 1
    update |= {key: value for key, value in changes.items() if value is not None}
    return settings.model_copy(update=update)


def train(request: TrainRequest) -> Job[TrainedModel]:
    """Return the job of the training; its items are `networks.points.TrainPoint`."""
    from napari_cellal.detect.train import train_detector

    return train_detector(request)


def forget_unfinished(request: TrainRequest) -> None:
    """Remove what a cancelled training had reached, so that the next one begins anew.

    One that is closed does so itself; this is for one whose process had to be ended.
    """
    unfinished.forget(request)


def find_unfinished(project: Project) -> Path | None:
    """Return the file of the training of a project that was cut off last, None without one."""
    return next(iter(unfinished.find(project.folder / "models", TrainRequest)), None)


def go_on(file: Path) -> Job[TrainedModel]:
    """Return the job of a training that was cut off; it learns from the labels as they were.

    Raises
    ------
    ModelError
        If it cannot go on.
    """
    return train(unfinished.read(file, TrainRequest))


def find_rate(request: TrainRequest) -> Job[FoundRate]:
    """Return the job that looks for a learning rate; its items are `networks.points.RatePoint`.

    It changes nothing: the rate that it suggests is for the request's settings.
    """
    from napari_cellal.detect.train import find_detector_rate

    return find_detector_rate(request)


def register_model(project: Project, trained: TrainedModel, *, use: bool) -> None:
    """Write the model's card into the project; ``use`` makes it the detector of the project."""
    project.add_model(trained.record)
    if use:
        use_detector(project, trained.record.model_id)


def use_detector(project: Project, model_id: str) -> None:
    """Make a model, ``shipped`` or ``classical`` the detector used unless another is chosen.

    ``auto`` leaves the choice to the program again.
    """
    project.settings = project.settings.model_copy(update={"detector": model_id})
