"""A confusion matrix whose squares can be clicked, drawn with Qt alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QPaintEvent

ROW_PX = 30
LEFT_PX = 86
"""Room for the rows' names; longer ones are cut, and whole in the tooltip."""
UPRIGHT_PX = 66
"""Room above the squares for names that must stand upright."""
_RIGHT, _WRONG = QColor("#0072B2"), QColor("#D55E00")
"""Okabe and Ito's blue and vermilion: told apart by the colour-blind."""


class ConfusionMatrix(QWidget):
    """Rows are what cells are, columns what was said of them.

    Attributes
    ----------
    clicked : Signal(row, column)
        Of a square that is not empty.
    """

    clicked = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._same: frozenset[tuple[int, int]] = frozenset()
        self._counts: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._shares: NDArray[np.float64] = np.zeros((0, 0))
        self._describe: Callable[[int, int], str] = lambda _row, _column: ""
        self._at: tuple[int, int] | None = None
        self.as_shares = False
        self.setMouseTracking(True)
        self.setMinimumWidth(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_table(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        counts: NDArray[np.int64],
        same: Sequence[tuple[int, int]],
        describe: Callable[[int, int], str],
    ) -> None:
        """Show another matrix.

        Parameters
        ----------
        rows, columns : sequence of str
        counts : int64[rows, columns]
        same : sequence of (row, column)
            Where row and column are one class.
        describe : callable
            Gives the tooltip of a square.
        """
        self._rows, self._columns = tuple(rows), tuple(columns)
        self._counts, self._same = counts, frozenset(same)
        self._shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        self._describe = describe
        self.updateGeometry()
        self.update()

    def set_shares(self, as_shares: bool) -> None:
        """Show shares of each row instead of counts, or counts again."""
        self.as_shares = as_shares
        self.update()

    def text_of(self, row: int, column: int) -> str:
        """Return what stands in a square."""
        n = int(self._counts[row, column])
        if not n:
            return ""
        return f"{self._shares[row, column]:.2f}" if self.as_shares else f"{n:,}"

    # -- where things are -----------------------------------------------------------------

    def _is_upright(self) -> bool:
        room = self._width_of_square() - 4
        return any(self.fontMetrics().horizontalAdvance(name) > room for name in self._columns)

    def _width_of_square(self) -> float:
        return (self.width() - LEFT_PX) / max(1, len(self._columns))

    def _top(self) -> int:
        return 18 + (UPRIGHT_PX if self._is_upright() else 20)

    def sizeHint(self) -> QSize:
        """Return the height that the rows need."""
        return QSize(300, self._top() + ROW_PX * len(self._rows) + 2)

    def minimumSizeHint(self) -> QSize:
        """Return the same height: a matrix is never cut."""
        return QSize(60, self.sizeHint().height())

    def resizeEvent(self, event: QEvent) -> None:
        """Names may have to stand upright in another width."""
        super().resizeEvent(event)
        self.updateGeometry()

    def rect_of(self, row: int, column: int) -> QRect:
        """Return where a square is drawn."""
        width = self._width_of_square()
        left, right = (round(LEFT_PX + width * k) for k in (column, column + 1))
        return QRect(left, self._top() + ROW_PX * row, right - left - 1, ROW_PX - 1)

    def _square_at(self, x: float, y: float) -> tuple[int, int] | None:
        row = int((y - self._top()) // ROW_PX)
        column = int((x - LEFT_PX) // self._width_of_square())
        inside = 0 <= row < len(self._rows) and 0 <= column < len(self._columns)
        return (row, column) if inside else None

    # -- mouse ----------------------------------------------------------------------------

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show what can be clicked."""
        self._hover(self._square_at(event.position().x(), event.position().y()))

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is under the mouse."""
        super().leaveEvent(event)
        self._hover(None)

    def _hover(self, at: tuple[int, int] | None) -> None:
        if at is not None and not self._counts[at]:
            at = None
        if at != self._at:
            self._at = at
            hand = Qt.CursorShape.PointingHandCursor
            self.setCursor(Qt.CursorShape.ArrowCursor if at is None else hand)
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Open a square."""
        at = self._square_at(event.position().x(), event.position().y())
        if event.button() == Qt.MouseButton.LeftButton and at is not None and self._counts[at]:
            self.clicked.emit(*at)

    def event(self, event: QEvent) -> bool:
        """Tell of the square under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            at = self._square_at(event.pos().x(), event.pos().y())
            text = self.toolTip() if at is None else self._describe(*at)
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    # -- drawing --------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw names and squares."""
        painter = QPainter(self)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        ground = self.palette().color(QPalette.ColorRole.Window)
        painter.setPen(ink)
        self._draw_names(painter)
        font = painter.font()
        font.setPixelSize(12)
        painter.setFont(font)
        for row in range(len(self._rows)):
            for column in range(len(self._columns)):
                place = self.rect_of(row, column)
                is_same = (row, column) in self._same
                share = float(self._shares[row, column])
                color = _blend(ground, _RIGHT if is_same else _WRONG, _depth(share))
                painter.fillRect(place, color)
                faint = QColor(ink)
                faint.setAlpha(50)
                painter.setPen(QPen(ink, 2) if (row, column) == self._at else QPen(faint, 1))
                painter.drawRect(place.adjusted(0, 0, -1, -1))
                painter.setPen(_legible_on(color))
                text = self.text_of(row, column)
                painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), text)

    def _draw_names(self, painter: QPainter) -> None:
        metrics, cut = painter.fontMetrics(), Qt.TextElideMode.ElideRight
        top, height = self._top(), ROW_PX
        head = QRect(LEFT_PX, 0, self.width() - LEFT_PX, 18)
        painter.drawText(head, int(Qt.AlignmentFlag.AlignCenter), "the model says")
        corner = QRect(0, top - 18, LEFT_PX - 4, 18)
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        painter.drawText(corner, right, "labelled")
        for k, name in enumerate(self._rows):
            place = QRect(0, top + height * k, LEFT_PX - 6, height)
            painter.drawText(place, right, metrics.elidedText(name, cut, place.width()))
        for k, name in enumerate(self._columns):
            place = self.rect_of(0, k)
            if not self._is_upright():
                at = QRect(place.left(), 18, place.width(), 20)
                painter.drawText(at, int(Qt.AlignmentFlag.AlignCenter), name)
                continue
            painter.save()
            painter.translate(place.center().x() + metrics.ascent() / 2 - 1, top - 4)
            painter.rotate(-90)
            painter.drawText(0, 0, metrics.elidedText(name, cut, UPRIGHT_PX - 4))
            painter.restore()


def _depth(share: float) -> float:
    """Return how strongly a share is coloured: few mistakes are to be seen too."""
    return 0.0 if share <= 0 else 0.12 + 0.78 * share**0.5


def _blend(ground: QColor, color: QColor, depth: float) -> QColor:
    pairs = zip(ground.getRgb()[:3], color.getRgb()[:3], strict=True)
    return QColor(*(round(a + (b - a) * depth) for a, b in pairs))


def _legible_on(ground: QColor) -> QColor:
    linear = [(v / 255) ** 2.2 for v in ground.getRgb()[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return QColor("black" if light > 0.18 else "white")
