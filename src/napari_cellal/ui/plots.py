"""The learning curve and the classes' probabilities, drawn with Qt alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

    from napari_cellal.active.requests import ControlPoint

    from .learn_curve import CurvePoint

_LINE = QColor("#56B4E9")
_BAND = QColor(86, 180, 233, 60)


class CurvePlot(QWidget):
    """Held-out accuracy over labels, with its 95 % interval as a band."""

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[CurvePoint, ...] = ()
        self._control: tuple[ControlPoint, ...] = ()
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Accuracy on held-out cells that the learner never learns from, over the number of "
            "labels; the band is the 95 % interval. Dashed: the same from a random part of your "
            "labels. Cells picked at random would have done worse than that, because these were "
            "chosen well"
        )

    def sizeHint(self) -> QSize:
        """Return a size that fits a dock."""
        return QSize(300, 110)

    def show_points(
        self, points: Sequence[CurvePoint], control: Sequence[ControlPoint] = ()
    ) -> None:
        """Draw another curve, and that of random picks."""
        self._points = tuple(points)
        self._control = tuple(control) if points else ()
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
        low = min([0.5, *(p.score.low for p in self._points), *(q.accuracy for q in self._control)])
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
            upper = QRectF(area.left(), area.top(), area.width(), area.height() / 2)
            painter.drawText(
                upper, Qt.AlignmentFlag.AlignCenter, "the curve grows with your labels"
            )
            painter.drawText(foot, Qt.AlignmentFlag.AlignCenter, "labels")
            return
        most = max([10, self._points[-1].labels, *(q.labels for q in self._control)])

        def place(labels: float, value: float) -> QPointF:
            x = area.left() + area.width() * labels / most
            return QPointF(x, area.bottom() - area.height() * (value - low) / (1 - low))

        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(foot, Qt.AlignmentFlag.AlignRight, f"{most} labels")
        if self._control:
            painter.drawText(foot, Qt.AlignmentFlag.AlignCenter, "— asked   - - random")
            random = QPen(ink, 1.5, Qt.PenStyle.DashLine)
            painter.setPen(random)
            painter.drawPolyline(QPolygonF([place(q.labels, q.accuracy) for q in self._control]))
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


class ProbabilityBars(QWidget):
    """A bar a class, in the classes' order, so that the eye finds each in its place.

    Not made of QProgressBar, which redraws the whole window at once for every new value.
    """

    ROW_PX = 19

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[tuple[str, str, float], ...] = ()
        self._text = ""
        self.setMinimumWidth(60)
        self.setToolTip("The model's probability of each class, 0 to 1")

    def show_rows(self, rows: Sequence[tuple[str, str, float]], text: str = "") -> None:
        """Show (name, colour, probability) of each class, or a text where there are none."""
        self._rows = tuple(rows)
        self._text = text
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the bars."""
        painter = QPainter(self)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        if not self._rows:
            flags = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignTop
            painter.drawText(self.rect(), int(flags), self._text)
            return
        for place, (name, color, p) in enumerate(self._rows):
            line = QRectF(0, place * self.ROW_PX, self.width(), self.ROW_PX - 3)
            if line.bottom() > self.height():
                break
            fill = QColor(color)
            fill.setAlpha(150)
            painter.fillRect(QRectF(line.left(), line.top(), line.width() * p, line.height()), fill)
            frame = QColor(ink)
            frame.setAlpha(60)
            painter.setPen(frame)
            painter.drawRect(line.adjusted(0, 0, -1, 0))
            painter.setPen(ink)
            inside = line.adjusted(4, 0, -4, 0)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(inside, int(Qt.AlignmentFlag.AlignLeft | middle), name)
            painter.drawText(inside, int(Qt.AlignmentFlag.AlignRight | middle), f"{p:.2f}")
