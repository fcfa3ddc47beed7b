"""Cells and edits to and from the database's columns."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from napari_cellal.core.history import Edit
from napari_cellal.core.masks import Mask
from napari_cellal.core.records import Cell, Origin, Proposal, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

# Five times as quick as calling the enumerations, with thousands of rows an image.
_ORIGIN = {o.value: o for o in Origin}
_REVIEW = {r.value: r for r in Review}

CELL_COLUMNS = (
    "cell_id, image_id, y0, x0, y1, x1, class_id, origin, review, proposed, "
    "reviewed_by, reviewed_at, note, mask"
)


def _pack_proposal(p: Proposal | None) -> str | None:
    if p is None:
        return None
    return json.dumps(
        [*p.box, p.class_id, p.score, p.model_id, p.probabilities], separators=(",", ":")
    )


def _unpack_proposal(text: str | None) -> Proposal | None:
    if text is None:
        return None
    y0, x0, y1, x1, class_id, score, model_id, probabilities = json.loads(text)
    pairs = tuple((int(c), float(p)) for c, p in probabilities)
    return Proposal((y0, x0, y1, x1), class_id, score, model_id, pairs)


def _pack_mask(m: Mask | None) -> str | None:
    if m is None:
        return None
    return json.dumps([m.y0, m.x0, m.height, m.width, m.counts], separators=(",", ":"))


def pack_cell(c: Cell) -> tuple[Any, ...]:
    """Return the values of `CELL_COLUMNS`."""
    return (
        c.cell_id,
        c.image_id,
        *c.box,
        c.class_id,
        c.origin.value,
        c.review.value,
        _pack_proposal(c.proposed),
        c.reviewed_by,
        c.reviewed_at,
        c.note,
        _pack_mask(c.mask),
    )


def unpack_cell(row: Sequence[Any]) -> Cell:
    """Return the cell of one row of `CELL_COLUMNS`; edits before version 4 have no mask."""
    cell_id, image_id, y0, x0, y1, x1, class_id, origin, review, proposed, by, at, note, *rest = row
    mask = rest[0] if rest else None
    return Cell(
        cell_id,
        image_id,
        (y0, x0, y1, x1),
        class_id,
        _ORIGIN[origin],
        _REVIEW[review],
        _unpack_proposal(proposed),
        by,
        at,
        note,
        None if mask is None else Mask(*json.loads(mask)),
    )


def pack_edit(edit: Edit) -> bytes:
    """Return an edit's rows as compressed JSON."""

    def side(rows: Any) -> dict[str, Any]:
        return {key: None if c is None else pack_cell(c) for key, c in rows.items()}

    body = {
        "before": side(edit.before),
        "after": side(edit.after),
        "finished": {key: list(pair) for key, pair in edit.finished.items()},
    }
    return zlib.compress(json.dumps(body, separators=(",", ":")).encode(), level=1)


def unpack_edit(label: str, by: str, at: str, run: str, body: bytes) -> Edit:
    """Return the edit of one row of the table ``edits``."""
    data = json.loads(zlib.decompress(body))

    def side(rows: dict[str, Any]) -> dict[str, Cell | None]:
        return {key: None if row is None else unpack_cell(row) for key, row in rows.items()}

    finished = {key: (bool(old), bool(new)) for key, (old, new) in data["finished"].items()}
    return Edit(label, side(data["before"]), side(data["after"]), finished, by, at, run)
