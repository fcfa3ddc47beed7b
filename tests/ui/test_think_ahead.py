"""The next question is chosen before the answer: it must be the one that would have come anyway."""

from __future__ import annotations

import pytest

from napari_cellal.active.requests import unpack_rows
from napari_cellal.core import gestures
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Status
from napari_cellal.ui import think_ahead
from napari_cellal.workflows import describing, learning, pools

ANSWERS = 4
"""One of three classes, or none."""


@pytest.fixture
def asked(sit_down, detected, monkeypatch):
    """A person who is asked about a cell, the learner having seen two classes.

    With it, the requests that a worker was sent one by one, and how to see what was thought.
    """
    person = sit_down(detected, "Learn")
    loop = person.workspace.learn
    loop.better.choice = describing.QUICK
    sent = []
    run = loop.jobs.run

    def watched(title, call, *args, **options):
        if call is learning.suggest:
            sent.append(*args)
        return run(title, call, *args, **options)

    monkeypatch.setattr(loop.jobs, "run", watched)
    person.push(person.workspace.dock("Learn").start)
    person.wait(lambda: loop.question is not None, 90_000)
    for key in "12":
        answer_when_thought(person, key)
    person.wait(lambda: len(loop._ahead._known) == ANSWERS, 60_000)
    sent.clear()
    return person, loop, sent


def answer_when_thought(person, key):
    loop = person.workspace.learn
    person.wait(lambda: len(loop._ahead._known) == ANSWERS, 60_000)
    person.canvas.setFocus()
    question = loop.question
    person.press(key)
    person.wait(lambda: loop.question not in (None, question), 60_000)


def would_be_asked(loop, project):
    """What the learner asks about with today's labels."""
    pool = pools.Pool(project)
    request = learning.request_suggestions(project, loop.table, pool, strategy=loop.strategy, n=4)
    return run_job(learning.suggest(request)).suggestions


@pytest.mark.parametrize("key", ["1", "2", "3", "0", "Delete"])
def test_a_thought_of_answer_needs_no_worker_and_changes_nothing(asked, key):
    person, loop, sent = asked
    is_check = loop.question.is_check
    answer_when_thought(person, key)
    assert sent == []
    if not (is_check or loop.question.is_check):
        found = would_be_asked(loop, person.session.project)
        assert loop.question.cell_id == found.cell_ids[0]
        assert loop.question.reason == found.reasons[0]
        assert dict(loop.question.probabilities) == pytest.approx(
            dict(zip(found.class_ids, found.probabilities[0].tolist(), strict=True))
        )
    person.agree()


def test_the_detectors_doubt_is_thought_of_too(asked):
    person, loop, sent = asked
    loop.strategy = "detector"
    person.canvas.setFocus()
    question = loop.question
    person.press("1")  # what was thought was of another strategy
    person.wait(lambda: loop.question not in (None, question), 60_000)
    assert len(sent) == 1
    answer_when_thought(person, "2")
    assert len(sent) == 1
    scores = {c.cell_id: c.score for c in loop.session.project.cells.with_status(*Status)}
    known = loop._pool.now.scores_in(loop.table.cell_ids)
    assert known == pytest.approx([scores[key] for key in loop.table.cell_ids])
    if not loop.question.is_check:
        doubts = {key: abs(scores[key] - 0.5) for key in loop._pool.now.candidates}
        assert doubts[loop.question.cell_id] == pytest.approx(min(doubts.values()))


def test_what_else_changed_makes_thoughts_worthless(asked):
    person, loop, sent = asked
    project = person.session.project
    waiting = [c for c in loop._pool.now.candidates if c != loop.question.cell_id]
    other = project.cells.get(waiting[-1])
    project.history.do(gestures.give_class([other], 3, "Platelets", "me"))
    person.canvas.setFocus()
    question = loop.question
    person.press("1")
    person.wait(lambda: loop.question not in (None, question), 60_000)
    assert len(sent) == 1
    assert sent[0].labelled == loop._pool.now.labelled
    if not loop.question.is_check:
        assert loop.question.cell_id == would_be_asked(loop, project).cell_ids[0]


def test_a_skipped_cell_is_not_thought_about_again(asked):
    person, loop, sent = asked
    skipped = loop.question
    answer_when_thought(person, "N")
    assert sent == []
    person.wait(lambda: len(loop._ahead._known) == ANSWERS, 60_000)
    asked_now = loop.question.cell_id
    for request, _ in loop._ahead._known:
        rows = unpack_rows(request.candidates, len(loop.table.cell_ids))
        may_be_asked = {loop.table.cell_ids[row] for row in rows}
        assert may_be_asked == {*loop._pool.now.candidates} - {skipped.cell_id, asked_now}


def test_a_window_that_closes_thinks_no_more(asked, qtbot, monkeypatch):
    monkeypatch.setattr(think_ahead, "_PAUSE_MS", 2000)
    person, loop, _ = asked
    loop.skip()
    question = loop.question
    person.wait(lambda: loop.question not in (None, question), 60_000)
    assert loop._ahead._timer.isActive()  # it is about to begin
    person.close()
    qtbot.wait(2500)
    assert loop.jobs._lanes == {}  # `nothing_left` looks for processes
