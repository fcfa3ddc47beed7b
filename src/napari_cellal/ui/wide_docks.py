"""Docks that need more room than the others take it while they are on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer

from .dock import DOCK_WIDTH

if TYPE_CHECKING:
    from qtpy.QtWidgets import QDockWidget, QMainWindow

SHARE = 0.5
"""Of the window's width, for a wide dock that a person has not resized."""

_FOLLOWED = "cellal_wide"


class WideDocks(QObject):
    """Widens the docks' column for some of its tabs, and narrows it again for the others.

    A width that the person gives a wide dock is kept for the next time.
    """

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self._width = 0
        self._shown: QDockWidget | None = None
        self._left: QDockWidget | None = None
        # Later: a tab tells that it goes after the next one has told that it comes. A timer of
        # ours, which goes with the window.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._settle)

    def follow(self, dock: QDockWidget) -> None:
        """Widen the column whenever this dock is on top; asked twice, it does so once."""
        if dock.property(_FOLLOWED):
            return
        dock.setProperty(_FOLLOWED, True)
        dock.visibilityChanged.connect(lambda seen: self._on_seen(dock, seen))
        dock.topLevelChanged.connect(lambda _floats: self._on_seen(dock, dock.isVisible()))
        self._on_seen(dock, dock.isVisible())

    def _on_seen(self, dock: QDockWidget, seen: bool) -> None:
        if not isalive(self):  # the window closes
            return
        if seen:
            self._shown = dock
        elif self._shown is dock:
            self._width = dock.width()
            self._shown, self._left = None, dock
        self._soon.start()

    def _settle(self) -> None:
        dock = self._shown
        if dock is not None:
            if not dock.isFloating():
                wide = int(self.parent().width() * SHARE)
                self._resize(dock, max(self._width, wide))
        elif self._left is not None:
            others = self.parent().tabifiedDockWidgets(self._left)
            other = next((d for d in others if not d.isFloating()), None)
            self._left = None
            if other is not None:
                self._resize(other, DOCK_WIDTH + 16)

    def _resize(self, dock: QDockWidget, width: int) -> None:
        self.parent().resizeDocks([dock], [width], Qt.Orientation.Horizontal)
