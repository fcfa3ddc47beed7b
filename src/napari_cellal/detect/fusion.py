"""One image looked at several times, mirrored, and what was found put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.geometry import iou_matrix

from .tiles import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIRRORED = ((2,), (1,), (1, 2))
"""Axes of [C, Y, X] that the further looks have turned round."""

_SAME_IOU = 0.55


def mirrored(
    boxes: NDArray[np.float32], axes: tuple[int, ...], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return boxes float32[N, 4] of a picture of (height, width) with some axes turned round."""
    boxes = boxes.copy()
    for axis in axes:
        k = axis - 1
        boxes[:, [k, k + 2]] = shape[k] - boxes[:, [k + 2, k]]
    return boxes


def fused(looks: Sequence[Found]) -> Found:
    """Return the cells of all looks, each once, by falling score.

    Weighted boxes fusion (Solovyev et al., arXiv:1910.13302): boxes that overlap the best one of
    them by IoU 0.55 are one cell, at most one of each look. Its box, its probabilities and its
    mask are their mean by score; its score is the mean over all looks, so that what one look
    alone saw loses.
    """
    boxes = np.concatenate([f.boxes for f in looks])
    if not len(boxes):
        return looks[0]
    scores = np.concatenate([f.scores for f in looks])
    shares = np.concatenate([f.probabilities for f in looks])
    look = np.concatenate([np.full(len(f.boxes), k) for k, f in enumerate(looks)])
    group = np.full(len(boxes), -1)
    count = 0
    order = np.argsort(-scores, kind="stable")
    for k in order.tolist():
        if group[k] >= 0:
            continue
        overlap = iou_matrix(boxes[k : k + 1], boxes)[0]
        overlap[(group >= 0) | (look == look[k])] = 0
        group[k] = count
        for other in range(len(looks)):
            best = int(np.where(look == other, overlap, 0).argmax())
            if look[best] == other and overlap[best] >= _SAME_IOU:
                group[best] = count
        count += 1
    weight = np.bincount(group, scores, count)  # [G]

    part = scores / np.maximum(weight, 1e-9)[group]  # of each box in its cell

    def mean(values: NDArray[np.number]) -> NDArray[np.float32]:
        sums = np.zeros((count, *values.shape[1:]), np.float32)
        np.add.at(sums, group, values * part.reshape(-1, *[1] * (values.ndim - 1)))
        return sums

    share = mean(shares)
    masks = [f.masks for f in looks if f.masks is not None and len(f.boxes)]
    every = Found(
        mean(boxes),
        (weight / len(looks)).astype(np.float32),
        share.argmax(axis=1).astype(np.int64),
        share,
        mean(np.concatenate(masks)).round().astype(np.uint8) if masks else None,
    )
    return every.take(np.argsort(-every.scores, kind="stable"))
