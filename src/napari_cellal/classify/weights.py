"""Classifiers on disk: what their cards say, and the network or head itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from napari_cellal.core.errors import ModelError
from napari_cellal.networks.model_files import load_record, load_state
from napari_cellal.networks.normalization import Normalization

from .network import Classifier
from .settings import NetworkSettings, ViewSettings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_cellal.core.records import ModelRecord

    from .heads import Arrays

_HEAD = "shallow."  # before the names of a head's arrays


def state_with(state: dict[str, Tensor], head: Arrays | None) -> dict[str, Tensor]:
    """Return all that a model folder keeps: the network's weights and the head's arrays."""
    if head is None:
        return state
    body = {key: value for key, value in state.items() if not key.startswith("head.")}
    return body | {_HEAD + key: torch.from_numpy(value.copy()) for key, value in head.items()}


def network_settings(record: ModelRecord) -> NetworkSettings:
    """Return the shape of the network that a card describes.

    Raises
    ------
    ModelError
        If the card is not that of a classifier.
    """
    try:
        return NetworkSettings.model_validate(record.settings["network"])
    except (KeyError, ValidationError) as error:
        raise _not_ours(record) from error


def view_settings(record: ModelRecord) -> ViewSettings:
    """Return how a model is shown a cell.

    Raises
    ------
    ModelError
        If the card is not that of a classifier.
    """
    try:
        return ViewSettings.model_validate(record.settings["view"])
    except (KeyError, ValidationError) as error:
        raise _not_ours(record) from error


def _not_ours(record: ModelRecord) -> ModelError:
    return ModelError(f"Model '{record.model_id}' is not a classifier of this program.")


def load_classifier(folder: Path) -> tuple[ModelRecord, Classifier, Arrays | None]:
    """Return a model's card, its network on the CPU, and its head where that is not linear.

    Raises
    ------
    ModelError
        If anything about it is missing or damaged.
    """
    record = load_record(folder)
    if record.kind != "classifier":
        raise ModelError(f"Model '{record.model_id}' is a {record.kind}, not a classifier.")
    norm, shape = Normalization.from_dict(record.normalization), network_settings(record)
    network = Classifier(
        record.architecture,
        norm.n_channels,
        len(record.class_ids),
        view_settings(record).size_px,
        shape,
        norm.mean,
        norm.std,
    )
    state = load_state(folder, record)
    head = None
    if shape.head != "linear":
        head = {k.removeprefix(_HEAD): v.numpy() for k, v in state.items() if k.startswith(_HEAD)}
        state = {k: v for k, v in state.items() if not k.startswith(_HEAD)}
        # what such a model does not use
        state |= {f"head.{k}": v for k, v in network.head.state_dict().items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in '{folder}' do not fit the network that its card describes."
        ) from error
    if head is not None and ("mean" not in head or len(head["mean"]) != network.head.in_features):
        raise ModelError(f"The weights in '{folder}' do not fit the head that its card describes.")
    return record, network.eval(), head
