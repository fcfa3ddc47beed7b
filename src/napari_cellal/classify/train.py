"""Training a classifier: a job that yields a point a step and returns a model on disk."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress, unhurried
from napari_cellal.io.reading import read_plane
from napari_cellal.networks.checkpoints import Checkpoint
from napari_cellal.networks.course import Course, Outcome
from napari_cellal.networks.devices import autocast, describe_device
from napari_cellal.networks.model_files import save_model
from napari_cellal.networks.rates import find_rate
from napari_cellal.networks.stepping import Stepper

from .heads import fit_head, tempered
from .lessons import Examiner, Lessons, score_of, targets_of
from .pictures import seen
from .predict import BATCH, TorchClassifier
from .prepare import Prepared, prepare
from .requests import ClassifierRequest, TrainedClassifier
from .splits import FILE, remembered
from .weights import state_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.io.reading import Reader
    from napari_cellal.networks.normalization import Normalization
    from napari_cellal.networks.points import FoundRate

    from .heads import Arrays
    from .network import Classifier
    from .pictures import Pictures
    from .settings import ViewSettings


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
    # until the model is whole: one that is cut off while it is measured has not learned in vain
    with Checkpoint(request) as checkpoint:
        if ready.request.settings.head == "linear":
            outcome = yield from _taught(ready, checkpoint)
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
