"""The map of cells: lassoed with the mouse, looked at in the gallery, classed with one key."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton
from test_docks import clipped, pale
from test_gallery import CTRL, LEFT, NONE, SHIFT, drag, ids_of, settled

from napari_cellal.active.layout import layout_name
from napari_cellal.active.matrix import load_matrix
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Status
from napari_cellal.features.table import write_arrays
from napari_cellal.ui.widgets import cell_map
from napari_cellal.workflows import describing, learning


def open_map(person):
    """Open the map from Learn, have the cells measured, and wait for the points."""
    person.workspace.learn.better.choice = describing.QUICK  # else the map is made anew midway
    person.workspace.raise_dock("Learn")
    person.push(person.workspace.dock("Learn")._map)
    dock = person.workspace.dock("Map")
    person.push(dock.needs.findChild(QPushButton))
    person.wait(lambda: dock._states is not None and dock.scatter.isVisible(), 90_000)
    QApplication.processEvents()
    return dock


def around(scatter, items):
    """Return an outline around points, as a hand would draw it."""
    places = [scatter.place_of(k) for k in items]
    left, right = min(p.x() for p in places) - 5, max(p.x() for p in places) + 5
    top, bottom = min(p.y() for p in places) - 5, max(p.y() for p in places) + 5
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [QPoint(x, y) for x, y in corners]


def inside(scatter, outline):
    low, high = outline[0], outline[2]
    found = []
    for k in range(len(scatter._points)):
        p = scatter.place_of(k)
        if low.x() < p.x() < high.x() and low.y() < p.y() < high.y():
            found.append(k)
    return found


def test_lasso_gallery_class(sit_down, detected):
    person = sit_down(detected, "Project")
    batch = person.workspace.batch
    dock = open_map(person)
    scatter = dock.scatter
    assert sorted(dock.cell_ids) == sorted(person.rows())
    before = person.state()
    half = np.argsort(scatter._points[:, 0])[: len(dock.cell_ids) // 2].tolist()
    outline = around(scatter, half)
    wanted = {dock.cell_ids[k] for k in inside(scatter, outline)}
    assert 3 < len(wanted) < len(dock.cell_ids)
    drag(scatter, outline, SHIFT)
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.grid.isVisible() and settled(person))
    assert set(ids_of(person)) == wanted == set(batch.picked)
    assert len(gallery.grid.picked) == len(wanted)
    left_out = ids_of(person)[0]
    QTest.mouseClick(gallery.grid.viewport(), LEFT, CTRL, gallery.grid.rect_of(0).center())
    person.press("2")
    rows = person.rows()
    assert {k for k, c in rows.items() if c.class_id == 2} == wanted - {left_out}
    person.agree()
    person.press("M")  # back to the map, which shows it
    person.wait(scatter.isVisible)
    color = int(person.session.project.classes[2].color[1:], 16)
    index = dock._states.index_of

    def painted():
        return {k for k, n in index.items() if scatter._colors[n] & 0xFFFFFF == color}

    person.wait(lambda: painted() == wanted - {left_out})
    assert {dock.cell_ids[k] for k in scatter.picked} == wanted - {left_out}
    person.press("3")  # the keys work here too
    assert {k for k, c in person.rows().items() if c.class_id == 3} == wanted - {left_out}
    person.press("Ctrl+Z", "Ctrl+Z")
    person.wait(lambda: person.state() == before)
    person.agree()
    person.workspace.raise_dock("Gallery")
    person.push(gallery.filter._all)
    person.wait(lambda: sorted(ids_of(person)) == sorted(before[0]))


def test_what_was_measured_another_day_is_shown_unasked(sit_down, detected):
    person = sit_down(detected, "Project")
    dock = open_map(person)
    known = sorted(dock.cell_ids)
    person.close()
    person = sit_down(detected, "Project")
    person.workspace.learn.better.choice = describing.QUICK
    person.workspace.raise_dock("Map")
    dock = person.workspace.dock("Map")
    person.wait(lambda: dock._states is not None and dock.scatter.isVisible(), 90_000)
    assert sorted(dock.cell_ids) == known
    person.session.close_project()
    person.wait(lambda: not dock.scatter.isVisible())


def broken_measure(*_):
    """As where the disk is full."""
    yield Progress(0, 0)
    raise CellalError("The disk is full.")


def test_measurements_that_cannot_be_read_are_asked_for(sit_down, detected, monkeypatch):
    (detected / "cache" / "features-0-0.npz").touch()
    monkeypatch.setattr(learning, "measure_project", broken_measure)
    person = sit_down(detected, "Project")
    person.workspace.learn.better.choice = describing.QUICK
    person.workspace.raise_dock("Map")
    dock = person.workspace.dock("Map")
    person.wait(lambda: any(error for _, error in person.told), 60_000)
    person.wait(dock.needs.isVisible)
    assert len(person.told) == 1  # once, not again and again
    monkeypatch.undo()
    open_map(person)


def test_tools_of_the_map(sit_down, detected):
    person = sit_down(detected, "Project")
    dock = open_map(person)
    scatter = dock.scatter
    was = [scatter.place_of(k) for k in range(3)]
    middle = scatter.rect().center()
    drag(scatter, [middle, middle + QPoint(8, 4), middle + QPoint(20, 10)])
    moved = [scatter.place_of(k) - was[k] for k in range(3)]
    assert all(abs(m.x() - 20) <= 1 and abs(m.y() - 10) <= 1 for m in moved)
    place = scatter.place_of(1)
    wheel = QWheelEvent(
        QPointF(place), QPointF(scatter.mapToGlobal(place)), QPoint(), QPoint(0, 480),
        Qt.MouseButton.NoButton, NONE, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    spread = np.ptp(scatter._places(), axis=0)
    QApplication.sendEvent(scatter, wheel)
    assert (scatter.place_of(1) - place).manhattanLength() <= 2  # it stays under the mouse
    assert (np.ptp(scatter._places(), axis=0) > spread).all()
    person.push(dock._fit)
    assert all((scatter.place_of(k) - was[k]).manhattanLength() <= 2 for k in range(3))
    QTest.mouseClick(scatter, LEFT, NONE, scatter.place_of(1))  # opens the cell in its image
    person.wait_for_image()
    at = scatter.point_at(QPointF(scatter.place_of(1)))
    assert person.session.selection == (dock.cell_ids[at],)
    person.push(dock._lasso)
    drag(scatter, around(scatter, [0]))
    person.wait(lambda: person.workspace.batch.picked)
    assert dock.cell_ids[0] in person.workspace.batch.picked


def test_colours(sit_down, detected):
    person = sit_down(detected, "Project")
    project = person.session.project
    dock = open_map(person)
    cells = [person.cell(k) for k in dock.cell_ids]

    def colors_by(what):
        dock.color.setCurrentIndex(dock.color.findData(what))
        dock.color.activated.emit(dock.color.currentIndex())
        return dock.scatter._colors.tolist()

    for what, key in (
        ("status", lambda c: c.status),
        ("image", lambda c: c.image_id),
        ("class", lambda c: c.class_id),
        ("group", lambda c: project.images[c.image_id].group),
    ):
        pairs = {(key(c), color) for c, color in zip(cells, colors_by(what), strict=True)}
        assert len(pairs) == len({k for k, _ in pairs}) == len({color for _, color in pairs})
    colors_by("status")
    person.session.select([dock.cell_ids[0]])
    person.session.go_to(cells[0])
    person.session.mark_unsure()
    assert person.cell(cells[0].cell_id).status is Status.UNSURE
    person.wait(lambda: (dock.scatter._colors == dock.scatter._colors[0]).sum() == 1)


def choose_umap(dock):
    dock.layout_.setCurrentIndex(dock.layout_.findData("umap"))
    dock.layout_.activated.emit(dock.layout_.currentIndex())


def test_umap_comes_when_it_is_there(sit_down, detected):
    person = sit_down(detected, "Project")
    dock = open_map(person)
    project = person.session.project
    pca = dock.scatter._points.copy()
    # As the job left it (tests/ml/test_map.py); making it takes a minute of compiling.
    matrix = load_matrix(person.workspace.learn.features_path)
    made = np.random.default_rng(0).normal(0, 1, pca.shape).astype(np.float32)
    file = project.cache_folder / layout_name(matrix, "umap", project.settings.seed)
    write_arrays(file, {"places": made})
    choose_umap(dock)
    assert np.array_equal(dock.scatter._points, pca)  # until then
    person.wait(lambda: dock._shown_as == "umap", 60_000)
    assert np.array_equal(dock.scatter._points, made)
    assert dock.cell_ids == matrix.cell_ids
    person.session.close_project()
    assert dock.cell_ids == ()
    dock.grab()


def never_done(*_):
    """A layout that hears no cancel."""
    yield Progress(0, 0, "Laying out cells")
    time.sleep(3600)
    yield Progress(0, 0)


def test_cancel_ends_the_process_of_umap(sit_down, detected, monkeypatch):
    person = sit_down(detected, "Project")
    dock = open_map(person)
    pca = dock.scatter._points.copy()
    monkeypatch.setattr(cell_map, "make_map", never_done)
    choose_umap(dock)
    begun = []
    dock._pending.progressed.connect(begun.append)
    person.wait(lambda: begun and dock.bar.isVisible(), 60_000)
    child = psutil.Process(person.workspace.jobs.worker_pid("map"))
    person.push(dock.bar.cancel)
    person.wait(lambda: not child.is_running(), 60_000)
    person.wait(lambda: dock.layout_.currentData() == "pca")
    assert not dock.bar.isVisible()
    assert np.array_equal(dock.scatter._points, pca)
    monkeypatch.undo()  # the lane works again
    choose_umap(dock)
    assert dock._pending_of[0] == "umap"
    person.wait(lambda: person.workspace.jobs.worker_pid("map") not in (None, child.pid), 60_000)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_clipped(sit_down, detected, theme):
    person = sit_down(detected, "Project")
    person.viewer.theme = theme
    dock = open_map(person)
    person.wait(lambda: dock.width() > 500)
    assert clipped(dock) + pale(dock) == []
    assert person.window.width() <= 1280
