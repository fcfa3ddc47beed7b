"""A measurement written as one HTML file, with nothing beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_cellal import __version__
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import CLASS_COLORS, Cell, Review, local_time, now
from napari_cellal.detect.requests import ImageRequest
from napari_cellal.evaluate.matches import match_boxes_of, match_classes
from napari_cellal.io.atomic import write_atomic

from . import classifying, detecting, evaluating, patches, scoring
from .classifying import gives_several
from .report_cards import about, card_of, model_name, name_of, versions
from .report_looks import look_of
from .report_pictures import with_pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.classify.requests import Patch
    from napari_cellal.core.records import Detections
    from napari_cellal.evaluate.matches import Match
    from napari_cellal.evaluate.report import ImageNote, Report, Side
    from napari_cellal.io.store import Project

_SPLITS = {
    "val": "held-out images (val)",
    "test": "test images",
    "train": "images of the split train",
}


ImageFacts: TypeAlias = tuple[ImageRequest, str, str, tuple[int, int]]
"""(how it is read, name, source, (height, width)) of an image."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is written from; picklable.

    Attributes
    ----------
    asked : tuple of ScoreRequest or Answers
        One model, or two; answers that are there already are not asked for again.
    cells : {image_id: cells}
        The labels to measure against.
    images : {image_id: ImageFacts}
    classes : {class_id: (name, colour)}
    about : a tuple of (what, text) for each model
    """

    file: str
    project: str
    split: str
    score: float
    asked: tuple[scoring.ScoreRequest | scoring.Answers, ...]
    cells: Mapping[str, Sequence[Cell]]
    images: Mapping[str, ImageFacts]
    classes: Mapping[int, tuple[str, str]]
    names: tuple[str, ...]
    about: tuple[tuple[tuple[str, str], ...], ...]
    project_counts: Mapping[str, Mapping[int, int]]
    pictures: bool = True
    multi_label: bool = False
    source_counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Where a picture may have several classes: {source: {class_id: pictures}}."""


def request_report(
    project: Project,
    file: str | Path,
    asked: Sequence[scoring.ScoreRequest | scoring.Answers],
    *,
    score: float = 0.5,
    pictures: bool = True,
) -> ReportRequest:
    """Return the report of one model, or of two side by side, against the labels of now.

    Raises
    ------
    CellalError
        If a detector and a classifier are to stand side by side, or nothing can be measured on.
    """
    requests = [a.request if isinstance(a, scoring.Answers) else a for a in asked]
    if len({r.boxes is None for r in requests}) > 1:
        raise CellalError(
            "A detector and a classifier answer different questions: put two detectors side by "
            "side, or two classifiers."
        )
    cells = _labels(project, requests[0])
    if not cells:
        raise CellalError("There are no labels left to measure against: finish some images.")
    return ReportRequest(
        str(file),
        project.name,
        requests[0].split,
        score,
        tuple(_brought_up(project, a) for a in asked),
        cells,
        {key: facts_of(project, key) for key in cells},
        {c.class_id: (c.name, c.color) for c in project.active_classes},
        tuple(model_name(project, r.model_id) for r in requests),
        tuple(about(project, r.model_id) for r in requests),
        _counts(project),
        pictures,
    )


def request_folder_report(
    folder: str,
    file: str | Path,
    models: Sequence[Path],
    *,
    split: str = "test",
    table: str | None = None,
    device: str = "auto",
    own_range: bool = False,
    seed: int = 0,
    pictures: bool = True,
) -> ReportRequest:
    """Return the report of one classifier, or of two, on a folder of labelled pictures.

    Raises
    ------
    CellalError
        If there is nothing to measure on.
    """
    from napari_cellal.networks.model_files import load_record

    records = [load_record(model) for model in models]
    first = records[0]
    names = dict(zip(first.class_ids, first.class_names, strict=True))
    found = patches.of_folder(
        folder, table=table, class_names=names, seed=seed, taught_to=models[0]
    )
    chosen = found.patches if split == evaluating.ALL else found.of_split(split)
    if not chosen:
        raise CellalError(f"No labelled picture is in the split '{split}'.")
    ids = {name: c for c, name in names.items()}
    asked = []
    for model, record in zip(models, records, strict=True):
        own = patches.in_classes_of(record, replace(found, patches=chosen))
        known = zip(record.class_ids, record.class_names, strict=True)
        same = {c: ids.get(name) for c, name in known}
        request = classifying.ClassRequest(str(model), own.patches, device, own_range)
        asked.append(
            scoring.ScoreRequest(
                record.model_id, split, classes=request, class_map=same, notes=own.notes
            )
        )
    return ReportRequest(
        str(file),
        Path(folder).resolve().name,
        split,
        0.0,
        tuple(asked),
        cells_of(chosen),
        pictures_of(chosen),
        colored(names),
        tuple(name_of(r) for r in records),
        tuple(card_of(r) for r in records),
        {
            key: {ids[name]: n for name, n in counts.items() if name in ids}
            for key, counts in found.counts().items()
        },
        pictures,
        any(gives_several(r) for r in records),
        by_source_of(chosen),
    )


def _brought_up(
    project: Project, asked: scoring.ScoreRequest | scoring.Answers
) -> scoring.ScoreRequest | scoring.Answers:
    """Return answers that are measured again, against the labels of now."""
    if isinstance(asked, scoring.Answers) and asked.found is not None:
        boxes = scoring.request_again(project, asked)
        return replace(asked, request=replace(asked.request, boxes=boxes))
    return asked


def _labels(project: Project, request: scoring.ScoreRequest) -> dict[str, list[Cell]]:
    if request.boxes is not None:
        known = {
            key: evaluating.known_cells(project, key)
            for key in request.boxes.truth
            if key in project.images
        }
        return {key: cells for key, cells in known.items() if cells is not None}
    if request.classes is not None:
        keys = [p.key for p in request.classes.patches]
    else:
        keys = list(request.given or {})
    found: dict[str, list[Cell]] = {}
    for cell in project.cells.rows(keys).values():
        if cell is not None and cell.is_label:
            found.setdefault(cell.image_id, []).append(cell)
    return found


def facts_of(project: Project, key: str) -> ImageFacts:
    """Return what a page needs of an image of a project."""
    record = project.images[key]
    size = (record.shape[1], record.shape[2])
    return detecting.image_request(project, key), record.name, record.source, size


def pictures_of(chosen: Iterable[Patch]) -> dict[str, ImageFacts]:
    """Return what a page needs of pictures of one cell each."""
    return {
        p.key: (ImageRequest(p.key, p.path, True, p.plane), p.key, p.source, (0, 0)) for p in chosen
    }


def cells_of(chosen: Iterable[Patch]) -> dict[str, list[Cell]]:
    """Return pictures as cells without a box, by their first class."""
    nowhere = (0.0, 0.0, 0.0, 0.0)
    return {
        p.key: [Cell(p.key, p.key, nowhere, next(iter(p.class_ids), None), review=Review.CONFIRMED)]
        for p in chosen
    }


def by_source_of(chosen: Iterable[Patch]) -> dict[str, Counter[int]]:
    """Return {source: {class_id: pictures}}; one of several classes counts for each."""
    found: dict[str, Counter[int]] = {}
    for p in chosen:
        found.setdefault(p.source, Counter()).update(p.class_ids)
    return found


def colored(names: Mapping[int, str]) -> dict[int, tuple[str, str]]:
    """Return {class_id: (name, colour)}."""
    return {
        c: (name, CLASS_COLORS[k % len(CLASS_COLORS)]) for k, (c, name) in enumerate(names.items())
    }


def notes_of(images: Mapping[str, ImageFacts]) -> dict[str, ImageNote]:
    """Return what a page says of images."""
    from napari_cellal.evaluate.report import ImageNote

    return {key: ImageNote(name, source, size) for key, (_, name, source, size) in images.items()}


def _counts(project: Project) -> dict[str, dict[int, int]]:
    counts: dict[str, dict[int, int]] = {}
    for key, own in project.cells.label_counts().items():
        split = counts.setdefault(project.images[key].split.value, {})
        for class_id, n in own.items():
            split[class_id] = split.get(class_id, 0) + n
    return counts


def write_report(request: ReportRequest) -> Job[dict[str, Any]]:
    """Write the page; return what it says in short. See docs/cli.md for the keys.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    answers = []
    for asked in request.asked:
        if isinstance(asked, scoring.Answers):
            if asked.found is not None and asked.request.boxes is not None:
                figures = yield from scoring.measure_again(asked.request.boxes, asked)
                asked = replace(asked, figures=figures)
            elif asked.request.classes is not None:
                truth, names = _truth(request)
                figures = yield from scoring.measure_classes_again(truth, names, asked)
                asked = replace(asked, figures={**asked.figures, **figures})
        else:
            asked = yield from scoring.score(asked)
        answers.append(asked)
    if answers[0].found is None:
        request = _answered(request, answers[0])
    yield Progress(0, 0, "Writing the report")
    look = yield from look_of(request.cells, request.images, answers[0])
    report = replace(_report(request, answers), look=look)
    if request.pictures:
        report = yield from with_pictures(request, answers[0], report)
    from napari_cellal.evaluate.report import report_html

    text = report_html(report)
    try:
        write_atomic(Path(request.file), text)
    except OSError as error:
        raise CellalError(
            f"{request.file} cannot be written ({error.strerror or error})."
        ) from error
    return {
        "file": request.file,
        "bytes": len(text.encode()),
        "split": request.split,
        "images": len(request.cells),
        "cells": sum(len(some) for some in request.cells.values()),
        "models": [
            {"model": a.request.model_id}
            | {k: a.figures[k] for k in ("map50", "accuracy", "interval") if k in a.figures}
            for a in answers
        ],
    }


def _answered(request: ReportRequest, answers: scoring.Answers) -> ReportRequest:
    """Return the request without the cells that could not be read, which are not measured on."""
    cells = {
        key: [c for c in some if c.cell_id in answers.classes]
        for key, some in request.cells.items()
    }
    request = replace(request, cells={key: some for key, some in cells.items() if some})
    if not request.source_counts or answers.request.classes is None:
        return request
    asked = answers.request.classes.patches
    read = [p for p in asked if p.key in answers.classes]
    return replace(request, source_counts=by_source_of(read))


def _truth(request: ReportRequest) -> tuple[dict[str, int], dict[int, str]]:
    """Return {cell_id: class_id} of the labels of now, and {class_id: name}."""
    cells = [c for some in request.cells.values() for c in some]
    truth = {c.cell_id: c.class_id for c in cells if c.class_id is not None}
    return truth, {key: name for key, (name, _) in request.classes.items()}


def _report(request: ReportRequest, answers: Sequence[scoring.Answers]) -> Report:
    from napari_cellal.evaluate.report import Report, Side

    def side(k: int, a: scoring.Answers) -> Side:
        return Side(
            request.names[k], request.about[k], _matches(request, a), a.figures, a.found, a.notes
        )

    n = sum(len(some) for some in request.cells.values())
    names = " and ".join(request.names)
    where = _SPLITS.get(request.split, "all finished images")
    facts = (
        ("model", names),
        (
            "measured on",
            f"{where} of {request.project}: {len(request.cells):,} images, {n:,} cells",
        ),
        ("counted", f"boxes of score {request.score:.2f} or more, overlap (IoU) 0.5 or more")
        if answers[0].found is not None
        else ("counted", f"the class{'es' * request.multi_label} of each confirmed cell"),
        ("made", f"{local_time(now())} by napari-cellal {__version__}, {versions()}"),
    )
    return Report(
        f"{names} on {request.project}",
        facts,
        request.score,
        request.classes,
        notes_of(request.images),
        request.cells,
        tuple(side(k, a) for k, a in enumerate(answers)),
        project_counts=request.project_counts,
        multi_label=request.multi_label,
        source_counts=request.source_counts,
    )


def _matches(request: ReportRequest, answers: scoring.Answers) -> dict[str, tuple[Match, ...]]:
    found: Mapping[str, Detections] | None = answers.found
    if found is None:
        return {key: match_classes(answers.classes, some) for key, some in request.cells.items()}
    return {
        key: match_boxes_of(found.get(key), key, some, request.score)
        for key, some in request.cells.items()
    }
