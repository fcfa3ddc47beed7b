"""COCO's average precision of masks, through faster-coco-eval."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from napari_cellal.io.exchange.rle import counts_of_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.masks import Mask
    from napari_cellal.core.records import Detections

    TrueMasks: TypeAlias = Mapping[str, tuple[Sequence[Mask], Sequence[int | None]]]
    """{image_id: (masks, class ids)}, of images in which every cell has a mask."""


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """Average precision of masks at IoU 0.5 and over 0.5 to 0.95, mean over classes."""

    map50: float
    map5095: float
    images: int
    cells: int


def evaluate_masks(
    found: Sequence[Detections], truth: TrueMasks, class_ids: Sequence[int]
) -> MaskMetrics | None:
    """Return how well masks were found; None where nobody or no model tells any.

    What was found without a mask counts as missed.
    """
    by_image = {d.image_id: d for d in found}
    place = {c: k for k, c in enumerate(class_ids, 1)}
    images: list[dict[str, Any]] = []
    true_rows: list[dict[str, Any]] = []
    found_rows: list[dict[str, Any]] = []
    for n, (image_id, (masks, classes)) in enumerate(truth.items(), 1):
        d = by_image.get(image_id)
        guesses = [] if d is None else list(zip(d.masks, d.class_ids, d.scores, strict=False))
        every = [*masks, *(mask for mask, _, _ in guesses if mask is not None)]
        size = [max((m.window[k] for m in every), default=1) for k in (2, 3)]
        images.append({"id": n, "height": size[0], "width": size[1]})
        for mask, class_id in zip(masks, classes, strict=True):
            if class_id in place:
                row = _row(len(true_rows) + 1, n, place[class_id], mask, size)
                true_rows.append(row)
        for guess, class_id, score in guesses:
            if guess is not None and class_id in place:
                row = _row(len(found_rows) + 1, n, place[class_id], guess, size)
                found_rows.append(row | {"score": score})
    if not true_rows or not any(d.masks for d in found):
        return None
    counts = {"images": len(images), "cells": len(true_rows)}
    if not found_rows:
        return MaskMetrics(0.0, 0.0, **counts)
    categories = [{"id": k, "name": str(c)} for c, k in place.items()]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on stdout
        known = COCO({"images": images, "categories": categories, "annotations": true_rows})
        run = COCOeval_faster(
            known, known.loadRes(found_rows), iouType="segm", print_function=lambda *_: None
        )
        run.params.maxDets = [max(len(d) for d in found)]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e12]], ["all"]
        run.evaluate()
        run.accumulate()
    precision = np.asarray(run.eval["precision"])[:, :, :, 0, 0]  # [IoU, recall, K]
    known_classes = [k for k in range(len(place)) if precision[0, 0, k] >= 0]  # -1: no cell
    precision = precision[:, :, known_classes]
    return MaskMetrics(float(precision[0].mean()), float(precision.mean()), **counts)


def _row(k: int, image: int, category: int, mask: Mask, size: Sequence[int]) -> dict[str, Any]:
    height, width = size
    return {
        "id": k,
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": [height, width], "counts": counts_of_mask(mask, height, width)},
        "bbox": [mask.x0, mask.y0, mask.width, mask.height],
        "area": mask.area,
        "iscrowd": 0,
    }
