"""The whole loop in one sitting: answers, the map, the gallery, the rest; and all of it undone."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QApplication
from test_cell_map import around, inside
from test_gallery import SHIFT, drag, ids_of, settled

from napari_cellal.core.records import Status


def test_from_the_first_answer_to_the_last_class_and_back(sit_down, detected):
    person = sit_down(detected, "Learn")
    learn, session = person.workspace.learn, person.session
    before = person.state()
    dock = person.workspace.dock("Learn")

    def asked_next(after=None):
        person.wait(lambda: learn.question is not None and learn.question is not after, 60_000)
        person.agree()

    # six answers by key, each written at once and followed by another question
    person.push(dock.start)
    asked_next()
    person.canvas.setFocus()
    answered = {}
    for turn in range(6):
        question = learn.question
        person.press("12"[turn % 2])
        asked_next(question)
        answered[question.cell_id] = turn % 2 + 1
    rows = person.rows()
    assert {k: rows[k].class_id for k in answered} == answered
    person.press("Escape")
    assert not learn.is_asking

    # some points of the map, into the gallery, classed there with one key
    person.push(dock._map)
    points = person.workspace.dock("Map")
    person.wait(lambda: points._states is not None and points.scatter.isVisible(), 60_000)
    QApplication.processEvents()
    order = np.argsort(points.scatter._points[:, 0])[:5].tolist()
    outline = around(points.scatter, order)
    chosen = {points.cell_ids[k] for k in inside(points.scatter, outline)}
    drag(points.scatter, outline, SHIFT)
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.grid.isVisible() and settled(person))
    assert set(ids_of(person)) == chosen
    person.press("3")
    person.wait(lambda: all(person.rows()[k].class_id == 3 for k in chosen))
    person.agree()

    # the next question takes it in, and none of them is asked about again
    person.workspace.raise_dock("Learn")
    QApplication.processEvents()
    person.canvas.setFocus()
    before_that = learn.question
    person.press("N")
    asked_next(before_that)
    assert learn.question.cell_id not in chosen | answered.keys() or learn.question.is_check
    person.press("Escape")
    undoable = session.project.history.undo_label

    # all the rest by the learner, as proposals that nobody has confirmed
    dock.rest.sure.setValue(40)
    person.push(dock.rest.run)
    person.wait(
        lambda: session.project.history.undo_label != undoable and not session.works, 60_000
    )
    given = [c for c in person.rows().values() if c.proposed.model_id.endswith("+learn")]
    assert given
    assert {c.status for c in given} == {Status.PROPOSED}
    labels = {k: c.class_id for k, c in person.rows().items() if c.is_label}
    assert labels == answered | dict.fromkeys(chosen, 3)
    person.agree()

    # every step goes back, the way it came
    while person.state() != before:
        assert session.project.history.undo_label
        person.press("Ctrl+Z")
        person.wait(lambda: not session.works)
        person.agree()
