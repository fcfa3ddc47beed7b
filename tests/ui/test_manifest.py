"""The docks open the way napari opens them: through the manifest."""

from __future__ import annotations

import importlib

import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QDockWidget

from napari_cellal.ui.all_docks import DOCKS
from napari_cellal.ui.workspace import Workspace


@pytest.fixture
def window(make_napari_viewer):
    return make_napari_viewer().window


def shown(window) -> list[str]:
    docks = window._qt_window.findChildren(QDockWidget)
    return [d.windowTitle() for d in docks if d.windowTitle() in DOCKS]


def test_one_command_opens_the_whole_workspace(window, qtbot):
    window.add_plugin_dock_widget("napari-cellal", "Open workspace")
    qtbot.waitUntil(lambda: sorted(shown(window)) == sorted(DOCKS), timeout=20_000)


@pytest.mark.parametrize("name", ["Detect", "Review", "Learn", "Train", "Evaluate"])
def test_a_dock_opens_alone(window, name):
    _, widget = window.add_plugin_dock_widget("napari-cellal", name)
    viewer = window._qt_viewer.viewer
    assert Workspace.of(viewer).docks[name] is widget


def test_every_command_of_the_manifest_can_be_imported():
    manifest = PluginManifest.from_distribution("napari-cellal")
    names = [c.python_name for c in manifest.contributions.commands]
    assert len(names) == 13
    for name in names:
        module, _, attribute = str(name).partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
