"""The tables of scans: which images, how far, and parts of images that are not whole yet."""

from __future__ import annotations

import contextlib
import json
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_cellal.core.masks import Mask
from napari_cellal.core.records import Detections, new_id, now

from .schema import readable_errors, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class ScanState(StrEnum):
    """How far an image of a scan is."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """A scan.

    Attributes
    ----------
    settings : mapping
        What its cells depend on, as `workflows.scanning` wrote it.
    ended_at : str or None
        None until every image is done or has failed.
    """

    scan_id: str
    begun_at: str
    ended_at: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScanImage:
    """An image of a scan.

    Attributes
    ----------
    lot : int
        Images of one lot are searched together.
    cells : int
        Found in it, once it is done.
    error : str
        Why it failed, in a sentence.
    """

    image_id: str
    lot: int
    state: ScanState
    cells: int
    error: str


class ScanTable:
    """Scans in the database.

    What ``note_*`` writes must be kept together with the cells that it speaks of: call these
    in the ``also`` of `History.do`, or inside `together` where there are no cells.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._db = connection
        self._name = name

    # -- asking ---------------------------------------------------------------------------

    def _all(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with readable_errors(self._name):
            return self._db.execute(sql, tuple(values)).fetchall()

    def all(self) -> list[ScanRecord]:
        """Return the scans, oldest first."""
        rows = self._all("SELECT scan_id, begun_at, ended_at, settings FROM scans ORDER BY scan_no")
        with readable_errors(self._name):
            return [ScanRecord(key, begun, ended, json.loads(s)) for key, begun, ended, s in rows]

    def images(self, scan_id: str) -> list[ScanImage]:
        """Return a scan's images, lot by lot."""
        sql = (
            "SELECT image_id, lot, state, cells, error FROM scans JOIN scan_images USING (scan_no)"
            " JOIN images USING (image_no) WHERE scan_id = ? ORDER BY lot, image_no"
        )
        return [
            ScanImage(key, lot, ScanState(state), cells, error)
            for key, lot, state, cells, error in self._all(sql, [scan_id])
        ]

    def not_searched(self) -> dict[str, str]:
        """Return {image_id: sentence} of what the last scan left out: why, empty if it waits.

        What an earlier scan searched is not among them: it is known to have no cell.
        """
        scans = self.all()
        if not scans:
            return {}
        done = self._all(
            "SELECT DISTINCT image_id FROM scan_images JOIN images USING (image_no)"
            " WHERE state = ?",
            [ScanState.DONE.value],
        )
        searched = {image_id for (image_id,) in done}
        images = self.images(scans[-1].scan_id)
        return {i.image_id: i.error for i in images if i.image_id not in searched}

    def parts(self, scan_id: str, image_id: str, kind: str) -> dict[int, Any]:
        """Return {number: what `note_part` was given} of an image that is not whole yet."""
        sql = (
            "SELECT number, body FROM scans JOIN scan_parts USING (scan_no)"
            " JOIN images USING (image_no) WHERE scan_id = ? AND image_id = ? AND kind = ?"
            " ORDER BY number"
        )
        rows = self._all(sql, [scan_id, image_id, kind])
        with readable_errors(self._name):
            return {number: json.loads(zlib.decompress(body)) for number, body in rows}

    def was_undone(self, scan_id: str) -> bool:
        """Return whether all that a scan wrote was taken back, and nothing was done since."""
        found = {
            undone for (undone,) in self._all("SELECT undone FROM edits WHERE run = ?", [scan_id])
        }
        return found == {1}

    # -- writing --------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write the block's notes together, or none of them."""
        with readable_errors(self._name), transaction(self._db):
            yield

    def begin(self, settings: Mapping[str, Any], lots: Iterable[Sequence[str]]) -> str:
        """Write a new scan of these images and return its id."""
        scan_id = new_id()
        with self.together():
            self._db.execute(
                "INSERT INTO scans(scan_id, begun_at, settings) VALUES (?, ?, ?)",
                (scan_id, now(), json.dumps(settings)),
            )
            self._insert(scan_id, enumerate(lots))
        return scan_id

    def extend(self, scan_id: str, lots: Iterable[Sequence[str]]) -> None:
        """Add images to a scan, which has not ended then."""
        sql = "SELECT COALESCE(MAX(lot), -1) FROM scans JOIN scan_images USING (scan_no)"
        (last,) = self._all(f"{sql} WHERE scan_id = ?", [scan_id])[0]
        with self.together():
            self._db.execute("UPDATE scans SET ended_at = NULL WHERE scan_id = ?", (scan_id,))
            self._insert(scan_id, enumerate(lots, last + 1))

    def retry(self, scan_id: str) -> None:
        """Have the images that failed searched again; the scan has not ended then."""
        with self.together():
            self._db.execute("UPDATE scans SET ended_at = NULL WHERE scan_id = ?", (scan_id,))
            self._db.execute(
                "UPDATE scan_images SET state = ?, error = '' WHERE state = ? AND scan_no ="
                " (SELECT scan_no FROM scans WHERE scan_id = ?)",
                (ScanState.WAITING, ScanState.FAILED, scan_id),
            )

    def forget(self, scan_id: str) -> None:
        """Take a scan out; its cells stay."""
        with self.together():
            for table in ("scan_parts", "scan_images", "scans"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE scan_no ="
                    " (SELECT scan_no FROM scans WHERE scan_id = ?)",
                    (scan_id,),
                )

    def _insert(self, scan_id: str, lots: Iterable[tuple[int, Sequence[str]]]) -> None:
        self._db.executemany(
            "INSERT INTO scan_images SELECT scan_no, image_no, ?, ?, 0, '' FROM scans, images"
            " WHERE scan_id = ? AND image_id = ?",
            [(number, ScanState.WAITING, scan_id, key) for number, lot in lots for key in lot],
        )

    def note_done(self, scan_id: str, cells: Mapping[str, int]) -> None:
        """Note that images are done, {image_id: cells found}; what their parts had goes."""
        for image_id, n in cells.items():
            self._set(scan_id, image_id, ScanState.DONE, n, "")

    def note_failed(self, scan_id: str, image_id: str, sentence: str) -> None:
        """Note that an image cannot be searched, and why."""
        self._set(scan_id, image_id, ScanState.FAILED, 0, sentence)

    def _set(self, scan_id: str, image_id: str, state: ScanState, cells: int, error: str) -> None:
        where = (
            "scan_no = (SELECT scan_no FROM scans WHERE scan_id = ?)"
            " AND image_no = (SELECT image_no FROM images WHERE image_id = ?)"
        )
        self._db.execute(
            f"UPDATE scan_images SET state = ?, cells = ?, error = ? WHERE {where}",
            (state, cells, error, scan_id, image_id),
        )
        self._db.execute(f"DELETE FROM scan_parts WHERE {where}", (scan_id, image_id))

    def note_part(self, scan_id: str, image_id: str, kind: str, number: int, body: Any) -> None:
        """Note what was found in a part of an image, as JSON values."""
        self._db.execute(
            "INSERT OR REPLACE INTO scan_parts SELECT scan_no, image_no, ?, ?, ? FROM scans, images"
            " WHERE scan_id = ? AND image_id = ?",
            (kind, number, _packed(body), scan_id, image_id),
        )

    def note_ended(self, scan_id: str) -> None:
        """Note that nothing of a scan is left to do."""
        self._db.execute("UPDATE scans SET ended_at = ? WHERE scan_id = ?", (now(), scan_id))


def _packed(body: Any) -> bytes:
    return zlib.compress(json.dumps(body, separators=(",", ":")).encode(), level=1)


def pack_detections(found: Detections) -> dict[str, Any]:
    """Return detections as JSON values, which keep every digit."""
    return {
        "image_id": found.image_id,
        "model_id": found.model_id,
        "boxes": found.boxes,
        "scores": found.scores,
        "class_ids": found.class_ids,
        "probabilities": found.probabilities,
        "masks": [
            None if m is None else [m.y0, m.x0, m.height, m.width, m.counts] for m in found.masks
        ],
    }


def unpack_detections(values: Mapping[str, Any]) -> Detections:
    """Return what `pack_detections` was given."""
    return Detections(
        values["image_id"],
        tuple((y0, x0, y1, x1) for y0, x0, y1, x1 in values["boxes"]),
        tuple(values["scores"]),
        tuple(values["class_ids"]),
        values["model_id"],
        tuple(tuple((int(c), float(p)) for c, p in row) for row in values["probabilities"]),
        tuple(None if m is None else Mask(*m) for m in values["masks"]),
    )
