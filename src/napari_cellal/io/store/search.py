"""Lists of the cells of a whole project, asked for beside the window's own connection.

With a million cells an answer takes seconds. These functions open the database anew, read-only,
so that a thread may wait for it while the window works.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from .rows import CELL_COLUMNS, unpack_cell
from .schema import DATABASE, readable_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_cellal.core.filters import CellFilter
    from napari_cellal.core.records import Cell

OF_IMAGES = (
    "image_no IN (SELECT image_no FROM images WHERE image_id IN (SELECT value FROM json_each(?)))"
)
"""Lists travel as JSON: SQLite takes only so many values in one statement."""
CellState = tuple[str, str, int | None, str]
SCORE = "json_extract(proposed, '$[5]')"  # where `rows` puts it
SCORES_ENOUGH = f"(status <> 'proposed' OR proposed IS NULL OR {SCORE} >= ?)"
"""Only open proposals fall to the score, as on the picture."""
ORDERS: Mapping[str, str] = {
    "image": "image_no, cell_no",
    "score": f"{SCORE} IS NULL, {SCORE}, cell_no",
    "class": f"class_id IS NULL, class_id, {SCORE}, cell_no",
    "reviewed": "reviewed_at IS NULL, reviewed_at DESC, cell_no",
}
"""{name: order}: by image; least score first; by class; reviewed last first."""


def find_cells(folder: Path, wanted: CellFilter, order: str, names: Mapping[str, str]) -> list[str]:
    """Return the ids of the cells that a filter lets through, in one of the `ORDERS`.

    Parameters
    ----------
    folder : Path
        The project's.
    names : {image_id: name}
        What the images are called.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    where, values = _conditions(wanted, names)
    sql = f"SELECT cell_id FROM cells JOIN images USING (image_no) WHERE {where}"
    found = ask(folder, f"{sql} ORDER BY {ORDERS[order]}", values)
    return [key for (key,) in found]


def _conditions(wanted: CellFilter, names: Mapping[str, str]) -> tuple[str, list[Any]]:
    # Lists travel as JSON: SQLite takes only so many values in one statement.
    parts = ["status IN (SELECT value FROM json_each(?))"]
    values: list[Any] = [json.dumps(wanted.statuses)]
    if wanted.class_ids is not None:
        some = "class_id IN (SELECT value FROM json_each(?))"
        parts.append(f"({some} OR class_id IS NULL)" if None in wanted.class_ids else some)
        values.append(json.dumps([c for c in wanted.class_ids if c is not None]))
    if wanted.image_ids is not None:
        parts.append("image_id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(wanted.image_ids))
    if wanted.cell_ids is not None:
        parts.append("cell_id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(wanted.cell_ids))
    if wanted.min_score > 0:
        parts.append(SCORES_ENOUGH)
        values.append(wanted.min_score)
    if text := wanted.text.strip().casefold():
        named = [key for key, name in names.items() if text in name.casefold()]
        parts.append("(image_id IN (SELECT value FROM json_each(?)) OR instr(lower(note), ?))")
        values += [json.dumps(named), text]
    return " AND ".join(parts), values


def cell_states(folder: Path, image_ids: Iterable[str] | None = None) -> list[CellState]:
    """Return (cell_id, image_id, class_id, status) of every cell that is not rejected.

    Parameters
    ----------
    image_ids : iterable of str or None
        Only cells of these images.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    sql = (
        "SELECT cell_id, image_id, class_id, status FROM cells JOIN images USING (image_no)"
        " WHERE status <> 'rejected'"
    )
    if image_ids is None:
        return ask(folder, sql)
    return ask(folder, f"{sql} AND {OF_IMAGES}", [json.dumps(list(image_ids))])


def cell_scores(folder: Path, image_ids: Iterable[str] | None = None) -> dict[str, float]:
    """Return {cell_id: how sure the detector was} of the cells that one proposed.

    See `cell_states`.
    """
    sql = (
        f"SELECT cell_id, {SCORE} AS score FROM cells JOIN images USING (image_no)"
        " WHERE status <> 'rejected' AND proposed IS NOT NULL AND score IS NOT NULL"
    )
    if image_ids is None:
        return dict(ask(folder, sql))
    return dict(ask(folder, f"{sql} AND {OF_IMAGES}", [json.dumps(list(image_ids))]))


def open_boxes(folder: Path) -> list[tuple[str, int | None, int, float]]:
    """Return (image_id, class_id, cells, doubt) of the proposals that nobody has reviewed.

    ``doubt`` is the sum of 1 - |2 score - 1|.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    doubt = f"COALESCE(SUM(1 - ABS(2 * {SCORE} - 1)), 0.0)"
    return ask(
        folder,
        f"SELECT image_id, class_id, COUNT(*), {doubt} FROM cells JOIN images USING (image_no)"
        " WHERE status = 'proposed' GROUP BY image_no, class_id ORDER BY image_no, class_id",
    )


def density(folder: Path, image_id: str, side: float) -> list[tuple[int, int, int]]:
    """Return (row, column, cells) of an image's squares of ``side`` px, rejected ones left out.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    sql = (
        "SELECT CAST((y0 + y1) / ? AS INTEGER) AS r, CAST((x0 + x1) / ? AS INTEGER) AS c,"
        " COUNT(*) FROM cells WHERE image_no = (SELECT image_no FROM images WHERE image_id = ?)"
        " AND status <> 'rejected' GROUP BY r, c"
    )
    return ask(folder, sql, [2 * side, 2 * side, image_id])


@contextlib.contextmanager
def read_cells(folder: Path) -> Iterator[Callable[[str], list[Cell]]]:
    """Give a function that returns an image's cells, in the order of arrival, rejected ones too.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    sql = (
        f"SELECT {CELL_COLUMNS} FROM cells JOIN images USING (image_no)"
        " WHERE image_id = ? ORDER BY cell_no"
    )
    with _connected(folder) as connection:
        yield lambda key: [unpack_cell(row) for row in connection.execute(sql, [key]).fetchall()]


def ask(folder: Path, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a project's database, opened anew and read-only.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    with _connected(folder) as connection:
        return connection.execute(sql, tuple(values)).fetchall()


@contextlib.contextmanager
def _connected(folder: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{(folder / DATABASE).resolve().as_uri()}?mode=ro"
    with (
        readable_errors(folder.name),
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as connection,
    ):
        yield connection
