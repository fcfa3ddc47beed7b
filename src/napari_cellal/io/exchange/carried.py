"""What this program knows of a cell and no common format has a field for.

Formats with room for extra values carry it under these names, so that a project can leave
and come back: other programs pass it over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cellal.core.records import Status

from .names import class_name_of, clean_name
from .source import number

if TYPE_CHECKING:
    from .report import ExportBox

_STATUSES = {s.value for s in Status}
MOST_CLASSES = 1000
MOST_OF_NOTE = 2000


def carried_values(cell: ExportBox) -> dict[str, Any]:
    """Return {name: value} of what is known of a cell besides box and class."""
    values: dict[str, Any] = {
        "status": cell.status,
        "reviewed_by": cell.reviewed_by,
        "reviewed_at": cell.reviewed_at,
        "score": cell.score,
        "model": cell.model,
        "model_class": cell.model_class,
        "note": cell.note,
        "probabilities": dict(cell.probabilities),
    }
    return {key: value for key, value in values.items() if value not in (None, "", {})}


def read_carried(values: object) -> dict[str, Any]:
    """Return what `carried_values` wrote as fields of `ImportedBox`; leaves out the rest."""
    if not isinstance(values, dict):
        return {}
    found: dict[str, Any] = {}
    for key in ("reviewed_by", "reviewed_at", "model", "note"):
        if text := clean_name(values.get(key), MOST_OF_NOTE):
            found[key] = text
    if name := class_name_of(values.get("model_class")):
        found["model_class"] = name
    status = values.get("status")
    if isinstance(status, str) and status in _STATUSES:
        found["status"] = status
    score = number(values.get("score"))
    if 0 <= score <= 1:
        found["score"] = score
    said = values.get("probabilities")
    if isinstance(said, dict) and len(said) <= MOST_CLASSES:
        pairs = [(class_name_of(name), number(p)) for name, p in said.items()]
        found["probabilities"] = tuple((n, p) for n, p in pairs if n and 0 <= p <= 1)
    return found
