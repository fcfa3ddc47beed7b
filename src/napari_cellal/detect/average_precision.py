"""AP at IoU 0.5, small enough to steer training by; reports use `napari_cellal.evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.geometry import as_boxes, iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_cellal.core.records import Detections


def ap50(
    found: Sequence[Detections],
    true_boxes: Sequence[ArrayLike],
    true_classes: Sequence[Sequence[int]],
    class_ids: Sequence[int],
    iou: float = 0.5,
) -> dict[int, float]:
    """Return average precision, 0..1, of each class that has a true box.

    The area under the precision-recall curve made monotone (VOC 2010 and later), one
    detection a true box, best scores first.
    """
    result = {}
    for class_id in class_ids:
        hits: list[NDArray[np.bool_]] = []
        scores: list[NDArray[np.float64]] = []
        n_true = 0
        for detections, boxes, classes in zip(found, true_boxes, true_classes, strict=True):
            mine = [k for k, c in enumerate(detections.class_ids) if c == class_id]
            truth = as_boxes(boxes)[np.asarray(classes, dtype=int) == class_id]
            n_true += len(truth)
            score = np.asarray([detections.scores[k] for k in mine], dtype=float)
            order = np.argsort(-score, kind="stable")
            picked = as_boxes([detections.boxes[mine[k]] for k in order])
            hits.append(_hits(iou_matrix(picked, truth), iou))
            scores.append(score[order])
        if n_true:
            order = np.argsort(-np.concatenate(scores), kind="stable")
            result[class_id] = _area(np.concatenate(hits)[order], n_true)
    return result


def _hits(overlap: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Return bool[N]: detections, best first, that hit a true box not hit before."""
    hit = np.zeros(len(overlap), dtype=bool)
    free = np.ones(overlap.shape[1], dtype=bool)
    for k, row in enumerate(overlap):
        open_row = np.where(free, row, -1.0)
        if len(open_row) and open_row.max() >= least:
            free[int(open_row.argmax())] = False
            hit[k] = True
    return hit


def _area(hit: NDArray[np.bool_], n_true: int) -> float:
    true = np.cumsum(hit)
    recall = true / n_true
    precision = true / np.arange(1, len(hit) + 1)
    best_later = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best_later))
