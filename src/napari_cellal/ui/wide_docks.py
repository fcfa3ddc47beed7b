"""Docks that need more room than the others take it while they are on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer

from .controls import DOCK_WIDTH

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

    def follow(self, dock: QDockWidget) -> None:
        """Widen the column whenever this dock is on top; asked twice, it does so once."""
        if dock.property(_FOLLOWED):
            return
        dock.setProperty(_FOLLOWED, True)
        dock.visibilityChanged.connect(lambda seen: self._on_seen(dock, seen))
        dock.topLevelChanged.connect(lambda _floats: self._on_seen(dock, dock.isVisible()))
        self._on_seen(dock, dock.isVisible())

    @property
    def _window(self) -> QMainWindow:
        # Not an attribute: window and child would keep each other alive.
        return self.parent()

    def _on_seen(self, dock: QDockWidget, seen: bool) -> None:
        if seen:
            self._shown = dock
            # Later: the tab before it tells that it goes, after this one has told that it comes.
            QTimer.singleShot(0, lambda: self._widen(dock))
        elif self._shown is dock:
            self._width = dock.width()
            self._shown = None
            QTimer.singleShot(0, lambda: self._narrow(dock))

    def _widen(self, dock: QDockWidget) -> None:
        if self._shown is dock and not dock.isFloating():
            self._resize(dock, max(self._width, int(self._window.width() * SHARE)))

    def _narrow(self, dock: QDockWidget) -> None:
        if self._shown is not None:
            return
        for other in self._window.tabifiedDockWidgets(dock):
            if not other.isFloating():
                self._resize(other, DOCK_WIDTH + 16)
                return

    def _resize(self, dock: QDockWidget, width: int) -> None:
        self._window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)
