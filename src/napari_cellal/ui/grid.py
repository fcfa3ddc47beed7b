"""A scrolling grid of thousands of pictures, of which any may be picked.

Drawn by hand: Qt's list view lays out every item whenever its width or the items' size changes,
which takes some 0.4 s for 100,000 of one size. Here places are arithmetic, and only what is in view
is ever asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPoint, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPalette
from qtpy.QtWidgets import QAbstractScrollArea, QApplication, QToolTip

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent

GAP_PX = 6
CAPTION_PX = 15
AUTO_SCROLL_MS = 40
_BAND = QColor(122, 130, 144)
"""Grey, for classes have the colours; the captions are legible on it in both themes."""
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class PictureGrid(QAbstractScrollArea):
    """Pictures in rows, picked with the mouse and the arrow keys.

    Parameters
    ----------
    draw : callable
        Draws items ``(painter, [(index, QRect)])``, all that are in view.
    describe : callable
        Returns an item's tooltip.

    Attributes
    ----------
    picked_changed : Signal()
    opened : Signal(int)
        An item was double-clicked, or Space was pressed on it.
    current : int
        Where the keyboard is, -1 for nowhere.
    """

    picked_changed = Signal()
    opened = Signal(int)

    def __init__(
        self,
        draw: Callable[[QPainter, list[tuple[int, QRect]]], None],
        describe: Callable[[int], str],
    ) -> None:
        super().__init__()
        self._draw = draw
        self._describe = describe
        self._count = 0
        self._picked = np.zeros(0, bool)
        self.side_px = 96
        self.current = -1
        self._anchor = 0
        self._start: QPoint | None = None  # of a drag, in the content's px
        self._end: QPoint | None = None
        self._before = np.zeros(0, bool)
        self._auto = QTimer(self)
        self._auto.setInterval(AUTO_SCROLL_MS)
        self._auto.timeout.connect(self._drag_on)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.viewport().setMouseTracking(True)

    # -- items ----------------------------------------------------------------------------

    def set_count(self, count: int) -> None:
        """Show so many other items from the first on; none is picked."""
        self._count = count
        self._picked = np.zeros(count, bool)
        self.current, self._anchor = -1, 0
        self._start = self._end = None
        self._fit()
        self.verticalScrollBar().setValue(0)
        self.viewport().update()

    def set_side(self, side_px: int) -> None:
        """Show the items in another size, the first in view staying there."""
        first = self.in_view().start
        self.side_px = side_px
        self._fit()
        row = first // self.columns
        self.verticalScrollBar().setValue(row * self._pitch().height())
        self.viewport().update()

    @property
    def picked(self) -> NDArray[np.intp]:
        """The items in hand, in their order."""
        return np.flatnonzero(self._picked)

    def pick(self, items: NDArray[np.intp]) -> None:
        """Take other items in hand."""
        self._set_picked(_mask(self._count, items))

    def pick_all(self) -> None:
        """Take every item in hand."""
        self._set_picked(np.ones(self._count, bool))

    def _set_picked(self, picked: NDArray[np.bool_]) -> None:
        if not np.array_equal(picked, self._picked):
            self._picked = picked
            self.picked_changed.emit()
            self.viewport().update()

    # -- places ---------------------------------------------------------------------------

    def _pitch(self) -> QSize:
        # What is left of the width stands between the columns.
        wide = (self.viewport().width() - GAP_PX) // self.columns
        return QSize(max(self.side_px + GAP_PX, wide), self.side_px + CAPTION_PX + GAP_PX)

    @property
    def columns(self) -> int:
        """How many items stand in a row."""
        return max(1, (self.viewport().width() - GAP_PX) // (self.side_px + GAP_PX))

    def _fit(self) -> None:
        rows = -(-self._count // self.columns)
        height, pitch = self.viewport().height(), self._pitch().height()
        bar = self.verticalScrollBar()
        bar.setRange(0, max(0, rows * pitch + GAP_PX - height))
        bar.setPageStep(max(pitch, height // pitch * pitch))
        bar.setSingleStep(pitch // 3)

    def in_view(self) -> range:
        """Return the items that are in view, wholly or in part."""
        top, pitch = self.verticalScrollBar().value(), self._pitch().height()
        first = max(0, (top - GAP_PX) // pitch) * self.columns
        last = ((top + self.viewport().height()) // pitch + 1) * self.columns
        return range(min(first, self._count), min(last, self._count))

    def rect_of(self, item: int) -> QRect:
        """Return where an item is on the viewport, its caption too."""
        row, column = divmod(item, self.columns)
        pitch = self._pitch()
        return QRect(
            GAP_PX + column * pitch.width(),
            GAP_PX + row * pitch.height() - self.verticalScrollBar().value(),
            self.side_px,
            self.side_px + CAPTION_PX,
        )

    def item_at(self, place: QPoint) -> int:
        """Return the item at a point of the viewport, -1 for none."""
        pitch = self._pitch()
        column, row = (
            (place.x() - GAP_PX) // pitch.width(),
            (place.y() + self.verticalScrollBar().value() - GAP_PX) // pitch.height(),
        )
        item = row * self.columns + column
        is_item = 0 <= column < self.columns and 0 <= item < self._count
        return item if is_item and self.rect_of(item).contains(place) else -1

    def show_item(self, item: int) -> None:
        """Scroll as far as is needed to see an item."""
        place, bar = self.rect_of(item), self.verticalScrollBar()
        if place.top() < GAP_PX:
            bar.setValue(bar.value() + place.top() - GAP_PX)
        elif place.bottom() > self.viewport().height():
            bar.setValue(bar.value() + place.bottom() - self.viewport().height() + GAP_PX)

    def go_to(self, item: int, *, extend: bool = False) -> None:
        """Put the keyboard on an item and take it in hand, or all from the anchor to it."""
        if not self._count:
            return
        self.current = min(max(0, item), self._count - 1)
        if extend:
            self._set_picked(self._span(self.current))
        else:
            self._anchor = self.current
            self.pick(np.array([self.current]))
        self.show_item(self.current)
        self.viewport().update()

    def _span(self, item: int) -> NDArray[np.bool_]:
        low, high = sorted((self._anchor, item))
        return _mask(self._count, np.arange(low, high + 1))

    # -- mouse ----------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Pick by click, Ctrl+click and Shift+click, or begin to drag a frame."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        place = event.position().toPoint()
        item = self.item_at(place)
        held = event.modifiers()
        is_more = bool(held & Qt.KeyboardModifier.ControlModifier)
        is_span = bool(held & Qt.KeyboardModifier.ShiftModifier)
        self._before = self._picked if is_more or is_span else np.zeros(self._count, bool)
        self._start, self._end = self._content(place), None
        if item < 0:
            if not (is_more or is_span):
                self._set_picked(self._before)
            return
        self.current = item
        if is_span:
            span = self._span(item)
            self._set_picked(span | self._picked if is_more else span)
            return
        self._anchor = item
        if is_more:
            picked = self._picked.copy()
            picked[item] = not picked[item]
            self._set_picked(picked)
        else:
            self.pick(np.array([item]))
        self.viewport().update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pick what the frame touches."""
        if self._start is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        place = event.position().toPoint()
        far = (self._content(place) - self._start).manhattanLength()
        if self._end is None and far < QApplication.startDragDistance():
            return
        self._end = self._content(place)
        self._pick_framed()
        if not self.viewport().rect().contains(place):
            self._auto.start()

    def mouseReleaseEvent(self, _event: QMouseEvent) -> None:
        """End the frame."""
        self._auto.stop()
        self._start = self._end = None
        self.viewport().update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Open the item."""
        item = self.item_at(event.position().toPoint())
        if item >= 0:
            self.opened.emit(item)

    def _content(self, place: QPoint) -> QPoint:
        return place + QPoint(0, self.verticalScrollBar().value())

    def _drag_on(self) -> None:
        """Scroll while the mouse is held above or below the grid."""
        place = self.viewport().mapFromGlobal(self.cursor().pos())
        out = min(0, place.y()) + max(0, place.y() - self.viewport().height())
        if self._start is None or not out:
            self._auto.stop()
            return
        bar = self.verticalScrollBar()
        bar.setValue(bar.value() + max(-80, min(80, out)))
        self._end = self._content(place)
        self._pick_framed()

    def _frame(self) -> QRect:
        """Return the dragged frame in the content's px."""
        assert self._start is not None
        assert self._end is not None
        return QRect(self._start, self._end).normalized()

    def _pick_framed(self) -> None:
        frame, pitch, across = self._frame(), self._pitch(), self.columns
        first = max(0, (frame.left() - GAP_PX - self.side_px) // pitch.width() + 1)
        last = min(across - 1, (frame.right() - GAP_PX) // pitch.width())
        high = self.side_px + CAPTION_PX
        top = max(0, (frame.top() - GAP_PX - high) // pitch.height() + 1)
        bottom = (frame.bottom() - GAP_PX) // pitch.height()
        rows = np.arange(top, min(bottom, self._count // across) + 1)
        items = (rows[:, None] * across + np.arange(first, last + 1)).ravel()
        self._set_picked(self._before | _mask(self._count, items[items < self._count]))
        self.viewport().update()

    # -- keys -----------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move with the arrow keys, with Shift to pick on the way; open with Space."""
        key, extend = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        page = max(1, self.viewport().height() // self._pitch().height()) * self.columns
        if key == Qt.Key.Key_Space:
            if 0 <= self.current < self._count:
                self.opened.emit(self.current)
        elif key in _STEPS:
            down, right = _STEPS[key]
            to = self.current + down * self.columns + right
            if self.current < 0:
                to = self.in_view().start
            if 0 <= to < self._count:
                self.go_to(to, extend=extend)
        elif key in (Qt.Key.Key_PageDown, Qt.Key.Key_PageUp):
            by = page if key == Qt.Key.Key_PageDown else -page
            self.go_to(max(0, self.current) + by, extend=extend)
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            self.go_to(0 if key == Qt.Key.Key_Home else self._count - 1, extend=extend)
        else:
            super().keyPressEvent(event)

    # -- drawing --------------------------------------------------------------------------

    def viewportEvent(self, event: QEvent) -> bool:
        """Show an item's tooltip."""
        if event.type() == event.Type.ToolTip:
            item = self.item_at(event.pos())
            text = "" if item < 0 else self._describe(item)
            QToolTip.showText(event.globalPos(), text, self.viewport(), self.rect_of(item))
            return True
        return super().viewportEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Set the pictures in other rows; the first in view stays there."""
        super().resizeEvent(event)
        self.set_side(self.side_px)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show that the keys go here."""
        super().focusInEvent(event)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Show that the keys go elsewhere."""
        super().focusOutEvent(event)
        self.viewport().update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the items in view, the picked ones on a bright ground, and the frame."""
        painter = QPainter(self.viewport())
        places = [(item, self.rect_of(item)) for item in self.in_view()]
        bright = self.palette().color(QPalette.ColorRole.Highlight)
        for item, place in places:
            if self._picked[item]:
                painter.fillRect(place.adjusted(-3, -3, 3, 2), _BAND)
        self._draw(painter, places)
        if self.hasFocus() and 0 <= self.current < self._count:
            painter.setPen(bright)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect_of(self.current).adjusted(-3, -3, 2, 1))
        if self._start is not None and self._end is not None:
            frame = self._frame().translated(0, -self.verticalScrollBar().value())
            painter.setPen(_BAND)
            painter.fillRect(frame, QColor(122, 130, 144, 50))
            painter.drawRect(frame)

    def sizeHint(self) -> QSize:
        """Return room for some rows."""
        return QSize(320, 420)

    def minimumSizeHint(self) -> QSize:
        """Return room for one row."""
        return QSize(120, 160)


def _mask(count: int, items: NDArray[np.intp]) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    mask[items] = True
    return mask
