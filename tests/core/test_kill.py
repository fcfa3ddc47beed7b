"""A process killed at any moment loses at most the gesture in hand.

Run as a script it is the child: it edits a project and says so on stdout after each
edit. The parent kills it and works out for itself what should be there.
"""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from napari_cellal.core.history import Edit, History, edit_of
from napari_cellal.core.records import Cell, ImageRecord, Review
from napari_cellal.io.store import Project

MOMENTS = 50
UNDO_THEN_REDO, REDO, UNDO_THEN_DO = 3, 4, 8  # which steps of ten; the others are edits
State = dict[str, Cell]


def edit_number(step: int, cells: State) -> Edit | None:
    """Return the edit of a step on these rows, the same in child and parent.

    None for an undo and a redo.
    """
    if step % 10 in (UNDO_THEN_REDO, REDO, UNDO_THEN_DO):
        return None
    rng = random.Random(step)
    keys = sorted(cells)
    changes: list[tuple[Cell | None, Cell | None]] = []
    for k in range(rng.choice([1, 1, 5, 300])):  # a run of a detector is one edit too
        y, x = rng.uniform(0, 900), rng.uniform(0, 900)
        changes.append((None, Cell(f"{step}-{k}", "i0", (y, x, y + 20, x + 20))))
    for key in rng.sample(keys, len(keys) // 4):
        changes.append((cells[key], replace(cells[key], review=Review.CONFIRMED, note=f"{step}")))
        keys.remove(key)
    for key in rng.sample(keys, max(0, len(keys) - 500)):
        changes.append((cells[key], None))
    edit = edit_of(f"step {step}", changes, by="child")
    marks = {0: (False, True), 1: (True, False)}
    return replace(edit, finished={"i0": marks[step % 5]}) if step % 5 in marks else edit


def apply(cells: State, edit: Edit) -> State:
    result = dict(cells) | {k: c for k, c in edit.after.items() if c is not None}
    return {key: c for key, c in result.items() if edit.after.get(key, c) is not None}


def take_step(history: History, step: int, cells: State) -> None:
    edit = edit_number(step, cells)
    if edit is not None:
        history.do(edit)
    elif step % 10 == REDO:
        history.redo()
    else:
        history.undo()


def child(folder: str, step: int) -> None:
    project = Project.open(folder)
    while True:
        cells = {c.cell_id: c for c in project.cells.of_image("i0")}
        take_step(project.history, step, cells)
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
        step += 1


class Expected:
    """What the rows should be after each step, without a database."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]  # states[n] after n steps

    def after(self, steps: int) -> State:
        while len(self.states) <= steps:
            step = len(self.states) - 1
            edit = edit_number(step, self.states[-1])
            # An undo goes back to before the last step, and so does a redo after it.
            new = self.states[-2] if edit is None else apply(self.states[-1], edit)
            self.states.append(new)
        return self.states[steps]


def killed_child(folder: Path, step: int, rng: random.Random) -> list[int]:
    """Return the steps that a child acknowledged before it was killed."""
    with subprocess.Popen(
        [sys.executable, __file__, str(folder), str(step)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        try:
            if rng.random() < 0.9:  # else also while it is starting and opening the project
                said = process.stdout.readline()
                time.sleep(rng.uniform(0, 0.08))
            else:
                time.sleep(rng.uniform(0.1, 0.6))
        finally:
            process.kill()
        said += process.stdout.read()
        assert process.stderr.read() == ""
    assert process.returncode == -9
    return [int(line) for line in said.splitlines()]


def check_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "project.sqlite")) as database:
        assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert database.execute("SELECT rtreecheck('boxes')").fetchone() == ("ok",)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(20)
    expected = Expected()
    image = ImageRecord("i0", "i0.png", (1, 1000, 1000), "uint8", ("gray",), finished=False)
    with Project.create(tmp_path / "killed") as project:
        project.add_images([image])
        folder = project.folder
    steps = 0
    for _ in range(MOMENTS):
        said = killed_child(folder, steps, rng)
        assert said == list(range(steps, steps + len(said)))
        steps += len(said)
        check_database(folder)
        with Project.open(folder) as project:
            cells = {c.cell_id: c for c in project.cells.of_image("i0")}
            if cells != expected.after(steps) or undone(project) != undo_hangs(steps):
                steps += 1  # the one that was written and not yet acknowledged
            assert cells == expected.after(steps)
            assert undone(project) == undo_hangs(steps)
            in_view = project.cells.in_view("i0", (-1, -1, 2000, 2000))
            assert {c.cell_id for c in in_view} == set(cells)
            check_undo(project, steps, expected)
    assert steps > MOMENTS


def undone(project: Project) -> bool:
    return project.history.redo_label != ""


def undo_hangs(steps: int) -> bool:
    return (steps - 1) % 10 in (UNDO_THEN_REDO, UNDO_THEN_DO)  # the last step was an undo


def check_undo(project: Project, steps: int, expected: Expected) -> None:
    if project.history.undo() is None:
        assert steps == 0
        return
    cells = {c.cell_id: c for c in project.cells.of_image("i0")}
    # After an undo, and a redo of the same edit, the edit to take back lies further back.
    back = 3 if (steps - 1) % 10 in (UNDO_THEN_REDO, REDO, UNDO_THEN_DO) else 1
    assert cells == expected.after(steps - back)
    assert project.history.redo() is not None
    cells = {c.cell_id: c for c in project.cells.of_image("i0")}
    assert cells == expected.after(steps)


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
