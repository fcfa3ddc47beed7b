"""The image's keys where no widget has a use for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QTextEdit,
)

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from .keys import KeyFilter

_TYPED_INTO = (
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)
_KEYS = (QEvent.Type.KeyPress, QEvent.Type.KeyRelease, QEvent.Type.ShortcutOverride)
_BACK_TO_THE_IMAGE = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)


class StrayKeys(QObject):
    """Does what a key does at the image where it is pressed beside it.

    A click on a dock's tab leaves the keys with the window, one on a choice or a slider with
    that. They hand on what they have no use for, and napari would take it for its own: 2 then
    bends boxes and 3 deletes them.

    Parameters
    ----------
    window : QWidget
        napari's main window; heard while nothing in it has the keys.
    keys : KeyFilter
        Those of the image.
    """

    def __init__(self, window: QWidget, keys: KeyFilter) -> None:
        super().__init__(keys)
        self._keys = keys
        window.installEventFilter(self)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(keys.let_go)

    def listen_to(self, dock: QWidget) -> None:
        """Hear what the widgets of a dock hand on."""
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Give the image its key."""
        if event.type() == QEvent.Type.WindowDeactivate:
            self._keys.let_go()
        if event.type() not in _KEYS:
            return False
        focus = QApplication.focusWidget()
        if isinstance(watched, QMainWindow):
            if focus is not None and focus is not watched:
                return False  # handed on by what is no dock of ours
        elif isinstance(focus, _TYPED_INTO) or event.key() in _BACK_TO_THE_IMAGE:
            return False
        return self._keys.eventFilter(watched, event)
