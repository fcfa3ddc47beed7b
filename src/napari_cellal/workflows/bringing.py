"""Boxes from another program's layers in the same window, into one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.geometry import clip_boxes, match_boxes
from napari_cellal.core.history import Edit, edit_of
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.reconcile import is_replaceable, overlaps_any
from napari_cellal.core.records import Cell, Origin, Status, new_id
from napari_cellal.io.exchange.labels import label_masks
from napari_cellal.io.exchange.source import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.io.store import Project

_SMALLEST_PX = 1.0


def find_label_masks(labels: NDArray[Any]) -> Job[list[Mask]]:
    """Return the job that finds the mask of every value of a label image, [Y, X].

    Raises
    ------
    AnnotationError
        If it has so many values that it is a picture.
    """
    yield Progress(0, 0, "Looking for labels")
    try:
        return [mask for _, mask in label_masks(labels)]
    except UnreadableError as error:
        raise AnnotationError(f"The layer {error}.") from error


def bring_boxes(
    project: Project,
    image_id: str,
    boxes: Iterable[Box],
    source: str,
    masks: Sequence[Mask | None] = (),
) -> tuple[Edit, int]:
    """Return the edit that brings boxes into an image, open and unclassed, and how many stay out.

    Those stay out that overlap a cell which a person has reviewed, or boxes imported before;
    a proposal gives way, as it does to an imported file.

    Parameters
    ----------
    boxes : iterable of (y0, x0, y1, x1)
        px of the image; cut at its border.
    source : str
        The layer's name, kept as the cells' note.
    masks : sequence of Mask or None
        One a box, or empty; cut at the image's border.
    """
    record, merge_iou = project.images[image_id], project.settings.merge_iou
    given = list(boxes)
    inside = clip_boxes(given, record.shape[1:])
    big = np.flatnonzero(((inside[:, 2:] - inside[:, :2]) >= _SMALLEST_PX).all(axis=1)).tolist()
    places = [(float(y0), float(x0), float(y1), float(x1)) for y0, x0, y1, x1 in inside[big]]
    rows = project.cells.of_image(image_id)
    settled = [c for c in rows if c.status is not Status.PROPOSED]
    known = overlaps_any(settled, places, merge_iou)
    of_places = [masks[k] if masks else None for k in big]
    fresh = [box for box, is_known in zip(places, known, strict=True) if not is_known]
    shapes = [m for m, is_known in zip(of_places, known, strict=True) if not is_known]
    proposals = [c for c in rows if is_replaceable(c)]
    pairs = match_boxes([c.box for c in proposals], fresh, merge_iou)
    changes: list[tuple[Cell | None, Cell | None]] = [(proposals[i], None) for i, _ in pairs]
    for box, shape in zip(fresh, shapes, strict=True):
        mask = None if shape is None else shape.cut((0, 0, *record.shape[1:]))
        row = Cell(new_id(), image_id, box, None, Origin.IMPORT, note=source, mask=mask)
        changes.append((None, row))
    label = f"brought {len(fresh)} boxes of the layer {source}"
    return edit_of(label, changes, project.person), int(known.sum())
