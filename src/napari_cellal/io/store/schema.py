"""The database's tables, its version, and opening it safely."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import zlib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_cellal.core.errors import ProjectError
from napari_cellal.io.fingerprint import stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = 0x43454C4C  # "CELL"
DATABASE = "project.sqlite"

SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE classes (
    class_id INTEGER PRIMARY KEY, name TEXT NOT NULL, color TEXT NOT NULL,
    shortcut TEXT NOT NULL, retired INTEGER NOT NULL
) STRICT;
CREATE TABLE images (
    image_no INTEGER PRIMARY KEY, image_id TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
    finished INTEGER NOT NULL, record TEXT NOT NULL
) STRICT;
CREATE TABLE cells (
    cell_no INTEGER PRIMARY KEY, cell_id TEXT NOT NULL UNIQUE, image_no INTEGER NOT NULL
        REFERENCES images(image_no),
    y0 REAL NOT NULL, x0 REAL NOT NULL, y1 REAL NOT NULL, x1 REAL NOT NULL,
    class_id INTEGER, origin TEXT NOT NULL, review TEXT NOT NULL, proposed TEXT,
    reviewed_by TEXT, reviewed_at TEXT, note TEXT NOT NULL, status TEXT NOT NULL
) STRICT;
CREATE INDEX cells_of_image ON cells(image_no, status, class_id);
CREATE INDEX cells_by_status ON cells(status, class_id);
CREATE VIRTUAL TABLE boxes USING rtree(cell_no, image_low, image_high, y0, y1, x0, x1);
CREATE TABLE edits (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL, by TEXT NOT NULL,
    at TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL
) STRICT;
CREATE INDEX edits_undone ON edits(undone, seq);
CREATE TABLE models (model_id TEXT PRIMARY KEY, card TEXT NOT NULL) STRICT;
"""

# Portions of one run, written one by one, undone together.
SCHEMA_2 = "ALTER TABLE edits ADD COLUMN run TEXT NOT NULL DEFAULT '';"

# 3: images may be one file a channel, or a projection. The tables are the same, but a program
# that does not know would read one channel of five without a word.

# Cells may have a mask: JSON of corner, size and runs, see `core.masks`; NULL for most.
SCHEMA_4 = "ALTER TABLE cells ADD COLUMN mask TEXT;"

# What a scan is to search, how far it is, and what is found in parts of images that are not
# whole yet; see `scans`.
SCHEMA_5 = """
CREATE TABLE scans (
    scan_no INTEGER PRIMARY KEY AUTOINCREMENT, scan_id TEXT NOT NULL UNIQUE,
    begun_at TEXT NOT NULL, ended_at TEXT, settings TEXT NOT NULL
) STRICT;
CREATE TABLE scan_images (
    scan_no INTEGER NOT NULL REFERENCES scans(scan_no),
    image_no INTEGER NOT NULL REFERENCES images(image_no),
    lot INTEGER NOT NULL, state TEXT NOT NULL, cells INTEGER NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (scan_no, image_no)
) STRICT, WITHOUT ROWID;
CREATE TABLE scan_parts (
    scan_no INTEGER NOT NULL REFERENCES scans(scan_no),
    image_no INTEGER NOT NULL REFERENCES images(image_no),
    kind TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (scan_no, image_no, kind, number)
) STRICT;
"""

MIGRATIONS: dict[int, str] = {1: SCHEMA_1, 2: SCHEMA_2, 3: "", 4: SCHEMA_4, 5: SCHEMA_5}
"""SQL that leads from the version before to each version; 1 makes the first tables."""


def newest_version() -> int:
    """Return the database version that this program writes."""
    return max(MIGRATIONS)


_DAMAGED = (
    "its database is damaged. Restore the folder from a backup, or look for "
    "project.before-*.sqlite inside it"
)


@contextlib.contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """Turn errors of SQLite, and of rows that make no sense, into one sentence.

    Raises
    ------
    ProjectError
        Naming the project ``name`` and what to do.
    """
    try:
        yield
    except (zlib.error, json.JSONDecodeError, ValidationError) as error:
        raise ProjectError(f"{name}: {_DAMAGED}.") from error
    except sqlite3.Error as error:
        text = str(error).lower()
        if "full" in text:
            advice = "the disk is full. Nothing was lost; free some space and repeat the step"
        elif "readonly" in text or "unable to open" in text:
            advice = "it cannot be written. Copy the project to a folder where you may write"
        elif "locked" in text or "busy" in text:
            advice = "another program is using it. Close the other window and try again"
        elif "malformed" in text or "not a database" in text:
            advice = _DAMAGED
        elif "disk i/o" in text:
            advice = (
                "the disk is full, or cannot be read or written. Free some space, or check the "
                "drive or the network share"
            )
        else:
            advice = f"its database reported: {error}"
        raise ProjectError(f"{name}: {advice}.") from error


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions are begun and ended by `transaction` alone.
    connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the block's statements together, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # Ctrl+C too: none of the block's statements
        # SQLite rolls back by itself on a full disk; a second ROLLBACK would be an error.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, since: int) -> None:
    for version in range(since + 1, newest_version() + 1):
        # executescript would commit by itself, hence the explicit transaction in the script.
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[version]} PRAGMA user_version = {version}; COMMIT;"
        )


def _keep_copy(path: Path, name: str) -> None:
    copy = path.with_name(f"project.before-v{newest_version()}.sqlite")
    draft = copy.with_suffix(".part")  # so that half a copy never carries the name
    try:
        shutil.copy2(path, draft)
        draft.replace(copy)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ProjectError(
            f"{name}: no copy could be kept before bringing it up to date ({error.strerror}). "
            "The project is as it was; free some space and open it again."
        ) from error


def create_database(path: Path) -> None:
    """Write an empty project database at ``path``, which must not exist."""
    with contextlib.closing(_connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection, 0)


def require_database(path: Path, name: str) -> None:
    """Check that there is a database at ``path``, writing nothing.

    Raises
    ------
    ProjectError
        If there is none, or an empty file.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise ProjectError(
            f"{name} is no project: choose a folder that ends in .cellal. If this was one, its "
            f"{DATABASE} is gone or was never written completely; restore it from a backup."
        )


def note_closed(path: Path) -> None:
    """Note what the file was like when it was closed, so that it need not be read through again.

    To be called where it had been opened well, and after the last connection to it was closed.
    """
    with contextlib.suppress(OSError):  # it is read through then, which takes a second
        _closed_note(path).parent.mkdir(exist_ok=True)
        _closed_note(path).write_text(stamp_of(path), encoding="ascii")


def _closed_note(path: Path) -> Path:
    return path.parent / "cache" / "closed.txt"


def _is_as_closed(path: Path) -> bool:
    """Return whether nobody has written to the file since we closed it."""
    try:
        known = _closed_note(path).read_text(encoding="ascii")
        return known == stamp_of(path) and not path.with_name(f"{path.name}-wal").exists()
    except (OSError, ValueError):
        return False


def open_database(path: Path, name: str) -> sqlite3.Connection:
    """Return a checked connection, migrated to the newest version.

    The whole file is read through (a million cells: a second, and several from a slow disk),
    unless it is exactly as it was when it was last closed. A copy
    ``project.before-vN.sqlite`` is left beside the database before a migration.

    Raises
    ------
    ProjectError
        If the file is damaged, foreign, or from a newer version.
    """
    with readable_errors(name):
        is_as_closed = _is_as_closed(path)  # before a connection makes its own files beside it
        connection = _connect(path)
        try:
            _check(connection, name, is_known=is_as_closed)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < newest_version():
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                _keep_copy(path, name)
                _migrate(connection, version)
            # WAL with FULL: a commit that returned survives a killed process and a power cut.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:  # Ctrl+C too: an open file cannot be moved on Windows
            connection.close()
            raise
    return connection


def _check(connection: sqlite3.Connection, name: str, *, is_known: bool = False) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ProjectError(
            f"{name}: its {DATABASE} is not a napari-cellal project. Choose another folder."
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest_version():
        raise ProjectError(
            f"{name}: made by a newer napari-cellal (project version {version}; this one reads "
            f"up to {newest_version()}). Update napari-cellal to open it."
        )
    if is_known:
        return
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")
