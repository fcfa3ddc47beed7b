"""The curves of a training and of a search for its learning rate, drawn with Qt alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

    from napari_cellal.networks.points import RatePoint, TrainPoint

_LOSS = QColor("#999999")
_SCORE = QColor("#56B4E9")
_MEMORY = 0.9
"""The loss is drawn as a running mean: it jumps from picture to picture."""
_MOST = 600
"""Points drawn; more cannot be told apart in a dock."""


class TrainingPlot(QWidget):
    """Loss (grey, left) and a score on what is held out (blue, right, 0..1) over the steps.

    Parameters
    ----------
    score : str
        What the score is called, and on what it is measured.
    meaning : str
        The score in words.
    """

    def __init__(self, score: str, meaning: str) -> None:
        super().__init__()
        self._score = score
        self.losses: list[tuple[int, float]] = []
        self.scores: list[tuple[int, float]] = []
        self._total = 1
        self.setMinimumHeight(130)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Grey: the loss, how wrong the network still is on what it learns from (running "
            f"mean). Blue: {meaning}, 0 to 1."
        )

    def sizeHint(self) -> QSize:
        """Return a size that fits a dock."""
        return QSize(300, 130)

    def clear(self) -> None:
        """Forget the curves."""
        self.losses.clear()
        self.scores.clear()
        self.update()

    def add(self, point: TrainPoint, total: int) -> None:
        """Take in one step of ``total``."""
        before = self.losses[-1][1] if self.losses else point.loss
        self.losses.append((point.step, _MEMORY * before + (1 - _MEMORY) * point.loss))
        if point.score is not None:
            self.scores.append((point.step, point.score))
        self._total = max(total, point.step, 1)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw axes and lines."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = QColor(ink)
        faint.setAlpha(70)
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        area = QRectF(34, 20, self.width() - 68, self.height() - 40)
        most = max((loss for _, loss in self.losses), default=1.0) or 1.0
        middle = Qt.AlignmentFlag.AlignVCenter
        for k in range(3):
            y = area.bottom() - area.height() * k / 2
            painter.setPen(QPen(faint, 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(ink)
            left, right = QRectF(0, y - 8, 30, 16), QRectF(area.right() + 4, y - 8, 30, 16)
            if self.losses:
                text = f"{most * k / 2:.2f}"
                painter.drawText(left, int(Qt.AlignmentFlag.AlignRight | middle), text)
            painter.drawText(right, int(Qt.AlignmentFlag.AlignLeft | middle), f"{k / 2:.1f}")
        head = QRectF(2, 0, self.width() - 4, 16)
        painter.drawText(head, int(Qt.AlignmentFlag.AlignLeft | middle), "loss (grey)")
        words = f"{self._score} (blue)"
        painter.drawText(head, int(Qt.AlignmentFlag.AlignRight | middle), words)
        foot = QRectF(area.left(), area.bottom() + 2, area.width(), 18)
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignLeft), "0")
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignRight), f"{self._total} steps")
        self._draw(painter, area, self.losses, most, _LOSS)
        self._draw(painter, area, self.scores, 1.0, _SCORE)
        painter.setBrush(_SCORE)
        for step, value in self.scores:
            painter.drawEllipse(self._place(area, step, value), 2.5, 2.5)

    def _place(self, area: QRectF, step: int, share: float) -> QPointF:
        x = area.left() + area.width() * step / self._total
        return QPointF(x, area.bottom() - area.height() * min(1.0, share))

    def _draw(
        self,
        painter: QPainter,
        area: QRectF,
        points: list[tuple[int, float]],
        most: float,
        color: QColor,
    ) -> None:
        every = max(1, len(points) // _MOST)
        kept = [*points[::every], *points[-1:]]
        painter.setPen(QPen(color, 2))
        painter.drawPolyline(QPolygonF([self._place(area, s, v / most) for s, v in kept]))


class RatePlot(QWidget):
    """The loss over the learning rate (logarithmic), and the rate that is suggested."""

    def __init__(self) -> None:
        super().__init__()
        self.points: tuple[RatePoint, ...] = ()
        self._suggested: float | None = None
        self.setFixedHeight(100)
        self.setToolTip(
            "The loss while the learning rate rises from step to step. The line is the rate "
            "suggested: a tenth of the one at which the loss was lowest."
        )

    def show_points(self, points: Sequence[RatePoint], suggested: float | None = None) -> None:
        """Draw another search."""
        self.points = tuple(points)
        self._suggested = suggested
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw axes, curve and suggestion."""
        if not self.points:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        area = QRectF(8, 18, self.width() - 16, self.height() - 38)
        first, last = (math.log10(self.points[k].rate) for k in (0, -1))
        low = min(p.loss for p in self.points)
        high = min(max(p.loss for p in self.points), 2 * low) if low > 0 else 1.0
        span, height = max(last - first, 1e-9), max(high - low, 1e-9)

        def place(rate: float, loss: float) -> QPointF:
            x = area.left() + area.width() * (math.log10(rate) - first) / span
            return QPointF(x, area.bottom() - area.height() * min(1.0, (loss - low) / height))

        painter.drawText(QRectF(8, 0, area.width(), 16), int(Qt.AlignmentFlag.AlignLeft), "loss")
        foot = QRectF(area.left(), area.bottom() + 2, area.width(), 18)
        left, right = f"{self.points[0].rate:.0e}", f"rate {self.points[-1].rate:.0e}"
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignLeft), left)
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignRight), right)
        painter.setPen(QPen(_LOSS, 2))
        painter.drawPolyline(QPolygonF([place(p.rate, p.loss) for p in self.points]))
        if self._suggested is not None:
            top, bottom = place(self._suggested, high), place(self._suggested, low)
            painter.setPen(QPen(_SCORE, 2))
            painter.drawLine(top, bottom)
