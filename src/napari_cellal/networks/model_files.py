"""Models on disk: a folder with ``card.json`` and ``weights.safetensors``, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_cellal.core.errors import ModelError
from napari_cellal.core.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

CARD, WEIGHTS = "card.json", "weights.safetensors"
_adapter = TypeAdapter(ModelRecord)


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_model(
    record: ModelRecord,
    state: dict[str, Tensor],
    folder: Path,
    beside: Mapping[str, bytes] | None = None,
) -> ModelRecord:
    """Write a model folder all at once and return the record with the weights' checksum.

    The files are written to ``.NAME.partial`` beside the folder, which is then renamed, so
    a killed process leaves no folder that looks like a model.

    Parameters
    ----------
    beside : {file name: content} or None
        Further files of the model.

    Raises
    ------
    ModelError
        If the folder exists already or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"There is already a model in '{folder}'; it was not overwritten.")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        save_file(tensors, partial / WEIGHTS)
        record = dataclasses.replace(record, weights_sha256=sha256_of(partial / WEIGHTS))
        (partial / CARD).write_bytes(_adapter.dump_json(record, indent=2))
        for name, content in (beside or {}).items():
            (partial / name).write_bytes(content)
        os.replace(partial, folder)
    except OSError as error:
        raise ModelError(f"The model could not be written to '{folder}': {error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def load_record(folder: Path) -> ModelRecord:
    """Return the card of a model folder.

    Raises
    ------
    ModelError
        If there is no card, or it is not one of ours.
    """
    path = folder / CARD
    try:
        return _adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"'{folder}' is not a model: its {CARD} cannot be read.") from error
    except ValidationError as error:
        raise ModelError(f"'{path}' is damaged, or not the card of a model.") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file. Anything else is refused, unread.

    Raises
    ------
    ModelError
        If the file is missing, cut short or of another kind.
    """
    if not path.is_file():
        raise ModelError(f"There is no weights file '{path}'.")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"'{path}' is damaged or not a .safetensors file; pickled weights (.pt, .pth) are "
            "not opened, since they can run programs. Copy the model again."
        ) from error
    return tensors


def load_state(folder: Path, record: ModelRecord) -> dict[str, Tensor]:
    """Return a model's tensors after checking them against the card.

    Raises
    ------
    ModelError
        If they are missing, damaged, or not those that the card was written for.
    """
    path = folder / WEIGHTS
    if path.is_file() and record.weights_sha256 and sha256_of(path) != record.weights_sha256:
        raise ModelError(
            f"The weights in '{folder}' are not those that were saved with the model: the file "
            "is cut short or was changed. Copy the model again, or train it anew."
        )
    return load_tensors(path)
