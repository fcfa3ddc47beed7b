"""Small Qt pieces that every dock is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QWheelEvent


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
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a choice leaves the keys with the canvas
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
