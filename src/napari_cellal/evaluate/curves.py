"""How precision falls as more is found, and whether a score is to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.reliability import ReliabilityPoint, reliability

from .average_precision import Truth, hits_of, image_boxes, of_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.core.records import Detections

_MOST_POINTS = 160


@dataclass(frozen=True, slots=True)
class PrecisionCurve:
    """Precision over recall as the score falls, both 0..1; ``at_score`` is the point asked for."""

    points: tuple[tuple[float, float], ...]
    at_score: tuple[float, float] | None


def precision_curves(
    found: Sequence[Detections], truth: Truth, class_ids: Sequence[int], score: float = 0.5
) -> dict[int, PrecisionCurve]:
    """Return each class's curve at IoU 0.5; classes that no cell has are left out."""
    images = image_boxes(found, truth)
    curves = {}
    for class_id in class_ids:
        own = [of_class(image, class_id) for image in images]
        cells = sum(len(image.true) for image in own)
        if not cells:
            continue
        scores = np.concatenate([image.scores for image in own])
        hits = np.concatenate([hits_of(image, 0.5) for image in own])
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(hits[order])
        precision, recall = right / np.arange(1, len(right) + 1), right / cells
        kept = np.unique(np.linspace(0, max(0, len(right) - 1), _MOST_POINTS).astype(int))
        kept = kept[: len(right)]
        points = tuple((float(recall[k]), float(precision[k])) for k in kept)
        last = int((scores >= score).sum()) - 1
        mark = (float(recall[last]), float(precision[last])) if last >= 0 else None
        curves[class_id] = PrecisionCurve(points, mark)
    return curves


def score_reliability(
    found: Sequence[Detections], truth: Truth, class_ids: Sequence[int]
) -> tuple[ReliabilityPoint, ...]:
    """Return, for boxes of about one score, which share found a cell of their class."""
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for image in image_boxes(found, truth):
        for class_id in class_ids:
            own = of_class(image, class_id)
            scores.append(own.scores)
            right.append(hits_of(own, 0.5))
    return reliability(np.concatenate(scores), np.concatenate(right))
