"""Small Qt pieces that every dock is made of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDockWidget,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QKeyEvent, QPaintEvent, QShowEvent, QWheelEvent

    from napari_cellal.core.progress import Progress

    from .jobs import JobHandle

DOCK_WIDTH = 340
_DONE_TYPING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)
QUIET_S = 0.5
"""A job shorter than this shows no progress bar."""
MEASURED_S = 2.0
"""Before so long a rate says little."""


def button(
    text: str, tooltip: str, on_click: Callable[[], object], *, main: bool = False
) -> QPushButton:
    """Return a push button; the ``main`` one of a dock is set off from the others."""
    widget = QPushButton(text)
    widget.setToolTip(tooltip)
    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys with the canvas
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    widget.setMinimumWidth(10)
    if main:
        widget.setObjectName("cellal_main")
        # Legible on napari's dark and light theme alike.
        widget.setStyleSheet(
            "QPushButton#cellal_main { background: #00629B; color: white; font-weight: bold;"
            " padding: 6px; } QPushButton#cellal_main:hover { background: #0077BB; }"
            " QPushButton#cellal_main:disabled { background: #6B7480; color: #D0D4D8; }"
        )
    widget.clicked.connect(lambda: on_click())
    return widget


def row(*widgets: QWidget | int) -> QWidget:
    """Return the widgets side by side; an int is a stretch."""
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for item in widgets:
        if isinstance(item, int):
            layout.addStretch(item)
        else:
            layout.addWidget(item)
    return box


def empty(layout: QLayout, keep: QWidget | None = None) -> None:
    """Take every widget out of a layout and delete it, but for ``keep``."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None and widget is not keep:
            widget.hide()  # deleteLater alone leaves it on screen until the next turn
            widget.deleteLater()


def heading(text: str) -> QLabel:
    """Return a section's title."""
    label = QLabel(f"<b>{text}</b>")
    label.setContentsMargins(0, 6, 0, 0)
    return label


def note(text: str = "") -> QLabel:
    """Return a line of explanation that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setMinimumWidth(10)
    return label


def swatch(color: str, size: int = 14) -> QIcon:
    """Return a square of a class's colour."""
    pixmap = QPixmap(size, size)
    pixmap.fill(QColor(color))
    painter = QPainter(pixmap)
    painter.setPen(QColor("#808080"))
    painter.drawRect(0, 0, size - 1, size - 1)
    painter.end()
    return QIcon(pixmap)


class ComboBox(QComboBox):
    """A combo box that the wheel does not change while the dock is scrolled."""

    def __init__(self, tooltip: str) -> None:
        super().__init__()
        self.setToolTip(tooltip)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumWidth(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the dock."""
        event.ignore()


class SpinBox(QDoubleSpinBox):
    """A number field that the wheel does not change while the dock is scrolled."""

    def __init__(
        self, low: float, high: float, step: float, value: float, tooltip: str, decimals: int = 2
    ) -> None:
        super().__init__()
        self.setRange(low, high)
        self.setSingleStep(step)
        self.setDecimals(decimals)
        self.setValue(value)
        self.setToolTip(tooltip)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the dock."""
        event.ignore()


def clock(seconds: float) -> str:
    """Return a duration in words, as exact as it is worth."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 90:
        return f"{minutes / 60:.1f} hours"
    if minutes >= 10:
        return f"{minutes} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Fold(QToolButton):
    """A line that shows and hides what is seldom needed; folded at first."""

    def __init__(self, tooltip: str, inner: QWidget) -> None:
        super().__init__()
        self.setText("Advanced")
        self.setToolTip(tooltip)
        self.setCheckable(True)
        self.setAutoRaise(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._inner = inner
        self.toggled.connect(self._on_toggled)
        self._on_toggled(False)

    def _on_toggled(self, is_open: bool) -> None:
        self._inner.setVisible(is_open)
        self.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)


class JobBar(QFrame):
    """Progress of one job: done of all, rate, time left, and a way out.

    Parameters
    ----------
    cancel_tip : str
        What becomes of what is there by then.
    keep : (text, tooltip) or None
        A second way out, for jobs that can end early and keep what they have; it is offered
        from the first part of their result on.
    """

    def __init__(
        self,
        cancel_tip: str = "Stop. A detection run keeps what it has found by then",
        keep: tuple[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._bar = QProgressBar()
        self._bar.setTextVisible(True)
        self._bar.setToolTip("How far the job is")
        self._text = note()
        self.cancel = button("Cancel", cancel_tip, self._on_cancel)
        self.cancel.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.cancel.setFixedWidth(70)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self._bar, self.cancel))
        layout.addWidget(self._text)
        self.keep = None if keep is None else button(*keep, self._on_keep)
        if self.keep is not None:
            self.keep.hide()
            layout.addWidget(self.keep)
        self._offers_keep = False
        self._handle: JobHandle | None = None
        self._first: tuple[float, Progress] | None = None
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(int(QUIET_S * 1000))
        self._delay.timeout.connect(self._reveal)
        self.hide()

    @property
    def busy(self) -> bool:
        """True while a job is shown or about to be."""
        return self._handle is not None and not self._handle.done

    def follow(self, handle: JobHandle, *, can_keep: bool = False) -> None:
        """Show a job from now to its end; ``can_keep``: it may be asked for what it has."""
        if self._handle is not None:
            self._handle.progressed.disconnect(self._on_progress)
            self._handle.ended.disconnect(self._on_end)
        self._handle = handle
        self._first = None
        self._offers_keep = can_keep
        self._bar.setRange(0, 0)
        self._text.setText(handle.title)
        self.cancel.setEnabled(True)
        if self.keep is not None:
            self.keep.setEnabled(True)
            self.keep.hide()
        # Methods, not lambdas: Qt lets go of them when the bar goes with its window.
        handle.progressed.connect(self._on_progress)
        handle.ended.connect(self._on_end)
        self._delay.start()

    def _reveal(self) -> None:
        if self.busy:
            self.show()

    def _on_progress(self, step: Progress) -> None:
        handle = self._handle
        if handle is None:
            return
        if step.total:
            self._bar.setRange(0, step.total)
            self._bar.setValue(step.done)
            self._bar.setFormat(f"{step.done} of {step.total}")
        if self._offers_keep and self.keep is not None and step.item is not None:
            self.keep.show()
        if handle.is_cancelling or handle.is_ending:
            return  # it says that it stops
        text = step.message or handle.title
        self._text.setText(f"{text}{self._speed(step)}")

    def _speed(self, step: Progress) -> str:
        """Return rate and time left, from the first count on; empty while they say little."""
        now = time.monotonic()
        first = self._first
        if first is None or step.total != first[1].total or step.done < first[1].done:
            self._first = (now, step) if step.total else None
            return ""
        spent, n = now - first[0], step.done - first[1].done
        if not n or spent < MEASURED_S:
            return ""
        rate = f"{n / spent:.1f} a second" if n > spent else f"{spent / n:.1f} s each"
        left = spent / n * (step.total - step.done)
        return f" · {rate} · about {clock(left)} left"

    def _on_end(self) -> None:
        self._delay.stop()
        self._handle = None
        self.hide()

    def _on_cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._stopping("Stopping…")

    def _on_keep(self) -> None:
        if self._handle is not None:
            self._handle.end_early()
            self._stopping("Stopping after this step, and keeping the best…")

    def _stopping(self, text: str) -> None:
        self.cancel.setEnabled(self._handle is not None and not self._handle.is_cancelling)
        if self.keep is not None:
            self.keep.setEnabled(False)
        self._text.setText(text)


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
