"""What a classifier's training begins with: pictures read, weights found, a card begun."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torchvision

from napari_cellal import __version__
from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import ModelRecord
from napari_cellal.networks.devices import choose_device
from napari_cellal.networks.normalization import Normalization, NormalizationFit

from .architectures import architecture
from .lessons import targets_of
from .network import Classifier, put_in
from .pictures import Cutter, Pictures, look_through
from .settings import NetworkSettings
from .start import Start, find_start
from .weights import network_settings, view_settings

if TYPE_CHECKING:
    from napari_cellal.io.reading import Reader

    from .requests import ClassifierRequest, PatchFailure


@dataclass(frozen=True)
class Data:
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
    data: Data
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


def _read(request: ClassifierRequest, start: Start, reader: Reader) -> Job[Data]:
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
            held = split == "val"  # a training can do without
            pictures, bad = yield from look_through(pictures, n_channels, may_be_none=held)
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
        return Data(
            train,
            parts["val"],
            Normalization.from_dict(start.parent.normalization),
            tuple(failures),
        )
    fit = NormalizationFit()
    for k in range(0, len(train), max(1, len(train) // 400)):
        fit.add(train.raw(k))
    return Data(train, parts["val"], fit.result(), tuple(failures))


def _card(
    request: ClassifierRequest, data: Data, start: Start, shape: NetworkSettings
) -> ModelRecord:
    """Return the card as far as it is known before training."""
    has = targets_of(data.train.patches, request.class_ids).sum(axis=0).astype(int)
    return ModelRecord(
        model_id=request.model_id,
        kind="classifier",
        architecture=request.architecture,
        class_ids=request.class_ids,
        class_names=request.class_names,
        channels=request.channels if len(request.channels) == data.normalization.n_channels else (),
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
