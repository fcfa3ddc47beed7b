"""Boxes: ``float[N, 4]`` (y0, x0, y1, x1), px of the full-resolution plane, half-open, y down."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box: TypeAlias = tuple[float, float, float, float]
BoxArray: TypeAlias = NDArray[np.floating]

_TOGETHER = 64  # neighbouring boxes that are compared at once


def as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return float64[N, 4], also for an empty list."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def box_area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return float64[N], px²; 0 for boxes without height or width."""
    b = as_boxes(boxes)
    height = np.maximum(b[:, 2] - b[:, 0], 0)
    width = np.maximum(b[:, 3] - b[:, 1], 0)
    return np.asarray(height * width)


def _intersection(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # [N, M, 2]
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=2))


def iou_matrix(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return intersection over union, float64[N, M] in 0..1."""
    a, b = as_boxes(a), as_boxes(b)
    inter = _intersection(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def overlapping_pairs(
    a: ArrayLike, b: ArrayLike, iou: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return (i, j, IoU) of every pair that overlaps by ``iou`` (> 0) or more, in no order.

    Boxes are compared with those near them only: a slide's 200,000 boxes twice would make
    a matrix of 320 GB.
    """
    a, b = as_boxes(a), as_boxes(b)
    rows, cols, values = [], [], []
    if len(a) and len(b):
        stripe = max(1.0, 4 * float(np.median(a[:, 2] - a[:, 0])))
        neighbours = np.lexsort((a[:, 1], np.floor(a[:, 0] / stripe)))
        by_top = np.argsort(b[:, 0], kind="stable")
        tops, tallest = b[by_top, 0], float((b[:, 2] - b[:, 0]).max())
    else:
        neighbours = np.zeros(0, dtype=np.intp)
    for start in range(0, len(neighbours), _TOGETHER):
        some = neighbours[start : start + _TOGETHER]
        y0, x0 = a[some, :2].min(axis=0)
        y1, x1 = a[some, 2:].max(axis=0)
        near = by_top[slice(*np.searchsorted(tops, (y0 - tallest, y1)))]
        near = near[(b[near, 2] > y0) & (b[near, 1] < x1) & (b[near, 3] > x0)]
        overlap = iou_matrix(a[some], b[near])
        i, j = np.nonzero(overlap >= iou)
        rows.append(some[i])
        cols.append(near[j])
        values.append(overlap[i, j])
    none = np.zeros(0, dtype=np.intp)
    return (
        np.concatenate([none, *rows]),
        np.concatenate([none, *cols]),
        np.concatenate([np.zeros(0), *values]),
    )


def clip_boxes(boxes: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes cut to an image of ``shape`` (height, width), px."""
    b = as_boxes(boxes).copy()
    b[:, 0::2] = np.clip(b[:, 0::2], 0, shape[0])
    b[:, 1::2] = np.clip(b[:, 1::2], 0, shape[1])
    return b


def normalized_box(box: Box) -> Box:
    """Return the box with y0 <= y1 and x0 <= x1."""
    y0, x0, y1, x1 = (float(v) for v in box)
    return (min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))


def match_boxes(a: ArrayLike, b: ArrayLike, iou: float = 0.5) -> list[tuple[int, int]]:
    """Return pairs (i, j) of boxes that overlap by ``iou`` or more, each box used once.

    Greedy from the highest overlap down; ties go to the lower indices.
    """
    rows, cols, overlap = overlapping_pairs(a, b, iou)
    order = np.lexsort((cols, rows, -overlap))
    used_a: set[int] = set()
    used_b: set[int] = set()
    pairs = []
    for k in order:
        i, j = int(rows[k]), int(cols[k])
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            pairs.append((i, j))
    return pairs
