"""The plate: a well looked at, clicked, gone to by keys, and followed when its cells change."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QHelpEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QPushButton, QToolTip
from test_docks import clipped, pale
from test_gallery import LEFT, NONE, ids_of, settled

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.records import Status
from napari_cellal.evaluate.heat import scale_of
from napari_cellal.io.store import Project
from napari_cellal.ui import well_counts
from napari_cellal.ui.plate_map import LEGEND_PX, TOP_PX, PlateMap, WellLook
from napari_cellal.workflows import describing

WELLS = (("P", "B2"), ("P", "C10"), ("Q", "A1"))


@pytest.fixture
def plate(detected):
    """The smears in three wells of two plates."""
    with Project.open(detected) as project:
        changed = [
            replace(record, place={"plate": plate, "well": well, "site": "1"})
            for record, (plate, well) in zip(project.images.values(), WELLS, strict=True)
        ]
        project.replace_images(changed)
    return detected


def open_plate(person):
    person.push(person.workspace.dock("Project").plate)
    dock = person.workspace.dock("Plate")
    person.wait(lambda: dock.map.isVisible() and dock.map.wells)
    QApplication.processEvents()
    return dock


def middle(dock, place):
    return dock.map.rect_of(place).center().toPoint()


def choose(box, data):
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def counted(person, image_id):
    cells = person.session.project.cells.of_image(image_id)
    return sum(c.status is not Status.REJECTED for c in cells)


def test_a_click_on_a_well_shows_its_image(sit_down, plate):
    person = sit_down(plate, "Project")
    first, second, third = person.session.project.images
    dock = open_plate(person)
    assert set(dock.map.wells) == {(1, 1), (2, 9)}
    assert dock.map.wells[1, 1].value == counted(person, first)
    assert dock.map.current == (1, 1)  # the image on screen
    QTest.mouseClick(dock.map, LEFT, NONE, middle(dock, (0, 0)))  # no well is there
    assert person.session.image_id == first
    QTest.mouseClick(dock.map, LEFT, NONE, middle(dock, (2, 9)))
    assert person.session.image_id == second
    person.wait_for_image()
    assert dock.map.current == (2, 9)
    assert dock.images.count() == 1
    project_list = person.workspace.dock("Project").list
    person.workspace.raise_dock("Project")
    person.wait(lambda: project_list.chosen() == [second])
    person.workspace.raise_dock("Plate")
    choose(dock.plate, "Q")
    assert set(dock.map.wells) == {(0, 0)}
    assert dock.map.current is None
    person.session.show_image(third)
    assert dock.map.current == (0, 0)
    choose(dock.plate, "P")
    assert dock.map.current is None
    person.session.show_image(first)
    assert dock.map.current == (1, 1)


def test_wells_that_could_not_be_counted_are_counted_the_next_time(sit_down, plate, monkeypatch):
    person = sit_down(plate, "Project")
    dock = open_plate(person)
    first = next(iter(person.session.project.images))

    def locked(*_):
        raise ProjectError("The database is locked.")

    def reject_one():
        cells = person.session.project.cells.of_image(first)
        person.session.select([next(c.cell_id for c in cells if c.status is Status.PROPOSED)])
        assert person.session.remove()

    with monkeypatch.context() as while_locked:
        while_locked.setattr(well_counts, "cell_totals", locked)
        heard = []
        person.session.told.connect(lambda text, error: heard.append((text, error)))
        reject_one()
        person.wait(lambda: ("The database is locked.", True) in heard)
    reject_one()
    person.wait(lambda: dock.map.wells[1, 1].value == counted(person, first))


def test_keys_go_from_well_to_well(sit_down, plate):
    person = sit_down(plate, "Project")
    first, second, _ = person.session.project.images
    dock = open_plate(person)
    dock.map.setFocus()
    person.wait(dock.map.hasFocus)
    person.press("Right")  # nothing lies to the right of B02 in its row
    assert dock.map.current == (1, 1)
    choose(dock.column_, "share_RBC")  # nothing is classed: hatched, and still to be reached
    assert [look.value for look in dock.map.wells.values()] == [None, None]
    dock.map.go_to(None)
    person.press("Down")
    assert dock.map.current == (1, 1)
    dock.map.show_wells((8, 12), {**dock.map.wells, (2, 1): WellLook(1.0, "x")}, None)
    person.press("Down", "Down", "Right")
    assert dock.map.current == (2, 9)
    assert person.session.image_id == first  # until Enter
    person.press("Enter")
    assert person.session.image_id == second
    person.press("G")
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.grid.isVisible() and settled(person) and ids_of(person))
    assert set(ids_of(person)) <= {c.cell_id for c in person.session.cells()}


def test_the_plate_follows_what_a_person_does(sit_down, plate):
    person = sit_down(plate, "Project")
    first = person.session.image_id
    project = person.session.project
    dock = open_plate(person)
    before = dock.map.wells[1, 1].value
    cells = [c for c in project.cells.of_image(first) if c.status is Status.PROPOSED]
    person.session.select([cells[0].cell_id])
    person.canvas.setFocus()
    person.press("Delete")
    person.wait(lambda: dock.map.wells[1, 1].value == before - 1)
    choose(dock.column_, "cells_WBC")
    assert dock.map.wells[1, 1].value == 0
    person.workspace.raise_dock("Project")  # behind a tab it waits
    person.session.select([cells[1].cell_id])
    person.canvas.setFocus()
    person.press("2")
    QTest.qWait(500)
    assert dock.map.wells[1, 1].value == 0
    person.workspace.raise_dock("Plate")
    person.wait(lambda: dock.map.wells[1, 1].value == 1)
    choose(dock.column_, "share_WBC")
    assert dock.map.wells[1, 1].value == 1  # of the classed cells
    person.press("Ctrl+Z", "Ctrl+Z")
    choose(dock.column_, "cells")
    person.wait(lambda: dock.map.wells[1, 1].value == before)
    scores = sorted(c.score for c in project.cells.of_image(first))
    person.session.set_shown(min_score=scores[2] + 1e-6)
    person.wait(lambda: dock.map.wells[1, 1].value == before - 3)


def test_measurements_come_when_there_are_some(sit_down, plate):
    person = sit_down(plate, "Project")
    person.workspace.learn.better.choice = describing.QUICK
    dock = open_plate(person)
    columns = dock.column_.count()
    person.workspace.learn.measure()
    person.wait(lambda: dock.column_.count() > columns + 20, 90_000)
    name = dock.counts.summary.columns[dock.counts.summary.column("measured") + 1].name
    choose(dock.column_, name)
    assert all(np.isfinite(look.value) for look in dock.map.wells.values())


def test_the_cells_of_a_well_in_the_gallery_and_all_wells_in_a_table(
    sit_down, plate, tmp_path, monkeypatch
):
    person = sit_down(plate, "Project")
    project = person.session.project
    _, second, _ = project.images
    dock = open_plate(person)
    out = tmp_path / "wells.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(out), ""))
    person.push(dock._save)
    person.wait(out.exists)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["plate"], r["well"]) for r in rows] == [("P", "B02"), ("P", "C10"), ("Q", "A01")]
    assert [int(r["cells"]) for r in rows] == [counted(person, key) for key in project.images]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a.b"), ""))
    person.push(dock._save)
    person.wait(lambda: any(error and "a.b" in text for text, error in person.told))
    person.told.clear()
    QTest.mouseClick(dock.map, LEFT, NONE, middle(dock, (2, 9)))
    person.push(dock._gallery)
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.grid.isVisible() and settled(person) and ids_of(person))
    wanted = {c.cell_id for c in project.cells.of_image(second) if c.status is not Status.REJECTED}
    assert set(ids_of(person)) == wanted
    assert not person.workspace.batch.picked


def test_without_wells_the_dock_says_what_is_missing(sit_down, detected):
    person = sit_down(None, "Project")
    person.workspace.raise_dock("Plate")
    dock = person.workspace.dock("Plate")
    person.wait(dock.needs.isVisible)
    person.open(detected)
    assert not person.workspace.dock("Project").plate.isVisible()
    person.wait(dock.needs.isVisible)
    assert not dock.map.isVisible()
    person.push(dock.needs.findChild(QPushButton))
    person.wait(person.workspace.dock("Project").isVisible)
    person.session.close_project()
    person.wait(lambda: dock.counts.summary is None)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_of_the_plate_is_clipped_or_pale(sit_down, plate, theme):
    person = sit_down(plate, "Project")
    person.viewer.theme = theme
    dock = open_plate(person)
    found = []

    def is_good():
        found[:] = clipped(dock) + pale(dock)
        return not found

    person.wait(is_good)
    assert person.window.width() <= 1280


# -- the widget alone ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 3), (8, 12), (16, 24), (32, 48)])
def test_every_well_is_where_it_is_drawn(qtbot, size):
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, size)
    values[1, 2] = 60.0
    shown = PlateMap()
    qtbot.addWidget(shown)
    shown.resize(320, 290)
    wells = {
        (r, c): WellLook(float(values[r, c]), f"{r},{c}", (r, c) == (1, 2))
        for r in range(size[0])
        for c in range(size[1])
    }
    scale = scale_of([values.ravel()])
    shown.show_wells(size, wells, scale)
    shown.show()
    picture = shown.grab().toImage()
    opened = []
    shown.opened.connect(lambda r, c: opened.append((r, c)))
    for place in ((0, 0), (1, 1), (size[0] - 1, size[1] - 1)):
        rect = shown.rect_of(place)
        assert rect.right() <= shown.width()
        assert rect.top() >= TOP_PX
        assert rect.bottom() <= shown.height() - LEGEND_PX + 1
        at = rect.center().toPoint()
        drawn, said = picture.pixelColor(at), QColor(scale.color(values[place]))
        pairs = zip(drawn.getRgb(), said.getRgb(), strict=True)
        assert all(abs(a - b) <= 8 for a, b in pairs)  # a screen may have 16 bits
        QTest.mouseClick(shown, LEFT, NONE, at)
        assert opened[-1] == place
    point = shown.rect_of((1, 1)).center().toPoint()
    tip = QHelpEvent(QEvent.Type.ToolTip, point, shown.mapToGlobal(point))
    QApplication.sendEvent(shown, tip)
    assert QToolTip.text() == "1,1"
    QToolTip.hideText()
    assert shown.well_at(QPointF(2, 2)) is None
    before = len(opened)
    QTest.mouseClick(shown, Qt.MouseButton.RightButton, NONE, point)
    QTest.mouseClick(shown, LEFT, NONE, QPoint(2, 2))
    assert len(opened) == before
