"""A classifier on pictures of other microscopes: whether it holds there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project

from . import patches
from .classifying import ClassRequest, measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import ModelRecord

    from .patches import PatchSet

_TOLD = ("accuracy", "interval", "macro_f1", "per_class", "confusion")


def labelled_in(place: str | Path, class_names: Iterable[str], *, seed: int = 0) -> PatchSet:
    """Return all labelled pictures of another folder, or the confirmed cells of another project.

    Raises
    ------
    CellalError
        If there are none, or none of the classes occurs.
    """
    if patches.is_project(place):
        with Project.open(place) as project:
            found = patches.of_project(project, seed=seed)
    else:
        found = patches.of_folder(place, seed=seed)
    known = set(class_names)
    if not known & set(found.class_names.values()):
        raise CellalError(
            f"{Path(place).name} has none of the classes {', '.join(sorted(known))}: it has "
            f"{', '.join(found.class_names.values())}. Give them the same names."
        )
    return found


def measure_elsewhere(
    record: ModelRecord, folder: Path, places: Mapping[str, PatchSet], *, device: str = "auto"
) -> Job[list[dict[str, Any]]]:
    """Return a row a place: the figures as they are, and with each picture's own intensities.

    See docs/cli.md for the keys.
    """
    rows = []
    for name, found in places.items():
        same = patches.in_classes_of(record, found)
        row: dict[str, Any] = {"place": name, "pictures": len(same.patches)}
        for own_range in (False, True):
            request = ClassRequest(str(folder), same.patches, device, own_range)
            figures = yield from measure(request)
            told = {key: figures[key] for key in _TOLD}
            row |= {"own_range": told} if own_range else told
        rows.append({**row, "notes": list(same.notes)})
    return rows


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as text, a line each."""
    lines = [f"{'':24}{'pictures':>9}{'right':>8}{'F1':>8}{'right, own range':>18}"]
    lines += [
        f"{row['place'][-24:]:24}{row['pictures']:>9,}{row['accuracy']:>8.1%}"
        f"{row['macro_f1']:>8.3f}{row['own_range']['accuracy']:>18.1%}"
        for row in rows
    ]
    return "\n".join(lines)
