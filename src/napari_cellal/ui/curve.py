"""The learning curve, drawn with Qt alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

    from .learn_loop import CurvePoint

_LINE = QColor("#56B4E9")
_BAND = QColor(86, 180, 233, 60)


class CurvePlot(QWidget):
    """Held-out accuracy over labels, with its 95 % interval as a band."""

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[CurvePoint, ...] = ()
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Accuracy on held-out cells that the learner never learns from, over the number of "
            "labels; the band is the 95 % interval"
        )

    def sizeHint(self) -> QSize:
        """Return a size that fits a dock."""
        return QSize(300, 110)

    def show_points(self, points: Sequence[CurvePoint]) -> None:
        """Draw another curve."""
        self._points = tuple(points)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw axes, band and line."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = QColor(ink)
        faint.setAlpha(70)
        area = QRectF(34, 6, self.width() - 42, self.height() - 26)
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        low = min([0.5, *(p.score.low for p in self._points)])
        low = max(0.0, int(low * 10) / 10)
        for k in range(3):
            value = low + (1 - low) * k / 2
            y = area.bottom() - area.height() * k / 2
            painter.setPen(QPen(faint, 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(ink)
            box = QRectF(0, y - 8, 30, 16)
            painter.drawText(
                box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{value:.2f}"
            )
        foot = QRectF(area.left(), area.bottom() + 2, area.width(), 18)
        if not self._points:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "the curve grows with your labels")
            painter.drawText(foot, Qt.AlignmentFlag.AlignCenter, "labels")
            return
        most = max(10, self._points[-1].labels)

        def place(labels: float, value: float) -> QPointF:
            x = area.left() + area.width() * labels / most
            return QPointF(x, area.bottom() - area.height() * (value - low) / (1 - low))

        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(foot, Qt.AlignmentFlag.AlignRight, f"{most} labels")
        top = [place(p.labels, p.score.high) for p in self._points]
        bottom = [place(p.labels, p.score.low) for p in reversed(self._points)]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(_BAND)
        painter.drawPolygon(QPolygonF(top + bottom))
        line = [place(p.labels, p.score.accuracy) for p in self._points]
        painter.setPen(QPen(_LINE, 2))
        painter.drawPolyline(QPolygonF(line))
        painter.setBrush(_LINE)
        painter.drawEllipse(line[-1], 3, 3)
