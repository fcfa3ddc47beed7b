"""The detector that comes with the package: where it lies, what it suits, what it calls cells.

It was made by ``benchmarks/train_shipped.py``; ``shipped_model/MODEL_CARD.md`` tells its data,
licences and figures. No torch here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from napari_cellal.core.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.records import ImageRecord

SHIPPED = "shipped"
USUAL_SCORE = 0.4
"""Proposals that score less are left out unless asked for: a first click shall not litter."""
FOLDER = Path(__file__).parent / "shipped_model"
_WORDS = {
    "RBC": ("rbc", "red", "red cell", "red blood cell", "erythrocyte"),
    "WBC": ("wbc", "white", "white cell", "white blood cell", "leukocyte", "leucocyte"),
    "Platelets": ("platelet", "thrombocyte", "plt"),
    "nucleus": ("nucleus", "nuclei", "cell nucleus", "cell nuclei"),
}
"""What people call the model's classes; an s at the end does not count."""


@cache
def shipped_record() -> ModelRecord:
    """Return the model's card."""
    return TypeAdapter(ModelRecord).validate_json((FOLDER / "card.json").read_bytes())


def suits(image: ImageRecord) -> bool:
    """Whether the model was made for such an image: colour, or one channel."""
    return image.rgb or len(image.channels) == 1


def can_read(image: ImageRecord) -> bool:
    """Whether the model can look at such an image at all."""
    return len(image.channels) in (1, 3)


def class_map(classes: Iterable[tuple[int, str]]) -> dict[int, int]:
    """Return {the model's class: the class of the same meaning}, given ids with names."""
    record = shipped_record()
    names: dict[str, int] = {}
    for known_id, known_name in classes:
        names.setdefault(_plain(known_name), known_id)
    result = {}
    for class_id, name in zip(record.class_ids, record.class_names, strict=True):
        known = [names[_plain(word)] for word in _WORDS[name] if _plain(word) in names]
        if known:
            result[class_id] = known[0]
    return result


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split()).rstrip("s")
