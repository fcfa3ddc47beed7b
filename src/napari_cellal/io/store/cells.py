"""The tables of cells and edits: writing one gesture a transaction, and asking for rows."""

from __future__ import annotations

import contextlib
import json
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from napari_cellal.core.records import Status

from .rows import CELL_COLUMNS, pack_cell, pack_edit, unpack_cell, unpack_edit
from .schema import readable_errors, transaction
from .search import OF_IMAGES
from .tally import COUNT_ALL, Tally

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit, Rows
    from napari_cellal.core.records import Cell

_SELECT = f"SELECT {CELL_COLUMNS} FROM cells JOIN images USING (image_no)"
_STATUS = {s.value: s for s in Status}
_IMAGES_KEPT = 64
_ROWS_KEPT = 200_000  # of all these images together, some 300 MB
CROWDED = 8_000
"""An image with more cells than so is shown in parts; asking for all of them takes a while."""
_VARIABLES = 500  # ids in one statement; SQLite allows 999 in its oldest builds


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    items = list(keys)
    for start in range(0, len(items), _VARIABLES):
        yield items[start : start + _VARIABLES]


def _check_boxes(after: Rows) -> None:
    # Such a row could neither be shown nor learned from.
    for cell in after.values():
        if cell is not None:
            y0, x0, y1, x1 = cell.box
            if not all(map(math.isfinite, cell.box)) or y1 <= y0 or x1 <= x0:
                raise ValueError(f"cell {cell.cell_id} has an impossible box {cell.box}")


def _place(cell: Cell | None) -> tuple[str, Box] | None:
    return None if cell is None else (cell.image_id, cell.box)


class CellTable:
    """Rows of cells in the database. Implements `core.history.EditStore`."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._db = connection
        self._name = name
        # The images seen last, kept in step with every write: reading 5,000 rows of one
        # image takes 50 ms, and each gesture asks for them several times.
        self._seen: OrderedDict[str, dict[str, Cell]] = OrderedDict()
        self._tally: Tally | None = None

    # -- asking ---------------------------------------------------------------------------

    def _all(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with readable_errors(self._name):
            return self._db.execute(sql, tuple(values)).fetchall()

    def rows(self, cell_ids: Iterable[str]) -> dict[str, Cell | None]:
        """Return the row of each id, None where there is none."""
        found: dict[str, Cell | None] = dict.fromkeys(cell_ids)
        for chunk in _chunks(found):
            marks = ",".join("?" * len(chunk))
            for row in self._all(f"{_SELECT} WHERE cell_id IN ({marks})", chunk):
                found[row[0]] = unpack_cell(row)
        return found

    def get(self, cell_id: str) -> Cell | None:
        """Return one cell, or None."""
        return self.rows([cell_id])[cell_id]

    def of_image(self, image_id: str) -> list[Cell]:
        """Return every cell of an image in the order of arrival, rejected ones too."""
        if image_id not in self._seen:
            sql = f"{_SELECT} WHERE image_id = ? ORDER BY cell_no"
            found = [unpack_cell(row) for row in self._all(sql, [image_id])]
            self._seen[image_id] = {cell.cell_id: cell for cell in found}
            while len(self._seen) > 1 and (
                len(self._seen) > _IMAGES_KEPT or sum(map(len, self._seen.values())) > _ROWS_KEPT
            ):
                self._seen.popitem(last=False)
        self._seen.move_to_end(image_id)
        return list(self._seen[image_id].values())

    def forget(self, image_ids: Iterable[str]) -> None:
        """Keep no rows of these images in memory; they were removed."""
        self._tally = None
        for image_id in image_ids:
            self._seen.pop(image_id, None)

    def is_crowded(self, image_id: str) -> bool:
        """Return whether an image has more than `CROWDED` cells, rejected ones too."""
        sql = (
            "SELECT COUNT(*) FROM (SELECT 1 FROM cells WHERE image_no ="
            " (SELECT image_no FROM images WHERE image_id = ?) LIMIT ?)"
        )
        return bool(self._all(sql, [image_id, CROWDED + 1])[0][0] > CROWDED)

    def step(
        self, image_id: str, since: Cell | None, by: int, wanted: Callable[[Cell], bool]
    ) -> Cell | None:
        """Return the next (``by`` 1) or previous (-1) wanted cell of an image, or None.

        In the order of the boxes' middles from top to bottom; after the last comes the first.
        """
        after, order = (">", "ASC") if by > 0 else ("<", "DESC")
        middle = "(y0 + y1, x0, cell_no)"
        sql = (
            f"SELECT {CELL_COLUMNS} FROM cells JOIN images USING (image_no) WHERE image_id = ?"
            " AND {where} ORDER BY y0 + y1 {order}, x0 {order}, cell_no {order}"
        ).replace("{order}", order)
        rounds: list[tuple[str, list[object]]] = [("1", [])]
        if since is not None:
            number = self._all("SELECT cell_no FROM cells WHERE cell_id = ?", [since.cell_id])
            place = [since.box[0] + since.box[2], since.box[1], number[0][0] if number else 0]
            rounds.insert(0, (f"{middle} {after} (?, ?, ?)", place))
        for where, values in rounds:
            with readable_errors(self._name), contextlib.closing(self._db.cursor()) as cursor:
                for row in cursor.execute(sql.replace("{where}", where), (image_id, *values)):
                    cell = unpack_cell(row)
                    if wanted(cell):
                        return cell
        return None

    def in_view(self, image_id: str, view: Box, limit: int = -1) -> list[Cell]:
        """Return the cells of an image whose box touches ``view``, (y0, x0, y1, x1) px.

        Parameters
        ----------
        limit : int
            Return so many at most; negative for all.
        """
        y0, x0, y1, x1 = view
        sql = (
            f"SELECT {CELL_COLUMNS} FROM images JOIN cells USING (image_no) JOIN ("
            " SELECT cell_no FROM boxes WHERE image_low = (SELECT image_no FROM images"
            " WHERE image_id = ?) AND y1 >= ? AND y0 <= ? AND x1 >= ? AND x0 <= ?"
            " LIMIT ?) USING (cell_no) ORDER BY cell_no"
        )
        return [unpack_cell(row) for row in self._all(sql, [image_id, y0, y1, x0, x1, limit])]

    def with_status(self, *statuses: Status) -> list[Cell]:
        """Return the cells of every image with one of the statuses, by image."""
        marks = ",".join("?" * len(statuses))
        sql = f"{_SELECT} WHERE status IN ({marks}) ORDER BY image_no, cell_no"
        return [unpack_cell(row) for row in self._all(sql, [s.value for s in statuses])]

    def labels(self) -> list[Cell]:
        """Return the cells whose box and class a person vouches for, by image."""
        vouched = (Status.CONFIRMED, Status.CORRECTED, Status.DRAWN)
        return [c for c in self.with_status(*vouched) if c.is_label]

    def states(
        self, *statuses: Status, image_ids: Iterable[str] | None = None
    ) -> list[tuple[str, str, int | None, Status]]:
        """Return (cell_id, image_id, class_id, status) of the cells with one of the statuses.

        The light form of `with_status`, for lists of every cell of a project; ``image_ids``
        takes those of some images.
        """
        marks = ",".join("?" * len(statuses))
        values = [s.value for s in statuses]
        some = ""
        if image_ids is not None:
            some = f" AND {OF_IMAGES}"
            values.append(json.dumps(list(image_ids)))
        sql = (
            "SELECT cell_id, image_id, class_id, status FROM cells JOIN images USING (image_no)"
            f" WHERE status IN ({marks}){some} ORDER BY image_no, cell_no"
        )
        found = self._all(sql, values)
        return [(key, image, class_id, _STATUS[s]) for key, image, class_id, s in found]

    def has_labels(self) -> bool:
        """Return whether there is a cell that a person vouches for."""
        sql = (
            "SELECT 1 FROM cells WHERE status IN ('confirmed', 'corrected', 'drawn')"
            " AND review = 'confirmed' AND class_id IS NOT NULL LIMIT 1"
        )
        return bool(self._all(sql))

    def label_counts(self) -> dict[str, dict[int, int]]:
        """Return {image_id: {class_id: cells}} of the cells that a person vouches for."""
        sql = (
            "SELECT image_id, class_id, n FROM images JOIN (SELECT image_no, class_id, COUNT(*)"
            " AS n FROM cells WHERE status IN ('confirmed', 'corrected', 'drawn')"
            " AND review = 'confirmed' AND class_id IS NOT NULL"
            " GROUP BY image_no, class_id) USING (image_no)"
        )
        counts: dict[str, dict[int, int]] = {}
        for image_id, class_id, n in self._all(sql):
            counts.setdefault(image_id, {})[class_id] = n
        return counts

    def doubtful_images(self) -> set[str]:
        """Return the images with cells that are unsure, or confirmed without a class."""
        sql = (
            "SELECT DISTINCT image_id FROM cells JOIN images USING (image_no)"
            " WHERE status = 'unsure' OR (status IN ('confirmed', 'corrected', 'drawn')"
            " AND review = 'confirmed' AND class_id IS NULL)"
        )
        return {key for (key,) in self._all(sql)}

    def counts(self) -> dict[tuple[Status, int | None], int]:
        """Return how many cells there are by (status, class_id)."""
        return self._counted().all()

    def counts_by_image(self) -> dict[str, dict[Status, int]]:
        """Return {image_id: {status: cells}} for the images that have cells."""
        return self._counted().by_image()

    def counts_of(self, image_id: str) -> dict[Status, int]:
        """Return {status: cells} of one image."""
        return self._counted().of_image(image_id)

    def _counted(self) -> Tally:
        if self._tally is None:
            self._tally = Tally(self._all(COUNT_ALL))
        return self._tally

    def finished(self, image_ids: Iterable[str]) -> dict[str, bool]:
        """Return whether each image is marked finished."""
        found: dict[str, bool] = {}
        for chunk in _chunks(image_ids):
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT image_id, finished FROM images WHERE image_id IN ({marks})"
            found.update({key: bool(mark) for key, mark in self._all(sql, chunk)})
        return found

    # -- edits ----------------------------------------------------------------------------

    def commit_do(self, edit: Edit, also: Callable[[], None] | None = None) -> None:
        """Write rows and edit, drop what had been undone, and do ``also``, in one transaction."""
        _check_boxes(edit.after)
        with self._writing(edit):
            if also is not None:
                also()
            self._db.execute("DELETE FROM edits WHERE undone = 1")
            self._db.execute(
                "INSERT INTO edits(label, by, at, run, body) VALUES (?, ?, ?, ?, ?)",
                (edit.label, edit.by, edit.at, edit.run, pack_edit(edit)),
            )

    def commit_undo(self, edit: Edit) -> None:
        """Write the inverse's rows and mark the newest done edit undone."""
        with self._writing(edit):
            self._db.execute(
                "UPDATE edits SET undone = 1 WHERE seq ="
                " (SELECT MAX(seq) FROM edits WHERE undone = 0)"
            )

    def commit_redo(self, edit: Edit) -> None:
        """Write the rows again and mark the oldest undone edit done."""
        with self._writing(edit):
            self._db.execute(
                "UPDATE edits SET undone = 0 WHERE seq ="
                " (SELECT MIN(seq) FROM edits WHERE undone = 1)"
            )

    @contextlib.contextmanager
    def _writing(self, edit: Edit) -> Iterator[None]:
        """Write the block's statements and the edit's rows together, or none of them."""
        with readable_errors(self._name), transaction(self._db):
            yield
            self._write(edit)
        if self._tally is not None:
            self._tally.follow(edit)
        for key, cell in edit.after.items():
            for image_id in {c.image_id for c in (edit.before[key], cell) if c is not None}:
                rows = self._seen.get(image_id)
                if rows is None:
                    continue
                if cell is not None and cell.image_id == image_id:
                    rows[key] = cell
                else:
                    rows.pop(key, None)

    def last_done(self) -> Edit | None:
        """Return the newest edit that is not undone."""
        return self._edit("WHERE undone = 0 ORDER BY seq DESC LIMIT 1")

    def first_undone(self) -> Edit | None:
        """Return the oldest edit that is undone."""
        return self._edit("WHERE undone = 1 ORDER BY seq LIMIT 1")

    def edit_labels(self) -> tuple[str, str]:
        """Return the words of the edits that undo and redo would work on."""
        done = self._all("SELECT label FROM edits WHERE undone = 0 ORDER BY seq DESC LIMIT 1")
        undone = self._all("SELECT label FROM edits WHERE undone = 1 ORDER BY seq LIMIT 1")
        return (done[0][0] if done else "", undone[0][0] if undone else "")

    def _edit(self, where: str) -> Edit | None:
        found = self._all(f"SELECT label, by, at, run, body FROM edits {where}")
        if not found:
            return None
        with readable_errors(self._name):
            return unpack_edit(*found[0])

    def _write(self, edit: Edit) -> None:
        after = edit.after
        for image_id, (_, mark) in edit.finished.items():
            self._db.execute(
                "UPDATE images SET finished = ? WHERE image_id = ?", (int(mark), image_id)
            )
        gone = [key for key, cell in after.items() if cell is None]
        self._db.executemany(
            "DELETE FROM boxes WHERE cell_no = (SELECT cell_no FROM cells WHERE cell_id = ?)",
            [(key,) for key in gone],
        )
        self._db.executemany("DELETE FROM cells WHERE cell_id = ?", [(key,) for key in gone])
        kept = [cell for cell in after.values() if cell is not None]
        # A row keeps its number when it changes, so that lists do not jump.
        self._db.executemany(
            "INSERT INTO cells(cell_id, image_no, y0, x0, y1, x1, class_id, origin, review,"
            " proposed, reviewed_by, reviewed_at, note, mask, status) VALUES"
            " (?, (SELECT image_no FROM images WHERE image_id = ?),"
            " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(cell_id) DO UPDATE SET image_no = excluded.image_no,"
            " y0 = excluded.y0, x0 = excluded.x0, y1 = excluded.y1, x1 = excluded.x1,"
            " class_id = excluded.class_id, origin = excluded.origin, review = excluded.review,"
            " proposed = excluded.proposed, reviewed_by = excluded.reviewed_by,"
            " reviewed_at = excluded.reviewed_at, note = excluded.note, mask = excluded.mask,"
            " status = excluded.status",
            [(*pack_cell(cell), cell.status.value) for cell in kept],
        )
        # The R*Tree holds 32-bit numbers and rounds outwards, so no box in view is missed. A class
        # moves no box: putting it there again would cost as much as the row itself.
        moved = [c for c in kept if _place(c) != _place(edit.before[c.cell_id])]
        self._db.executemany(
            "INSERT OR REPLACE INTO boxes SELECT cell_no, image_no, image_no, ?, ?, ?, ?"
            " FROM cells WHERE cell_id = ?",
            [(c.box[0], c.box[2], c.box[1], c.box[3], c.cell_id) for c in moved],
        )
