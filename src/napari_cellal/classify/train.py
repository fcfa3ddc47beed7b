"""Training a classifier: a job that yields a point a step and returns a model on disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision

from napari_cellal import __version__
from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress, unhurried
from napari_cellal.core.records import ModelRecord
from napari_cellal.io.reading import read_plane
from napari_cellal.networks.checkpoints import Checkpoint
from napari_cellal.networks.course import Course, Outcome
from napari_cellal.networks.devices import autocast, choose_device, describe_device
from napari_cellal.networks.model_files import save_model
from napari_cellal.networks.normalization import Normalization, NormalizationFit
from napari_cellal.networks.rates import find_rate
from napari_cellal.networks.stepping import Stepper

from .architectures import architecture
from .heads import fit_head, tempered
from .lessons import Examiner, Lessons, score_of, targets_of
from .network import Classifier, put_in
from .pictures import Cutter, Pictures, look_through
from .predict import BATCH, TorchClassifier
from .requests import ClassifierRequest, PatchFailure, TrainedClassifier
from .settings import NetworkSettings
from .splits import FILE, remembered
from .start import Start, find_start
from .weights import network_settings, state_with, view_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.io.reading import Reader
    from napari_cellal.networks.points import FoundRate

    from .heads import Arrays
    from .settings import ViewSettings


@dataclass(frozen=True)
class _Data:
    """What is learned from, and what says when to stop."""

    train: Pictures
    val: Pictures
    normalization: Normalization
    failures: tuple[PatchFailure, ...]


@dataclass(frozen=True)
class Prepared:
    """A network with its starting weights, and what it shall learn from.

    Attributes
    ----------
    request : ClassifierRequest
        With the view that the pictures are shown in.
    record : ModelRecord
        The card as far as it is known before training.
    """

    request: ClassifierRequest
    network: Classifier
    shape: NetworkSettings
    device: torch.device
    data: _Data
    record: ModelRecord


def prepare(request: ClassifierRequest, reader: Reader) -> Job[Prepared]:
    """Read the pictures, find the starting weights and return what a training begins with.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or the request does not fit together.
    """
    yield Progress(0, 0, "Preparing")
    device = choose_device(request.device)
    start = yield from find_start(request.start, architecture(request.architecture))
    request = _fitted(request, start)
    data = yield from _read(request, start, reader)
    shape = _shape(request, start)
    torch.manual_seed(request.settings.seed)
    network = Classifier(
        request.architecture,
        data.normalization.n_channels,
        len(request.class_ids),
        request.view.size_px,
        shape,
        data.normalization.mean,
        data.normalization.std,
    )
    if start.state:
        put_in(network, start.state, start.words)
        start.take_classes(network, request.class_ids)
    record = _card(request, data, start, shape)
    network.to(device)
    return Prepared(request, network, shape, device, data, record)


def train_classifier(
    request: ClassifierRequest, *, reader: Reader = read_plane
) -> Job[TrainedClassifier]:
    """Yield a `TrainPoint` a step and return the trained model, written to disk.

    An `EndEarly` ends it at once, with the best weights by then. Closing the generator at any
    point leaves nothing behind; a killed process, or an `Abandoned`, leaves a
    `checkpoints.Checkpoint`, from which the same request goes on. The weights kept are those
    that did best on the validation pictures, or the last ones where there are none. Pictures
    that cannot be read are told (`PatchFailure`) and left out.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or the request does not fit together.
    """
    if Path(request.models_folder, request.model_id).exists():
        raise ModelError(f"There is already a model '{request.model_id}'.")
    ready = yield from prepare(request, reader)
    network, device, data, shape = ready.network, ready.device, ready.data, ready.shape
    record = ready.record
    head: Arrays | None = None
    if ready.request.settings.head == "linear":
        outcome = yield from _taught(ready, Checkpoint(request))
        network.load_state_dict(outcome.state)
    else:
        head = yield from _fit_features(ready, Progress(0, 0, "Computing features"))
        outcome = Outcome({k: v.cpu() for k, v in network.state_dict().items()}, 0, 0.0, None)
    examiner = Examiner(TorchClassifier(record, network, head, device), data.val)
    if examiner.has_any:
        measuring = Progress(outcome.steps, outcome.steps, "Measuring")
        found = yield from unhurried(examiner.answers(measuring))
        record = replace(record, metrics=_metrics(found, examiner.targets, shape.multi_label))
    record = replace(
        record,
        trained_on={
            **record.trained_on,
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 1),
            "device": describe_device(device),
            "stopped": outcome.stopped,
        },
    )
    folder = Path(request.models_folder, request.model_id)
    splits = {FILE: remembered(request.patches)}
    record = save_model(record, state_with(outcome.state, head), folder, splits)
    with contextlib.suppress(EndEarly):
        yield Progress(outcome.steps, outcome.steps, outcome.stopped or "The model is trained")
    return TrainedClassifier(record, str(folder), data.failures)


def _fitted(request: ClassifierRequest, start: Start) -> ClassifierRequest:
    """Return the request with the parent's view, and pictures as small as ``shrink`` wants.

    Raises
    ------
    ModelError
        If it does not fit together.
    """
    if len(request.class_ids) < 2 and not request.settings.multi_label:
        raise ModelError(
            "All cells have one class, so there is nothing to tell apart. Label some cells of "
            "another class first."
        )
    if start.parent is None:
        multiple = architecture(request.architecture).multiple_px
        side = round(request.view.size_px / request.settings.shrink / multiple) * multiple
        view = request.view.model_copy(update={"size_px": max(16, multiple, side)})
        return replace(request, view=view)
    if start.parent.architecture != request.architecture:
        raise ModelError(
            f"Model '{start.parent.model_id}' is of the architecture "
            f"'{start.parent.architecture}', not '{request.architecture}'. Choose the former to "
            "train it further."
        )
    return replace(request, view=view_settings(start.parent))


def _shape(request: ClassifierRequest, start: Start) -> NetworkSettings:
    settings = request.settings
    norm: Any = settings.norm
    if norm == "auto":
        if start.parent is not None:
            norm = network_settings(start.parent).norm
        else:
            norm = "frozen" if start.state else "group"
    return NetworkSettings(
        norm=norm,
        dropout=settings.dropout,
        multi_label=settings.multi_label,
        head=settings.head,
    )


def _read(request: ClassifierRequest, start: Start, reader: Reader) -> Job[_Data]:
    """Read all pictures once.

    Raises
    ------
    ModelError
        If fewer than two classes are left to learn.
    """
    cutter = Cutter(request.view, reader)
    n_channels = None
    if start.parent is not None:
        n_channels = Normalization.from_dict(start.parent.normalization).n_channels
    parts = {}
    failures: list[PatchFailure] = []
    room = request.settings.cache_mb
    for split in ("train", "val"):
        chosen = [p for p in request.patches if p.split == split]
        pictures = Pictures(chosen, cutter, room)
        if chosen:
            pictures, bad = yield from look_through(pictures, n_channels)
            failures += bad
            n_channels = n_channels or len(pictures.raw(0))
            room -= pictures.kept_mb
        parts[split] = pictures
    train = parts["train"]
    if not len(train):
        raise ModelError("There are no pictures to learn from. Label some cells first.")
    has = targets_of(train.patches, request.class_ids)
    learned = has.any(axis=0) & (True if request.settings.multi_label else ~has.all(axis=0))
    if not request.settings.multi_label and learned.sum() < 2:
        raise ModelError(
            "All cells that can be read have one class, so there is nothing to tell apart."
        )
    if start.parent is not None:
        return _Data(
            train,
            parts["val"],
            Normalization.from_dict(start.parent.normalization),
            tuple(failures),
        )
    fit = NormalizationFit()
    for k in range(0, len(train), max(1, len(train) // 400)):
        fit.add(train.raw(k))
    return _Data(train, parts["val"], fit.result(), tuple(failures))


def find_classifier_rate(
    request: ClassifierRequest, *, reader: Reader = read_plane, steps: int | None = None
) -> Job[FoundRate]:
    """Yield a `RatePoint` a step and return them with a suggestion, also after an `EndEarly`.

    No weights, model or file changes.

    Raises
    ------
    ModelError
        If the request cannot be trained, has a head without a learning rate, or no rate gave a
        loss.
    """
    if request.settings.head != "linear":
        raise ModelError(
            "A head on features that stay as they are is fitted without a learning rate. Choose "
            "the head 'linear' to train the network."
        )
    ready = yield from prepare(request, reader)
    lessons, stepper = _lessons(ready)
    return (yield from find_rate(stepper, lessons.batches, ready.request.settings, steps))


def _lessons(ready: Prepared) -> tuple[Lessons, Stepper]:
    """Return what is taught, and what teaches it: the new layers alone at first."""
    request, network, device = ready.request, ready.network, ready.device
    settings = request.settings
    data = ready.data
    lessons = Lessons(data.train, request.class_ids, data.normalization, request.view, settings)

    def loss(part: list[Any]) -> torch.Tensor:
        pictures = torch.stack([picture for picture, _ in part]).to(device)
        targets = torch.stack([target for _, target in part]).to(device)
        with autocast(device):
            scores = network(pictures)
        return lessons.loss(scores.float(), targets)

    parts = network.parts()
    return lessons, Stepper(network, parts, len(parts) - 1, loss, device, settings)


def _taught(ready: Prepared, checkpoint: Checkpoint) -> Job[Outcome]:
    network, settings = ready.network, ready.request.settings
    lessons, stepper = _lessons(ready)
    classifier = TorchClassifier(ready.record, network, None, ready.device)
    examiner = Examiner(classifier, ready.data.val)
    course = Course(network, stepper, lessons.batches, examiner, settings, checkpoint)
    with checkpoint:
        return (yield from course.run())


def _fit_features(ready: Prepared, progress: Progress) -> Job[Arrays]:
    """Return a head fitted to the features of the training pictures."""
    request, data = ready.request, ready.data
    features = {}
    for name, pictures in (("train", data.train), ("val", data.val)):
        features[name] = yield from embed(
            ready.network, pictures, data.normalization, request.view, ready.device, progress
        )
    multi = request.settings.multi_label
    targets = {
        name: targets_of(p.patches, request.class_ids)
        for name, p in (("train", data.train), ("val", data.val))
    }
    yield replace(progress, message="Fitting the head")
    head = fit_head(
        request.settings.head,
        features["train"],
        targets["train"],
        balanced=request.settings.class_weights,
        seed=request.settings.seed,
    )
    return tempered(head, features["val"], targets["val"], multi_label=multi)


def embed(
    network: Classifier,
    pictures: Pictures,
    normalization: Normalization,
    view: ViewSettings,
    device: torch.device,
    progress: Progress,
) -> Job[NDArray[np.float32]]:
    """Yield often and return float32[N, F], the features of pictures."""
    from .pictures import seen

    network.eval()
    found = []
    for first in range(0, len(pictures), BATCH):
        batch = [
            torch.from_numpy(seen(pictures.raw(k), normalization, view, pictures.outline(k)))
            for k in range(first, min(first + BATCH, len(pictures)))
        ]
        with torch.inference_mode(), autocast(device):
            rows = network.features(torch.stack(batch).to(device))
        found.append(rows.float().cpu().numpy())
        yield replace(progress, done=first + len(batch), total=len(pictures))
    if not found:
        return np.zeros((0, network.head.in_features), np.float32)
    return np.concatenate(found)


def _metrics(
    found: NDArray[np.float32], targets: NDArray[np.float32], multi_label: bool
) -> dict[str, Any]:
    """Return what the card says of the validation pictures."""
    if multi_label:
        right = ((found > 0.5) == (targets > 0.5)).all(axis=1)
    else:
        right = found.argmax(axis=1) == targets.argmax(axis=1)
    return {
        "accuracy": float(right.mean()),
        "macro_f1": score_of(found, targets, multi_label=multi_label),
        "cells": len(targets),
        "split": "val",
    }


def _card(
    request: ClassifierRequest, data: _Data, start: Start, shape: NetworkSettings
) -> ModelRecord:
    """Return the card as far as it is known before training."""
    has = targets_of(data.train.patches, request.class_ids).sum(axis=0).astype(int)
    return ModelRecord(
        model_id=request.model_id,
        kind="classifier",
        architecture=request.architecture,
        class_ids=request.class_ids,
        class_names=request.class_names,
        channels=request.channels,
        parent_id=start.parent.model_id if start.parent else None,
        start=start.words,
        pixel_size_um=request.pixel_size_um,
        normalization=data.normalization.as_dict(),
        settings={
            "network": shape.model_dump(mode="json"),
            "view": request.view.model_dump(mode="json"),
            "train": request.settings.model_dump(mode="json"),
        },
        trained_on={
            "cells": len(data.train),
            "cells_by_class": dict(zip(request.class_names, has.tolist(), strict=True)),
            "validation_cells": len(data.val),
            "left_out": len(data.failures),
        },
        versions={
            "napari-cellal": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
        name=request.name,
    )
