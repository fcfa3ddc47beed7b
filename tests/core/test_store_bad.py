import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Plane
from napari_cellal.io.store import Project, schema

DATABASE = "project.sqlite"
CELLS = [Cell(f"c{k}", "i0", (k, 1, k + 5, 9), note=f"note {k}" * 20) for k in range(200)]

NEWEST = schema.newest_version()


def cells(tag: str, n: int = 300) -> list[Cell]:
    return [Cell(f"{tag}-{k}", "i0", (k, 1, k + 5, 9), note="x" * 200) for k in range(n)]


def draw(project: Project, rows: list[Cell]) -> None:
    project.history.do(edit_of(f"drew {rows[0].cell_id}", [(None, c) for c in rows]))


def fill(project: Project) -> None:
    project.add_images([ImageRecord("i0", "i0.png", (3, 300, 300), "uint8", ("r", "g", "b"))])
    draw(project, CELLS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "blood", ["RBC"]) as project:
        fill(project)
    return tmp_path / "blood.cellal"


def run_sql(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


NEWEST = schema.newest_version()


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def assert_intact(folder: Path) -> None:
    with Project.open(folder) as project:
        assert project.cells.of_image("i0") == CELLS
        assert project.classes[1].name == "RBC"
        assert project.history.undo() is not None
        assert project.cells.of_image("i0") == []
        assert project.history.redo() is not None
        assert project.cells.of_image("i0") == CELLS


# -- what is no project ---------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"nothing\.cellal"):
        Project.open(tmp_path / "nothing.cellal")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file.cellal").write_text("x")
    with pytest.raises(ProjectError, match=r"file\.cellal"):
        Project.open(tmp_path / "file.cellal")


def test_a_folder_of_other_things_is_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "beach.jpg").write_bytes(b"x")
    with pytest.raises(ProjectError, match="holiday"):
        Project.open(folder)
    assert [p.name for p in folder.iterdir()] == ["beach.jpg"]


def test_a_relative_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=tmp_path.name):
        Project.open(".")


def truncated(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def foreign(path: Path) -> None:
    path.unlink()
    run_sql(path, "CREATE TABLE cells (a)", "INSERT INTO cells VALUES (1)")


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = slice(4096 * 3, len(data) - 4096)
    data[middle] = b"\xa5" * len(data[middle])
    path.write_bytes(data)


BROKEN: dict[str, Callable[[Path], None]] = {
    "no database": Path.unlink,
    "empty": cut(0),
    "50 bytes": cut(50),
    "only the header": cut(100),
    "one page": cut(4096),
    "half": truncated(0.5),
    "nearly whole": truncated(0.95),
    "text": lambda path: path.write_text("not a database\n" * 1000) and None,
    "zeros": lambda path: path.write_bytes(bytes(100_000)) and None,
    "noise": lambda path: path.write_bytes(os.urandom(100_000)) and None,
    "overwritten": overwritten,
    "another program's": foreign,
    "newer": lambda path: run_sql(path, "PRAGMA user_version = 999"),
    "damaged image": lambda path: run_sql(path, "UPDATE images SET record = '{'"),
    "no tables": lambda path: run_sql(path, "DROP TABLE classes"),
    "no cells": lambda path: run_sql(
        path, "PRAGMA writable_schema = ON", "DELETE FROM sqlite_master WHERE name = 'cells'"
    ),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_project_is_named_and_let_go(folder: Path, damage: Callable[[Path], None]) -> None:
    good = (folder / DATABASE).read_bytes()
    damage(folder / DATABASE)
    for _ in range(2):  # the same the second time: nothing is held, nothing made worse
        with pytest.raises(ProjectError, match=folder.name):
            Project.open(folder)
    (folder / DATABASE).write_bytes(good)  # restored from a backup
    assert_intact(folder)


def test_a_newer_project_is_not_touched(folder: Path) -> None:
    run_sql(folder / DATABASE, "PRAGMA user_version = 999")
    before = (folder / DATABASE).read_bytes()
    with pytest.raises(ProjectError, match="999"):
        Project.open(folder)
    assert (folder / DATABASE).read_bytes() == before


def test_a_foreign_database_is_not_touched(folder: Path) -> None:
    foreign(folder / DATABASE)
    before = (folder / DATABASE).read_bytes()
    with pytest.raises(ProjectError, match=folder.name):
        Project.open(folder)
    assert (folder / DATABASE).read_bytes() == before


@pytest.mark.parametrize("body", ["x''", "x'00'", "CAST('text' AS BLOB)"])
def test_a_damaged_edit_is_said_and_new_ones_are_possible(folder: Path, body: str) -> None:
    run_sql(folder / DATABASE, f"UPDATE edits SET body = {body}")
    with Project.open(folder) as project:
        with pytest.raises(ProjectError, match=folder.name):
            project.history.undo()
        assert project.cells.of_image("i0") == CELLS
        draw(project, cells("new", 1))
        assert project.history.undo() is not None


def test_damaged_settings_are_said(folder: Path) -> None:
    run_sql(folder / DATABASE, """INSERT INTO meta VALUES ('settings', '{"merge_iou": 7}')""")
    with Project.open(folder) as project, pytest.raises(ProjectError, match=folder.name):
        _ = project.settings


# -- migrations -----------------------------------------------------------------------------


def test_migration_keeps_rows_and_leaves_a_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "ALTER TABLE images ADD COLUMN extra TEXT; CREATE TABLE more (a TEXT) STRICT;"
    with monkeypatch.context() as patch:
        patch.setitem(schema.MIGRATIONS, NEWEST + 1, sql)
        assert_intact(folder)
        assert version(folder / DATABASE) == NEWEST + 1
        run_sql(folder / DATABASE, "SELECT extra FROM images", "SELECT a FROM more")
        (copy,) = folder.glob("project.before-*.sqlite")
        made = copy.stat().st_mtime_ns
        assert_intact(folder)  # only once
        assert copy.stat().st_mtime_ns == made
    assert version(copy) == NEWEST
    with pytest.raises(ProjectError, match=folder.name):
        Project.open(folder)  # the version before does not read it
    shutil.copy(copy, folder / DATABASE)  # but it reads the copy
    assert_intact(folder)


def test_a_project_of_the_first_version_keeps_its_history(folder: Path) -> None:
    run_sql(
        folder / DATABASE,
        "ALTER TABLE edits DROP COLUMN run",
        "ALTER TABLE cells DROP COLUMN mask",
        *(f"DROP TABLE {name}" for name in ("scan_parts", "scan_images", "scans")),
        "PRAGMA user_version = 1",
    )
    assert_intact(folder)
    assert version(folder / DATABASE) == NEWEST


def test_migration_copies_what_a_killed_process_left_in_the_log(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "killed.cellal"
    late = cells("late", 5)
    with Project.open(folder) as project:
        draw(project, late)
        killed.mkdir()
        for name in (DATABASE, f"{DATABASE}-wal"):  # as a power cut would leave them
            shutil.copy(folder / name, killed / name)
    monkeypatch.setitem(schema.MIGRATIONS, NEWEST + 1, "CREATE TABLE more (a TEXT) STRICT;")
    with Project.open(killed) as project:
        assert project.cells.of_image("i0") == CELLS + late
    (copy,) = killed.glob("project.before-*.sqlite")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM cells").fetchone() == (len(CELLS + late),)


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE more (a TEXT) STRICT; NONSENSE;", "DROP TABLE gone;"]
)
def test_a_migration_that_fails_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(schema.MIGRATIONS, NEWEST + 1, sql)
        with pytest.raises(ProjectError, match=folder.name):
            Project.open(folder)
    assert version(folder / DATABASE) == NEWEST
    assert_intact(folder)


def test_no_migration_without_a_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:5000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setitem(schema.MIGRATIONS, NEWEST + 1, "CREATE TABLE more (a TEXT) STRICT;")
        patch.setattr(shutil, "copy2", full)
        with pytest.raises(ProjectError, match=folder.name):
            Project.open(folder)
    assert version(folder / DATABASE) == NEWEST
    assert list(folder.glob("*before*")) == []  # half a copy would be worse than none
    assert_intact(folder)


# -- disks that are read-only or full -------------------------------------------------------


def mounted(*arguments: str) -> bool:
    if sys.platform != "linux" or shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """Return the project on a place where nothing may be written."""
    if sys.platform == "win32":
        pytest.skip("folders have no such bit on Windows")
    if os.geteuid() != 0:
        folder.chmod(0o555)
        for path in folder.iterdir():
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o755 if path.is_dir() else 0o644)
        return
    if not mounted("--bind", str(folder), str(folder)):
        pytest.skip("root writes anywhere, and mounting is not allowed here")
    try:
        if not mounted("-o", "remount,bind,ro", str(folder)):
            pytest.skip("a read-only mount is not allowed here")
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_project(read_only: Path) -> None:
    before = sorted(p.name for p in read_only.iterdir())
    with pytest.raises(ProjectError, match=read_only.name):
        Project.open(read_only)
    with pytest.raises(ProjectError, match=r"new\.cellal"):
        Project.create(read_only / "new")
    assert sorted(p.name for p in read_only.iterdir()) == before
    # Copied to where one may write, as the message says, it opens.
    copy = read_only.with_name("copy.cellal")
    shutil.copytree(read_only, copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    assert_intact(copy)


def test_a_project_that_turns_read_only(folder: Path) -> None:
    with Project.open(folder) as project:
        project._db.execute("PRAGMA query_only = ON")
        with pytest.raises(ProjectError, match=folder.name):
            draw(project, cells("late"))
        assert project.cells.of_image("i0") == CELLS
        with pytest.raises(ProjectError, match=folder.name):
            project.history.undo()
        project._db.execute("PRAGMA query_only = OFF")
        draw(project, cells("later"))
    with Project.open(folder) as project:
        assert project.cells.of_image("i0") == CELLS + cells("later")


def test_a_database_locked_by_another_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Project.open(folder) as project:
        project._db.execute("PRAGMA busy_timeout = 10")
        with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ProjectError, match=folder.name):
                draw(project, cells("late"))
            assert project.cells.of_image("i0") == CELLS
            other.execute("ROLLBACK")
        draw(project, cells("later"))
        assert project.cells.of_image("i0") == CELLS + cells("later")


def check_last_good_state(project: Project, good: list[Cell], label: str) -> None:
    assert project.cells.of_image("i0") == good
    assert project.cells.in_view("i0", (0, 0, 1e6, 1e6)) == good
    assert project.history.undo_label == label
    assert not project._db.in_transaction


def test_a_full_database_rolls_back(folder: Path) -> None:
    with Project.open(folder) as project:
        heard: list[object] = []
        project.history.changed.connect(heard.append)
        label = project.history.undo_label
        pages = project._db.execute("PRAGMA page_count").fetchone()[0]
        project._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(ProjectError, match=folder.name):
            draw(project, cells("late"))
        check_last_good_state(project, CELLS, label)
        assert heard == []
        with pytest.raises(ProjectError, match=folder.name):
            project.add_images(
                [ImageRecord(f"j{k}", "j.png" * 50, (1, 2, 3), "uint8", ("g",)) for k in range(500)]
            )
        assert list(project.images) == ["i0"]
        project._db.execute("PRAGMA max_page_count = 1000000")
        draw(project, cells("later"))
        assert len(heard) == 1
    with Project.open(folder) as project:
        assert project.cells.of_image("i0") == CELLS + cells("later")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)):
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def occupy(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    assert shutil.disk_usage(path).free == 0


def test_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with Project.create(small_disk / "blood") as project:
        fill(project)
        good, label = list(CELLS), project.history.undo_label
        occupy(ballast)
        with contextlib.suppress(ProjectError):
            for k in range(100):  # what the log has room for is still saved
                rows = cells(f"late{k}", 20)
                draw(project, rows)
                good, label = good + rows, project.history.undo_label
        check_last_good_state(project, good, label)
        with pytest.raises(ProjectError, match=r"blood\.cellal"):
            draw(project, cells("more"))
        check_last_good_state(project, good, label)
        ballast.unlink()
        draw(project, cells("later"))
        good += cells("later")
    with Project.open(small_disk / "blood.cellal") as project:
        assert project.cells.of_image("i0") == good
        assert project.history.undo() is not None


def test_closed_and_opened_on_a_full_disk(small_disk: Path) -> None:
    project = Project.create(small_disk / "blood")
    fill(project)
    occupy(small_disk / "ballast")
    project.close()
    with contextlib.suppress(ProjectError):  # there may be no room for the log
        Project.open(small_disk / "blood.cellal").close()
    (small_disk / "ballast").unlink()
    with Project.open(small_disk / "blood.cellal") as again:
        assert again.cells.of_image("i0") == CELLS


def test_no_half_made_project_on_a_full_disk(small_disk: Path) -> None:
    occupy(small_disk / "ballast")
    with pytest.raises(ProjectError, match=r"blood\.cellal"):
        Project.create(small_disk / "blood", ["RBC"])
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]
    (small_disk / "ballast").unlink()
    with Project.create(small_disk / "blood", ["RBC"]) as project:
        assert project.classes[1].name == "RBC"


def test_a_project_of_the_first_version_still_opens(tmp_path: Path) -> None:
    """As napari-cellal wrote it before images could be several files."""
    folder = tmp_path / "old.cellal"
    folder.mkdir()
    record = (
        '{"image_id":"i0","path":"images/a.tif","shape":[2,30,40],"dtype":"uint16",'
        '"channels":["DNA","ER"],"rgb":false,"scene":0,"t":1,"z":2,"pixel_size_um":0.65,'
        '"fingerprint":"ab","group":"","split":"val","finished":false}'
    )
    run_sql(folder / DATABASE, f"PRAGMA application_id = {schema.APPLICATION_ID}")
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(schema.SCHEMA_1)
        connection.execute("INSERT INTO images VALUES (1, 'i0', 'images/a.tif', 1, ?)", (record,))
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with Project.open(folder) as project:
        image = project.images["i0"]
        assert (image.shape, image.t, image.z, image.finished) == ((2, 30, 40), 1, 2, True)
        assert (image.name, image.files, image.place) == ("a.tif", (), {})
        assert project.plane("i0") == Plane(0, 1, 2, fingerprint="ab")
    assert version(folder / DATABASE) == NEWEST
    assert version(folder / f"project.before-v{NEWEST}.sqlite") == 1


# -- read through or not ---------------------------------------------------------------------


def read_through(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Open and close the project; return whether its whole file was checked."""
    seen: list[bool] = []
    plain = schema._check

    def check(connection: sqlite3.Connection, name: str, *, is_known: bool) -> None:
        seen.append(not is_known)
        plain(connection, name, is_known=is_known)

    with monkeypatch.context() as patch:
        patch.setattr(schema, "_check", check)
        Project.open(folder).close()
    (was,) = seen
    return was


def test_a_file_as_we_closed_it_is_not_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "p.cellal"
    Project.create(folder).close()
    assert not read_through(folder, monkeypatch)
    database = folder / "project.sqlite"
    state = database.stat()
    os.utime(database, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert read_through(folder, monkeypatch)  # somebody wrote to it
    assert not read_through(folder, monkeypatch)
    (folder / "project.sqlite-wal").write_bytes(b"")  # as a killed process leaves it
    assert read_through(folder, monkeypatch)
    (folder / "cache" / "closed.txt").write_bytes(b"\xff")
    assert read_through(folder, monkeypatch)
    moved = tmp_path / "moved.cellal"
    folder.rename(moved)
    assert not read_through(moved, monkeypatch)
    shutil.rmtree(moved / "cache")
    assert read_through(moved, monkeypatch)
