"""What a person does to cells, as edits. Pure: rows in, one edit out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .geometry import Box, normalized_box
from .history import Edit, edit_of
from .masks import moved_with
from .records import Cell, Origin, Review, new_id, now

if TYPE_CHECKING:
    from collections.abc import Iterable


def _count(cells: list[Cell]) -> str:
    return f"{len(cells)} cells" if len(cells) != 1 else "1 cell"


def _reviewed(cell: Cell, by: str, review: Review, **changes: object) -> Cell:
    return replace(cell, review=review, reviewed_by=by, reviewed_at=now(), **changes)  # type: ignore[arg-type]


def give_class(cells: Iterable[Cell], class_id: int, name: str, by: str) -> Edit:
    """Return the edit that confirms the cells as ``class_id``."""
    rows = list(cells)
    label = f"classed {_count(rows)} {name}"
    return edit_of(
        label, [(c, _reviewed(c, by, Review.CONFIRMED, class_id=class_id)) for c in rows], by
    )


def accept(cells: Iterable[Cell], by: str) -> Edit:
    """Return the edit that confirms the cells as they are. A class may still be missing."""
    rows = [c for c in cells if c.review is not Review.CONFIRMED]
    return edit_of(
        f"accepted {_count(rows)}", [(c, _reviewed(c, by, Review.CONFIRMED)) for c in rows], by
    )


def mark_unsure(cells: Iterable[Cell], by: str) -> Edit:
    """Return the edit that sets the cells aside as unsure."""
    rows = [c for c in cells if c.review is not Review.UNSURE]
    label = f"marked {_count(rows)} unsure"
    return edit_of(label, [(c, _reviewed(c, by, Review.UNSURE)) for c in rows], by)


def remove(cells: Iterable[Cell], by: str) -> Edit:
    """Return the edit that rejects proposed and imported cells and deletes drawn ones.

    Rejected rows stay in the project: they are hard negatives for training.
    """
    rows = [c for c in cells if c.review is not Review.REJECTED]
    drawn = all(c.origin is Origin.PERSON for c in rows)
    return edit_of(
        f"{'deleted' if drawn else 'rejected'} {_count(rows)}",
        [
            (c, None if c.origin is Origin.PERSON else _reviewed(c, by, Review.REJECTED))
            for c in rows
        ],
        by,
    )


def reopen(cells: Iterable[Cell], by: str) -> Edit:
    """Return the edit that takes the review of the cells back to open."""
    rows = [c for c in cells if c.review is not Review.OPEN and c.origin is not Origin.PERSON]
    return edit_of(
        f"reopened {_count(rows)}",
        [(c, replace(c, review=Review.OPEN, reviewed_by=None, reviewed_at=None)) for c in rows],
        by,
    )


def draw(image_id: str, boxes: Iterable[Box], class_id: int | None, by: str) -> Edit:
    """Return the edit that adds drawn cells; the person vouches for their boxes."""
    rows = [
        Cell(
            new_id(),
            image_id,
            normalized_box(box),
            class_id,
            Origin.PERSON,
            Review.CONFIRMED,
            reviewed_by=by,
            reviewed_at=now(),
        )
        for box in boxes
    ]
    return edit_of(f"drew {_count(rows)}", [(None, c) for c in rows], by)


def move(changes: Iterable[tuple[Cell, Box]], by: str) -> Edit:
    """Return the edit that gives cells other boxes, which confirms them.

    A moved box is a correction, so a later detection run must not replace it. A mask goes
    with its box; one whose box gets another size is dropped.
    """
    pairs = [(c, normalized_box(box)) for c, box in changes]
    pairs = [(c, box) for c, box in pairs if box != c.box]
    label = f"moved {_count([c for c, _ in pairs])}"
    rows = [(c, box, moved_with(c.mask, c.box, box)) for c, box in pairs]
    return edit_of(
        label,
        [(c, _reviewed(c, by, Review.CONFIRMED, box=box, mask=mask)) for c, box, mask in rows],
        by,
    )


def join(label: str, edits: Iterable[Edit], by: str) -> Edit:
    """Return several edits of different cells as one."""
    before: dict[str, Cell | None] = {}
    after: dict[str, Cell | None] = {}
    for edit in edits:
        before.update(edit.before)
        after.update(edit.after)
    return Edit(label, before, after, by=by)


def finish_image(image_id: str, name: str, cells: Iterable[Cell], by: str) -> Edit:
    """Return the edit that marks an image finished and accepts its open cells.

    A person who calls an image finished has seen every box on it.

    Parameters
    ----------
    cells : iterable of Cell
        The cells that are on the picture; only open ones are accepted.
    """
    accepted = accept([c for c in cells if c.review is Review.OPEN], by)
    label = f"finished {name}"
    if accepted:
        label += f", {accepted.label}"
    return Edit(label, accepted.before, accepted.after, {image_id: (False, True)}, by=by)


def reopen_image(image_id: str, name: str, by: str) -> Edit:
    """Return the edit that takes an image's finished mark away."""
    return Edit(f"reopened {name}", {}, {}, {image_id: (True, False)}, by=by)
