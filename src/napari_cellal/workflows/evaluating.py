"""How good a detector is on the images of a split, against what people confirmed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.active.requests import SuggestRequest, pack_rows
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Detections, Review, Split
from napari_cellal.features.table import FeatureTable, MeasureRequest, join_tables

from . import detecting, learning
from .describing import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.core.records import Cell
    from napari_cellal.io.store import Project

Truth = dict[str, tuple[list["Box"], list[int | None]]]
"""{image_id: (boxes, class ids)}."""


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """A model and the images to measure it on. Picklable."""

    run: detecting.DetectRequest
    truth: Truth
    class_names: dict[int, str]
    score: float = 0.5
    learner: LearnerRequest | None = None
    seed: int = 0
    """Of the bootstrap that gives the interval."""
    masks: dict[str, tuple[list[Mask], list[int | None]]] = field(default_factory=dict)
    """{image_id: (masks, class ids)} of the images in which every cell has a mask."""


@dataclass(frozen=True, slots=True)
class LearnerRequest:
    """What gives classes to a detector's boxes: the project's labelled, measured cells."""

    features_path: str
    labelled: dict[str, int]
    measure: tuple[MeasureRequest, ...]
    """The images' requests; their cells and boxes are replaced by what is detected."""
    cache_folder: str
    seed: int = 0
    features: str = QUICK
    """Those of the table at ``features_path``."""


ALL = "all"
"""In the place of a split: every finished image."""


def in_split(project: Project, split: str) -> list[str]:
    """Return the images of a split, or of `ALL`.

    Raises
    ------
    CellalError
        If there is no such split.
    """
    if split == ALL:
        return list(project.images)
    try:
        chosen = Split(split)
    except ValueError:
        raise CellalError(f"'{split}' is not a split; use train, val, test or all.") from None
    return [key for key, record in project.images.items() if record.split is chosen]


def known_cells(project: Project, image_id: str) -> list[Cell] | None:
    """Return the confirmed cells of an image, None where it cannot be measured on.

    Only a finished image says where no cell is; in another one a right box beside the
    labelled ones would count as wrong. Images with unsure cells are left out for the same
    reason. Confirmed cells without a class count where classes are ignored.
    """
    if not project.images[image_id].finished:
        return None
    cells = project.cells.of_image(image_id)
    if any(c.review is Review.UNSURE for c in cells):
        return None
    return [c for c in cells if c.review is Review.CONFIRMED]


def truth_of(project: Project, split: str) -> Truth:
    """Return boxes and classes of `known_cells` of a split's images."""
    truth: Truth = {}
    for key in in_split(project, split):
        known = known_cells(project, key)
        if known is not None:
            truth[key] = ([c.box for c in known], [c.class_id for c in known])
    return truth


def masks_of(
    project: Project, image_ids: Iterable[str]
) -> dict[str, tuple[list[Mask], list[int | None]]]:
    """Return masks and classes of the images whose confirmed cells all have masks."""
    found = {}
    for key in image_ids:
        known = [c for c in project.cells.of_image(key) if c.review is Review.CONFIRMED]
        masks = [c.mask for c in known if c.mask is not None]
        if known and len(masks) == len(known):
            found[key] = (masks, [c.class_id for c in known])
    return found


def request_evaluation(
    project: Project,
    *,
    model: str = "auto",
    split: str = "test",
    score: float = 0.5,
    device: str = "auto",
    truth: Truth | None = None,
    learner: LearnerRequest | None = None,
    seed: int = 0,
) -> EvaluateRequest:
    """Return the measurement of a model on a split.

    Raises
    ------
    CellalError
        If the split has no confirmed cells, or there is no such model or split.
    """
    known = truth if truth is not None else truth_of(project, split)
    if not known:
        which = "No image" if split == ALL else f"No image of the split '{split}'"
        raise CellalError(
            f"{which} is finished. Finish some (F in the window), or "
            "import annotations with --confirm --finished."
        )
    run = detecting.request_detection(project, known, model=model, device=device)
    names = {c.class_id: c.name for c in project.active_classes}
    masks = masks_of(project, known) if truth is None else {}
    return EvaluateRequest(run, known, names, score, learner, seed, masks)


def evaluate(request: EvaluateRequest) -> Job[dict[str, Any]]:
    """Return the figures of a request as plain values; see docs/cli.md for the keys."""
    found = yield from find(request)
    yield Progress(0, 0, "Measuring")
    return figures_of(request, found)


def find(request: EvaluateRequest) -> Job[dict[str, Detections]]:
    """Yield each image's detections and return all by image_id, classed by the learner if asked."""
    found = yield from detecting.detections_of(request.run)
    if request.learner is not None:
        found = yield from class_detections(request.learner, found, request.class_names)
    return found


def figures_of(request: EvaluateRequest, found: Mapping[str, Detections]) -> dict[str, Any]:
    """Return the figures, with a sentence for each image that could not be searched."""
    failures = [
        f"{Path(image.path).name} could not be searched; its cells count as missed."
        for image in request.run.images
        if image.image_id not in found
    ]
    return figures(request, list(found.values())) | {"failures": failures}


def figures(request: EvaluateRequest, found: Sequence[Detections]) -> dict[str, Any]:
    """Return the figures for detections that are there already."""
    from napari_cellal.evaluate.mask_precision import evaluate_masks
    from napari_cellal.evaluate.metrics import evaluate_boxes

    ids = list(request.class_names)
    masks = evaluate_masks(found, request.masks, ids)
    m = evaluate_boxes(found, request.truth, ids, score=request.score, seed=request.seed)
    names = request.class_names

    def per_class(class_id: int) -> dict[str, Any]:
        c = m.per_class[class_id]
        return {
            "ap50": c.ap50,
            "ap5095": c.ap5095,
            "precision": c.precision,
            "recall": c.recall,
            "f1": c.f1,
            "support": c.support,
        }

    model_id = request.run.model_id + (f"+{learning.LEARNER}" if request.learner else "")
    return {
        "model": model_id,
        "images": m.images,
        "cells": m.cells,
        "score": m.score,
        "map50": m.map50,
        "map5095": m.map5095,
        "interval": list(m.interval) if m.interval else None,
        "per_class": {names[c]: per_class(c) for c in ids},
        "any_class": {
            "ap50": m.blind_ap50,
            "precision": m.blind.precision,
            "recall": m.blind.recall,
            "f1": m.blind.f1,
        },
        "confusion": {
            "classes": [names[c] for c in m.class_ids],
            "counts": [list(line) for line in m.confusion],
        },
        **({"masks": asdict(masks)} if masks else {}),
    }


def is_better(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Return whether the first of two models' figures are better, on the same images.

    By mean average precision; against the classical detector, which gives no classes and so
    never has any, by average precision with classes ignored.
    """
    if detecting.CLASSICAL in (new["model"], old["model"]):
        new, old = ({"map50": f["any_class"]["ap50"]} for f in (new, old))
    return (new["map50"] or 0) > (old["map50"] or 0)


def class_detections(
    learner: LearnerRequest, found: Mapping[str, Detections], class_names: Mapping[int, str]
) -> Job[dict[str, Detections]]:
    """Return the detections with classes given by the learner.

    A class's score is the detector's score times the class's probability, so that a sure
    box of an unsure class ranks behind a sure box of a sure one.
    """
    requests = []
    for base in learner.measure:
        d = found.get(base.image_id)
        if d is not None and len(d):
            ids = tuple(f"{base.image_id}:{i}" for i in range(len(d)))
            requests.append(replace(base, cell_ids=ids, boxes=d.boxes, masks=d.masks))
    measured = yield from learning.measure_table(
        requests, Path(learner.cache_folder, "evaluate"), learner.features
    )
    known = FeatureTable.load(learner.features_path)
    # the learner looks at unlabelled cells too, but not at those of the images measured on
    seen = {c for r in learner.measure if r.image_id in found for c in r.cell_ids}
    rows = [i for i, c in enumerate(known.cell_ids) if c in learner.labelled or c not in seen]
    others = FeatureTable(
        tuple(known.cell_ids[i] for i in rows), known.names, known.values[np.array(rows, int)]
    )
    path = Path(learner.cache_folder, "evaluate", "features.npz")
    join_tables([others, measured]).save(path)
    predicted = yield from learning.class_rest(
        SuggestRequest(
            str(path),
            learner.labelled,
            {},
            class_names,
            pack_rows(np.arange(len(others) + len(measured)) < len(others)),
            seed=learner.seed,
            others=measured.cell_ids,
        )
    )
    return {key: _classed(d, predicted) for key, d in found.items()}


def _classed(d: Detections, predicted: Mapping[str, tuple[tuple[int, float], ...]]) -> Detections:
    said = [predicted.get(f"{d.image_id}:{i}", ()) for i in range(len(d))]
    scores = [s * (p[0][1] if p else 1.0) for s, p in zip(d.scores, said, strict=True)]
    order = sorted(range(len(d)), key=lambda i: -scores[i])
    return replace(
        d.take(order),
        scores=tuple(scores[i] for i in order),
        class_ids=tuple(said[i][0][0] if said[i] else d.class_ids[i] for i in order),
        model_id=f"{d.model_id}+{learning.LEARNER}",
        probabilities=tuple(said[i] for i in order),
    )
