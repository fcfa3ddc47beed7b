"""What the manifest names: napari's menu opens a dock, or all of them.

Without parameters: napari gives its viewer to widget classes only, not to functions.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import napari
from qtpy.QtCore import QTimer

from .all_docks import DOCKS
from .workspace import Workspace

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def _here() -> Workspace:
    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("napari-cellal's docks need an open napari window.")
    return Workspace.of(viewer)


def open_workspace() -> QWidget:
    """Return the Project dock, and put the other docks beside it as tabs."""
    workspace = _here()
    for name in DOCKS[1:]:  # in turns of their own, so that the window stays awake
        QTimer.singleShot(0, partial(workspace.dock, name))
    QTimer.singleShot(0, workspace.dock_all)
    return workspace.dock("Project")


def detect_dock() -> QWidget:
    """Return the Detect dock."""
    return _here().dock("Detect")


def review_dock() -> QWidget:
    """Return the Review dock."""
    return _here().dock("Review")


def learn_dock() -> QWidget:
    """Return the Learn dock."""
    return _here().dock("Learn")


def gallery_dock() -> QWidget:
    """Return the Gallery dock."""
    return _wide_dock("Gallery")


def map_dock() -> QWidget:
    """Return the Map dock."""
    return _wide_dock("Map")


def plate_dock() -> QWidget:
    """Return the Plate dock."""
    return _wide_dock("Plate")


def _wide_dock(name: str) -> QWidget:
    workspace = _here()
    QTimer.singleShot(0, partial(workspace.raise_dock, name))  # once napari has docked it
    return workspace.dock(name)


def train_dock() -> QWidget:
    """Return the Train dock."""
    return _here().dock("Train")


def batch_dock() -> QWidget:
    """Return the Batch dock."""
    return _here().dock("Batch")


def evaluate_dock() -> QWidget:
    """Return the Evaluate dock."""
    return _here().dock("Evaluate")
