"""A measurement written as one HTML file, with nothing beside it."""

from __future__ import annotations

import io
import platform
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal import __version__
from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import CLASS_COLORS, Cell, Review, local_time, now
from napari_cellal.detect.requests import ImageRequest
from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.evaluate.matches import match_boxes_of, match_classes
from napari_cellal.io.atomic import write_atomic

from . import classifying, detecting, evaluating, patches, scoring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Detections, ModelRecord
    from napari_cellal.evaluate.matches import Match
    from napari_cellal.evaluate.report import Report, Side
    from napari_cellal.io.store import Project

THUMBNAIL_PX = 480
CROP_PX = 96
_QUALITY = 72
_SPLITS = {
    "val": "held-out images (val)",
    "test": "test images",
    "train": "images of the split train",
}


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is written from; picklable.

    Attributes
    ----------
    asked : tuple of ScoreRequest or Answers
        One model, or two; answers that are there already are not asked for again.
    cells : {image_id: cells}
        The labels to measure against.
    images : {image_id: (ImageRequest, name, source, (height, width))}
    classes : {class_id: (name, colour)}
    about : a tuple of (what, text) for each model
    """

    file: str
    project: str
    split: str
    score: float
    asked: tuple[scoring.ScoreRequest | scoring.Answers, ...]
    cells: Mapping[str, Sequence[Cell]]
    images: Mapping[str, tuple[ImageRequest, str, str, tuple[int, int]]]
    classes: Mapping[int, tuple[str, str]]
    names: tuple[str, ...]
    about: tuple[tuple[tuple[str, str], ...], ...]
    project_counts: Mapping[str, Mapping[int, int]]
    pictures: bool = True


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
        {key: _image(project, key) for key in cells},
        {c.class_id: (c.name, c.color) for c in project.active_classes},
        tuple(model_name(project, r.model_id) for r in requests),
        tuple(_about(project, r.model_id) for r in requests),
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
        If there is nothing to measure on, or a picture may have several classes.
    """
    from napari_cellal.networks.model_files import load_record

    records = [load_record(model) for model in models]
    first = records[0]
    names = dict(zip(first.class_ids, first.class_names, strict=True))
    found = patches.of_folder(folder, table=table, class_names=names, seed=seed)
    if found.multi_label:
        raise CellalError("Pictures with several classes each have no such page: use 'evaluate'.")
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
    nowhere = (0.0, 0.0, 0.0, 0.0)
    return ReportRequest(
        str(file),
        Path(folder).name,
        split,
        0.0,
        tuple(asked),
        {
            p.key: [Cell(p.key, p.key, nowhere, p.class_ids[0], review=Review.CONFIRMED)]
            for p in chosen
        },
        {
            p.key: (ImageRequest(p.key, p.path, True, p.plane), p.key, p.source, (0, 0))
            for p in chosen
        },
        {
            c: (name, CLASS_COLORS[k % len(CLASS_COLORS)])
            for k, (c, name) in enumerate(names.items())
        },
        tuple(_name(r) for r in records),
        tuple(_card(r) for r in records),
        {
            key: {ids[name]: n for name, n in counts.items() if name in ids}
            for key, counts in found.counts().items()
        },
        pictures,
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


def _image(project: Project, key: str) -> tuple[ImageRequest, str, str, tuple[int, int]]:
    record = project.images[key]
    size = (record.shape[1], record.shape[2])
    return detecting.image_request(project, key), record.name, scoring.source_of(record), size


def _counts(project: Project) -> dict[str, dict[int, int]]:
    counts: dict[str, dict[int, int]] = {}
    for key, own in project.cells.label_counts().items():
        split = counts.setdefault(project.images[key].split.value, {})
        for class_id, n in own.items():
            split[class_id] = split.get(class_id, 0) + n
    return counts


def model_name(project: Project, model_id: str) -> str:
    """Return a model's name for a person."""
    if model_id == scoring.PROPOSED:
        return "Proposed before review"
    if model_id in (SHIPPED, detecting.CLASSICAL):
        return model_id.capitalize()
    record = _record(project, model_id)
    return model_id[:6] if record is None else _name(record)


def _name(record: ModelRecord) -> str:
    if record.name:
        return record.name
    given = len(record.model_id) > 16  # not one of ours, of which the beginning does
    return record.model_id if given else f"{record.architecture} {record.model_id[:6]}"


def _record(project: Project, model_id: str) -> ModelRecord | None:
    return next((m for m in project.models if m.model_id == model_id), None)


def _about(project: Project, model_id: str) -> tuple[tuple[str, str], ...]:
    record = shipped_record() if model_id == SHIPPED else _record(project, model_id)
    if record is None:
        texts = {
            detecting.CLASSICAL: "Finds round, contrasting objects without training; no classes",
            scoring.PROPOSED: "The classes that models gave to the cells before their review",
        }
        return (("model", texts.get(model_id, model_id)),)
    return _card(record)


def _card(record: ModelRecord) -> tuple[tuple[str, str], ...]:
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
        else:
            asked = yield from scoring.score(asked)
        answers.append(asked)
    yield Progress(0, 0, "Writing the report")
    report = _report(request, answers)
    if request.pictures:
        report = yield from _with_pictures(request, report)
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


def _report(request: ReportRequest, answers: Sequence[scoring.Answers]) -> Report:
    from napari_cellal.evaluate.report import ImageNote, Report, Side

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
        else ("counted", "the class of each confirmed cell"),
        ("made", f"{local_time(now())} by napari-cellal {__version__}, {_versions()}"),
    )
    return Report(
        f"{names} on {request.project}",
        facts,
        request.score,
        request.classes,
        {
            key: ImageNote(name, source, size)
            for key, (_, name, source, size) in request.images.items()
        },
        request.cells,
        tuple(side(k, a) for k, a in enumerate(answers)),
        project_counts=request.project_counts,
    )


def _matches(request: ReportRequest, answers: scoring.Answers) -> dict[str, tuple[Match, ...]]:
    found: Mapping[str, Detections] | None = answers.found
    if found is None:
        return {key: match_classes(answers.classes, some) for key, some in request.cells.items()}
    return {
        key: match_boxes_of(found.get(key), key, some, request.score)
        for key, some in request.cells.items()
    }


def _versions() -> str:
    said = [f"Python {platform.python_version()}"]
    for package in ("torch", "torchvision"):
        try:
            said.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(said)


def _with_pictures(request: ReportRequest, report: Report) -> Job[Report]:
    """Return the report with pictures of what went wrong; what cannot be read goes without."""
    from napari_cellal.evaluate.report import worst_cells, worst_images

    side = report.sides[0]
    pictures, crops = {}, {}
    if report.boxes:
        wanted = worst_images(side)
        for k, key in enumerate(wanted):
            yield Progress(k, len(wanted), "Drawing the worst images")
            jpeg = _thumbnail(request.images[key][0])
            if jpeg is not None:
                pictures[key] = jpeg
    else:
        cells = worst_cells(side)
        for k, m in enumerate(cells):
            yield Progress(k, len(cells), "Drawing the worst cells")
            image, _, _, size = request.images[m.image_id]
            whole = m.box[2] <= m.box[0]  # a picture of one cell
            jpeg = _thumbnail(image, CROP_PX) if whole else _crop(image, m.box, size)
            if jpeg is not None and m.cell_id is not None:
                crops[m.cell_id] = jpeg
    return replace(report, pictures=pictures, crops=crops)


def _thumbnail(image: ImageRequest, side_px: int = THUMBNAIL_PX) -> bytes | None:
    """Return an image, small, as JPEG; None where it cannot be read, or is too large."""
    from napari_cellal.features.crops import resample
    from napari_cellal.io.planes import open_levels

    try:
        levels = open_levels(image.path, image.plane)
        level = next((a for a in reversed(levels) if max(a.shape[-2:]) >= side_px), levels[0])
        if level.size > 64_000_000:
            return None
        pixels = np.asarray(level)
    except ImageError:
        return None
    height, width = pixels.shape[-2:]
    shrink = min(1.0, side_px / max(height, width))
    small = resample(
        pixels.astype(np.float32), max(1, round(height * shrink)), max(1, round(width * shrink))
    )
    return _jpeg(small, is_colour=image.rgb and pixels.dtype == np.uint8)


def _crop(image: ImageRequest, box: Box, size: tuple[int, int]) -> bytes | None:
    """Return a cell with a margin, as JPEG; None where it cannot be read."""
    from napari_cellal.features.crops import resample
    from napari_cellal.io.planes import read_plane_region

    y0, x0, y1, x1 = box
    margin = 0.3 * max(y1 - y0, x1 - x0)
    top, left = max(0, int(y0 - margin)), max(0, int(x0 - margin))
    bottom, right = min(size[0], int(y1 + margin) + 1), min(size[1], int(x1 + margin) + 1)
    if bottom <= top or right <= left:
        return None
    try:
        pixels = read_plane_region(image.path, image.plane, (top, left, bottom, right))
    except ImageError:
        return None
    small = resample(pixels.astype(np.float32), CROP_PX, CROP_PX)
    return _jpeg(small, is_colour=image.rgb and pixels.dtype == np.uint8)


def _jpeg(pixels: NDArray[np.float32], *, is_colour: bool) -> bytes:
    """Return [C, y, x] as JPEG: colour pictures as they are, channels put together in grey."""
    from PIL import Image

    if is_colour and len(pixels) >= 3:
        shown = pixels[:3].clip(0, 255)
    else:
        low, high = np.percentile(pixels, [1, 99.8], axis=(1, 2), keepdims=True)
        unit = ((pixels - low) / np.maximum(high - low, 1e-6)).clip(0, 1)
        shown = np.repeat(255 * unit.max(axis=0, keepdims=True), 3, axis=0)
    out = io.BytesIO()
    picture = Image.fromarray(np.moveaxis(shown, 0, -1).round().astype(np.uint8))
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
