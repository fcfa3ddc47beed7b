"""What is told and written of classing the rest where it does not come to its end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.history import PORTION, edit_of
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Cell, Origin, Proposal
from napari_cellal.ui.jobs import JobHandle
from napari_cellal.ui.session import Session
from napari_cellal.ui.widgets.class_rest import _Run
from napari_cellal.workflows.worker import Cancelled

PORTIONS = 2 * PORTION
BOX = (0.0, 0.0, 12.0, 15.0)


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.setattr("napari_cellal.ui.works.TURN_S", 0)  # one portion a turn
    return []


@pytest.fixture
def session(project, turns):
    session = Session(later=turns.append)
    session.open_project(project)
    found = Proposal(BOX, 1, 0.9, "test")
    cells = [Cell(f"c{k}", "one", BOX, 1, Origin.MODEL, proposed=found) for k in range(PORTIONS)]
    project.history.do(edit_of("detected", [(None, c) for c in cells]))
    return session


@pytest.fixture
def told(session):
    heard = []
    session.told.connect(lambda text, error: heard.append((text, error)))
    return heard


@pytest.fixture
def job(session):
    handle = JobHandle("Classing the rest", lambda: None, ())
    handle.started_at = 0.0
    run = _Run(SimpleNamespace(session=session), session.project, 0.5)
    run.follow(handle)
    handle.cancelled.connect(lambda: run.end(stopped=True))
    return handle


def let_turn(turns):
    while turns:
        turns.pop(0)()


def second(session):
    return {c.cell_id: ((2, 0.9), (1, 0.1)) for c in session.cells()}


def test_what_was_written_of_a_part_that_was_stopped_is_told(session, turns, told, job):
    job._deliver(Progress(0, 1, "", second(session)))
    assert [c.class_id for c in session.cells()].count(2) == PORTION
    job.cancel()
    job._deliver(Cancelled())
    let_turn(turns)
    ((text, is_error),) = told
    assert not is_error
    assert f"{PORTION:,} of {PORTIONS:,}" in text
    assert "Ctrl+Z" in text
    session.undo()
    let_turn(turns)
    assert [c.class_id for c in session.cells()].count(2) == 0


def test_what_cannot_be_written_ends_the_job(session, turns, told, job, monkeypatch):
    def full(_edit):
        raise ProjectError("The disk is full.")

    monkeypatch.setattr(session.project.history, "do", full)
    job._deliver(Progress(0, 1, "", second(session)))
    let_turn(turns)
    assert told == [("The disk is full.", True)]
    assert job.is_cancelling
