"""What every dock is: a column that scrolls, waits while it is hidden, and says what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from .controls import button, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QKeyEvent, QPaintEvent, QShowEvent


DOCK_WIDTH = 340
_DONE_TYPING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)


def dock_around(widget: QWidget) -> QDockWidget | None:
    """Return the dock that a widget is in, None where it is in none."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


class Dock(QScrollArea):
    """A dock's scrolling body; nothing in it needs more than 340 px of width."""

    def __init__(self) -> None:
        super().__init__()
        self._unseen: dict[str, Callable[[], object]] = {}
        self._outer: QDockWidget | None = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._catch_up)
        self._listening: tuple[tuple[Any, Callable[..., object]], ...] = ()
        self.home: QWidget | None = None
        """What has the keys after a click in the dock; None for the image."""
        self.body = QWidget()
        self.column = QVBoxLayout(self.body)
        self.column.setContentsMargins(8, 8, 8, 8)
        self.column.setSpacing(6)
        self.setWidget(self.body)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(DOCK_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # for the workspace to pass on

    def listen(self, *pairs: tuple[Any, Callable[..., object]]) -> None:
        """Connect signals to slots, until `disconnect_session`."""
        for signal, slot in pairs:
            signal.connect(slot)
        self._listening += pairs

    def disconnect_session(self) -> None:
        """Stop listening, before the window closes."""
        for signal, slot in self._listening:
            signal.disconnect(slot)
        self._listening = ()
        self._unseen = {}

    def add(self, *widgets: QWidget) -> None:
        """Append widgets to the column."""
        for widget in widgets:
            self.column.addWidget(widget)

    def when_seen(self, show: Callable[[], object]) -> None:
        """Run ``show`` now if the dock is on screen, else once when it comes into view."""
        if self.is_on_screen:
            show()
        else:
            self._unseen[show.__name__] = show

    @property
    def is_on_screen(self) -> bool:
        """Whether the dock can be seen. To Qt one behind another's tab is visible too."""
        return self.isVisible() and not self.visibleRegion().isEmpty()

    def showEvent(self, event: QShowEvent) -> None:
        """Bring up to date what changed out of sight."""
        super().showEvent(event)
        outer = dock_around(self)
        if outer is not None and outer is not self._outer:  # napari makes another one at times
            self._outer = outer
            outer.visibilityChanged.connect(self._on_tab)
        self._catch_up()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Bring up to date what changed out of sight, if nothing else has told of it."""
        super().paintEvent(event)
        if self._unseen:
            self._soon.start()

    def _on_tab(self, is_on_top: bool) -> None:
        if is_on_top:
            self._catch_up()
            QTimer.singleShot(0, self._take_keys)  # the dock before still has them

    def _take_keys(self) -> None:
        """Have the keys go on with what is picked here, where nothing else has them.

        The window passes them to the image, whose cell in hand is another.
        """
        window = self.window()
        nobody = window.focusWidget() in (None, window)
        if self.home is not None and self.is_on_screen and nobody:
            self.home.setFocus()

    def _catch_up(self) -> None:
        unseen, self._unseen = self._unseen, {}
        for show in unseen.values():
            show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Give the keys back to the image after Enter or Escape in one of the fields.

        They come here because no field uses them up. Escape takes back what was typed.
        """
        if event.key() not in _DONE_TYPING or self.focusProxy() is None:
            super().keyPressEvent(event)
            return
        field = QApplication.focusWidget()
        if event.key() == Qt.Key.Key_Escape and isinstance(field, QLineEdit):
            while field.isUndoAvailable():
                field.undo()
        self.setFocus()
        event.accept()

    def sizeHint(self) -> QSize:
        """Return a size that leaves most of a 1280 px window to the image."""
        return QSize(DOCK_WIDTH + 16, 640)


class Needs(QWidget):
    """One line that says what a dock needs before it can work, and the button that gets it."""

    def __init__(self) -> None:
        super().__init__()
        self._text = note()
        self._button = button("", "", self._go)
        self._act: Callable[[], object] = lambda: None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(self._button)

    def say(self, text: str, label: str, act: Callable[[], object], tooltip: str) -> None:
        """Show the line and the button."""
        self._text.setText(text)
        self._button.setText(label)
        self._button.setToolTip(tooltip)
        self._act = act
        self.show()

    def _go(self) -> None:
        self._act()
