"""A person at the window: real key and mouse events in, and three places that must agree."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cellal.core.records import Status
from napari_cellal.ui.box_looks import UNCLASSED
from napari_cellal.ui.box_shapes import HALF_PX
from napari_cellal.ui.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari
    from pytestqt.qtbot import QtBot
    from qtpy.QtWidgets import QWidget

    from napari_cellal.core.records import Cell

SOON_MS = 20_000
"""Longer than anything here takes on a busy machine; nothing is measured with it."""
_LEFT = Qt.MouseButton.LeftButton
_MODIFIERS = {
    "Ctrl": Qt.KeyboardModifier.ControlModifier,
    "Shift": Qt.KeyboardModifier.ShiftModifier,
    "Alt": Qt.KeyboardModifier.AltModifier,
}
_NAMES = {"Enter": "Return", "?": "Question"}


def _key(name: str) -> tuple[Qt.Key, Qt.KeyboardModifier]:
    *held, last = name.split("+")
    modifiers = Qt.KeyboardModifier.NoModifier
    for word in held:
        modifiers |= _MODIFIERS[word]
    if name == "Shift+Tab":  # a keyboard sends this key for it
        last = "Backtab"
    if last == "?":
        modifiers |= _MODIFIERS["Shift"]
    return getattr(Qt.Key, f"Key_{_NAMES.get(last, last)}"), modifiers


class Person:
    """Works in one napari window.

    Attributes
    ----------
    told : list of (text, is_error)
        Every sentence that the session has said so far.
    """

    def __init__(self, qtbot: QtBot, viewer: napari.Viewer) -> None:
        self.qtbot = qtbot
        self.viewer = viewer
        viewer.window.resize(1280, 800)
        self.workspace = Workspace.of(viewer)
        self.session = self.workspace.session
        self.boxes = self.workspace.boxes
        self.layer = self.workspace.boxes.layer
        self._is_down = False
        self.told: list[tuple[str, bool]] = []
        self.session.told.connect(self._hear)
        self.window = viewer.window._qt_window
        self.canvas: QWidget = viewer.window._qt_viewer.canvas.native
        self.window.activateWindow()
        self.canvas.setFocus()

    def _hear(self, text: str, error: bool) -> None:
        self.told.append((text, error))

    # -- waiting --------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], timeout: int = SOON_MS) -> None:
        """Let the window work until the condition holds."""
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=timeout)

    def open(self, folder: Path) -> None:
        """Open a project and wait for its first image to be drawn."""
        assert self.workspace.open_project(folder), self.told
        self.wait_for_image()

    def wait_for_image(self) -> None:
        """Wait until the session's image is on screen and the camera has settled on it."""

        def is_there() -> bool:
            image, layers = self.session.image, self.workspace.images.layers
            return (
                image is not None
                and len(layers) > 0
                and layers[0].name in (image.name, image.channels[0])
                and tuple(layers[0].data.shape[:2]) == image.shape[1:]
            )

        self.wait(is_there)
        QApplication.processEvents()

    def close(self) -> None:
        """Close the window as a person does, and wait for everything of ours to end."""
        with contextlib.suppress(ValueError, KeyError):
            self.session.told.disconnect(self._hear)
        workspace = self.workspace
        self.viewer.close()
        self.wait(lambda: workspace._closed)
        for name in ("viewer", "workspace", "session", "boxes", "layer", "window", "canvas"):
            setattr(self, name, None)

    # -- keys -----------------------------------------------------------------------------

    def press(self, *names: str) -> None:
        """Press and let go of keys, as the keyboard sends them to the window."""
        for name in names:
            QTest.keyClick(self.window.windowHandle(), *_key(name))

    def hold(self, name: str) -> None:
        """Press a key and keep it down."""
        QTest.keyPress(self.window.windowHandle(), *_key(name))

    def let_go(self, name: str) -> None:
        """Let go of a key."""
        QTest.keyRelease(self.window.windowHandle(), *_key(name))

    # -- mouse ----------------------------------------------------------------------------

    def pixel(self, y: float, x: float) -> QPoint:
        """Return where an image point is on the canvas."""
        camera = self.viewer.scene.camera
        at_y, at_x = (v + HALF_PX for v in camera.center[-2:])
        return QPoint(
            round((x - at_x) * camera.zoom + self.canvas.width() / 2),
            round((y - at_y) * camera.zoom + self.canvas.height() / 2),
        )

    def move_to(self, y: float, x: float) -> None:
        """Move the mouse to an image point; with a button down this drags."""
        slack = 1.0 / self.viewer.scene.camera.zoom  # positions are whole px of the canvas
        where = self.pixel(y, x)
        assert self.canvas.rect().contains(where), "outside the canvas, where no mouse can go"

        def is_there() -> bool:
            # Not QTest.mouseMove, which moves the pointer and ends at the border of Xvfb's
            # 800 x 600. More than once, because vispy drops moves within 10 ms of each other.
            move = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(where),
                QPointF(self.canvas.mapToGlobal(where)),
                Qt.MouseButton.NoButton,
                _LEFT if self._is_down else Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
            )
            QApplication.sendEvent(self.canvas, move)
            at = self.viewer.cursor.position[-2:]
            return math.dist(at, (y - HALF_PX, x - HALF_PX)) <= slack

        self.wait(is_there)

    def click(self, y: float, x: float, modifiers: str = "") -> None:
        """Click on an image point."""
        self.move_to(y, x)
        held = _MODIFIERS.get(modifiers, Qt.KeyboardModifier.NoModifier)
        QTest.mouseClick(self.canvas, _LEFT, held, self.pixel(y, x))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at an image point, move in some steps, let go at another."""
        self.move_to(*start)
        QTest.mousePress(self.canvas, _LEFT, pos=self.pixel(*start))
        self._is_down = True
        for share in (0.3, 0.7, 1.0):
            self.move_to(*(a + (b - a) * share for a, b in zip(start, end, strict=True)))
        self._is_down = False
        QTest.mouseRelease(self.canvas, _LEFT, pos=self.pixel(*end))

    def draw(self, start: tuple[float, float], end: tuple[float, float]) -> Cell:
        """Press W, drag a box and return it."""
        before = {c.cell_id for c in self.session.cells()}
        self.press("W")
        self.drag(start, end)
        (drawn,) = [c for c in self.session.cells() if c.cell_id not in before]
        return drawn

    def push(self, button: QWidget) -> None:
        """Click a button that is on screen."""
        self.wait(button.isVisible)
        QTest.mouseClick(button, _LEFT)

    # -- looking --------------------------------------------------------------------------

    def rows(self) -> dict[str, Cell]:
        """Return every cell of the project by id, rejected ones too."""
        project = self.session.project
        return {c.cell_id: c for key in project.images for c in project.cells.of_image(key)}

    def cell(self, cell_id: str) -> Cell:
        """Return a cell as it is now."""
        found = self.session.project.cells.get(cell_id)
        assert found is not None
        return found

    def state(self) -> tuple[dict[str, Cell], dict[str, bool]]:
        """Return all that undo must bring back."""
        finished = {key: r.finished for key, r in self.session.project.images.items()}
        return self.rows(), finished

    def agree(self) -> None:
        """Check that table, layer, database file, image list and undo buttons say the same.

        What is drawn later in small portions is waited for.
        """
        self.qtbot.waitUntil(self._agree, timeout=SOON_MS)

    def _agree(self) -> None:
        session, layer = self.session, self.layer
        project = session.project
        rows = self.rows()
        look_at_database(project.folder, rows, project.images, project.history)

        shown = {
            key: c
            for key, c in rows.items()
            if c.image_id == session.image_id and session.shown.includes(c)
        }
        ids = self.boxes.ids()
        assert sorted(ids) == sorted(shown)
        assert layer.nshapes == len(ids) == len(layer.features)
        for key, corners in zip(ids, layer.data, strict=True):
            y0, x0, y1, x1 = shown[key].box
            assert np.allclose(corners.min(axis=0), (y0, x0), atol=1e-3)
            assert np.allclose(corners.max(axis=0), (y1, x1), atol=1e-3)
        for key, rgba in zip(ids, layer.edge_color, strict=True):
            class_id = None if key == session.concealed else shown[key].class_id
            name = UNCLASSED if class_id is None else project.classes[class_id].color
            assert np.allclose(rgba[:3], transform_color(name)[0][:3], atol=0.5 / 255)
            if shown[key].status is Status.PROPOSED:  # told apart from what was reviewed
                assert rgba[3] < 1
        assert {ids[i] for i in layer.selected_data} == set(session.selection)
        assert set(session.selection) <= set(shown)
        self._docks_agree(rows)

    def _docks_agree(self, rows: dict[str, Cell]) -> None:
        project, docks = self.session.project, self.workspace.docks
        for dock in docks.values():
            dock._catch_up()  # as when its tab is chosen
        dock = docks.get("Project")
        if dock is not None and dock.isVisible():
            table = dock.list.table
            for key in project.images:
                mine = [c for c in rows.values() if c.image_id == key]
                counted = [c for c in mine if c.status is not Status.REJECTED]
                waiting = [c for c in mine if c.status in (Status.PROPOSED, Status.IMPORTED)]
                at = table.row_of(key)
                said = [table.data(table.index(at, k)) for k in (1, 2)]
                assert said == [str(len(counted)), str(len(waiting) or "")]
        dock = docks.get("Review")
        if dock is not None and dock.isVisible():
            assert dock._undo.isEnabled() == bool(project.history.undo_label)
            assert dock._redo.isEnabled() == bool(project.history.redo_label)


def look_at_database(folder: Path, rows: dict[str, Cell], images: object, history: object) -> None:
    """Check that a second, read-only look at the project's file finds the same."""
    uri = f"{(folder / 'project.sqlite').as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as file:
        found = file.execute(
            "SELECT cell_id, image_id, y0, x0, y1, x1, class_id, origin, review, status"
            " FROM cells JOIN images USING (image_no)"
        ).fetchall()
        finished = dict(file.execute("SELECT image_id, finished FROM images").fetchall())
        places = file.execute(
            "SELECT COUNT(*) FROM boxes AS b JOIN cells AS c USING (cell_no) WHERE"
            " b.image_low = c.image_no AND abs(b.y0 - c.y0) < 0.01 AND abs(b.y1 - c.y1) < 0.01"
            " AND abs(b.x0 - c.x0) < 0.01 AND abs(b.x1 - c.x1) < 0.01"
        ).fetchone()[0]
        done = file.execute(
            "SELECT label FROM edits WHERE undone = 0 ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    wanted = [
        (c.cell_id, c.image_id, *c.box, c.class_id, c.origin, c.review, c.status)
        for c in rows.values()
    ]
    assert sorted(found, key=lambda r: r[0]) == sorted(wanted, key=lambda r: r[0])
    assert places == len(rows)
    assert finished == {key: int(r.finished) for key, r in images.items()}
    assert (done[0] if done else "") == history.undo_label
