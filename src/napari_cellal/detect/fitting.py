"""The network's scale, anchors and density, fitted to the boxes that it shall learn."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .architectures import Architecture

_LEAST_PX = 12  # below this a cell has no inside for a map of stride 8
_STEP = 1.5  # largest ratio between neighbouring anchor sizes: IoU stays above 0.44


def fit_network(
    architecture: Architecture,
    boxes: Sequence[NDArray[np.floating]],
    shapes: Sequence[tuple[int, int]],
    settings: TrainSettings,
) -> NetworkSettings:
    """Return settings fitted to the training boxes.

    Parameters
    ----------
    boxes : one float[N, 4] an image
        (y0, x0, y1, x1), image px, each with an area. At least one box in all.
    shapes : one (height, width) an image
        Image px.
    """
    every = np.concatenate([np.asarray(b, float).reshape(-1, 4) for b in boxes])
    sides = every[:, 2:] - every[:, :2]
    sizes = np.sqrt(sides.prod(axis=1))
    scale = (settings.scale or fit_scale(architecture, sizes, shapes)) / settings.shrink
    tile = settings.crop_px + 128
    densest = max(
        len(b) * min(1.0, (tile / scale) ** 2 / (h * w))
        for b, (h, w) in zip(boxes, shapes, strict=True)
    )
    return NetworkSettings(
        scale=scale,
        anchor_sizes=fit_anchors(sizes * scale, architecture.strides),
        aspect_ratios=fit_ratios(sides),
        detections=int(np.clip(3 * densest, 300, 3000)),
        tile_px=tile,
        largest_box_px=float(np.percentile(sides.max(axis=1), 99.5) * 1.1 + 2),
    )


def fit_scale(
    architecture: Architecture, sizes: NDArray[np.floating], shapes: Sequence[tuple[int, int]]
) -> float:
    """Return network pixels per image pixel, 0.05..4.

    Small cells (10th percentile) get the size that the architecture likes, within the
    range of its short side; but never less than 12 px, whatever it costs.
    """
    small = max(float(np.percentile(sizes, 10)), 1e-3)
    short = float(np.median([min(shape) for shape in shapes]))
    least, most = (side / short for side in architecture.short_side_px)
    scale = float(np.clip(architecture.small_box_px / small, min(least, 1.0), most))
    scale = max(scale, _LEAST_PX / small)
    return round(float(np.clip(scale, 0.05, 4.0)), 3)


def fit_anchors(
    sizes: NDArray[np.floating], strides: Sequence[int]
) -> tuple[tuple[float, ...], ...]:
    """Return anchor sizes, network px, one tuple a level in use, finest first.

    A level serves sizes up to four times the next level's stride (half of what Lin et al.,
    arXiv:1612.03144, use: cells stand closer than the things of COCO). Levels above the
    largest cell are left out.
    """
    low, high = np.percentile(sizes, [2, 98])
    low, high = low / 1.1, max(high, low * 1.2)
    edges = [low]
    for coarser in strides[1:]:
        edge = 4.0 * coarser
        if edge >= high / 1.1:
            break
        # a level below the smallest cell keeps its place with the smallest size
        edges.append(max(edge, edges[-1] * 1.05))
    edges.append(max(high, edges[-1] * 1.05))
    spans = [math.log(b / a) for a, b in pairwise(edges)]
    count = min(3, max(math.ceil(span / math.log(_STEP)) for span in spans))
    count = max(count, 1)
    return tuple(
        tuple(round(float(a * math.exp(span * (k + 0.5) / count)), 1) for k in range(count))
        for a, span in zip(edges, spans, strict=False)
    )


def fit_ratios(sides: NDArray[np.floating]) -> tuple[float, ...]:
    """Return height over width of the anchors: 1, and its extremes, at least 1/1.5 and 1.5."""
    logs = np.abs(np.log(sides[:, 0] / sides[:, 1]))
    extreme = float(np.clip(np.exp(np.percentile(logs, 90)), 1.5, 3.0))
    return (round(1 / extreme, 3), 1.0, round(extreme, 3))
