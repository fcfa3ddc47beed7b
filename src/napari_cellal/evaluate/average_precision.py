"""Average precision of boxes: COCO's own, and one that can be drawn again by image."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import ArrayLike, NDArray

from napari_cellal.core.geometry import as_boxes, box_area, iou_matrix

if TYPE_CHECKING:
    from napari_cellal.core.records import Detections

_RECALLS = np.linspace(0, 1, 101)
_BOOTSTRAPS = 200

Truth: TypeAlias = Mapping[str, tuple[ArrayLike, Sequence[int | None]]]
"""{image_id: (boxes float[n, 4], class ids of n)}; an image without cells has empty ones."""


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """One image's boxes, those without area left out. Class -1 stands for none."""

    found: NDArray[np.float64]
    scores: NDArray[np.float64]
    found_classes: NDArray[np.int64]
    true: NDArray[np.float64]
    true_classes: NDArray[np.int64]


def image_boxes(predictions: Sequence[Detections], truth: Truth) -> list[ImageBoxes]:
    """Return each image of ``truth`` with what was found in it, by falling score."""
    found = {d.image_id: d for d in predictions}
    images = []
    for image_id, (boxes, classes) in truth.items():
        true, true_classes = as_boxes(boxes), _class_array(classes)
        keep = box_area(true) > 0
        detections = found.get(image_id)
        guess = as_boxes(detections.boxes if detections else ())
        scores = np.asarray(detections.scores if detections else (), np.float64)
        guess_classes = _class_array(detections.class_ids if detections else ())
        good = box_area(guess) > 0
        order = np.flatnonzero(good)[np.argsort(-scores[good], kind="stable")]
        images.append(
            ImageBoxes(
                guess[order], scores[order], guess_classes[order], true[keep], true_classes[keep]
            )
        )
    return images


def _class_array(classes: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array([-1 if c is None else c for c in classes], np.int64)


def of_class(image: ImageBoxes, class_id: int) -> ImageBoxes:
    """Return only the boxes, found and true, of one class."""
    f, t = image.found_classes == class_id, image.true_classes == class_id
    return ImageBoxes(
        image.found[f], image.scores[f], image.found_classes[f], image.true[t],
        image.true_classes[t],
    )  # fmt: skip


def hits_of(image: ImageBoxes, iou: float) -> NDArray[np.bool_]:
    """Return which boxes, by falling score, find a cell that none before them found."""
    hit = np.zeros(len(image.found), bool)
    if not len(image.true):
        return hit
    overlap = iou_matrix(image.found, image.true)
    for k, row in enumerate(overlap):
        best = int(np.argmax(row))
        if row[best] >= iou:
            hit[k] = True
            overlap[:, best] = -1.0
    return hit


Ranked: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.int64]]


def ranked(images: Sequence[ImageBoxes], iou: float) -> Ranked:
    """Return hits and image numbers of all boxes by falling score, cells an image."""
    scores = np.concatenate([i.scores for i in images]) if images else np.zeros(0)
    hits = np.concatenate([hits_of(i, iou) for i in images]) if images else np.zeros(0, bool)
    number = np.repeat(np.arange(len(images)), [len(i.scores) for i in images])
    order = np.argsort(-scores, kind="stable")
    cells = np.array([len(i.true) for i in images], np.int64)
    return hits[order], number[order], cells


def average_precisions(order: Ranked, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return COCO's 101-point average precision for each weighting of the images.

    ``weights`` is float[B, images]: how often each image was drawn. NaN where no cell is.
    """
    hits, number, cells = order
    out = np.full(len(weights), np.nan)
    for b, weight in enumerate(weights):
        total = weight @ cells
        if total == 0:
            continue
        each = weight[number]
        right, named = np.cumsum(each * hits), np.cumsum(each)
        precision = right / np.maximum(named, 1e-12)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(right / total, _RECALLS - 1e-12, side="left")
        reached = at < len(envelope)
        out[b] = envelope[at[reached]].sum() / len(_RECALLS)
    return out


def map50_interval(
    images: Sequence[ImageBoxes], ids: tuple[int, ...], seed: int
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of mAP50 over images drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), _BOOTSTRAPS)
    table = np.array(
        [
            average_precisions(
                ranked([of_class(i, c) for i in images], 0.5), drawn.astype(np.float64)
            )
            for c in ids
        ]
    )  # [K, B]
    known = ~np.isnan(table)
    counted = known.sum(axis=0)
    means = np.where(known, table, 0).sum(axis=0)[counted > 0] / counted[counted > 0]
    if not len(means):
        return None
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def coco_precisions(
    images: Sequence[ImageBoxes], ids: tuple[int, ...]
) -> tuple[list[float | None], list[float | None]]:
    """Return each class's AP at IoU 0.5 and over 0.5-0.95, None where no cell has it."""
    present = {int(c) for image in images for c in image.true_classes} & set(ids)
    found_any = any(np.isin(image.found_classes, ids).any() for image in images)
    if not present or not found_any:
        empty: list[float | None] = [0.0 if c in present else None for c in ids]
        return empty, list(empty)
    truth = {
        "images": [{"id": n + 1, "width": 1, "height": 1} for n in range(len(images))],
        "categories": [{"id": k + 1, "name": str(c)} for k, c in enumerate(ids)],
        "annotations": _coco_rows(images, ids, true=True),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on stdout
        known = COCO(truth)
        found = known.loadRes(_coco_rows(images, ids, true=False))
        run = COCOeval_faster(known, found, iouType="bbox", print_function=lambda *_: None)
        most = max(len(image.found) for image in images)
        run.params.maxDets = [most]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e12]], ["all"]
        run.evaluate()
        run.accumulate()
    precision = np.asarray(run.eval["precision"])[:, :, :, 0, 0]  # [IoU, recall, K]
    each = [
        (float(precision[0, :, k].mean()), float(precision[:, :, k].mean()))
        if c in present
        else (None, None)
        for k, c in enumerate(ids)
    ]
    return [a for a, _ in each], [b for _, b in each]


def _coco_rows(
    images: Sequence[ImageBoxes], ids: tuple[int, ...], *, true: bool
) -> list[dict[str, Any]]:
    place = {class_id: k + 1 for k, class_id in enumerate(ids)}
    rows: list[dict[str, Any]] = []
    for n, image in enumerate(images):
        boxes = image.true if true else image.found
        classes = image.true_classes if true else image.found_classes
        for k, ((y0, x0, y1, x1), class_id) in enumerate(zip(boxes, classes, strict=True)):
            if int(class_id) not in place:
                continue
            row = {
                "id": len(rows) + 1,
                "image_id": n + 1,
                "category_id": place[int(class_id)],
                "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                "area": float((y1 - y0) * (x1 - x0)),
                "iscrowd": 0,
            }
            rows.append(row if true else row | {"score": float(image.scores[k])})
    return rows
