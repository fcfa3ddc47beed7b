"""Images too large for the memory: searched part by part, the parts put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.geometry import as_boxes, iou_matrix
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask

    from .registry import Detector

    Window = tuple[int, int, int, int]

PART_PX = 1536
"""Side of a part; the classical detector then takes about 1 GB."""
_LOOK_PX, _LOOKS = 192, 6  # side of the windows, and how many along each axis, of the first look
_SAME_IOU = 0.3  # of two looks at one cell; small ones waver by much of their size
_TRIALS = 4  # parts that are looked at for the size of the cells
_DOUBT = 0.25  # of a cell's size: so far from the border its middle may be seen elsewhere


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an image: what it answers for, and what is read around it. Px, half-open."""

    core: Window
    window: Window


def parts_of(shape: tuple[int, int], side: int, margin: int) -> list[Part]:
    """Return parts whose cores cover ``shape`` (height, width) and do not overlap.

    Each is read with ``margin`` px around it, so that a cell whose middle lies in the core
    is seen whole if it is not larger than twice that.
    """
    height, width = shape
    ys, xs = _edges(height, side), _edges(width, side)
    return [
        Part(
            (y0, x0, y1, x1),
            (
                max(0, y0 - margin),
                max(0, x0 - margin),
                min(height, y1 + margin),
                min(width, x1 + margin),
            ),
        )
        for y0, y1 in pairwise(ys)
        for x0, x1 in pairwise(xs)
    ]


def _edges(length: int, side: int) -> list[int]:
    count = max(1, -(-length // side))
    return [round(k * length / count) for k in range(count + 1)]


def detect_in_parts(
    detector: Detector,
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    *,
    image_id: str,
    rgb: bool,
    progress: Progress,
    side: int | None = None,
    view: Box | None = None,
) -> Job[Detections]:
    """Return the cells of an image of which never more than one part is in memory.

    A cell belongs to the part that its middle lies in. Near a border two parts may box it;
    of two such boxes that overlap by IoU 0.3 the better stays.

    Parameters
    ----------
    read : callable
        Gives the pixels of a window, [C, y, x].
    progress : Progress
        How far the job is; shown with each part.
    view : (y0, x0, y1, x1) or None
        Only parts that reach into it are searched. What they have in common is still taken from
        all over the image, so that the boxes are those of a search of all of it.
    """
    yield progress
    parts = parts_of(shape, side or PART_PX, detector.margin_px)
    memory = yield from look_over(
        detector, read, shape, parts, image_id=image_id, rgb=rgb, progress=progress
    )
    if view is not None:
        parts = [part for part in parts if _touch(part.core, view)]
    if not parts:
        return Detections(image_id, (), (), (), detector.model_id)
    found: list[Detections] = []
    for done, part in enumerate(parts, 1):
        detector.recall(image_id, memory)  # else a part would depend on those before it
        found.append(detect_part(detector, read(part.window), part, image_id=image_id, rgb=rgb))
        words = f"part {done} of {len(parts)}, {sum(map(len, found))} cells so far"
        yield Progress(progress.done, progress.total, f"{progress.message}: {words}")
    return merge_parts(parts, found)


def look_over(
    detector: Detector,
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    parts: Sequence[Part],
    *,
    image_id: str,
    rgb: bool,
    progress: Progress,
) -> Job[dict[str, Any]]:
    """Return what the parts of an image must have in common; see `Detector.memory`."""
    detector.look_at(sample_of(read, shape), image_id=image_id)
    # From all over the image: the first parts of a slide are often empty glass.
    trials = sorted({len(parts) // 2, len(parts) // 4, 3 * len(parts) // 4, len(parts) // 3})
    for k in trials[:_TRIALS]:
        if detector.memory(image_id).get("scale", 1.0) is not None:
            break
        yield Progress(progress.done, progress.total, f"{progress.message}: looking at its cells")
        detector.detect(read(parts[k].window), image_id=image_id, rgb=rgb)
    return detector.memory(image_id)


def detect_part(
    detector: Detector, pixels: NDArray[Any], part: Part, *, image_id: str, rgb: bool
) -> Detections:
    """Return the cells whose middle lies in a part's core or near it, in the image's coordinates.

    Parameters
    ----------
    pixels : [C, y, x]
        Of the part's window.
    """
    found = detector.detect(pixels, image_id=image_id, rgb=rgb)
    y, x = part.window[:2]
    boxes = tuple((y0 + y, x0 + x, y1 + y, x1 + x) for y0, x0, y1, x1 in found.boxes)
    masks = tuple(None if m is None else m.moved(y, x) for m in found.masks)
    moved = replace(found, boxes=boxes, masks=masks)
    return moved.take(k for k, box in enumerate(boxes) if _is_inside(box, part))


def merge_parts(parts: Sequence[Part], found: Sequence[Detections]) -> Detections:
    """Return the cells of an image, given those of all its parts in order, by falling score."""
    kept: list[list[_Row]] = []
    for part, detections in zip(parts, found, strict=True):
        fresh = _rows(detections)
        for k, other in enumerate(parts[: len(kept)]):
            if _touch(other.window, part.window):
                kept[k], fresh = _better(kept[k], fresh)
        kept.append(fresh)
    rows = [row for part_rows in kept for row in part_rows]
    rows.sort(key=lambda r: -r.score)
    return Detections(
        found[0].image_id,
        tuple(r.box for r in rows),
        tuple(r.score for r in rows),
        tuple(r.class_id for r in rows),
        found[0].model_id,
        tuple(r.probabilities for r in rows) if any(r.probabilities for r in rows) else (),
        tuple(r.mask for r in rows) if any(r.mask for r in rows) else (),
    )


def sample_of(read: Callable[[Window], NDArray[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    """Return [C, y, x], small windows from all over an image side by side.

    A part without cells would have its noise stretched, if it were scaled by itself.
    """
    places = []
    for length in shape:
        size = min(length, _LOOK_PX)
        firsts = [round(k * (length - size) / (_LOOKS - 1)) for k in range(_LOOKS)]
        places.append([(first, first + size) for first in sorted(set(firsts))])
    ys, xs = places
    return np.concatenate([read((y0, x0, y1, x1)) for y0, y1 in ys for x0, x1 in xs], axis=2)


@dataclass(frozen=True, slots=True)
class _Row:
    box: tuple[float, float, float, float]
    score: float
    class_id: int | None
    probabilities: tuple[tuple[int, float], ...]
    mask: Mask | None


def _rows(found: Detections) -> list[_Row]:
    return [
        _Row(
            box,
            found.scores[k],
            found.class_ids[k],
            found.probabilities[k] if found.probabilities else (),
            found.masks[k] if found.masks else None,
        )
        for k, box in enumerate(found.boxes)
    ]


def _is_inside(box: Box, part: Part) -> bool:
    doubt_y, doubt_x = _DOUBT * (box[2] - box[0]), _DOUBT * (box[3] - box[1])
    return (
        part.core[0] - doubt_y <= (box[0] + box[2]) / 2 < part.core[2] + doubt_y
        and part.core[1] - doubt_x <= (box[1] + box[3]) / 2 < part.core[3] + doubt_x
    )


def _touch(a: Window, b: Box) -> bool:
    return a[0] < b[2] and a[2] > b[0] and a[1] < b[3] and a[3] > b[1]


def _better(old: list[_Row], fresh: list[_Row]) -> tuple[list[_Row], list[_Row]]:
    """Return both without the worse of two boxes of one cell."""
    if not old or not fresh:
        return old, fresh
    overlap = iou_matrix(as_boxes([r.box for r in old]), as_boxes([r.box for r in fresh]))
    beaten, lost = set(), set()
    for i, j in np.argwhere(overlap > _SAME_IOU).tolist():
        if fresh[j].score > old[i].score:
            beaten.add(i)
        else:
            lost.add(j)
    return (
        [r for i, r in enumerate(old) if i not in beaten],
        [r for j, r in enumerate(fresh) if j not in lost],
    )
