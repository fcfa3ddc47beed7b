"""The gallery: many cells picked with the mouse and classed with one key."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton, QTabBar
from test_docks import clipped, pale
from test_jobs import endless
from test_neighbours import looks_like

from napari_cellal.core.filters import WAITING
from napari_cellal.core.records import Status
from napari_cellal.ui import batch as batch_module
from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.workflows import describing

LEFT = Qt.MouseButton.LeftButton
CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier


def open_gallery(person):
    """Press G at the image and wait for the list."""
    person.canvas.setFocus()
    person.press("G")
    dock = person.workspace.dock("Gallery")
    person.wait(lambda: dock.isVisible() and settled(person))
    assert dock.grid.hasFocus()
    return dock


def settled(person):
    return not person.workspace.batch.is_busy and person.workspace.batch.cell_ids


def click(dock, item, modifiers=NONE):
    dock.grid.show_item(item)
    place = dock.grid.rect_of(item).center()
    QTest.mouseClick(dock.grid.viewport(), LEFT, modifiers, place)


def drag(widget, places, modifiers=NONE, button=LEFT):
    """Press at the first place, move over the others, let go at the last."""
    QTest.mousePress(widget, button, modifiers, places[0])
    for place in places[1:]:
        move = QMouseEvent(
            QMouseEvent.Type.MouseMove,
            QPointF(place),
            QPointF(widget.mapToGlobal(place)),
            Qt.MouseButton.NoButton,
            button,
            modifiers,
        )
        QApplication.sendEvent(widget, move)
    QTest.mouseRelease(widget, button, modifiers, places[-1])


def choose(person, box, data):
    """Choose a line of a combo box as a person does."""
    box.setCurrentIndex(next(k for k in range(box.count()) if box.itemData(k) == data))
    box.activated.emit(box.currentIndex())
    person.wait(lambda: not person.workspace.batch.is_busy)


def ids_of(person):
    return person.workspace.batch.cell_ids


# -- picking and classing ------------------------------------------------------------------


def test_shift_click_and_one_key(sit_down, detected):
    person = sit_down(detected, "Project")
    batch, project = person.workspace.batch, person.session.project
    dock = open_gallery(person)
    before = person.state()
    assert sorted(ids_of(person)) == sorted(person.rows())
    click(dock, 2)
    click(dock, 6, SHIFT)
    assert batch.picked == tuple(ids_of(person)[2:7])
    click(dock, 4, CTRL)
    click(dock, 9, CTRL)
    some = [ids_of(person)[k] for k in (2, 3, 5, 6, 9)]
    assert list(batch.picked) == some
    person.press("2")
    rows = person.rows()
    assert all(rows[k].class_id == 2 and rows[k].status is Status.CONFIRMED for k in some)
    assert {k for k, c in rows.items() if c != before[0][k]} == set(some)
    assert project.history.undo_label == "classed 5 cells WBC"
    person.agree()
    person.press("Ctrl+Z")
    person.wait(lambda: person.state() == before)
    person.press("Ctrl+Shift+Z")
    person.wait(lambda: person.rows() == rows)
    person.agree()


def test_a_frame_picks_what_it_touches(sit_down, detected):
    person = sit_down(detected, "Project")
    dock = open_gallery(person)
    grid, batch = dock.grid, person.workspace.batch
    assert grid.columns >= 4
    a, b = grid.rect_of(1), grid.rect_of(grid.columns + 2)
    drag(grid.viewport(), [a.center(), a.center() + QPoint(20, 20), b.center()])
    wanted = [1, 2, grid.columns + 1, grid.columns + 2]
    assert grid.picked.tolist() == wanted
    last = grid.rect_of(0)
    start = QPoint(last.left() - 3, last.top() - 3)  # between the pictures
    drag(grid.viewport(), [start, start + QPoint(15, 15), last.center()], CTRL)
    assert grid.picked.tolist() == [0, *wanted]
    assert batch.picked == tuple(ids_of(person)[k] for k in [0, *wanted])
    person.press("Delete")
    assert {person.cell(k).status for k in batch.picked} == {Status.REJECTED}
    person.agree()
    person.press("Escape")
    assert batch.picked == ()
    assert not len(grid.picked)


def test_everything_at_once_is_one_step(sit_down, detected, monkeypatch):
    monkeypatch.setattr(batch_module, "PORTION", 5)  # of thousands, in small
    monkeypatch.setattr("napari_cellal.core.history.PORTION", 5)
    person = sit_down(detected, "Project")
    batch, works = person.workspace.batch, person.session.works
    dock = open_gallery(person)
    before = person.state()
    person.press("Ctrl+A")
    assert len(batch.picked) == len(before[0]) > 15
    person.press("1")
    person.wait(lambda: not len(works))
    assert {c.class_id for c in person.rows().values()} == {1}
    person.press("3", "0")  # the second while the first is being written
    person.wait(lambda: not len(works))
    assert {(c.class_id, c.status) for c in person.rows().values()} == {(3, Status.UNSURE)}
    for class_id in (3, 1):
        person.press("Ctrl+Z")
        person.wait(lambda: not len(works))
        assert {c.class_id for c in person.rows().values()} == {class_id}
    person.press("Ctrl+Z")
    person.wait(lambda: person.state() == before)
    person.agree()
    assert dock.isVisible()


def test_only_cells_that_changed_are_counted(sit_down, detected, monkeypatch):
    monkeypatch.setattr(batch_module, "PORTION", 5)
    person = sit_down(detected, "Project")
    dock, works = open_gallery(person), person.session.works
    for item in range(4):
        click(dock, item)
        person.press("Enter")
    total = len(ids_of(person))
    for changed in (total - 4, 0):
        person.press("Ctrl+A", "Enter")
        person.wait(lambda: not len(works))
        done = [row for row in person.rows().values() if row.status is Status.CONFIRMED]
        assert len(done) == total
        numbers = [int(n) for n in re.findall(r"\d+", person.told[-1][0])]
        assert (changed in numbers) is bool(changed)


def test_one_after_the_other(sit_down, detected):
    person = sit_down(detected, "Project")
    batch = person.workspace.batch
    dock = open_gallery(person)
    order = list(ids_of(person))
    click(dock, 0)
    person.press("1", "2", "Enter", "0")  # each goes on to the next
    assert [person.cell(k).status for k in order[:4]] == [Status.CONFIRMED] * 3 + [Status.UNSURE]
    assert [person.cell(k).class_id for k in order[:2]] == [1, 2]
    assert batch.picked == (order[4],)
    assert ids_of(person) == order  # nothing moved
    assert [batch.is_done(k) for k in order[:5]] == [True] * 4 + [False]
    QTest.keyClick(dock.grid, Qt.Key.Key_Left)
    QTest.keyClick(dock.grid, Qt.Key.Key_Left, SHIFT)
    assert batch.picked == (order[2], order[3])
    person.press("Ctrl+Z")
    person.wait(lambda: not batch.is_done(order[3]))
    person.agree()


def test_nothing_picked_is_said(sit_down, detected):
    person = sit_down(detected, "Project")
    open_gallery(person)
    before = person.state()
    person.press("2", "9")
    assert len(person.told) == 2
    assert person.state() == before


# -- what is listed ------------------------------------------------------------------------


def test_filters(sit_down, detected):
    person = sit_down(detected, "Project")
    session, batch = person.session, person.workspace.batch
    dock = open_gallery(person)
    everything = list(ids_of(person))
    click(dock, 0)
    click(dock, 2, SHIFT)
    person.press("3")
    choose(person, dock.filter.class_, 3)
    assert ids_of(person) == everything[:3]
    choose(person, dock.filter.class_, None)
    assert ids_of(person) == everything[3:]
    choose(person, dock.filter.class_, "all")
    choose(person, dock.filter.state, WAITING)
    assert ids_of(person) == everything[3:]
    choose(person, dock.filter.place, "here")
    here = [k for k in everything[3:] if person.cell(k).image_id == session.image_id]
    assert ids_of(person) == here
    session.step_image(1)
    person.wait(lambda: not batch.is_busy)
    assert {person.cell(k).image_id for k in ids_of(person)} == {session.image_id}
    choose(person, dock.filter.place, "all")
    name = session.image.name
    dock.filter.text.setFocus()
    QTest.keyClicks(dock.filter.text, name[:-4].upper())
    person.wait(lambda: {person.cell(k).image_id for k in ids_of(person)} == {session.image_id})
    dock.filter.text.clear()
    dock.filter.apply()
    person.wait(lambda: ids_of(person) == everything[3:])
    choose(person, dock.filter.order, "score")
    scores = [person.cell(k).score for k in ids_of(person)]
    assert scores == sorted(scores)
    middle = scores[len(scores) // 2]
    session.set_shown(min_score=middle)  # what is not on the picture is not here
    person.wait(
        lambda: [person.cell(k).score for k in ids_of(person)] == [s for s in scores if s >= middle]
    )


def test_a_list_stays_until_it_is_asked_for_again(sit_down, detected):
    person = sit_down(detected, "Project")
    batch = person.workspace.batch
    dock = open_gallery(person)
    choose(person, dock.filter.state, WAITING)
    before = list(ids_of(person))
    click(dock, 1)
    person.press("1")
    assert ids_of(person) == before
    person.push(dock._refresh)
    person.wait(lambda: len(ids_of(person)) == len(before) - 1)
    assert before[1] not in ids_of(person)
    rows = person.rows()
    person.session.draw([(5, 5, 40, 40)])
    (drawn,) = [c for k, c in person.rows().items() if k not in rows]
    assert batch.is_behind
    choose(person, dock.filter.state, dock.filter.state.itemData(0))
    assert drawn.cell_id in ids_of(person)
    assert not batch.is_behind
    click(dock, ids_of(person).index(drawn.cell_id))
    person.press("Delete")
    assert batch.rows([drawn.cell_id]) == [None]
    dock.grab()  # a place without a cell can be drawn
    person.press("Ctrl+Z")
    person.wait(lambda: batch.rows([drawn.cell_id]) != [None])
    person.agree()


def test_orders_that_need_measured_cells(sit_down, detected):
    person = sit_down(detected, "Project")
    batch = person.workspace.batch
    dock = open_gallery(person)
    by_image = list(ids_of(person))
    batch.pick(by_image[::2])
    assert dock.grid.picked.tolist() == list(range(0, len(by_image), 2))
    person.press("1")
    batch.pick(by_image[1:-4:2])
    person.press("2")
    choose(person, dock.filter.order, "doubt")
    assert batch.needs_measuring
    assert ids_of(person) == by_image
    person.push(dock._hint.findChild(QPushButton))
    person.wait(lambda: not batch.needs_measuring and not batch.is_busy, 60_000)
    assert not person.workspace.learn.active  # nobody asked for a question
    assert sorted(ids_of(person)) == sorted(by_image)
    cells = batch.rows(ids_of(person))
    best = [batch.probabilities(c)[0][0][1] for c in cells]
    assert best == sorted(best)
    click(dock, 5)
    like = batch.picked[0]
    choose(person, dock.filter.order, "alike")
    assert ids_of(person)[0] == like
    for order in ("group", "mislabels"):
        choose(person, dock.filter.order, order)
        assert sorted(ids_of(person)) == sorted(by_image)
    labels = Counter(person.cell(k).is_label for k in ids_of(person)[:8])
    assert labels == {True: 8}


def test_an_order_that_nobody_waits_for_is_cancelled(sit_down, detected):
    person = sit_down(detected, "Project")
    batch, jobs = person.workspace.batch, person.workspace.jobs
    person.workspace.learn.better.choice = describing.QUICK  # no job beside those counted here
    open_gallery(person)
    batch.set_order("group")
    batch.measure()
    person.wait(lambda: not batch.needs_measuring and not batch.is_busy, 60_000)
    assert not batch.note
    blocking = jobs.run("endless", endless, lane="quick")
    batch.set_order("mislabels")
    person.wait(lambda: len(jobs.running) == 2)
    first = next(j for j in jobs.running if j is not blocking)
    batch.set_order("doubt")
    person.wait(lambda: first.done and len(jobs.running) == 2)
    blocking.cancel()
    person.wait(lambda: not batch.is_busy)
    assert batch.note  # there are no labels
    batch.set_order("image")
    person.wait(lambda: not batch.is_busy)
    assert not batch.note


# -- the window ----------------------------------------------------------------------------


def test_after_another_tab_keys_are_the_picked_cells_again(sit_down, detected):
    person = sit_down(detected, "Review")
    person.press("Tab")
    in_hand = person.session.current
    person.workspace.raise_dock("Gallery")
    dock = person.workspace.dock("Gallery")
    person.wait(lambda: settled(person))
    other = next(
        k for k, key in enumerate(person.workspace.batch.cell_ids) if key != in_hand.cell_id
    )
    click(dock, other)
    (picked,) = person.workspace.batch.picked
    for name in ("Learn", "Gallery"):
        bar, place = next(
            (bar, bar.tabRect(k).center())
            for bar in person.window.findChildren(QTabBar)
            for k in range(bar.count())
            if bar.tabText(k) == name
        )
        QTest.mouseClick(bar, LEFT, NONE, place)
        QApplication.processEvents()
    person.press("2")
    person.wait(lambda: person.cell(picked).class_id == 2)
    assert person.cell(in_hand.cell_id) == in_hand


def test_a_cell_opens_in_its_image(sit_down, detected):
    person = sit_down(detected, "Project")
    session = person.session
    dock = open_gallery(person)
    item = len(ids_of(person)) - 1
    cell = person.cell(ids_of(person)[item])
    assert cell.image_id != session.image_id
    dock.grid.show_item(item)
    QTest.mouseDClick(dock.grid.viewport(), LEFT, NONE, dock.grid.rect_of(item).center())
    person.wait_for_image()
    assert session.image_id == cell.image_id
    assert session.selection == (cell.cell_id,)
    QTest.keyClick(dock.grid, Qt.Key.Key_Home)
    QTest.keyClick(dock.grid, Qt.Key.Key_Space)
    assert session.selection == (ids_of(person)[0],)
    person.press("G")
    assert person.canvas.hasFocus()
    person.press("G")
    assert dock.grid.hasFocus()


def test_a_cell_grows_with_the_canvas_unless_the_person_looked_elsewhere(sit_down, detected):
    person = sit_down(detected, "Project")
    dock = open_gallery(person)
    camera = person.viewer.scene.camera
    sizes = {}
    for moves in (False, True):
        person.wait(lambda: dock.width() > 500)
        dock._open(0)
        narrow, before = person.canvas.width(), camera.zoom
        if moves:
            camera.center = tuple(v + 5 for v in camera.center)
        person.workspace.raise_dock("Review")
        person.wait(lambda narrow=narrow: person.canvas.width() > narrow + 100)
        person.wait(lambda: not person.workspace._resized.isActive())
        sizes[moves] = camera.zoom / before
        person.workspace.raise_dock("Gallery")
    assert sizes[False] > 1.2
    assert sizes[True] == 1


@pytest.mark.parametrize("kind", ["detected", "fields"])
def test_pictures_show_the_cells(sit_down, kind, request):
    person = sit_down(request.getfixturevalue(kind), "Project")
    project = person.session.project
    dock = open_gallery(person)
    cells = [c for c in person.workspace.batch.rows(ids_of(person)) if c is not None]
    pictures = CellPictures(person.session, person.workspace.images, 96, 1000)
    try:
        person.wait(lambda: None not in pictures.of(cells))
        assert {max(p.width(), p.height()) for p in pictures.of(cells)} == {96}
        if kind == "detected":
            found = zip(pictures.of(cells), cells, strict=True)
            assert all(looks_like(p, project, c) for p, c in found)
    finally:
        pictures.close()
    person.wait(lambda: dock.pictures._kept)
    tip = dock._describe(0)
    assert project.images[cells[0].image_id].name in tip


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_clipped_and_the_column_narrows_again(sit_down, detected, theme):
    person = sit_down(detected, "Project")
    person.viewer.theme = theme
    narrow = person.workspace.dock("Project").width()
    dock = open_gallery(person)
    person.wait(lambda: dock.width() > 1.5 * narrow)
    click(dock, 0)
    QApplication.processEvents()
    assert clipped(dock) + pale(dock) == []
    assert person.window.width() <= 1280
    person.workspace.raise_dock("Review")
    review = person.workspace.dock("Review")
    person.wait(lambda: review.isVisible() and review.width() <= 400)
    person.workspace.raise_dock("Gallery")
    person.wait(lambda: dock.width() > 1.5 * narrow)


def test_another_project_takes_the_place(sit_down, detected, fields):
    person = sit_down(detected, "Project")
    dock = open_gallery(person)
    click(dock, 0)
    person.session.close_project()
    assert ids_of(person) == []
    assert not dock.grid.isVisible()
    person.open(fields)
    person.wait(lambda: settled(person))
    assert sorted(ids_of(person)) == sorted(person.rows())
    assert person.workspace.batch.picked == ()


def test_from_the_menu_and_from_learn(sit_down, detected):
    person = sit_down()
    _, widget = person.viewer.window.add_plugin_dock_widget("napari-cellal", "Gallery")
    assert widget is person.workspace.dock("Gallery")
    person.wait(widget.needs.isVisible)
    person.open(detected)
    person.wait(lambda: settled(person) and widget.grid.isVisible())
    person.workspace.raise_dock("Learn")
    learn = person.workspace.dock("Learn")
    assert not widget.isVisible() or learn.isVisible()
    person.push(learn._gallery)
    person.wait(widget.grid.hasFocus)
    person.press("Ctrl+A")
    assert sorted(person.workspace.batch.picked) == sorted(person.rows())


def test_closing_while_the_column_is_about_to_narrow(sit_down, detected):
    person = sit_down(detected, "Project")
    open_gallery(person)
    wide = person.workspace._wide
    person.wait(lambda: not wide._soon.isActive())
    person.workspace.raise_dock("Learn")
    assert wide._soon.isActive()
    wide._soon.start(50)
    person.close()
    QTest.qWait(200)  # an error in what a timer calls would fail here, or end the process
    assert not isalive(wide)
