"""Images out of the database, with their cells and their part in the history."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from .rows import pack_edit, unpack_edit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from napari_cellal.core.history import Edit

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')  # as JSON writes it


def delete_images(database: sqlite3.Connection, image_ids: Collection[str]) -> None:
    """Delete images, their cells, and what the history says of them.

    Steps on other images stay and can be undone; a step on several images keeps the part
    that touches those which stay. To be called inside a transaction.
    """
    for image_id in image_ids:
        (number,) = database.execute(
            "SELECT image_no FROM images WHERE image_id = ?", (image_id,)
        ).fetchone()
        database.execute(
            "DELETE FROM boxes WHERE cell_no IN (SELECT cell_no FROM cells WHERE image_no = ?)",
            (number,),
        )
        for table in ("cells", "scan_images", "scan_parts"):
            database.execute(f"DELETE FROM {table} WHERE image_no = ?", (number,))
        database.execute("DELETE FROM images WHERE image_no = ?", (number,))
    _forget(database, image_ids)


def _forget(database: sqlite3.Connection, image_ids: Collection[str]) -> None:
    gone = {json.dumps(image_id).encode() for image_id in image_ids}
    steps = [seq for (seq,) in database.execute("SELECT seq FROM edits").fetchall()]
    for seq in steps:  # one at a time: a step of 100,000 cells is many megabytes
        label, by, at, run, body = database.execute(
            "SELECT label, by, at, run, body FROM edits WHERE seq = ?", (seq,)
        ).fetchone()
        if gone.isdisjoint(_STRING.findall(zlib.decompress(body))):
            continue  # told many times as quickly as by reading the step
        rest = _without(unpack_edit(label, by, at, run, body), image_ids)
        if rest:
            database.execute("UPDATE edits SET body = ? WHERE seq = ?", (pack_edit(rest), seq))
        else:
            database.execute("DELETE FROM edits WHERE seq = ?", (seq,))


def _without(edit: Edit, image_ids: Collection[str]) -> Edit:
    """Return what an edit does to other images."""
    kept = [
        key
        for key, new in edit.after.items()
        if all(c is None or c.image_id not in image_ids for c in (edit.before[key], new))
    ]
    return replace(
        edit,
        before={key: edit.before[key] for key in kept},
        after={key: edit.after[key] for key in kept},
        finished={k: pair for k, pair in edit.finished.items() if k not in image_ids},
    )
