"""One person's session from the first detection to the next morning, by key and mouse."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.records import Review, Status
from napari_cellal.io.store import Project


def middle(cell):
    y0, x0, y1, x1 = cell.box
    return (y0 + y1) / 2, (x0 + x1) / 2


def detect_all(person):
    person.workspace.raise_dock("Detect")
    dock = person.workspace.dock("Detect")
    person.push(dock._scopes.button(2))
    person.push(dock.run)
    counts = person.session.project.cells.counts_by_image
    person.wait(lambda: len(counts()) == 3, 60_000)


def test_detect_correct_and_undo_all_of_it(sit_down, folder):
    person = sit_down(folder, "Detect")
    session, camera = person.session, person.viewer.scene.camera
    person.agree()
    before = [person.state()]

    def did():
        person.agree()
        assert person.state() != before[-1]
        before.append(person.state())

    # Detect
    person.push(person.workspace.dock("Detect").run)
    person.wait(lambda: person.boxes.ids(), 60_000)
    did()
    assert all(c.status is Status.PROPOSED for c in session.cells())
    person.workspace.raise_dock("Review")
    person.canvas.setFocus()

    # Tab, a digit; Tab, Enter; Tab, 0; Escape
    view = (tuple(camera.center), camera.zoom)
    person.press("Tab")
    person.agree()
    first = session.current
    assert np.allclose(camera.center[-2:], middle(first), atol=0.5)
    person.press("2")
    did()
    assert person.cell(first.cell_id).class_id == 2
    assert person.cell(first.cell_id).review is Review.CONFIRMED
    person.press("Tab")
    second = session.current
    assert second != first
    person.press("Enter")
    did()
    assert person.cell(second.cell_id).review is Review.CONFIRMED
    person.press("Tab", "0")
    did()
    assert session.current.status is Status.UNSURE
    person.press("Shift+Tab")
    assert session.current.cell_id == second.cell_id
    person.press("Escape")
    assert session.selection == ()
    assert np.allclose(camera.center, view[0])
    assert camera.zoom == pytest.approx(view[1])
    person.agree()

    # W and a drag
    drawn = person.draw((5, 5), (55, 65))
    did()
    assert drawn.status is Status.DRAWN
    assert drawn.class_id == 2
    assert np.allclose(drawn.box, (5, 5, 55, 65), atol=1)
    assert session.selection == (drawn.cell_id,)
    assert person.layer.mode == "select"

    # Move: on the handle in the middle there is none, so press off the middle
    person.drag((40, 50), (60, 80))
    did()
    moved = person.cell(drawn.cell_id)
    assert np.allclose(np.subtract(moved.box, drawn.box), (20, 30, 20, 30), atol=1.5)

    # Resize at a handle
    y0, x0, y1, x1 = moved.box
    person.drag((y1, x1), (y1 + 15, x1 + 25))
    did()
    resized = person.cell(drawn.cell_id)
    assert np.allclose(resized.box, (y0, x0, y1 + 15, x1 + 25), atol=1.5)

    # Delete what was drawn
    person.press("Delete")
    did()
    assert drawn.cell_id not in person.rows()

    # Click a proposal: move it (a correction), and reject another with Backspace
    one, other, *_ = [c for c in session.cells() if c.status is Status.PROPOSED]
    person.click(*middle(one))
    assert session.selection == (one.cell_id,)
    person.agree()
    y, x = middle(one)
    person.drag((y, x), (y + 6, x + 4))
    did()
    assert person.cell(one.cell_id).status is Status.CORRECTED
    person.click(*middle(other))
    assert session.selection == (other.cell_id,)
    person.press("Backspace")
    did()
    assert person.cell(other.cell_id).status is Status.REJECTED

    # Two at once with Shift, one class
    a, b = [c for c in session.cells() if c.status is Status.PROPOSED][:2]
    person.click(*middle(a))
    person.click(*middle(b), modifiers="Shift")
    assert set(session.selection) == {a.cell_id, b.cell_id}
    person.press("1")
    did()
    assert {person.cell(c.cell_id).class_id for c in (a, b)} == {1}

    # H shows the picture alone while it is held, whatever is pressed repeatedly
    person.hold("H")
    assert not person.layer.visible
    person.agree()
    person.let_go("H")
    assert person.layer.visible

    # F: accepted, finished, the next image
    start = session.image_id
    person.press("F")
    person.wait_for_image()
    did()
    assert session.image_id != start
    assert session.project.images[start].finished

    # All of it back, then forth, then back
    for state in reversed(before[:-1]):
        person.press("Ctrl+Z")
        person.agree()
        assert person.state() == state
    assert session.image_id == start
    person.press("Ctrl+Z")
    assert person.state() == before[0]
    for state in before[1:]:
        person.press("Ctrl+Shift+Z")
        person.agree()
        assert person.state() == state
    while session.project.history.undo_label:
        person.press("Ctrl+Z")
    person.agree()
    assert person.state() == before[0]


def test_images_by_key(sit_down, detected):
    person = sit_down(detected, "Project")
    session = person.session
    ids = list(session.project.images)
    person.agree()
    for key, at in (("A", 0), ("D", 1), ("D", 2), ("D", 2), ("A", 1), ("F", 2), ("F", 0)):
        person.press(key)
        person.wait_for_image()
        assert session.image_id == ids[at]
        person.agree()
    assert [r.finished for r in session.project.images.values()] == [False, True, True]
    person.press("F")
    person.agree()
    assert session.image_id == ids[0]
    assert all(r.finished for r in session.project.images.values())
    person.press("F")  # open again
    person.agree()
    assert session.image_id == ids[0]
    assert not session.project.images[ids[0]].finished


def test_ten_suggestions_and_the_next_morning(sit_down, folder):
    person = sit_down(folder, "Learn")
    session, learn = person.session, person.workspace.learn
    detect_all(person)
    person.agree()
    person.workspace.raise_dock("Learn")
    dock = person.workspace.dock("Learn")
    person.push(dock.start)
    person.wait(lambda: learn.question is not None, 60_000)
    person.canvas.setFocus()

    def asked_next(after):
        person.wait(lambda: learn.question is not None and learn.question is not after)
        assert session.selection == (learn.question.cell_id,)
        assert session.image_id == person.cell(learn.question.cell_id).image_id
        person.agree()

    asked = []
    states = [person.state()]
    for turn in range(10):
        question = learn.question
        asked.append(question.cell_id)
        person.press("123"[turn % 3])
        asked_next(question)
        states.append(person.state())
        cell = person.cell(question.cell_id)
        assert cell.is_label
        assert cell.class_id == turn % 3 + 1
    assert len(set(asked)) == 10

    # N sets none; B comes back to it, and once more to the answered one, which can be changed
    skipped = learn.question
    person.press("N")
    asked_next(skipped)
    assert person.state() == states[-1]
    following = learn.question
    person.press("B")
    asked_next(following)
    assert learn.question.cell_id == skipped.cell_id
    back = learn.question
    person.press("B")
    asked_next(back)
    assert learn.question.cell_id == asked[-1]
    question = learn.question
    person.press("2")
    asked_next(question)
    assert person.cell(asked[-1]).class_id == 2
    assert person.state() != states[-1]

    # B before the next question is there: hers stays when that comes
    question = learn.question
    person.press("1")
    person.press("B")
    assert learn.question.cell_id == question.cell_id
    person.wait(lambda: learn._pending is None)
    assert learn.question.cell_id == question.cell_id
    again = learn.question
    person.press("2")
    asked_next(again)
    assert person.cell(question.cell_id).class_id == 2

    # The model's guess, unsure, no cell
    question = learn.question
    if question.is_check or not question.probabilities:
        person.press("1")
    else:
        person.press("Enter")
        assert person.cell(question.cell_id).class_id == question.probabilities[0][0]
    asked_next(question)
    assert person.cell(question.cell_id).is_label
    question = learn.question
    person.press("0")
    asked_next(question)
    assert person.cell(question.cell_id).status is Status.UNSURE
    question = learn.question
    person.press("Delete")
    asked_next(question)
    assert person.cell(question.cell_id).status is Status.REJECTED

    # Escape lets go: a key no longer answers
    last = person.state()
    person.press("Escape")
    person.agree()
    assert session.selection == ()
    assert not learn.is_asking
    person.press("3")
    person.agree()
    assert person.state() == last

    # Undo passes through Learn as through everything else
    for _ in range(6):
        person.press("Ctrl+Z")
        person.agree()
    assert person.state() == states[-1]
    for _ in range(6):
        person.press("Ctrl+Shift+Z")
        person.agree()
    assert person.state() == last

    # The next morning
    image = session.image_id
    with pytest.raises(ProjectError):
        Project.open(folder)
    person.close()
    with Project.open(folder):  # nobody holds it
        pass
    person = sit_down(folder, "Review")
    person.agree()
    assert person.state() == last
    assert image in person.session.project.images
    person.press("Ctrl+Z")
    person.agree()
    assert person.state() != last
    person.press("Ctrl+Shift+Z")
    person.agree()
    assert person.state() == last
    while person.session.project.history.undo_label:
        person.press("Ctrl+Z")
    person.agree()
    assert person.rows() == {}


def test_from_one_project_to_another(sit_down, folder, detected):
    person = sit_down(detected, "Project")
    dock, before = person.workspace.dock("Project"), person.rows()
    # napari kills its window on some graphics drivers when a layer with a selection goes.
    for _ in range(3):
        person.press("Tab")
        person.agree()
        dock.close_project()
        person.wait(lambda: person.layer not in person.viewer.layers)
        assert person.boxes.ids() == []
        assert person.workspace.images.layers == []
        person.open(folder)
        person.agree()
        assert person.rows() == {}
        person.draw((10, 10), (60, 60))
        person.press("Ctrl+Z")
        person.open(detected)
        person.agree()
        assert person.rows() == before
    assert dock.list.table.rowCount() == 3


def test_the_next_image_is_not_shown_where_a_cell_of_the_last_was(sit_down, detected):
    person = sit_down(detected, "Review")
    camera = person.viewer.scene.camera

    def view():
        return (*camera.center[-2:], camera.zoom)

    chosen = view()
    person.press("Tab")
    assert not np.allclose(view(), chosen)
    person.press("F")
    person.wait_for_image()
    assert np.allclose(view(), chosen)
    person.press("Tab")
    camera.zoom = moved = camera.zoom * 1.5  # the person's own wish stays
    person.press("D")
    person.wait_for_image()
    assert camera.zoom == pytest.approx(moved)


def test_a_large_cell_does_not_make_its_image_small(sit_down, folder):
    person = sit_down(folder, "Review")
    camera = person.viewer.scene.camera
    drawn = person.draw((5, 5), (230, 310))
    person.session.select(())
    person.press("Tab")
    assert person.session.current == drawn
    canvas = person.canvas.size()
    assert camera.zoom * 320 >= canvas.width() or camera.zoom * 240 >= canvas.height()
