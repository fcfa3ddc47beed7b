"""Where the camera goes back to, on a canvas whose size has changed meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_cellal.ui.camera import Camera

WHOLE = 0.95


@pytest.fixture
def viewer():
    """A canvas of 400 x 400 px."""
    canvas = SimpleNamespace(size=(400, 400))
    window = SimpleNamespace(_qt_viewer=SimpleNamespace(canvas=canvas))
    camera = SimpleNamespace(center=(0.0, 200.0, 400.0), zoom=WHOLE * 400 / 800)
    return SimpleNamespace(window=window, scene=SimpleNamespace(camera=camera))


@pytest.fixture
def camera(viewer, session):
    camera = Camera(viewer, session)
    camera._on_image()  # 400 x 800 px
    yield camera
    camera.disconnect()


def widen(viewer, camera):
    viewer.window._qt_viewer.canvas.size = (400, 800)
    camera.fit_again()


def test_the_whole_image_is_whole_again(viewer, camera, session):
    before = viewer.scene.camera.center
    session.go_to(session.cells()[0])
    assert viewer.scene.camera.zoom > WHOLE
    widen(viewer, camera)
    camera.back()
    assert viewer.scene.camera.center == before
    assert viewer.scene.camera.zoom == pytest.approx(WHOLE)


def test_a_place_is_seen_as_large_as_before(viewer, camera, session):
    viewer.scene.camera.zoom = 3.0
    session.go_to(session.cells()[0])
    widen(viewer, camera)
    camera.back()
    assert viewer.scene.camera.zoom == 3.0
