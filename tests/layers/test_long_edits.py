from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from napari_cellal.core import gestures
from napari_cellal.core.history import PORTION, edit_of, finish
from napari_cellal.core.records import Cell, Review
from napari_cellal.io.store import Project
from napari_cellal.ui.session import Session
from napari_cellal.workflows import scoring


def grid_cells(n):
    return [
        Cell(
            f"c{k}", "one", (k // 40 * 20.0, k % 40 * 20.0, k // 40 * 20 + 12.0, k % 40 * 20 + 15.0)
        )
        for k in range(n)
    ]


class Loop:
    """A window's loop that turns when told."""

    def __init__(self):
        self.waiting = []

    def later(self, do):
        self.waiting.append(do)

    def turn(self):
        due, self.waiting = self.waiting, []
        for do in due:
            do()


def run_steps(session, n=3 * PORTION):
    edits = (edit_of("", [(None, c)]) for c in grid_cells(n))
    return session.project.history.do_run("many", edits)


@pytest.fixture
def loop(monkeypatch):
    monkeypatch.setattr("napari_cellal.ui.works.TURN_S", 0)  # one portion a turn
    return Loop()


@pytest.fixture
def awake(project, loop):
    session = Session(later=loop.later)
    session.open_project(project)
    return session


def test_a_long_edit_comes_in_portions_and_all_of_it_in_the_end(awake, loop):
    heard = []
    awake.works.add(run_steps(awake), heard.append)
    assert len(awake.cells()) == PORTION
    loop.turn()
    assert len(awake.cells()) == 2 * PORTION
    assert heard == []
    while loop.waiting:
        loop.turn()
    assert heard == [3 * PORTION]
    assert len(awake.cells()) == 3 * PORTION


def test_a_fault_in_one_long_edit_does_not_hold_up_the_next(awake, loop):
    def faulty():
        yield
        raise RuntimeError("a fault of ours")

    heard = []
    awake.works.add(faulty(), lambda _: None)
    awake.works.add(run_steps(awake), heard.append)
    with pytest.raises(RuntimeError):
        loop.turn()
    while loop.waiting:
        loop.turn()
    assert heard == [3 * PORTION]


def test_undo_waits_for_the_rest_and_takes_back_all_of_it(awake, loop):
    awake.works.add(run_steps(awake), lambda _n: None)
    awake.undo()
    while loop.waiting:
        loop.turn()
    assert awake.cells() == []


def test_a_gesture_during_an_undo_comes_after_it(awake, loop):
    finish(run_steps(awake))
    awake.undo()
    assert awake.cells() != []
    awake.draw([(0.0, 0.0, 9.0, 9.0)])
    (drawn,) = awake.cells()
    assert drawn.box == (0.0, 0.0, 9.0, 9.0)
    while loop.waiting:
        loop.turn()
    assert awake.cells() == [drawn]
    awake.undo()
    assert awake.cells() == []


def test_closing_the_project_writes_the_rest(awake, loop):
    folder = awake.project.folder
    awake.works.add(run_steps(awake), lambda _n: None)
    awake.close_project()
    with Project.open(folder) as again:
        assert len(again.cells.of_image("one")) == 3 * PORTION


def test_a_large_gesture_is_written_in_portions(awake, loop):
    finish(run_steps(awake))
    assert awake.do(gestures.accept(awake.cells(), "ann"))
    done = [c.review is Review.CONFIRMED for c in awake.cells()]
    assert 0 < sum(done) < len(done)
    awake.select(["c0"])
    awake.mark_unsure()  # after the rest
    assert all(c.review is not Review.OPEN for c in awake.cells())
    awake.undo()
    awake.undo()
    while loop.waiting:
        loop.turn()
    assert {c.review for c in awake.cells()} == {Review.OPEN}


def test_a_large_gesture_that_cannot_be_written_is_told_and_does_nothing(awake, loop):
    told = []
    awake.told.connect(lambda text, error: told.append(error))
    gone = grid_cells(PORTION + 1)
    assert not awake.do(gestures.remove(gone, "ann"))
    assert told == [True]
    assert loop.waiting == []
    assert awake.cells() == []


def test_a_large_gesture_during_a_run_is_undone_as_a_whole(awake, loop):
    finish(run_steps(awake))
    mine = awake.cells()
    others = [replace(c, cell_id=f"o{c.cell_id}", image_id="two") for c in mine]
    run = awake.project.history.do_run("run", (edit_of("", [(None, c)]) for c in others))
    awake.works.add(run, lambda _n: None)
    assert awake.do(gestures.accept(mine, "ann"))
    awake.undo()
    while loop.waiting:
        loop.turn()
    assert awake.cells() == mine
    assert len(awake.project.cells.of_image("two")) == len(others)


def test_labels_of_many_classed_cells_are_read_in_portions(awake, monkeypatch):
    finish(run_steps(awake))
    finish(awake.project.history.do_steps(gestures.give_class(awake.cells(), 2, "WBC", "ann")))
    said = {c.cell_id: ((1, 0.9),) for c in awake.cells()}
    read, rows = [], awake.project.cells.rows
    monkeypatch.setattr(awake.project.cells, "rows", lambda keys: read.append(keys) or rows(keys))
    steps = scoring.truth_steps(awake.project, SimpleNamespace(classes=said))
    next(steps)
    assert 0 < len(read[0]) < len(said)
    assert finish(steps) == dict.fromkeys(said, 2)
