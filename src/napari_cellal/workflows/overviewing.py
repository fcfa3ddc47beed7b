"""What a model would learn from, looked at before there is one: a page of the data."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import local_time, now
from napari_cellal.io.atomic import write_atomic

from . import patches, reporting
from .report_looks import look_of
from .report_pictures import picture_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import Cell
    from napari_cellal.io.store import Project

    from .patches import PatchSet
    from .reporting import ImageFacts

MOST_CELLS = 4000
"""Sizes are drawn of so many at most; counts are of all."""
EXAMPLES = 6
"""Pictures a class."""


@dataclass(frozen=True, slots=True)
class OverviewRequest:
    """What the page is written from; picklable.

    Attributes
    ----------
    cells : {image_id: cells}
        Labelled ones that are looked at.
    counts : {split: {class_id: cells}}, of all labels
    by_source : {source: {class_id: cells}}, of all labels
    notes : tuple of str
        What a person should mend or know first, in sentences.
    """

    file: str
    name: str
    cells: Mapping[str, Sequence[Cell]]
    images: Mapping[str, ImageFacts]
    classes: Mapping[int, tuple[str, str]]
    counts: Mapping[str, Mapping[int, int]]
    by_source: Mapping[str, Mapping[int, int]]
    notes: tuple[str, ...] = ()
    pictures: bool = True


def request_overview(
    project: Project, file: str | Path, *, pictures: bool = True
) -> OverviewRequest:
    """Return the page of a project's labels.

    Raises
    ------
    CellalError
        If there are none.
    """
    return finish(overview_steps(project, file, pictures=pictures))


def overview_steps(
    project: Project, file: str | Path, *, pictures: bool = True
) -> Steps[OverviewRequest]:
    """Do what `request_overview` does, pausing after each image."""
    classes = {c.class_id: (c.name, c.color) for c in project.active_classes}
    counts: dict[str, Counter[int]] = {}
    by_source: dict[str, Counter[int]] = {}
    labelled = project.cells.label_counts()
    for key, own in labelled.items():
        record = project.images[key]
        known = {c: n for c, n in own.items() if c in classes}
        counts.setdefault(record.split.value, Counter()).update(known)
        by_source.setdefault(record.source, Counter()).update(known)
    cells: dict[str, list[Cell]] = {}
    room = MOST_CELLS
    for key in sorted(labelled, key=_drawn):
        if room <= 0:
            break
        own_cells = [
            c for c in project.cells.of_image(key) if c.is_label and c.class_id in classes
        ][:room]
        if own_cells:
            cells[key] = own_cells
            room -= len(own_cells)
        yield
    if not cells:
        raise CellalError(
            "There are no labels yet. Confirm some cells with a class, in the window or with "
            "'import --confirm'."
        )
    notes = patches.lessons_of(project).warnings()
    facts = {key: reporting.facts_of(project, key) for key in cells}
    return OverviewRequest(
        str(file), project.name, cells, facts, classes, counts, by_source, tuple(notes), pictures
    )


def request_folder_overview(
    folder: str | Path, file: str | Path, found: PatchSet, *, pictures: bool = True
) -> OverviewRequest:
    """Return the page of a folder of labelled pictures; one of several classes counts for each."""
    ids = {name: c for c, name in found.class_names.items()}
    chosen = sorted(found.patches, key=lambda p: _drawn(p.key))[:MOST_CELLS]
    return OverviewRequest(
        str(file),
        Path(folder).resolve().name,
        reporting.cells_of(chosen),
        reporting.pictures_of(chosen),
        reporting.colored(found.class_names),
        {s: {ids[name]: n for name, n in own.items()} for s, own in found.counts().items()},
        reporting.by_source_of(found.patches),
        tuple(patches.lessons_in(found).warnings()),
        pictures,
    )


def write_overview(request: OverviewRequest) -> Job[dict[str, Any]]:
    """Write the page; return what it says in short. See docs/cli.md for the keys.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    look = yield from look_of(request.cells, request.images)
    examples = (yield from _examples(request)) if request.pictures else {}
    yield Progress(0, 0, "Writing the page")
    from napari_cellal.evaluate.data_page import data_html
    from napari_cellal.evaluate.report import Report

    total = Counter[int]()
    for own in request.counts.values():
        total.update(own)
    facts = (
        ("data", request.name),
        ("labels", f"{total.total():,} of {sum(n > 0 for n in total.values()):,} classes"),
        ("made", f"{local_time(now())}, before any model"),
    )
    report = Report(
        f"The data of {request.name}",
        facts,
        0.0,
        request.classes,
        reporting.notes_of(request.images),
        request.cells,
        (),
        project_counts=request.counts,
        look=look,
        source_counts=request.by_source,
    )
    text = data_html(report, request.notes, examples)
    try:
        write_atomic(Path(request.file), text)
    except OSError as error:
        raise CellalError(
            f"{request.file} cannot be written ({error.strerror or error})."
        ) from error

    def named(own: Mapping[int, int]) -> dict[str, int]:
        return {name: own.get(c, 0) for c, (name, _) in request.classes.items()}

    return {
        "file": request.file,
        "bytes": len(text.encode()),
        "cells": total.total(),
        "by_class": named(total),
        "by_split": {split: named(own) for split, own in request.counts.items()},
        "by_source": {source: named(own) for source, own in request.by_source.items()},
        "notes": list(request.notes),
    }


def _examples(request: OverviewRequest) -> Job[dict[int, list[bytes]]]:
    """Return {class_id: JPEG of some of its cells}, the same ones each time."""
    every = [(key, c) for key, some in request.cells.items() for c in some]
    every.sort(key=lambda pair: _drawn(pair[1].cell_id))
    found: dict[int, list[bytes]] = {}
    for class_id in request.classes:
        some = [pair for pair in every if pair[1].class_id == class_id][:EXAMPLES]
        for key, cell in some:
            yield Progress(0, 0, "Cutting some of each class out")
            jpeg = picture_of(request.images[key], cell.box)
            if jpeg is not None:
                found.setdefault(class_id, []).append(jpeg)
    return found


def _drawn(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
