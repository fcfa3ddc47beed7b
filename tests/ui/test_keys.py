"""The keys mean what the list says, for our layers and for nobody else's."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel, QLineEdit

from napari_cellal.ui.slider import Slider


def first_cell(person):
    person.press("Tab")
    cell = person.session.current
    assert cell is not None
    return cell


@pytest.mark.parametrize("active", ["boxes", "image", "nothing"])
def test_digit_3_gives_class_3_and_never_deletes(sit_down, detected, active):
    person = sit_down(detected)
    layers = person.viewer.layers
    if active == "nothing":
        layers.selection.clear()
    else:
        ours = {"boxes": person.layer, "image": person.workspace.images.layers[0]}
        layers.selection.active = ours[active]
    before, shapes = person.rows(), person.layer.nshapes
    cell = first_cell(person)
    person.press("3")
    person.agree()
    assert person.cell(cell.cell_id).class_id == 3
    assert person.layer.nshapes == shapes
    assert person.rows().keys() == before.keys()
    assert {k for k, c in person.rows().items() if c != before[k]} == {cell.cell_id}


def test_every_digit_of_napari_is_ours_on_the_boxes(sit_down, detected):
    person = sit_down(detected)
    first_cell(person)
    shapes, mode = person.layer.nshapes, person.layer.mode
    before = person.state()
    for digit in "456789":  # no class has these
        told = len(person.told)
        person.press(digit)
        person.agree()
        assert person.state() == before
        assert person.layer.nshapes == shapes
        assert person.layer.mode == mode
        assert len(person.told) == told + 1


def test_a_class_takes_the_key_that_it_is_given(sit_down, detected):
    from dataclasses import replace

    person = sit_down(detected)
    project = person.session.project
    project.update_class(replace(project.classes[3], shortcut="7"))
    cell = first_cell(person)
    person.press("3")
    assert person.cell(cell.cell_id) == cell
    person.press("7")
    assert person.cell(cell.cell_id).class_id == 3
    person.agree()


def test_a_persons_own_layers_keep_their_keys(sit_down, detected):
    person = sit_down(detected)
    cell = first_cell(person)
    before = person.state()
    labels = person.viewer.add_labels(np.zeros((240, 320), int))
    person.canvas.setFocus()
    modes = set()
    for digit in "1234567":
        person.press(digit)
        modes.add(str(labels.mode))
    assert len(modes) > 3
    shapes = person.viewer.add_shapes([[[5, 5], [5, 20], [20, 20], [20, 5]]])
    person.canvas.setFocus()
    shapes.mode = "select"
    shapes.selected_data = {0}
    person.press("3")
    assert shapes.nshapes == 0
    assert person.state() == before
    person.viewer.layers.selection.active = person.layer
    person.press("2")
    assert person.cell(cell.cell_id).class_id == 2
    person.agree()


def test_keys_are_napari_s_without_a_project(sit_down, detected):
    person = sit_down(detected)
    person.session.close_project()
    shapes = person.viewer.add_shapes([[[5, 5], [5, 20], [20, 20], [20, 5]]])
    person.viewer.layers.selection.clear()
    person.press("1", "Enter", "Delete", "Tab", "W", "F", "Ctrl+Z")
    assert shapes.nshapes == 1
    assert person.told == []


def test_typing_in_a_dock_is_typing(sit_down, detected):
    person = sit_down(detected, "Project")
    first_cell(person)
    before = person.state()
    field = person.workspace.dock("Project").classes.names
    field.setFocus()
    person.press("1", "2", "W", "F", "Backspace")
    person.agree()
    assert person.state() == before
    assert field.text() == "12w"
    assert str(person.layer.mode) == "select"
    field.clear()


def test_a_click_in_a_dock_leaves_the_keys_with_the_image(sit_down, detected):
    person = sit_down(detected, "Review")
    dock = person.workspace.dock("Review")
    cell = first_cell(person)
    person.push(dock._class_grid.itemAtPosition(1, 0).widget())
    assert person.cell(cell.cell_id).class_id == 2
    person.press("3")
    assert person.cell(cell.cell_id).class_id == 3
    person.push(dock._undo)
    person.press("Ctrl+Z")
    person.agree()
    assert person.cell(cell.cell_id) == cell


@pytest.mark.parametrize("place", ["tab", "choice", "slider", "list"])
def test_keys_pressed_beside_the_image_are_the_image_s(sit_down, detected, place):
    person = sit_down(detected, "Detect" if place in ("choice", "slider") else "Project")
    cell = first_cell(person)
    dock = person.workspace.dock("Detect")
    if place == "tab":
        person.canvas.clearFocus()
        person.window.setFocus()
    elif place == "choice":
        person.push(dock._scopes.button(0))
        dock._scopes.button(0).setFocus()
    elif place == "slider":
        dock.findChildren(Slider)[0].setFocus()
    else:
        images = person.workspace.dock("Project").list
        QTest.mouseClick(
            images.viewport(),
            Qt.MouseButton.LeftButton,
            pos=images.visualRect(images.table.index(0, 0)).center(),
        )
    mode = str(person.layer.mode)
    person.press("2")
    assert str(person.layer.mode) == mode  # napari's key for bending boxes
    assert person.cell(cell.cell_id).class_id == 2
    person.press("Ctrl+Z")
    assert person.cell(cell.cell_id) == cell
    person.agree()


def test_the_list_names_every_key(sit_down, detected):
    person = sit_down(detected, "Project")
    person.press("?")
    dock = person.workspace.dock("Review")
    person.wait(dock.isVisible)
    person.wait(lambda: any("Ctrl+Z" in w.text() and w.isVisible() for w in labels(dock)))
    text = " ".join(w.text() for w in labels(dock))
    for key in person.workspace.keys._pressed:
        assert key in text or key.removeprefix("Ctrl+") in "123456789"
    assert "1 to 9" in text
    assert dock._keys.isExpanded()


def labels(dock):
    return dock._keys.findChildren(QLabel)


def repeated(person, kind, key):
    event = QKeyEvent(kind, key, Qt.KeyboardModifier.NoModifier, "h", True)
    QApplication.sendEvent(person.canvas, event)


def test_boxes_come_back_however_h_is_let_go(sit_down, detected):
    person = sit_down(detected, "Project")
    # Held long enough, a keyboard repeats press and release.
    person.hold("H")
    for kind in (QEvent.Type.KeyRelease, QEvent.Type.KeyPress):
        repeated(person, kind, Qt.Key.Key_H)
        assert not person.layer.visible
    person.let_go("H")
    assert person.layer.visible

    # Another window or a field takes the focus meanwhile, so the canvas hears of no release.
    person.hold("H")
    assert not person.layer.visible
    person.workspace.dock("Project").classes.names.setFocus()
    person.let_go("H")
    person.wait(lambda: person.layer.visible)
    person.canvas.setFocus()

    # Shift comes down in between.
    person.hold("H")
    person.let_go("Shift+H")
    assert person.layer.visible
    person.agree()


@pytest.mark.parametrize("leaves", ["for a field", "for another window"])
def test_boxes_come_back_where_h_was_pressed_beside_the_image(sit_down, detected, leaves):
    person = sit_down(detected, "Detect")
    if leaves == "for a field":
        person.workspace.dock("Detect").findChildren(Slider)[0].setFocus()
    else:
        person.canvas.clearFocus()  # as after a click on a tab
    person.hold("H")
    assert not person.layer.visible
    if leaves == "for a field":
        person.workspace.dock("Project").classes.names.setFocus()
    else:
        QApplication.sendEvent(person.window, QEvent(QEvent.Type.WindowDeactivate))
    person.wait(lambda: person.layer.visible)
    person.agree()


def test_the_class_of_a_box_is_told_before_it_is_drawn(sit_down, detected):
    person = sit_down(detected)
    person.press("2", "W")
    text, _ = person.told[-1]
    person.drag((20, 20), (60, 60))
    assert person.session.project.classes[person.session.current.class_id].name in text
    assert person.session.current.class_id == 2


def test_escape_ends_drawing_and_w_twice_does(sit_down, detected):
    person = sit_down(detected)
    before = person.state()
    for end in ("Escape", "W"):
        person.press("W")
        assert str(person.layer.mode) == "add_rectangle"
        person.press(end)
        assert str(person.layer.mode) == "select"
    assert person.state() == before


def test_without_the_boxes_layer_nothing_is_lost_and_w_brings_it_back(sit_down, detected):
    person = sit_down(detected)
    before = person.state()
    person.viewer.layers.remove(person.layer)
    assert person.state() == before
    cell = first_cell(person)
    person.press("1")
    assert person.cell(cell.cell_id).class_id == 1
    person.press("Escape", "W", "Escape")
    assert person.layer in person.viewer.layers
    person.agree()


@pytest.mark.parametrize("last", ["Enter", "Escape"])
@pytest.mark.parametrize("field", ["new classes", "a name", "a number"])
def test_enter_or_escape_in_a_field_gives_the_keys_back(sit_down, detected, field, last):
    name = "Review" if field == "a number" else "Project"
    person = sit_down(detected, name)
    project, dock = person.session.project, person.workspace.dock(name)
    person.wait(dock.isVisible)
    if field == "a number":
        widget = dock._threshold
    elif field == "new classes":
        widget = dock.classes.names
    else:
        widget = next(w for w in dock.classes.findChildren(QLineEdit) if w.text() == "RBC")
    before = [c.name for c in project.active_classes]
    widget.setFocus()
    person.wait(widget.hasFocus)
    if isinstance(widget, QLineEdit):
        widget.selectAll()
    QTest.keyClicks(QApplication.focusWidget(), "2" if field == "a number" else "Blast")
    rows = person.rows()
    person.press(last)
    person.wait(person.canvas.hasFocus)
    assert person.rows() == rows  # the key went to the field alone
    names = [c.name for c in project.active_classes]
    if last == "Escape" or field == "a number":
        assert names == before
    else:
        assert "Blast" in names
        assert ("RBC" in names) == (field == "new classes")
    cell = first_cell(person)
    person.press("2")
    assert person.cell(cell.cell_id).class_id == 2
    person.agree()


def test_a_key_that_is_held_answers_once(sit_down, detected):
    person = sit_down(detected)
    first = first_cell(person)
    for repeat in (False, True, True):
        press = QKeyEvent(
            QEvent.Type.KeyPress, Qt.Key.Key_1, Qt.KeyboardModifier.NoModifier, "1", repeat
        )
        QApplication.sendEvent(person.canvas, press)
        person.press("Tab")
    person.agree()
    assert person.cell(first.cell_id).class_id == 1
    labelled = [c for c in person.rows().values() if c.reviewed_by]
    assert [c.cell_id for c in labelled] == [first.cell_id]


def test_no_box_is_highlighted_once_the_mouse_has_left(sit_down, detected):
    person = sit_down(detected)
    cell = person.session.cells()[0]
    y0, x0, y1, x1 = cell.box
    person.click((y0 + y1) / 2, (x0 + x1) / 2)
    assert person.session.selection
    person.press("Escape")
    # as napari does for the status line
    person.layer.get_value(person.viewer.cursor.position, world=True)
    assert person.layer._outline_shapes()[0] is not None
    QApplication.sendEvent(person.canvas, QEvent(QEvent.Type.Leave))
    person.wait(lambda: person.layer._outline_shapes()[0] is None)
    assert person.session.selection == ()
