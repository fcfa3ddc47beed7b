"""The docks' names, on their tabs and above them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTabBar

if TYPE_CHECKING:
    from qtpy.QtWidgets import QDockWidget, QMainWindow


def call_dock(dock: QDockWidget, name: str) -> None:
    """Give a dock that napari's menu opened its name, on its tab and above it.

    napari's title bar shows ``dock.name``, the menu's words ("Open workspace (CellAL)"). By
    that napari also knows which dock its menu shows and hides, so it stays what it is.
    """
    if dock.windowTitle() == name:
        return
    there = weakref.ref(dock)

    def show_title(*_: object) -> None:
        if (dock := there()) is not None:
            dock.title.title.setText(name)

    dock.setWindowTitle(name)
    show_title()
    for made_anew in (dock.topLevelChanged, dock.dockLocationChanged):
        made_anew.connect(show_title)


def show_whole_names(window: QMainWindow) -> None:
    """Have the tabs of a window's docks keep their names; more than fit are scrolled to.

    Qt would shorten seven of them to "Proj...", "Det...", "Revi...".
    """
    only = Qt.FindChildOption.FindDirectChildrenOnly
    for bar in window.findChildren(QTabBar, options=only):
        if bar.elideMode() != Qt.TextElideMode.ElideNone:
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            bar.setStyleSheet("QTabBar::tab { padding: 3px 2px; }")
