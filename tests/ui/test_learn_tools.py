"""What Learn and Project say of the labels: needs, suspected mistakes, a replay, the next image."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import pytest
from napari.utils.colormaps.standardize_color import transform_color

from napari_cellal.core import gestures
from napari_cellal.core.filters import REVIEWED
from napari_cellal.core.history import Edit
from napari_cellal.core.progress import Progress
from napari_cellal.io.store import Project
from napari_cellal.ui.box_looks import UNCLASSED
from napari_cellal.workflows import classing_rest, describing, learning, looked_at, pools


@pytest.fixture
def labelled(detected):
    """A project in which every other cell has a class: large ones 2, the others 1."""
    with Project.open(detected) as project:
        cells = [c for key in project.images for c in project.cells.of_image(key)][::2]
        area = sorted((c.box[2] - c.box[0]) * (c.box[3] - c.box[1]) for c in cells)
        for class_id in (1, 2):
            some = [
                c
                for c in cells
                if ((c.box[2] - c.box[0]) * (c.box[3] - c.box[1]) > area[len(area) // 2])
                == (class_id == 2)
            ]
            project.history.do(gestures.give_class(some, class_id, "a class", "me"))
    return detected


def test_labels_are_replayed_beside_random_picks(sit_down, labelled):
    person = sit_down(labelled, "Learn")
    dock = person.workspace.dock("Learn")
    assert dock.replay.isHidden()
    person.push(dock.again)
    person.wait(dock.replay.isVisible, 60_000)
    assert dock.replay.words.text()
    person.agree()


def test_a_replay_of_no_labels_says_what_it_needs(sit_down, detected):
    person = sit_down(detected, "Learn")
    dock = person.workspace.dock("Learn")
    person.push(dock.again)
    assert "two classes" in person.told[-1][0]
    assert dock.replay.isHidden()


def test_suspected_mistakes_are_shown_in_the_gallery(sit_down, labelled):
    person = sit_down(labelled, "Learn")
    loop, batch = person.workspace.learn, person.workspace.batch
    dock, gallery = person.workspace.dock("Learn"), person.workspace.dock("Gallery")
    person.push(dock.start)
    person.wait(lambda: loop.question is not None, 60_000)
    needs = loop.needs
    assert set(needs) <= {c.name for c in person.session.project.active_classes}
    assert needs["Platelets"] == 8
    person.push(dock.check)
    person.wait(gallery.isVisible)
    person.wait(lambda: batch.cell_ids and not batch.is_busy, 60_000)
    assert batch.order == "mislabels"
    assert set(batch.wanted.statuses) == set(REVIEWED)
    assert {c.status for c in batch.rows(batch.cell_ids)} <= set(REVIEWED)
    person.agree()


def test_the_image_most_worth_finishing_is_shown(sit_down, detected):
    person = sit_down(detected, "Project")
    project, dock = person.session.project, person.workspace.dock("Project")
    train = [k for k, r in project.images.items() if r.split.value == "train"]
    for key in train[1:]:  # only the first is left to finish
        cells = project.cells.of_image(key)
        person.session.do(gestures.finish_image(key, "", cells, "me"))
    other = next(k for k in project.images if k != train[0])
    person.session.show_image(other)
    person.push(dock.worth)
    person.wait(lambda: person.session.image_id == train[0] or len(person.told) > 1, 30_000)
    assert person.session.image_id == train[0]
    person.agree()


def test_of_too_many_cells_learn_looks_at_some(sit_down, detected, monkeypatch):
    some = partial(looked_at.images_looked_at, most=1)  # one image of each split
    monkeypatch.setattr(looked_at, "images_looked_at", some)
    person = sit_down(detected, "Learn")
    project, loop = person.session.project, person.workspace.learn
    loop.better.choice = describing.QUICK
    dock = person.workspace.dock("Learn")
    person.push(dock.start)
    person.wait(lambda: loop.question is not None, 90_000)
    mine = {c.cell_id for key in loop.cells.looks_at for c in project.cells.of_image(key)}
    assert set(loop.cells.now.cell_ids) == mine
    assert loop.cells.how_many == (len(mine), len(person.rows()))
    for key in "12112":
        asked = loop.question
        assert asked.cell_id in mine
        person.press(key)
        person.wait(lambda asked=asked: loop.question not in (asked, None))
    dock.rest.sure.setValue(dock.rest.sure.minimum())
    person.push(dock.rest.run)

    def classed():
        return {key for key, cell in person.rows().items() if cell.class_id is not None}

    everything = set(person.rows())
    assert mine != everything
    person.wait(lambda: classed() == everything and not len(person.session.works), 60_000)
    person.wait(lambda: "Ctrl+Z" in person.told[-1][0])
    person.press("Ctrl+Z")  # both those looked at and the others
    person.wait(lambda: classed() < mine and not len(person.session.works))
    other = next(key for key in project.images if key not in loop.cells.looks_at)
    person.session.show_image(other)
    person.wait_for_image()
    assert not loop.cells.is_stale
    person.session.select([project.cells.of_image(other)[0].cell_id])
    person.press("2")  # a label where nobody looked: taken in with the next start
    assert loop.cells.is_stale
    person.press("Ctrl+Z")
    loop.start()
    person.wait(lambda: loop.question is not None and not loop.cells.is_stale, 90_000)
    assert loop.question.cell_id in mine


def endless_rest(request):
    """As `classing_rest.class_everywhere`, but never at its end."""
    yield Progress(0, 1, "", (yield from learning.class_rest(request.rest)))
    while True:
        time.sleep(0.02)
        yield Progress(0, 1)


def test_classing_the_rest_ends_where_it_is_taken_back(sit_down, detected, monkeypatch):
    some = partial(looked_at.images_looked_at, most=1)
    monkeypatch.setattr(looked_at, "images_looked_at", some)
    monkeypatch.setattr(classing_rest, "class_everywhere", endless_rest)
    person = sit_down(detected, "Learn")
    loop, dock = person.workspace.learn, person.workspace.dock("Learn")
    loop.better.choice = describing.QUICK
    person.push(dock.start)
    for key in "12112":
        person.wait(lambda: loop.question is not None and not loop._is_answered, 90_000)
        person.press(key)
    person.wait(lambda: loop.question is not None and not loop._is_answered, 90_000)
    before = person.state()
    dock.rest.sure.setValue(dock.rest.sure.minimum())
    person.push(dock.rest.run)
    person.wait(lambda: person.state() != before and not len(person.session.works), 60_000)
    person.press("Ctrl+Z")
    person.wait(lambda: not any("rest" in h.title for h in person.workspace.jobs.running))
    person.wait(lambda: not len(person.session.works))
    assert person.state() == before


PLAIN = pools.read_pool


def slow_pool(*where):
    """As `pools.read_pool`, but what it read gets old before it arrives."""
    pool = yield from PLAIN(*where)
    for _ in range(40):
        time.sleep(0.05)
        yield Progress(0, 0)
    return pool


def test_a_question_does_not_come_under_a_hand_that_went_elsewhere(sit_down, detected, monkeypatch):
    monkeypatch.setattr(pools, "read_pool", slow_pool)
    person = sit_down(detected, "Learn")
    project, loop = person.session.project, person.workspace.learn
    loop.better.choice = describing.QUICK
    elsewhere = next(key for key in project.images if key != person.session.image_id)
    mine = project.cells.of_image(elsewhere)[0]
    project.history.do(gestures.give_class([mine], 1, "RBC", "me"))  # so it is not asked about
    person.push(person.workspace.dock("Learn").start)
    person.wait(lambda: loop._pool._missed is not None, 90_000)
    person.canvas.setFocus()
    person.session.go_to(mine)
    person.wait(lambda: loop.question is not None, 60_000)
    asked = loop.question
    assert person.session.selection == (mine.cell_id,)
    person.press("2")
    assert person.cell(mine.cell_id).class_id == 2
    assert not person.cell(asked.cell_id).is_label
    assert loop.question == asked
    person.press("N")
    assert person.session.selection == (asked.cell_id,)
    person.press("1")
    assert person.cell(asked.cell_id).class_id == 1
    person.wait(lambda: loop.question != asked)
    assert loop.is_asking


def test_a_check_does_not_show_the_class_that_the_model_gave(sit_down, detected, monkeypatch):
    monkeypatch.setattr(pools, "check_is_due", lambda pool: bool(pool.checks))
    person = sit_down(detected, "Learn")
    loop, boxes = person.workspace.learn, person.boxes
    loop.better.choice = describing.QUICK
    before = person.rows()
    after = {key: replace(cell, class_id=2) for key, cell in before.items()}
    person.session.do(Edit("classed by a model", before, after))
    person.push(person.workspace.dock("Learn").start)
    person.wait(lambda: loop.question is not None and loop.is_asking, 90_000)
    asked = loop.question
    assert asked.is_check

    def color(key):
        return tuple(boxes.layer.edge_color[boxes.ids().index(key)][:3])

    person.wait(lambda: len(boxes.ids()) > 1)
    other = next(key for key in boxes.ids() if key != asked.cell_id)
    assert color(asked.cell_id) == pytest.approx(tuple(transform_color(UNCLASSED)[0][:3]), abs=0.01)
    assert color(asked.cell_id) != pytest.approx(color(other), abs=0.01)
    person.canvas.setFocus()
    person.press("2")
    person.wait(lambda: loop.question != asked)
    person.session.go_to(person.cell(asked.cell_id))
    person.wait(lambda: asked.cell_id in boxes.ids() and other in boxes.ids())
    assert color(asked.cell_id) == pytest.approx(color(other), abs=0.01)


def test_what_changes_while_the_cells_are_read_is_not_lost(sit_down, detected, monkeypatch):
    monkeypatch.setattr(pools, "read_pool", slow_pool)
    person = sit_down(detected, "Learn")
    project, loop = person.session.project, person.workspace.learn
    loop.better.choice = describing.QUICK
    person.push(person.workspace.dock("Learn").start)
    person.wait(lambda: loop._pool._missed is not None and loop._pending.last is not None, 90_000)
    first, second, third = project.images
    cell = project.cells.of_image(first)[0]
    project.history.do(gestures.give_class([cell], 2, "WBC", "me"))
    person.wait(lambda: loop.question is not None, 60_000)
    assert {**loop._pool.now.labelled, **loop._pool.now.holdout} == {cell.cell_id: 2}
    loop._pool.forget()
    loop.skip()
    person.wait(lambda: loop._pool._missed is not None and loop._pending.last is not None)
    project.remove_images([third])  # what is being read knows nothing of it
    person.wait(lambda: loop._pool.now is not None, 60_000)
    there = {c.cell_id for key in (first, second) for c in project.cells.of_image(key)}
    pool = loop._pool.now
    assert {*pool.labelled, *pool.holdout, *pool.candidates, *pool.checks, *pool.test} == there
