"""Boxes of annotation files as cells of an image: scaled, cut, and told from those there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.geometry import as_boxes, clip_boxes
from napari_cellal.core.records import Cell, Origin, Proposal, Review, Status, new_id, now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import CellClass, ImageRecord
    from napari_cellal.io.exchange.report import ImportedBox, ImportedImage

SNAP_PX = 0.01
"""Shares of an image, as YOLO has them, come back this near to whole pixels or nearer."""
UNKNOWN_MODEL = "import"

_REVIEWED = {
    Status.CONFIRMED: Review.CONFIRMED,
    Status.CORRECTED: Review.CONFIRMED,
    Status.DRAWN: Review.CONFIRMED,
    Status.UNSURE: Review.UNSURE,
    Status.REJECTED: Review.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a file brings to one image.

    Attributes
    ----------
    added : list of Cell
        New to the image.
    known : list of (Cell, Cell)
        Rows of the image that the file repeats, and what they become: an open one takes the
        review that the file, or the person, gives it; one without a mask takes the file's.
    clipped, outside : int
        Boxes that were cut to the image, and that lay outside it and were left out.
    """

    added: list[Cell]
    known: list[tuple[Cell, Cell]]
    clipped: int = 0
    outside: int = 0


def sort_boxes(
    image: ImportedImage,
    record: ImageRecord,
    rows: Sequence[Cell],
    class_of: Mapping[str, CellClass],
    left_out: Collection[str] = (),
    *,
    confirm_by: str | None,
) -> Arrivals:
    """Return the cells that a file brings to an image, and the rows it repeats.

    Parameters
    ----------
    rows : sequence of Cell
        Every cell that the image has.
    class_of : {class name in the file: CellClass}
        Boxes of a class that is not there come in without one.
    left_out : collection of str
        Classes whose boxes are not wanted.
    confirm_by : str or None
        The person as whose labels the boxes count; None leaves those open of which the
        file does not say that a person reviewed them.
    """
    items = [b for b in image.boxes if b.class_name not in left_out]
    boxes = in_pixels([b.box for b in items], image.relative, record.shape[1:])
    cut = clip_boxes(boxes, record.shape[1:])
    at = now()
    # Only what was there before: a file may hold a box twice, and its report says so.
    there = {_key(c.box, c.class_id): c for c in rows if c.review is not Review.REJECTED}
    result = Arrivals([], [])
    clipped = outside = 0
    for item, given, (y0, x0, y1, x1) in zip(items, boxes.tolist(), cut.tolist(), strict=True):
        if y1 <= y0 or x1 <= x0:
            outside += 1  # the file spoke of an image of another size
            continue
        clipped += given != [y0, x0, y1, x1]
        found = class_of.get(item.class_name)
        class_id = None if found is None else found.class_id
        same = there.get(_key((y0, x0, y1, x1), class_id))
        review = _review(item, confirm_by, at)
        if same is not None:
            told = replace(same, **review) if same.review is Review.OPEN else same
            if told.mask is None and item.mask is not None:
                # A person's boxes gain the masks that the file knows of the same cells.
                told = replace(told, mask=item.mask.cut((0, 0, *record.shape[1:])))
            there[_key(same.box, class_id)] = told
            result.known.append((same, told))
            continue
        result.added.append(_cell(item, (y0, x0, y1, x1), record, class_id, class_of, review))
    return Arrivals(result.added, result.known, clipped, outside)


def in_pixels(boxes: Sequence[Box], relative: bool, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return boxes in px, float64[N, 4]; ``shape`` is (Y, X) of the image."""
    table = as_boxes(boxes)
    if not relative:
        return table
    table = table * np.array([shape[0], shape[1]] * 2, np.float64)
    whole = np.rint(table)
    return np.where(abs(table - whole) <= SNAP_PX, whole, table)


def _review(item: ImportedBox, confirm_by: str | None, at: str) -> dict[str, Any]:
    """Return a cell's review, by whom and when: the file's word, else the person's."""
    review = _REVIEWED.get(Status(item.status), Review.OPEN) if item.status else Review.OPEN
    by, when = (item.reviewed_by, item.reviewed_at) if review is not Review.OPEN else (None, None)
    if confirm_by is not None and review is Review.OPEN:
        review, by, when = Review.CONFIRMED, confirm_by, at
    return {"review": review, "reviewed_by": by, "reviewed_at": when}


def _cell(
    item: ImportedBox,
    box: Box,
    record: ImageRecord,
    class_id: int | None,
    class_of: Mapping[str, CellClass],
    review: Mapping[str, Any],
) -> Cell:
    proposed = None
    if item.score is not None:
        known = [(class_of.get(name), p) for name, p in item.probabilities]
        said = tuple((c.class_id, p) for c, p in known if c is not None)
        models = class_id
        if item.model_class and (own := class_of.get(item.model_class)) is not None:
            models = own.class_id
        proposed = Proposal(box, models, item.score, item.model or UNKNOWN_MODEL, said)
    marks = [w for w, on in (("difficult", item.difficult), ("truncated", item.truncated)) if on]
    return Cell(
        new_id(),
        record.image_id,
        box,
        class_id,
        Origin.MODEL if proposed and item.status == Status.PROPOSED else Origin.IMPORT,
        proposed=proposed,
        note=" ".join([*marks, *([item.note] if item.note else [])]),
        mask=None if item.mask is None else item.mask.cut((0, 0, *record.shape[1:])),
        **review,
    )


def _key(box: Sequence[float], class_id: int | None) -> tuple[object, ...]:
    return (class_id, *(round(v * 2) for v in box))
