"""Models in words, for a report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from napari_cellal.core.records import local_time
from napari_cellal.detect.shipped import SHIPPED, shipped_record

from . import detecting, scoring

if TYPE_CHECKING:
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project


def model_name(project: Project, model_id: str) -> str:
    """Return a model's name for a person."""
    if model_id == scoring.PROPOSED:
        return "Proposed before review"
    if model_id in (SHIPPED, detecting.CLASSICAL):
        return model_id.capitalize()
    record = _record(project, model_id)
    return model_id[:6] if record is None else name_of(record)


def name_of(record: ModelRecord) -> str:
    """Return what the person calls a model, else its network and the beginning of its id."""
    if record.name:
        return record.name
    given = len(record.model_id) > 16  # not one of ours, of which the beginning does
    return record.model_id if given else f"{record.architecture} {record.model_id[:6]}"


def _record(project: Project, model_id: str) -> ModelRecord | None:
    return next((m for m in project.models if m.model_id == model_id), None)


def about(project: Project, model_id: str) -> tuple[tuple[str, str], ...]:
    """Return (what, text) of a model of a project, or of one that comes with the package."""
    record = shipped_record() if model_id == SHIPPED else _record(project, model_id)
    if record is None:
        texts = {
            detecting.CLASSICAL: "Finds round, contrasting objects without training; no classes",
            scoring.PROPOSED: "The classes that models gave to the cells before their review",
        }
        return (("model", texts.get(model_id, model_id)),)
    return card_of(record)


def card_of(record: ModelRecord) -> tuple[tuple[str, str], ...]:
    """Return (what, text) of a model's card."""
    return (
        ("model", f"{record.kind} {record.model_id}"),
        ("network", record.architecture),
        ("made", local_time(record.created_at)),
        ("started from", record.start or "scratch"),
        ("classes", ", ".join(record.class_names)),
        ("channels", ", ".join(record.channels) or "–"),
        *(
            (f"trained: {what.replace('_', ' ')}", _plain(v))
            for what, v in record.trained_on.items()
            if v != ""
        ),
        ("weights, SHA-256", record.weights_sha256 or "–"),
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def versions() -> str:
    """Return the versions that figures may depend on."""
    said = [f"Python {platform.python_version()}"]
    for package in ("torch", "torchvision"):
        try:
            said.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(said)
