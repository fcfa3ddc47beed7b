"""The docks: all there, legible, said in words, and in step with the session both ways."""

from __future__ import annotations

import contextlib
import importlib
import re
from dataclasses import replace

import npe2
import numpy as np
import pytest
from pytestqt.exceptions import TimeoutError as WaitTimeoutError
from qtpy.QtCore import QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QImage, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollBar,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QTabBar,
    QTableView,
)
from superqt import QElidingLabel

from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Split, Status
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.ui.all_docks import DOCKS, WIDE_DOCKS
from napari_cellal.ui.dock import Dock, dock_around
from napari_cellal.ui.neighbours import NeighbourStrip
from napari_cellal.ui.plots import ProbabilityBars
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import detecting

CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit)
MOST_WIDE = 360
WITH_FRAME = 400


def show(person, name):
    person.workspace.raise_dock(name)
    dock = person.workspace.dock(name)
    person.wait(dock.isVisible)
    QApplication.processEvents()
    return dock


def ask_something(person):
    """Start Learn and answer two cells, so that its whole dock is filled."""
    learn = person.workspace.learn
    dock = show(person, "Learn")
    person.push(dock.start)
    person.wait(lambda: learn.question is not None, 60_000)
    person.canvas.setFocus()
    for key in "12":
        asked = learn.question
        person.press(key)
        person.wait(lambda asked=asked: learn.question not in (None, asked))
    return dock


def controls(dock):
    """Return what a person can operate, leaving out the scroll bars and Qt's inner parts."""
    found = []
    for widget in dock.findChildren(CONTROLS):
        if isinstance(widget, QScrollBar) or widget.objectName().startswith("qt_"):
            continue
        if isinstance(widget.parentWidget(), QTableView):
            continue
        found.append(widget)
    return found


# -- being there ---------------------------------------------------------------------------


def test_the_manifest_names_what_is_there():
    manifest = npe2.PluginManifest.from_distribution("napari-cellal")
    assert manifest.contributions.commands
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    titles = [w.display_name for w in manifest.contributions.widgets]
    assert len(titles) == len(set(titles)) == len(DOCKS) + len(WIDE_DOCKS)


@pytest.mark.parametrize("name", ["Detect", "Review", "Learn", "Train", "Evaluate", "Batch"])
def test_a_dock_alone_from_the_menu(sit_down, detected, name):
    person = sit_down()
    _, widget = person.viewer.window.add_plugin_dock_widget("napari-cellal", name)
    assert widget is person.workspace.dock(name)
    person.wait(widget.isVisible)
    assert list(person.workspace.docks) == [name]
    person.open(detected)
    person.press("Tab", "2")
    person.agree()
    assert person.session.current.class_id == 2


def test_the_workspace_from_the_menu(sit_down, detected):
    person = sit_down()
    person.viewer.window.add_plugin_dock_widget("napari-cellal", "Open workspace")
    person.wait(lambda: len(person.workspace.docks) == len(DOCKS))
    assert Workspace.of(person.viewer) is person.workspace
    outer = []
    for name in DOCKS:
        dock = show(person, name)
        outer.append(dock.window())
        seen = [d for d in person.workspace.docks.values() if not d.visibleRegion().isEmpty()]
        assert seen == [dock]  # they are tabs
        assert dock.visibleRegion().boundingRect().height() > 300
        assert dock_around(dock).titleBarWidget().title.text() == name
    assert set(outer) == {person.window}
    around = dock_around(person.workspace.dock("Project"))
    for floats in (True, False):  # napari makes the title bar anew
        around.setFloating(floats)
        assert around.titleBarWidget().title.text() == "Project"
    person.workspace.dock_all()  # a second time changes nothing
    assert len(person.workspace.docks) == len(DOCKS)
    person.open(detected)
    person.agree()


def test_a_dock_behind_another_waits_until_it_is_seen(sit_down, detected, monkeypatch):
    person = sit_down(detected, "Project")
    for name in DOCKS:
        show(person, name)
    show(person, "Review")
    detect = person.workspace.dock("Detect")
    counted = []
    count = type(detect)._count_proposals
    monkeypatch.setattr(type(detect), "_count_proposals", lambda d: (counted.append(1), count(d)))
    before = detect._count.text()
    person.session.select(person.boxes.ids()[:1])
    person.session.mark_unsure()
    person.session.accept()
    assert not counted
    assert detect._count.text() == before
    show(person, "Detect")
    person.wait(lambda: detect._count.text() != before)
    assert len(counted) == 1


# -- needs ---------------------------------------------------------------------------------


def test_every_tab_shows_its_whole_name(sit_down, detected):
    person = sit_down(detected, "Project")
    bars = [bar for bar in person.window.findChildren(QTabBar) if bar.count() >= len(DOCKS)]
    assert bars
    for bar in bars:
        names = [bar.tabText(k) for k in range(bar.count())]
        assert set(DOCKS) <= set(names)
        assert bar.sizeHint().width() <= bar.width()  # else Qt cuts the names


def test_docks_say_what_they_need(sit_down, folder):
    person = sit_down(None, "Project")
    workspace, session = person.workspace, person.session
    docks = {name: workspace.dock(name) for name in DOCKS}

    def lacking():
        found = set()
        for name in DOCKS[1:]:
            dock = show(person, name)
            assert dock.needs.isVisible() != dock.page.isVisible()
            if dock.needs.isVisible():
                texts = [w.text() for w in dock.needs.findChildren(QLabel)]
                assert all(texts)
                found.add(name)
        return found

    assert lacking() == {"Detect", "Review", "Learn", "Train", "Evaluate", "Batch"}
    assert show(person, "Project")._welcome.isVisible()
    assert not docks["Project"]._page.isVisible()
    for name in DOCKS[1:]:  # the button leads to where it is mended
        dock = show(person, name)
        person.push(dock.needs.findChild(QPushButton))
        person.wait(docks["Project"].isVisible)

    docks["Project"].make(str(folder.parent / "empty.cellal"))
    assert lacking() == {"Detect", "Review", "Learn", "Train", "Evaluate", "Batch"}
    assert not docks["Project"]._welcome.isVisible()

    dock = show(person, "Project")
    dock.adding.add([str(folder.parent / "smears")])
    person.wait(lambda: len(session.project.images) == 3, 60_000)
    person.wait_for_image()
    assert lacking() == {"Learn", "Train", "Evaluate"}  # no classes yet
    dock = show(person, "Review")
    assert not [what for what in clipped(dock) if what.startswith("QPushButton")]
    person.push(dock._class_grid.itemAt(0).widget())
    person.wait(docks["Project"].isVisible)

    dock = show(person, "Project")
    dock.classes.names.setFocus()
    QTest.keyClicks(dock.classes.names, "RBC, WBC")
    person.press("Enter")
    assert [c.name for c in session.project.active_classes] == ["RBC", "WBC"]
    assert lacking() == {"Learn", "Train", "Evaluate"}  # no cells yet
    dock = show(person, "Learn")
    person.push(dock.needs.findChild(QPushButton))
    person.wait(docks["Detect"].isVisible)

    person.draw((20, 20), (70, 70))
    person.agree()
    assert lacking() == set()
    session.close_project()
    assert lacking() == {"Detect", "Review", "Learn", "Train", "Evaluate", "Batch"}


# -- being legible -------------------------------------------------------------------------


def test_every_control_says_what_it_does(sit_down, detected):
    person = sit_down(detected, "Project")
    ask_something(person)
    for name in DOCKS:
        dock = show(person, name)
        assert controls(dock)
        for widget in controls(dock):
            about, at = widget.toolTip(), widget
            while not about and not isinstance(at.parentWidget(), Dock):
                at = at.parentWidget()
                about = at.toolTip()
            assert about, (name, type(widget).__name__, getattr(widget, "text", str)())


def text_room(widget):
    """Return (the width that the text needs, the width there is for it), px."""
    metrics = widget.fontMetrics()
    style = widget.style()
    if isinstance(widget, QPushButton):
        option = QStyleOptionButton()
        widget.initStyleOption(option)
        room = style.subElementRect(QStyle.SubElement.SE_PushButtonContents, option, widget)
        icon = 0 if widget.icon().isNull() else widget.iconSize().width() + 4
        return metrics.horizontalAdvance(widget.text()) + icon, room.width()
    if isinstance(widget, QAbstractButton):
        return widget.sizeHint().width(), widget.width()
    if isinstance(widget, QComboBox):
        option = QStyleOptionComboBox()
        widget.initStyleOption(option)
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            widget,
        )
        return metrics.horizontalAdvance(widget.currentText()), room.width()
    if isinstance(widget, QAbstractSpinBox):
        return metrics.horizontalAdvance(widget.text()), widget.lineEdit().width()
    if isinstance(widget, QLineEdit):
        text = widget.text() or widget.placeholderText()
        return metrics.horizontalAdvance(text), widget.width() - 4
    if isinstance(widget, QElidingLabel):
        return 0, 0
    if isinstance(widget, NeighbourStrip):
        return widget.sizeHint().width(), widget.width()
    if isinstance(widget, QLabel):
        if widget.wordWrap():
            return widget.minimumSizeHint().width(), widget.width()
        return widget.sizeHint().width(), widget.width()
    return 0, 0


def clipped(dock):
    """Return the widgets on screen whose text or body is cut off sideways, in words."""
    view = dock.viewport()
    faults = []
    for widget in dock.body.findChildren(
        (*CONTROLS, QLabel, ProbabilityBars, NeighbourStrip, QTableView)
    ):
        if not widget.isVisible() or widget.objectName().startswith("qt_"):
            continue
        if isinstance(widget, QScrollBar) or isinstance(widget.parentWidget(), QTableView):
            continue
        place = QRect(widget.mapTo(view, QPoint(0, 0)), widget.size())
        what = f"{type(widget).__name__} {getattr(widget, 'text', str)()!r}"
        if place.left() < 0 or place.right() > view.width():
            faults.append(f"{what} sticks out: {place.left()} to {place.right()}")
        needed, room = text_room(widget)
        if needed > room:
            faults.append(f"{what} needs {needed} px, has {room}")
        if isinstance(widget, QLabel) and widget.wordWrap() and widget.text():
            high = widget.heightForWidth(widget.width())
            if high > widget.height() + 1:
                faults.append(f"{what} needs {high} px of height, has {widget.height()}")
    return faults


def contrast(body, widget):
    """Return the contrast, 1 to 21, between a widget's ground and its ink, as drawn on a body."""
    place = QRect(widget.mapTo(body, QPoint(0, 0)), widget.size())
    image = body.grab(place).toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8)
    rows = rows.reshape(image.height(), image.bytesPerLine())[:, : image.width() * 3]
    colors, counts = np.unique(rows.reshape(-1, 3), axis=0, return_counts=True)
    linear = np.where(colors / 255 <= 0.04045, colors / 255 / 12.92, 0)
    linear = np.where(linear > 0, linear, ((colors / 255 + 0.055) / 1.055) ** 2.4)
    light = linear @ (0.2126, 0.7152, 0.0722)
    ground = light[counts.argmax()]
    ratio = (np.maximum(light, ground) + 0.05) / (np.minimum(light, ground) + 0.05)
    return ratio.max()


def pale(dock):
    """Return the texts on screen that hardly stand out from their ground, in words."""
    faults = []
    for widget in dock.body.findChildren((QLabel, QAbstractButton, QLineEdit)):
        text = getattr(widget, "text", str)()
        if not (text and widget.isVisible() and widget.isEnabled() and not widget.size().isEmpty()):
            continue
        if widget.objectName().startswith("qt_"):  # drawn on its parent's ground
            continue
        ratio = contrast(dock.body, widget)
        if ratio < 4.5:
            faults.append(f"{text!r} has a contrast of {ratio:.1f}")
    return faults


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_clipped_or_pale_at_1280_by_800(sit_down, detected, theme):
    person = sit_down(detected, "Project")
    person.viewer.theme = theme
    assert person.window.width() <= 1280
    ask_something(person)
    person.press("Escape", "Tab", "2")
    assert person.session.current is not None
    for name in DOCKS:
        dock = show(person, name)
        if name == "Review":
            dock.show_keys()
        assert dock.minimumSizeHint().width() <= MOST_WIDE
        assert dock.minimumWidth() <= MOST_WIDE
        found = []

        def is_good(dock=dock, found=found):  # the layout settles in some turns of the loop
            found[:] = clipped(dock) + pale(dock)
            return not found

        with contextlib.suppress(WaitTimeoutError):
            person.wait(is_good, 3_000)
        assert not found, "\n".join([name, *found])
        assert dock.width() <= WITH_FRAME
    assert person.window.width() <= 1280


def test_long_names_widen_nothing(sit_down, detected):
    person = sit_down(detected, "Project")
    project = person.session.project
    project.update_class(replace(project.classes[2], name="Large granular lymphocytes and " * 4))
    project.add_classes([f"Another class {k}" for k in range(12)])
    ask_something(person)
    person.press("Escape", "Tab", "2")
    assert person.session.current.class_id == 2
    for name in DOCKS:
        dock = show(person, name)
        assert dock.body.width() <= dock.viewport().width()
        assert dock.width() <= WITH_FRAME
        assert [f for f in clipped(dock) if "sticks out" in f] == []


# -- in step with the session --------------------------------------------------------------


def class_names(person):
    """Return the classes' names as each dock shows them."""
    lists = []
    grid = person.workspace.dock("Project").classes._grid
    found = [grid.itemAtPosition(k, 1) for k in range(grid.rowCount())]
    fields = [item.widget() for item in found if item is not None]
    lists.append([w.text() for w in fields if isinstance(w, QLineEdit)])
    review = show(person, "Review")._class_grid
    lists.append([w.text() for w in widgets(review) if isinstance(w, QPushButton)])
    learn = show(person, "Learn").question.answers
    lists.append([w.text() for w in widgets(learn)])
    return lists


def widgets(layout):
    return [layout.itemAt(k).widget() for k in range(layout.count())]


def test_classes_are_the_same_everywhere(sit_down, detected):
    person = sit_down(detected, "Project")
    session, project = person.session, person.session.project
    dock = person.workspace.dock("Project")

    def same():
        rows, *others = class_names(person)
        classes = project.active_classes
        wanted = [c.name for c in classes]
        assert [t for t in rows if t] == wanted
        for texts in others:
            assert len(texts) == len(wanted)
            for text, c in zip(texts, classes, strict=True):
                assert c.name in text
                assert c.shortcut in text
        show(person, "Project")

    def field(row, column):
        return dock.classes._grid.itemAtPosition(row, column).widget()

    same()
    project.add_classes(["Basophils"])  # from outside
    same()
    dock.classes.names.setFocus()
    QTest.keyClicks(dock.classes.names, "Bands, rbc,")
    person.press("Enter")
    assert [c.name for c in project.active_classes][3:] == ["Basophils", "Bands"]
    same()

    name = field(1, 1)
    name.setFocus()
    name.selectAll()
    QTest.keyClicks(name, "White cells")
    person.press("Enter")
    person.wait(lambda: project.classes[2].name == "White cells")
    same()
    key = field(1, 2)
    key.setFocus()
    key.selectAll()
    QTest.keyClicks(key, "9")
    person.canvas.setFocus()  # leaving the field is enough
    person.wait(lambda: project.classes[2].shortcut == "9")
    same()
    person.press("Tab", "9")
    assert session.current.class_id == 2
    person.agree()

    # What cannot be is said, and nothing changes.
    before = dict(project.classes)
    for column, text in ((1, "RBC"), (1, " "), (2, "x"), (2, "1")):
        told = len(person.told)
        edited = field(1, column)
        edited.setFocus()
        edited.selectAll()
        QTest.keyClicks(edited, text)
        person.canvas.setFocus()
        person.wait(lambda told=told: len(person.told) > told)
        assert len(person.told) == told + 1
        assert dict(project.classes) == before
    same()

    color = replace(project.classes[2], color="#123456")
    project.update_class(color)
    person.agree()

    person.push(field(1, 3))  # retire
    assert project.classes[2].retired
    same()
    person.press("9")
    assert session.current.class_id == 2  # a labelled cell keeps it
    person.agree()


def test_the_score_slider_hides_at_once_and_follows(sit_down, detected):
    person = sit_down(detected, "Detect")
    session = person.session
    dock = show(person, "Detect")
    scores = sorted(c.score for c in session.cells())
    middle = scores[len(scores) // 2]
    dock.score.setValue(middle)
    assert session.shown.min_score == pytest.approx(middle, abs=0.01)
    wanted = {c.cell_id for c in session.cells()}
    assert len(wanted) < len(scores)
    assert set(person.boxes.ids()) == wanted
    person.agree()
    session.set_shown(min_score=0.0)
    person.agree()
    assert dock.score.value() == pytest.approx(0.0)
    assert len(person.boxes.ids()) == len(scores)


def test_accept_above_and_undo_by_button(sit_down, detected):
    person = sit_down(detected, "Review")
    session, dock = person.session, show(person, "Review")
    for k, cell in enumerate(session.cells()):  # classical proposals have no class
        session.select([cell.cell_id])
        session.give_class(k % 3 + 1)
    while session.project.history.undo_label != "" and any(
        c.status is not Status.PROPOSED for c in session.cells()
    ):
        person.push(dock._undo)
    person.agree()
    assert dock._redo.isEnabled()
    before = person.state()
    dock._threshold.setValue(0.0)
    accept = next(b for b in dock.findChildren(QPushButton) if b.text() == "Accept all above")
    told = len(person.told)
    person.push(accept)
    person.agree()
    assert len(person.told) == told + 1  # no proposal has a class: told, nothing done
    assert person.state() == before

    project = session.project
    edit = classed(session)
    project.history.do(edit)
    before = person.state()
    scores = sorted(c.score for c in session.cells())
    middle = round(scores[len(scores) // 2], 2)
    dock._threshold.setValue(middle)
    person.push(accept)
    person.agree()
    for cell in session.cells():
        assert (cell.status is not Status.PROPOSED) == (cell.score >= middle)
    person.push(dock._undo)
    person.agree()
    assert person.state() == before
    person.push(dock._redo)
    person.agree()
    assert person.state() != before


def classed(session):
    """Return the edit that gives every open proposal of the image a class, still open."""
    from napari_cellal.core.history import edit_of

    return edit_of("classed", [(c, replace(c, class_id=1)) for c in session.cells()])


def test_review_follows_and_acts(sit_down, detected):
    person = sit_down(detected, "Review")
    session, dock = person.session, show(person, "Review")
    buttons = {b.text(): b for b in dock.findChildren(QPushButton)}
    person.push(buttons["Next ›"])
    assert session.current is not None
    first = session.current
    person.push(buttons["Next ›"])
    person.push(buttons["‹ Previous"])
    assert session.current == first
    person.push(dock._class_grid.itemAtPosition(2, 0).widget())
    person.agree()
    assert session.current.class_id == 3
    assert session.project.classes[3].name in dock._class.text()
    person.push(buttons["Draw"])
    assert str(person.layer.mode) == "add_rectangle"
    person.press("Escape")
    image = session.image_id
    person.push(dock._finish)
    person.wait_for_image()
    assert session.project.images[image].finished
    assert session.image_id != image
    person.agree()


def numbers_of(dock):
    """Return all that Review counts by class, shown rows only."""
    labels = [*dock._class_counts, *(n for name, n in dock._others if not name.isHidden())]
    return [int(k) for label in labels for k in re.findall(r"\d+", label.text())]


def test_the_counts_of_the_classes_add_up(sit_down, detected):
    person = sit_down(detected, "Review")
    session, dock = person.session, show(person, "Review")
    project = session.project
    every = sum(len(project.cells.of_image(key)) for key in project.images)
    assert sum(numbers_of(dock)) == every  # none has a class yet
    session.do(classed(session))
    person.press("Tab", "2")
    person.wait(lambda: sum(numbers_of(dock)) == every)
    project.update_class(replace(project.classes[1], retired=True, shortcut=""))
    person.wait(lambda: len(dock._class_counts) == 2)
    assert sum(numbers_of(dock)) == every
    ids = [c for key in project.images for c in project.cells.of_image(key)]
    session.do(edit_of("classed", [(c, replace(c, class_id=2)) for c in ids]))
    person.wait(lambda: all(name.isHidden() for name, _ in dock._others))
    assert sum(numbers_of(dock)) == every


def test_the_image_list_follows_and_acts(sit_down, detected):
    person = sit_down(detected, "Project")
    session, dock = person.session, show(person, "Project")
    ids = list(session.project.images)

    def row():
        return [i.row() for i in dock.list.selectionModel().selectedRows()]

    for place in (2, 0, 1):
        index = dock.list.table.index(place, 0)
        dock.list.scrollTo(index)
        where = dock.list.visualRect(index).center()
        QTest.mouseClick(dock.list.viewport(), Qt.MouseButton.LeftButton, pos=where)
        person.wait_for_image()
        assert session.image_id == ids[place]
        assert row() == [place]
        person.agree()
    session.show_image(ids[2])
    assert row() == [2]
    person.canvas.setFocus()
    person.press("A")
    assert row() == [1]
    buttons = {b.text(): b for b in dock.findChildren(QPushButton)}
    person.push(buttons["‹ Previous"])
    assert session.image_id == ids[0]
    assert row() == [0]


def test_images_are_removed_by_a_second_click(sit_down, detected):
    person = sit_down(detected, "Project")
    session, dock = person.session, show(person, "Project")
    project, removal = session.project, dock.removal
    files = [project.image_path(key) for key in project.images]
    buttons = {b.text(): b for b in dock.findChildren(QPushButton)}
    ids = list(project.images)

    def click(place, held=Qt.KeyboardModifier.NoModifier):
        index = dock.list.table.index(place, 0)
        dock.list.scrollTo(index)
        where = dock.list.visualRect(index).center()
        QTest.mouseClick(dock.list.viewport(), Qt.MouseButton.LeftButton, held, where)

    click(0)
    person.wait_for_image()
    person.canvas.setFocus()
    person.press("Tab", "Enter")
    before = person.state()
    person.push(buttons["Remove…"])
    assert removal.isVisible()
    person.push(removal.keep)
    assert not removal.isVisible()
    person.push(buttons["Remove…"])
    click(1)  # another choice: what was said is not about it
    assert not removal.isVisible()
    assert person.state() == before

    click(0)
    person.push(buttons["Remove…"])
    session.select([c.cell_id for c in session.cells()][-1:])
    session.remove()  # so that more was reviewed than was said
    person.push(removal.remove)
    assert list(project.images) == ids
    person.push(removal.remove)
    assert list(project.images) == ids[1:]
    assert session.image_id == ids[1]
    person.wait_for_image()
    person.agree()

    click(1, Qt.KeyboardModifier.ShiftModifier)
    assert dock.list.chosen() == ids[1:]
    assert session.image_id == ids[2]
    person.push(buttons["Remove…"])
    person.push(removal.remove)
    assert session.image_id is None
    person.wait(lambda: not person.workspace.images.layers)
    assert person.rows() == {}
    assert person.boxes.ids() == []
    session.undo()  # nothing is left that could be taken back
    assert person.rows() == {}
    assert all(path.is_file() for path in files)
    dock.adding.add([str(files[0])])
    person.wait(lambda: session.image_id is not None)
    person.wait_for_image()
    person.agree()


def test_images_are_held_out_from_the_list(sit_down, detected):
    person = sit_down(detected, "Project")
    session, dock = person.session, show(person, "Project")
    project = session.project
    train, val, test = dock.use.menu.actions()
    ids = list(project.images)
    dock.list.selectAll()
    train.trigger()
    assert {r.split for r in project.images.values()} == {Split.TRAIN}
    dock.list.clearSelection()
    val.trigger()  # none is chosen
    assert {r.split for r in project.images.values()} == {Split.TRAIN}
    dock.list.selectRow(1)
    val.trigger()
    dock.list.selectRow(2)
    test.trigger()
    splits = [project.images[key].split for key in ids[:3]]
    assert splits == [Split.TRAIN, Split.VAL, Split.TEST]
    assert "val" in dock.list.table.data(dock.list.table.index(1, 3), Qt.ItemDataRole.DisplayRole)


def test_detect_in_this_view_only(sit_down, folder):
    person = sit_down(folder, "Detect")
    dock = show(person, "Detect")
    camera = person.viewer.scene.camera
    camera.center, camera.zoom = (60, 80), 6.0
    y0, x0, y1, x1 = person.workspace.current_view()
    person.push(dock._scopes.button(0))
    person.push(dock.run)
    person.wait(lambda: person.boxes.ids(), 60_000)
    person.agree()
    for cell in person.session.cells():
        y, x = (cell.box[0] + cell.box[2]) / 2, (cell.box[1] + cell.box[3]) / 2
        assert y0 <= y <= y1
        assert x0 <= x <= x1
    few = len(person.boxes.ids())
    person.push(dock._scopes.button(1))
    person.push(dock.run)
    person.wait(lambda: len(person.boxes.ids()) > few, 60_000)
    person.agree()


def test_looking_four_times_is_asked_of_the_worker_and_not_offered_where_it_is_useless(
    sit_down, detected
):
    person = sit_down(detected, "Detect")
    dock = show(person, "Detect")
    for model, wanted in ((SHIPPED, True), (detecting.CLASSICAL, False)):
        dock.model.setCurrentIndex(dock.model.findData(model))
        dock.model.activated.emit(dock.model.currentIndex())
        assert dock.fold.isVisible() == wanted
        if wanted:
            dock.fold.setChecked(True)
            assert dock.flips.isVisible()
            dock.flips.setChecked(True)
        assert dock.flips.isVisible() == wanted
        person.push(dock.run)
        (job,) = (j for j in person.workspace.jobs.running if j.call is detecting.detect)
        assert (job.args[0].model_id, job.args[0].settings.flips) == (model, wanted)
        job.cancel()
        person.wait(lambda: not dock.bar.busy, 60_000)


def test_review_tells_what_the_model_said_whatever_a_person_says(sit_down, detected):
    person = sit_down(detected, "Review")
    dock = show(person, "Review")
    person.press("Tab")
    cell = person.session.current
    said = replace(cell.proposed, score=0.75, class_id=1, probabilities=((1, 0.625), (2, 0.375)))
    row = replace(cell, proposed=said)
    person.session.project.history.do(edit_of("detected", [(cell, row)]))
    person.press("2")
    person.session.select([cell.cell_id])
    assert person.session.current.class_id == 2
    assert dock._score.text() == "0.75 (RBC 0.62)"
    assert "WBC 0.38" in dock._score.toolTip()


# -- the wheel -----------------------------------------------------------------------------


def value_of(widget):
    if isinstance(widget, QComboBox):
        return widget.currentIndex()
    if isinstance(widget, QLineEdit):
        return widget.text()
    return widget.value()


def test_the_wheel_changes_no_value(sit_down, detected):
    person = sit_down(detected, "Project")
    ask_something(person)
    person.session.set_shown(min_score=0.3)
    tried = 0
    for name in DOCKS:
        dock = show(person, name)
        kinds = (QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit)
        for widget in dock.findChildren(kinds):
            if isinstance(widget, QScrollBar) or not widget.isVisible():
                continue
            if isinstance(widget, QComboBox):
                widget.addItem("one more")
            before, shown = value_of(widget), person.session.shown
            widget.setFocus()
            for turn in (120, -120):
                middle = QPointF(widget.rect().center())
                event = QWheelEvent(
                    middle,
                    QPointF(widget.mapToGlobal(widget.rect().center())),
                    QPoint(0, 0),
                    QPoint(0, turn),
                    Qt.MouseButton.NoButton,
                    Qt.KeyboardModifier.NoModifier,
                    Qt.ScrollPhase.NoScrollPhase,
                    False,
                )
                QApplication.sendEvent(widget, event)
                assert value_of(widget) == before, (name, widget.toolTip(), type(widget))
                assert person.session.shown == shown
            tried += 1
    assert tried >= 6


def test_the_boxes_tools_show_what_the_mouse_does_in_every_project(sit_down, detected):
    person = sit_down(detected, "Project")
    person.session.close_project()
    person.open(detected)
    tools = person.viewer.window._qt_viewer.controls.widgets[person.layer]
    assert str(person.layer.mode) == "select"
    assert tools._MODE_BUTTONS[person.layer._mode].isChecked()
