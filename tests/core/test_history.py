import random
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from napari_cellal.core import gestures
from napari_cellal.core.errors import StaleEditError
from napari_cellal.core.history import PORTION, Edit, History, edit_of, finish
from napari_cellal.core.records import (
    Cell,
    ImageRecord,
    Origin,
    Proposal,
    Review,
    new_id,
)
from napari_cellal.io.store import Project

IMAGES = ("i0", "i1", "i2")
EVERYTHING = (-1e9, -1e9, 1e9, 1e9)


class Memory:
    """The smallest `EditStore`: a dict and two stacks."""

    def __init__(self) -> None:
        self.table: dict[str, Cell] = {}
        self.marks: dict[str, bool] = {"i0": False}
        self.done: list[Edit] = []
        self.undone: list[Edit] = []

    def rows(self, cell_ids: Iterable[str]) -> dict[str, Cell | None]:
        return {key: self.table.get(key) for key in cell_ids}

    def finished(self, image_ids: Iterable[str]) -> dict[str, bool]:
        return {key: self.marks[key] for key in image_ids if key in self.marks}

    def _write(self, edit: Edit) -> None:
        for key, cell in edit.after.items():
            if cell is None:
                del self.table[key]
            else:
                self.table[key] = cell
        self.marks.update({key: mark for key, (_, mark) in edit.finished.items()})

    def commit_do(self, edit: Edit, also: Callable[[], None] | None = None) -> None:
        self._write(edit)
        if also is not None:
            also()
        self.done.append(edit)
        self.undone.clear()

    def commit_undo(self, edit: Edit) -> None:
        self._write(edit)
        self.undone.append(self.done.pop())

    def commit_redo(self, edit: Edit) -> None:
        self._write(edit)
        self.done.append(self.undone.pop())

    def last_done(self) -> Edit | None:
        return self.done[-1] if self.done else None

    def first_undone(self) -> Edit | None:
        return self.undone[-1] if self.undone else None

    def edit_labels(self) -> tuple[str, str]:
        done, undone = self.last_done(), self.first_undone()
        return (done.label if done else "", undone.label if undone else "")


def cell(cell_id: str = "c", y: float = 1.0, image_id: str = "i0") -> Cell:
    return Cell(cell_id, image_id, (y, 2.0, y + 10, 12.0))


@pytest.fixture
def memory() -> Memory:
    return Memory()


# -- edits ----------------------------------------------------------------------------------


def test_edit_of_leaves_out_what_stays() -> None:
    old, new = cell("b"), cell("b", 5)
    edit = edit_of(
        "x", [(cell(), cell()), (None, None), (None, cell("a")), (old, new), (cell("d"), None)]
    )
    assert edit.before == {"a": None, "b": old, "d": cell("d")}
    assert edit.after == {"a": cell("a"), "b": new, "d": None}
    assert edit
    assert not edit_of("x", [(cell(), cell())])


def test_inverse_takes_back_and_twice_is_the_same() -> None:
    edit = Edit(
        "x", {"a": None, "b": cell("b")}, {"a": cell("a"), "b": None}, {"i0": (False, True)}, "me"
    )
    inverse = edit.inverse()
    assert (inverse.before, inverse.after) == (edit.after, edit.before)
    assert inverse.finished == {"i0": (True, False)}
    assert (inverse.label, inverse.by) == ("x", "me")
    assert replace(inverse.inverse(), at=edit.at) == edit


def test_edit_names_every_image_it_touches() -> None:
    moved = Edit(
        "x", {"a": cell("a", image_id="i1")}, {"a": cell("a", image_id="i2")}, {"i0": (False, True)}
    )
    assert moved.image_ids == {"i0", "i1", "i2"}


# -- history --------------------------------------------------------------------------------


def test_do_undo_redo(memory: Memory) -> None:
    history = History(memory)
    heard: list[Edit] = []
    history.changed.connect(heard.append)
    edit = edit_of("drew", [(None, cell())])
    history.do(edit)
    assert memory.table == {"c": cell()}
    assert (history.undo_label, history.redo_label) == ("drew", "")
    assert history.undo() == edit
    assert memory.table == {}
    assert (history.undo_label, history.redo_label) == ("", "drew")
    assert history.redo() == edit
    assert memory.table == {"c": cell()}
    assert [e.after for e in heard] == [{"c": cell()}, {"c": None}, {"c": cell()}]


def test_nothing_to_undo_or_redo(memory: Memory) -> None:
    history = History(memory)
    history.changed.connect(lambda _: pytest.fail("nothing changed"))
    assert history.undo() is None
    assert history.redo() is None
    assert (history.undo_label, history.redo_label) == ("", "")


def test_an_empty_edit_is_ignored(memory: Memory) -> None:
    history = History(memory)
    history.changed.connect(lambda _: pytest.fail("nothing changed"))
    history.do(Edit("nothing", {}, {}))
    assert memory.done == []


def test_a_new_edit_drops_what_was_undone(memory: Memory) -> None:
    history = History(memory)
    history.do(edit_of("one", [(None, cell("a"))]))
    history.undo()
    history.do(edit_of("two", [(None, cell("b"))]))
    assert history.redo() is None
    assert memory.table == {"b": cell("b")}


def test_listeners_hear_of_it_after_it_is_written(memory: Memory) -> None:
    history = History(memory)
    seen: list[dict[str, Cell]] = []
    history.changed.connect(lambda _: seen.append(dict(memory.table)))
    history.do(edit_of("x", [(None, cell())]))
    assert seen == [{"c": cell()}]


def test_an_edit_needs_the_same_cells_on_both_sides(memory: Memory) -> None:
    with pytest.raises(ValueError, match="same cells"):
        History(memory).do(Edit("x", {}, {"c": cell()}))
    assert memory.table == {}


STALE = {
    "drawn twice": Edit("x", {"c": None}, {"c": cell("c", 9)}),
    "moved meanwhile": Edit("x", {"c": cell("c", 7)}, {"c": cell("c", 9)}),
    "deleted meanwhile": Edit("x", {"gone": cell("gone")}, {"gone": None}),
    "one of two": Edit("x", {"c": cell(), "d": cell("d")}, {"c": None, "d": None}),
    "already finished": Edit("x", {}, {}, {"i0": (True, False)}),
    "mark and cell": Edit("x", {"c": cell()}, {"c": None}, {"i0": (True, False)}),
    "unknown image": Edit("x", {}, {}, {"nowhere": (False, True)}),
}


@pytest.mark.parametrize("edit", STALE.values(), ids=STALE.keys())
def test_a_stale_edit_is_refused_and_nothing_written(tmp_path: Path, edit: Edit) -> None:
    with Project.create(tmp_path / "p") as project:
        project.add_images([image("i0")])
        project.history.do(edit_of("first", [(None, cell())]))
        project.history.changed.connect(lambda _: pytest.fail("nothing changed"))
        with pytest.raises(StaleEditError):
            project.history.do(edit)
        assert project.cells.of_image("i0") == [cell()]
        assert project.cells.finished(["i0"]) == {"i0": False}
        assert project.history.undo_label == "first"
        assert counts(project, "edits", "boxes") == [1, 1]


def test_finished_marks_are_part_of_the_edit(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p") as project:
        project.add_images([image("i0"), image("i1")])
        edit = Edit("x", {"c": None}, {"c": cell()}, {"i0": (False, True)})
        project.history.do(edit)
        assert project.images["i0"].finished
        assert not project.images["i1"].finished
    with Project.open(tmp_path / "p.cellal") as project:
        assert project.images["i0"].finished
        assert project.cells.finished(["i0", "i1"]) == {"i0": True, "i1": False}
        assert project.history.undo() == edit
        assert not project.images["i0"].finished
        assert project.cells.of_image("i0") == []
    with Project.open(tmp_path / "p.cellal") as project:
        assert not project.images["i0"].finished
        project.history.redo()
        assert project.images["i0"].finished
        assert project.cells.of_image("i0") == [cell()]


def test_history_survives_close_and_open(tmp_path: Path) -> None:
    edits = [edit_of(f"drew {k}", [(None, cell(f"c{k}"))], by="Ann") for k in range(4)]
    with Project.create(tmp_path / "p") as project:
        project.add_images([image("i0")])
        for edit in edits:
            project.history.do(edit)
        project.history.undo()
    folder = tmp_path / "p.cellal"
    with Project.open(folder) as project:
        assert (project.history.undo_label, project.history.redo_label) == ("drew 2", "drew 3")
        assert project.history.undo() == edits[2]  # its words, author and time too
    with Project.open(folder) as project:
        assert project.history.redo() == edits[2]
        assert project.history.redo() == edits[3]
        assert project.history.redo() is None
        assert [c.cell_id for c in project.cells.of_image("i0")] == ["c0", "c1", "c2", "c3"]
    with Project.open(folder) as project:
        project.history.undo()
        project.history.do(edit_of("other", [(None, cell("z"))]))
    with Project.open(folder) as project:
        assert project.history.redo() is None
        assert project.history.undo_label == "other"


# -- a long random walk ---------------------------------------------------------------------


def image(image_id: str) -> ImageRecord:
    return ImageRecord(image_id, f"{image_id}.png", (3, 512, 512), "uint8", ("r", "g", "b"))


def counts(project: Project, *tables: str) -> list[int]:
    with closing(sqlite3.connect(project.folder / "project.sqlite")) as other:
        return [other.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables]


class Walk:
    """Random gestures on a project, and what a plain dict says should be there."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.project = Project.create(folder, ["A", "B", "C"])
        self.project.add_images([image(key) for key in IMAGES])
        self.cells: dict[str, Cell] = {}
        self.marks = dict.fromkeys(IMAGES, False)

    def box(self) -> tuple[float, float, float, float]:
        # Quarters of a pixel are exact in the R*Tree's 32-bit numbers.
        y, x, h, w = (self.rng.randrange(1, 4 * n) / 4 for n in (480, 480, 32, 32))
        return (y, x, y + h, x + w)

    def some(self, most: int) -> list[Cell]:
        keys = sorted(self.cells)
        return [self.cells[k] for k in self.rng.sample(keys, min(len(keys), most))]

    def gesture(self, step: int) -> Edit:
        by, rng = "walker", self.rng
        kind = rng.choice(
            ["draw", "draw", "propose", "move", "delete", "class", "reject", "bulk", "finish"]
        )
        if kind in ("move", "delete", "class", "reject", "bulk") and not self.cells:
            kind = "draw"
        if kind == "draw":
            boxes = [self.box() for _ in range(rng.randint(1, 3))]
            return gestures.draw(rng.choice(IMAGES), boxes, rng.choice([None, 1, 2]), by)
        if kind == "propose":
            key, rows = rng.choice(IMAGES), []
            for _ in range(rng.randint(5, 30)):
                box, score = self.box(), rng.random()
                proposed = Proposal(box, 1, score, "m1", ((1, score), (2, 1 - score)))
                rows.append(Cell(new_id(), key, box, 1, Origin.MODEL, proposed=proposed))
            return edit_of(f"found {len(rows)}", [(None, c) for c in rows], "m1")
        if kind == "move":
            return gestures.move([(c, self.box()) for c in self.some(2)], by)
        if kind == "delete":
            return edit_of("deleted", [(c, None) for c in self.some(4)], by)
        if kind == "class":
            return gestures.give_class(self.some(1), rng.choice([1, 2, 3]), "x", by)
        if kind == "reject":
            return gestures.remove(self.some(2), by)
        if kind == "bulk":  # change, delete and draw in one, and a mark with it
            changed = [(c, replace(c, review=Review.UNSURE, note=f"{step}")) for c in self.some(20)]
            deleted = [(c, None) for c in self.some(5) if c not in [old for old, _ in changed]]
            drawn = [(None, Cell(new_id(), rng.choice(IMAGES), self.box())) for _ in range(5)]
            key = rng.choice(IMAGES)
            bulk = edit_of("bulk", [*changed, *deleted, *drawn], by)
            return replace(bulk, finished={key: (self.marks[key], not self.marks[key])})
        key = rng.choice(IMAGES)
        if self.marks[key]:
            return gestures.reopen_image(key, key, by)
        return gestures.finish_image(key, key, [c for c in self.some(3) if c.image_id == key], by)

    def apply(self, edit: Edit) -> None:
        for key, row in edit.after.items():
            if row is None:
                del self.cells[key]
            else:
                self.cells[key] = row
        self.marks.update({key: mark for key, (_, mark) in edit.finished.items()})

    def reopen(self) -> None:
        self.project.close()
        self.project = Project.open(self.project.folder)

    def check(self) -> None:
        project = self.project
        view = self.box()
        for key in IMAGES:
            expected = {k: c for k, c in self.cells.items() if c.image_id == key}
            rows = project.cells.of_image(key)
            assert len(rows) == len(expected)
            assert {c.cell_id: c for c in rows} == expected
            assert project.cells.in_view(key, EVERYTHING) == rows
            assert project.cells.in_view(key, view) == [
                c
                for c in rows
                if c.box[2] >= view[0]
                and c.box[0] <= view[2]
                and c.box[3] >= view[1]
                and c.box[1] <= view[3]
            ]
        assert counts(project, "cells", "boxes") == [len(self.cells)] * 2
        assert {k: r.finished for k, r in project.images.items()} == self.marks
        assert project.cells.finished(IMAGES) == self.marks

    def state(self) -> tuple[dict[str, Cell], dict[str, bool]]:
        return dict(self.cells), dict(self.marks)


def test_random_walk_there_and_back(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "walk", seed=1)
    states = [walk.state()]
    edits: list[Edit] = []
    try:
        while len(edits) < 200:
            edit = walk.gesture(len(edits))
            if not edit:  # such as rejecting what is rejected
                continue
            walk.project.history.do(edit)
            walk.apply(edit)
            walk.check()
            edits.append(edit)
            states.append(walk.state())
            if len(edits) in (37, 100, 199):
                walk.reopen()
                walk.check()
        for k in range(200, 0, -1):
            assert walk.project.history.undo() == edits[k - 1]
            walk.cells, walk.marks = map(dict, states[k - 1])  # type: ignore[assignment]
            walk.check()
            if k == 120:
                walk.reopen()
        assert walk.project.history.undo() is None
        assert walk.cells == {}
        for k in range(1, 201):
            assert walk.project.history.redo() == edits[k - 1]
            walk.cells, walk.marks = map(dict, states[k])  # type: ignore[assignment]
            walk.check()
            if k == 80:
                walk.reopen()
        assert walk.project.history.redo() is None
    finally:
        walk.project.close()
    with closing(sqlite3.connect(walk.project.folder / "project.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT rtreecheck('boxes')").fetchone() == ("ok",)


# -- runs -----------------------------------------------------------------------------------


def drawn(n: int, name: str = "c") -> list[Edit]:
    return [edit_of("", [(None, cell(f"{name}{k}"))]) for k in range(n)]


def test_a_long_run_is_written_in_portions_and_undone_as_one_step(tmp_path: Path) -> None:
    n = 2 * PORTION + 7
    with Project.create(tmp_path / "p") as project:
        project.add_images([ImageRecord("i0", "i0.png", (1, 50, 50), "uint8", ("g",))])
        history = project.history
        history.do(edit_of("first", [(None, cell("a"))]))
        seen = []
        history.changed.connect(lambda edit: seen.append(len(edit.after)))
        marks = [Edit("", {}, {}, {"i0": (False, True)})]
        assert finish(history.do_run("many", marks + drawn(n), "run")) == n
        assert seen == [PORTION, PORTION, 7]
        assert project.images["i0"].finished
        assert history.undo_label == "many"
    with Project.open(tmp_path / "p.cellal") as project:
        history = project.history
        assert history.undo().label == "many"
        assert [c.cell_id for c in project.cells.of_image("i0")] == ["a"]
        assert not project.images["i0"].finished
        assert history.undo_label == "first"
        assert history.redo().label == "many"
        assert len(project.cells.of_image("i0")) == n + 1
        assert history.redo() is None


def test_a_run_of_one_portion_is_one_edit() -> None:
    store = Memory()
    assert finish(History(store).do_run("few", drawn(3), "run")) == 3
    assert [(e.label, e.by, e.run, len(e.after)) for e in store.done] == [("few", "run", "", 3)]


def test_two_runs_are_two_steps() -> None:
    history = History(Memory())
    finish(history.do_run("one", drawn(PORTION + 1, "a")))
    finish(history.do_run("two", drawn(PORTION + 1, "b")))
    assert history.undo().label == "two"
    assert history.undo().label == "one"
    assert history.undo() is None


def test_a_gesture_between_portions_is_a_step_of_its_own() -> None:
    store = Memory()
    history = History(store)
    steps = history.do_run("many", drawn(2 * PORTION))
    next(steps)
    history.do(edit_of("person's", [(None, cell("p"))]))
    finish(steps)
    assert [history.undo().label for _ in range(3)] == ["many", "person's", "many"]
    assert store.table == {}


def test_what_a_person_did_between_portions_stays() -> None:
    store = Memory()
    history = History(store)
    steps = history.do_run("many", drawn(2 * PORTION))
    next(steps)
    mine = cell(f"c{PORTION + 3}", y=5.0)  # a row that a later portion would make
    history.do(edit_of("person's", [(None, mine)]))
    assert finish(steps) == 2 * PORTION - 1
    assert store.table[mine.cell_id] == mine
    assert len(store.table) == 2 * PORTION


def test_a_run_that_is_left_leaves_its_images_unfinished_and_can_be_undone() -> None:
    store = Memory()
    history = History(store)
    marks = Edit("", {}, {}, {"i0": (False, True)})
    next(history.do_run("many", [marks, *drawn(PORTION + 5)]))
    assert len(store.table) == PORTION
    assert store.marks == {"i0": False}
    history.undo()
    assert store.table == {}


def test_a_large_gesture_in_portions_is_checked_as_a_whole() -> None:
    store = Memory()
    history = History(store)
    stale = edit_of("", [(cell("gone"), None), *((None, cell(f"c{k}")) for k in range(PORTION))])
    with pytest.raises(StaleEditError):
        finish(history.do_steps(stale))
    assert store.table == {}
    assert store.done == []
