"""Training a detector: a job that yields a point a step and returns a model on disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchvision

from napari_cellal import __version__
from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress
from napari_cellal.core.records import ModelRecord
from napari_cellal.io.reading import Reader, read_plane
from napari_cellal.networks.checkpoints import Checkpoint
from napari_cellal.networks.course import Course, Outcome
from napari_cellal.networks.devices import choose_device, describe_device
from napari_cellal.networks.model_files import save_model
from napari_cellal.networks.normalization import Normalization
from napari_cellal.networks.rates import find_rate

from .architectures import architecture
from .average_precision import ap50
from .dataset import Pictures, Survey, batches, survey, validation_images
from .fitting import fit_network
from .folding import fold_while_learning
from .lessons import stepper_of
from .network import build_detector
from .requests import TrainedModel, TrainRequest
from .shipped import shipped_record
from .start import Start, find_start, put_in
from .validation import Metric, Validation, mean
from .weights import composite_of, network_settings

if TYPE_CHECKING:
    from napari_cellal.io.composites import Composite
    from napari_cellal.networks.points import FoundRate

    from .family import CellNetwork
    from .settings import NetworkSettings


@dataclass(frozen=True)
class Prepared:
    """A network with its starting weights, and what it shall learn from.

    Attributes
    ----------
    record : ModelRecord
        The card as far as it is known before training.
    keep_start : float
        Share of the starting weights in the model, 0..1.
    """

    network: CellNetwork
    device: torch.device
    pictures: Pictures
    record: ModelRecord
    keep_start: float


def prepare(request: TrainRequest, reader: Reader) -> Job[Prepared]:
    """Look at the images, find the starting weights and return what a training begins with.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or the request does not fit together.
    """
    yield Progress(0, 0, "Preparing")
    device = choose_device(request.device)
    arch = architecture(request.architecture)
    shown = _as_shown(reader, request.composite)
    seen = yield from survey(request, shown)
    _check_masks(request, seen)
    start = yield from find_start(request.start, arch)
    _check_start(request, start)
    shape, normalization = _shape_of(request, seen, start)
    torch.manual_seed(request.settings.seed)
    network = build_detector(
        request.architecture,
        normalization.n_channels,
        len(request.class_ids),
        shape,
        normalization.mean,
        normalization.std,
    )
    put_in(network, start, request.class_ids, start.known_ids(request))
    network.to(device)
    if device.type == "cpu":  # a step takes an eighth less time; the loss is the same to 1e-6
        network.to(memory_format=torch.channels_last)
    fold_while_learning(network)
    pictures = Pictures(
        seen.images,
        normalization,
        shape.scale,
        shown,
        request.settings.cache_mb,
        masks=arch.masks,
        boxes_as_masks=request.settings.boxes_as_masks,
    )
    record = _card(request, seen, start, shape, normalization)
    # what the start does not know, a class or a whole head, has random weights there
    knows_classes = set(request.class_ids) <= set(start.known_ids(request) or ())
    whole = knows_classes and network.state_dict().keys() <= start.state.keys()
    keep_start = request.settings.keep_start if whole else 0.0
    return Prepared(network, device, pictures, record, keep_start)


def train_detector(
    request: TrainRequest, *, reader: Reader = read_plane, metric: Metric = ap50
) -> Job[TrainedModel]:
    """Yield a `TrainPoint` a step and return the trained model, written to disk.

    An `EndEarly` ends it at once, with the best weights by then. Closing the generator at any
    point leaves nothing behind; a killed process, or an `Abandoned`, leaves a
    `checkpoints.Checkpoint`, from which the same request goes on. The weights kept are those
    that did best on the validation images, or the last ones where there are none. A loss that is
    not a number ends training; the last good weights are kept and the card says so.

    Parameters
    ----------
    reader : callable
        Gives the pixels of a plane.
    metric : callable
        AP by class of detections against true boxes; see `average_precision.ap50`.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or the request does not fit together.
    """
    if Path(request.models_folder, request.model_id).exists():
        raise ModelError(f"There is already a model '{request.model_id}'.")
    ready = yield from prepare(request, reader)
    network, device, record = ready.network, ready.device, ready.record
    held_out = yield from validation_images(request, reader)
    settings = request.settings
    validation = Validation(held_out, record, network, device, reader, metric, settings.validate_on)
    stepper = stepper_of(network, device, settings)
    # until the model is whole: one that is cut off while it is measured has not learned in vain
    with Checkpoint(request) as checkpoint:
        course = Course(
            network,
            stepper,
            partial(batches, ready.pictures, settings),
            validation,
            settings,
            checkpoint,
            ready.keep_start,
        )
        outcome = yield from course.run()
        by_class, n_images = yield from _measure(validation, outcome)
        record = replace(
            record,
            metrics=_metrics(by_class, request, n_images),
            trained_on={
                **record.trained_on,
                "steps": outcome.steps,
                "seconds": round(outcome.seconds, 1),
                "device": describe_device(device),
                "stopped": outcome.stopped,
            },
        )
        folder = Path(request.models_folder, request.model_id)
        record = save_model(record, outcome.state, folder)
    with contextlib.suppress(EndEarly):
        yield Progress(outcome.steps, outcome.steps, outcome.stopped or "The model is trained")
    return TrainedModel(record, str(folder))


def find_detector_rate(
    request: TrainRequest, *, reader: Reader = read_plane, steps: int | None = None
) -> Job[FoundRate]:
    """Yield a `RatePoint` a step and return them with a suggestion, also after an `EndEarly`.

    The network, the pictures and their random views are those that a training of the same
    request would begin with. It is thrown away afterwards: no weights, model or file changes.

    Raises
    ------
    ModelError
        If the request cannot be trained, or no rate gave a loss.
    """
    ready = yield from prepare(request, reader)
    stepper = stepper_of(ready.network, ready.device, request.settings)
    shown = partial(batches, ready.pictures, request.settings)
    return (yield from find_rate(stepper, shown, request.settings, steps))


def _measure(validation: Validation, outcome: Outcome) -> Job[tuple[dict[int, float], int]]:
    """Return AP50 by class, and on how many held-out images.

    A person who asked for the end waits for it: then what was measured on the way must do.
    """
    if not outcome.asked:
        done = Progress(outcome.steps, outcome.steps, "Measuring the new model")
        try:
            yield done
            look = yield from validation.look_at_all(done)
            return look.by_class, len(validation.images)
        except EndEarly:  # the model is there already
            pass
    return outcome.by_class, len(validation.looked_at) if outcome.by_class else 0


def _as_shown(reader: Reader, composite: Composite | None) -> Reader:
    """Return a reader of what the network sees."""
    if composite is None:
        return reader
    return lambda path, plane: composite.apply(reader(path, plane))


def _masks_of(seen: Survey) -> int:
    return sum(mask is not None for row in seen.images for mask in row.masks)


def _check_masks(request: TrainRequest, seen: Survey) -> None:
    """Raise `ModelError` where masks are to be learned and there are none."""
    wanted = architecture(request.architecture).masks and not request.settings.boxes_as_masks
    if wanted and not _masks_of(seen):
        raise ModelError(
            "None of the boxes to learn from has a mask. Import label images, let boxes count as "
            "masks (boxes_as_masks), or train a detector of boxes."
        )


def _check_start(request: TrainRequest, start: Start) -> None:
    """Raise `ModelError` where a model cannot be trained further as the request wants."""
    frozen = request.settings.frozen_stages and request.settings.frozen_share
    if frozen and not start.state:
        raise ModelError(
            "Random weights cannot be held as they are: choose other starting weights, or "
            "frozen_stages 0."
        )
    if start.parent is None:
        return
    if composite_of(start.parent) != request.composite:
        raise ModelError(
            f"Model '{start.parent.model_id}' sees the channels in another way (composite). "
            "Train it further in its own way, or start from other weights."
        )
    if request.settings.shrink != 1:
        raise ModelError(
            f"Model '{start.parent.model_id}' keeps its own scale: shrink only works with a "
            "fresh start."
        )


def _metrics(by_class: dict[int, float], request: TrainRequest, n_images: int) -> dict[str, Any]:
    """Return what the card says of the validation images; empty where there are none."""
    if not n_images:
        return {}
    names = dict(zip(request.class_ids, request.class_names, strict=True))
    return {
        "map50": mean(by_class),
        "ap50": {names[c]: value for c, value in by_class.items()},
        "images": n_images,
        "split": "val",
    }


def _shape_of(
    request: TrainRequest, seen: Survey, start: Start
) -> tuple[NetworkSettings, Normalization]:
    """Return the network's shape and normalization: the parent's, or fitted to the images."""
    if start.parent is None:
        shape = fit_network(
            architecture(request.architecture),
            [row.boxes for row in seen.images],
            [row.shape for row in seen.images],
            request.settings,
        )
        if start.shipped:
            return _as_shipped(shape, seen.normalization, request.architecture)
        norm = "frozen" if start.state else "group"
        return shape.model_copy(update={"norm": norm}), seen.normalization
    parent = start.parent
    if parent.architecture != request.architecture:
        raise ModelError(
            f"Model '{parent.model_id}' is of the architecture '{parent.architecture}', not "
            f"'{request.architecture}'. Choose the former to train it further."
        )
    normalization = Normalization.from_dict(parent.normalization)
    if normalization.n_channels != seen.normalization.n_channels:
        raise ModelError(
            f"Model '{parent.model_id}' was trained on {normalization.n_channels} channels, "
            f"these images have {seen.normalization.n_channels}. Start from other weights."
        )
    return network_settings(parent), normalization


def _as_shipped(
    shape: NetworkSettings, normalization: Normalization, architecture_name: str
) -> tuple[NetworkSettings, Normalization]:
    """Return the fitted shape with what the shipped detector's weights need, and its intensities.

    That is its norm, and where its region proposals are taken over, their anchors. Its scale
    is fitted, and then one constant, as that of any model of a project.
    """
    known = network_settings(shipped_record())
    keys = ["norm"]
    if architecture(architecture_name).family == architecture(shipped_record().architecture).family:
        keys += ["anchor_sizes", "aspect_ratios"]
    same = {key: getattr(known, key) for key in keys}
    n = normalization.n_channels
    # more channels are none that it knows
    return shape.model_copy(update=same), Normalization.of_each(n) if n in (1, 3) else normalization


def _card(
    request: TrainRequest,
    seen: Survey,
    start: Start,
    shape: NetworkSettings,
    normalization: Normalization,
) -> ModelRecord:
    """Return the card as far as it is known before training."""
    names = dict(zip(request.class_ids, request.class_names, strict=True))
    counts = {
        names[c]: sum(int((row.labels == k).sum()) for row in seen.images)
        for k, c in enumerate(request.class_ids, 1)
    }
    return ModelRecord(
        model_id=request.model_id,
        kind="detector",
        architecture=request.architecture,
        class_ids=request.class_ids,
        class_names=request.class_names,
        channels=request.channels,
        parent_id=start.parent.model_id if start.parent else None,
        start=start.words,
        pixel_size_um=request.pixel_size_um,
        normalization=normalization.as_dict(),
        settings={
            "network": shape.model_dump(mode="json"),
            "train": request.settings.model_dump(mode="json"),
            **({"composite": request.composite.as_dict()} if request.composite else {}),
        },
        trained_on={
            "preset": request.preset,
            "images": len(seen.images),
            "complete_images": sum(row.complete for row in seen.images),
            "boxes": sum(counts.values()),
            "boxes_by_class": counts,
            "rejected_boxes": sum(len(row.rejected) for row in seen.images),
            "dropped_boxes": seen.dropped,
            **({"masks": _masks_of(seen)} if architecture(request.architecture).masks else {}),
            "validation_images": len(request.val_images),
        },
        versions={
            "napari-cellal": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
    )
