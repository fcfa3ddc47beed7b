"""Pictures made of several: mosaics, and cells pasted from one picture into another.

Mosaic as in YOLOv4 (Bochkovskiy et al., arXiv:2004.10934), but without shrinking: a cell keeps
its size, for which the anchors were fitted. Pasting after Ghiasi et al. (arXiv:2012.07177).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .augment import Sample, cropped
from .cell_masks import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARGIN = 0.15  # of a cell's sides is pasted around it
_SOFT = 0.15  # of the radius is the soft border
_COVERED = 0.1  # of the cut-out may belong to a neighbour
_TRIES = 20
MOST_PASTED = 3


def mosaic(views: Sequence[Sample], rng: np.random.Generator) -> Sample:
    """Return one picture of windows of four views, around a random point; as large as the first.

    All views must be complete or none: what is known of background holds for a whole picture.
    """
    first = views[0]
    height, width = first.pixels.shape[1:]
    y, x = (max(1, int(side * rng.uniform(0.3, 0.7))) for side in (height, width))
    pixels = first.pixels.mean((1, 2), keepdim=True).expand_as(first.pixels).clone()
    parts = []
    corners = ((0, 0, y, x), (0, x, y, width - x), (y, 0, height - y, x))
    for view, (top, left, h, w) in zip(
        views, (*corners, (y, x, height - y, width - x)), strict=True
    ):
        if not (h and w):  # a picture of one row or column
            continue
        part = cropped(view, (h, w), rng)
        high, wide = part.pixels.shape[1:]
        pixels[:, top : top + high, left : left + wide] = part.pixels
        parts.append(part.with_boxes(torch.tensor([left, top] * 2).add))
    return replace(
        first,
        pixels=pixels,
        boxes=torch.cat([p.boxes for p in parts]),
        labels=torch.cat([p.labels for p in parts]),
        rejected=torch.cat([p.rejected for p in parts]),
        unreviewed=torch.cat([p.unreviewed for p in parts]),
        masks=None if first.masks is None else joined([p.masks for p in parts if p.masks]),
    )


def with_pasted(sample: Sample, source: Sample, rng: np.random.Generator) -> Sample:
    """Return the sample with up to three of the source's cells, at places where none is.

    A cell is cut out with a little around it as an ellipse with a soft border. No labelled,
    rejected or unreviewed box of the sample is touched. In an incomplete picture what lies
    around a pasted cell stays unknown. Rare classes are pasted as often as others.
    """
    candidates = _candidates(source)
    if not len(candidates):
        return sample
    pixels = sample.pixels.clone()
    boxes, labels = [sample.boxes], [sample.labels]
    masks = [sample.masks] if sample.masks else []
    taken = torch.cat([sample.boxes, sample.rejected, sample.unreviewed])
    kinds = source.labels[candidates]
    for _ in range(int(rng.integers(1, MOST_PASTED + 1))):
        kind = int(rng.choice(np.unique(kinds.numpy())))
        k = int(rng.choice(candidates[kinds == kind].numpy()))
        x0, y0, x1, y1 = (int(v) for v in _around(source.boxes[k : k + 1])[0].tolist())
        place = _free_place(taken, (y1 - y0, x1 - x0), pixels.shape[1:], rng)
        if place is None:
            continue
        y, x = place
        spot = pixels[:, y : y + y1 - y0, x : x + x1 - x0]
        share = soft_ellipse(y1 - y0, x1 - x0)
        spot.lerp_(source.pixels[:, y0:y1, x0:x1], share)
        away = torch.tensor([x - x0, y - y0] * 2)
        box = source.boxes[k : k + 1] + away
        boxes.append(box)
        if source.masks:
            masks.append(source.masks.take(torch.tensor([k])).placed(away.add))
        labels.append(source.labels[k : k + 1])
        taken = torch.cat([taken, _around(box)])
    return replace(
        sample,
        pixels=pixels,
        boxes=torch.cat(boxes),
        labels=torch.cat(labels),
        masks=joined(masks) if masks else None,
    )


def soft_ellipse(height: int, width: int) -> Tensor:
    """Return float32[h, w], 1 within the inscribed ellipse and 0 outside, soft in between."""
    y, x = (torch.arange(side) * 2.0 + 1 - side for side in (height, width))
    radius = torch.hypot(y[:, None] / height, x[None] / width)  # 1 on the inscribed ellipse
    return ((1 - radius) / _SOFT).clamp(0, 1)


def _around(boxes: Tensor) -> Tensor:
    """Return the boxes with their margin, whole px."""
    margin = (boxes[:, 2:] - boxes[:, :2]).mul(_MARGIN).repeat(1, 2)
    return torch.cat([(boxes - margin)[:, :2].floor(), (boxes + margin)[:, 2:].ceil()], 1)


def _candidates(source: Sample) -> Tensor:
    """Return int64[M]: the cells that lie whole in the picture, and (almost) alone."""
    if not len(source.boxes):
        return torch.zeros(0, dtype=torch.int64)
    height, width = source.pixels.shape[1:]
    cut = _around(source.boxes)
    whole = (cut[:, :2] >= 0).all(1) & (cut[:, 2] <= width) & (cut[:, 3] <= height)
    others = torch.cat([source.boxes, source.rejected, source.unreviewed])
    shared = _overlap(cut, others)  # [N, N + R + U]
    shared[torch.arange(len(cut)), torch.arange(len(cut))] = 0
    alone = shared.amax(1) <= _COVERED * (cut[:, 2:] - cut[:, :2]).prod(1)
    return torch.where(whole & alone)[0]


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return float[N, M], the area shared."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    return (high - low).clamp(min=0).prod(2)


def _free_place(
    taken: Tensor, size: tuple[int, int], shape: Sequence[int], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return (y, x) where a patch of that size touches nothing; None if none was found."""
    room = [whole - side for whole, side in zip(shape, size, strict=True)]
    if min(room) < 0:
        return None
    y, x = (torch.from_numpy(rng.integers(r + 1, size=_TRIES)) for r in room)
    patches = torch.stack([x, y, x + size[1], y + size[0]], 1).float()
    free = torch.where(_overlap(patches, taken).sum(1) == 0)[0]
    return (int(y[free[0]]), int(x[free[0]])) if len(free) else None
