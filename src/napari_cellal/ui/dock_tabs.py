"""The docks' tabs, with their whole names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTabBar

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow


def show_whole_names(window: QMainWindow) -> None:
    """Have the tabs of a window's docks keep their names; more than fit are scrolled to.

    Qt would shorten seven of them to "Proj...", "Det...", "Revi...".
    """
    only = Qt.FindChildOption.FindDirectChildrenOnly
    for bar in window.findChildren(QTabBar, options=only):
        if bar.elideMode() != Qt.TextElideMode.ElideNone:
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            bar.setStyleSheet("QTabBar::tab { padding: 3px 2px; }")
