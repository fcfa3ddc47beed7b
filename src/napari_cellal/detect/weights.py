"""Detectors on disk: what their cards say of the network, and the network itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_cellal.core.errors import ModelError
from napari_cellal.io.composites import Composite
from napari_cellal.networks.model_files import load_record, load_state
from napari_cellal.networks.normalization import Normalization

from .network import build_detector
from .settings import NetworkSettings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.core.records import ModelRecord

    from .family import CellNetwork


def network_settings(record: ModelRecord) -> NetworkSettings:
    """Return the shape of the network that a card describes.

    Raises
    ------
    ModelError
        If the card is not that of a detector.
    """
    try:
        return NetworkSettings.model_validate(record.settings["network"])
    except (KeyError, ValidationError) as error:
        raise ModelError(f"Model '{record.model_id}' is not a detector of this program.") from error


def composite_of(record: ModelRecord) -> Composite | None:
    """Return how a model turns channels into colour, None where it sees them as they are."""
    values = record.settings.get("composite")
    return None if values is None else Composite.from_dict(values)


def load_model(folder: Path) -> tuple[ModelRecord, CellNetwork]:
    """Return a model's card and its network, on the CPU, in evaluation mode.

    Raises
    ------
    ModelError
        If anything about it is missing or damaged.
    """
    record = load_record(folder)
    if record.kind != "detector":
        raise ModelError(f"Model '{record.model_id}' is a {record.kind}, not a detector.")
    norm = Normalization.from_dict(record.normalization)
    network = build_detector(
        record.architecture,
        norm.n_channels,
        len(record.class_ids),
        network_settings(record),
        norm.mean,
        norm.std,
    )
    state = load_state(folder, record)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in '{folder}' do not fit the network that its card describes."
        ) from error
    return record, network.eval()
