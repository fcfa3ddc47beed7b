"""A plate whose wells can be clicked, coloured by a figure, drawn with Qt alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_cellal.core.wells import row_name
from napari_cellal.evaluate.heat import brief, color_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtGui import QKeyEvent, QMouseEvent, QPaintEvent

    from napari_cellal.evaluate.heat import Scale

LEFT_PX, TOP_PX = 24, 18
LEGEND_PX = 38
NAMED_PX = 17
"""Narrower columns show every fourth number."""
ROW_PX = 11
"""Lower rows show every second letter."""
FRAMED_PX = 7
"""In smaller wells an outlier's frame would hide its colour."""
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WellLook:
    """What is shown of a well.

    Attributes
    ----------
    value : float or None
        None is drawn hatched.
    text : str
        Its tooltip.
    """

    value: float | None
    text: str = ""
    is_outlier: bool = False


class PlateMap(QWidget):
    """Rows and columns of wells with their scale below. The arrow keys go from well to well.

    Attributes
    ----------
    opened : Signal(row, column)
        A well was clicked, or Enter or Space was pressed on it; never an empty place.
    current : (row, column) or None
        Where the keyboard is.
    """

    opened = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self._size: Place = (8, 12)
        self.wells: dict[Place, WellLook] = {}
        self._scale: Scale | None = None
        self._unit = ""
        self._under: Place | None = None
        self.current: Place | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_wells(
        self, size: Place, wells: Mapping[Place, WellLook], scale: Scale | None, unit: str = ""
    ) -> None:
        """Show a plate.

        Parameters
        ----------
        size : (rows, columns)
        wells : {(row, column): WellLook}
            The others are empty places.
        scale : Scale or None
            None where no well has a value.
        """
        self._size = size
        self.wells, self._scale, self._unit = dict(wells), scale, unit
        if self.current not in self.wells:
            self.current = None
        self.update()

    def go_to(self, place: Place | None) -> None:
        """Take a well in hand, or none."""
        self.current = place if place in self.wells else None
        self.update()

    # -- where things are -----------------------------------------------------------------

    def _side(self) -> float:
        """Return the side of a square well, px: the largest that fits in both directions."""
        rows, columns = self._size
        wide = (self.width() - LEFT_PX - 2) / columns
        return max(2.0, min(wide, (self.height() - TOP_PX - LEGEND_PX) / rows))

    def rect_of(self, place: Place) -> QRectF:
        """Return where a well is drawn."""
        side, gap = self._side(), 1 if self._side() > 5 else 0.4
        x, y = LEFT_PX + side * place[1], TOP_PX + side * place[0]
        return QRectF(x, y, side - gap, side - gap)

    def well_at(self, point: QPointF) -> Place | None:
        """Return the well under a point, None where there is none."""
        side = self._side()
        place = (int((point.y() - TOP_PX) // side), int((point.x() - LEFT_PX) // side))
        return place if place in self.wells else None

    def sizeHint(self) -> QSize:
        """Return a size that fits a dock."""
        return QSize(324, 270)

    def minimumSizeHint(self) -> QSize:
        """Return room to see something."""
        return QSize(200, 180)

    # -- mouse and keys -------------------------------------------------------------------

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show what can be clicked."""
        self._hover(self.well_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is under the mouse."""
        super().leaveEvent(event)
        self._hover(None)

    def _hover(self, place: Place | None) -> None:
        if place != self._under:
            self._under = place
            hand = Qt.CursorShape.PointingHandCursor
            self.setCursor(Qt.CursorShape.ArrowCursor if place is None else hand)
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Open a well."""
        place = self.well_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and place is not None:
            self._open(place)

    def _open(self, place: Place) -> None:
        self.current = place
        self.update()
        self.opened.emit(*place)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Go to the next well that there is in a direction, or open the one in hand."""
        key = event.key()
        if key in _STEPS and self.wells:
            self._step(*_STEPS[key])
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.current:
            self._open(self.current)
        else:
            super().keyPressEvent(event)

    def _step(self, down: int, right: int) -> None:
        if self.current is None:
            self.current = min(self.wells)
        else:
            place = self.current
            while 0 <= place[0] < self._size[0] and 0 <= place[1] < self._size[1]:
                place = (place[0] + down, place[1] + right)
                if place in self.wells:
                    self.current = place
                    break
        self.update()
        at = self.rect_of(self.current).center().toPoint()
        QToolTip.showText(self.mapToGlobal(at), self.wells[self.current].text, self)

    def focusInEvent(self, event: QEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self.update()

    def event(self, event: QEvent) -> bool:
        """Tell of the well under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            place = self.well_at(QPointF(event.pos()))
            text = self.toolTip() if place is None else self.wells[place].text
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    # -- drawing --------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw names, wells and the scale."""
        painter = QPainter(self)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        painter.setPen(ink)
        self._draw_names(painter)
        faint = QColor(ink)
        faint.setAlpha(60)
        side = self._side()
        rows, columns = self._size
        if side > 5:  # places without a well
            painter.setPen(QPen(faint, 1))
            for row in range(rows):
                for column in range(columns):
                    if (row, column) not in self.wells:
                        painter.drawRect(self.rect_of((row, column)).adjusted(0.5, 0.5, -0.5, -0.5))
        hatch = QBrush(ink, Qt.BrushStyle.BDiagPattern)
        for place, look in self.wells.items():
            rect = self.rect_of(place)
            if look.value is None or self._scale is None:
                painter.fillRect(rect, hatch)
                painter.setPen(QPen(faint, 1))
                painter.drawRect(rect.adjusted(0.5, 0.5, -0.5, -0.5))
            else:
                painter.fillRect(rect, QColor(self._scale.color(look.value)))
        for place, look in self.wells.items():
            if look.is_outlier:
                self._frame(painter, self.rect_of(place))
        for place, width in ((self._under, 1.5), (self.current, 2.5)):
            if place is not None:
                painter.setPen(QPen(ink, width))
                painter.drawRect(self.rect_of(place).adjusted(-1, -1, 1, 1))
        if self._scale is not None:
            self._draw_scale(painter, self._scale, ink)

    def _frame(self, painter: QPainter, rect: QRectF) -> None:
        """Mark an outlier: black and white, seen on every colour."""
        if rect.width() < FRAMED_PX:
            painter.setPen(QPen(QColor("white"), 1))
            painter.drawRect(rect)
            return
        inner = rect.adjusted(1.5, 1.5, -1.5, -1.5)
        painter.setPen(QPen(QColor("black"), 3, join=Qt.PenJoinStyle.MiterJoin))
        painter.drawRect(inner)
        painter.setPen(QPen(QColor("white"), 1.2, join=Qt.PenJoinStyle.MiterJoin))
        painter.drawRect(inner)

    def _draw_names(self, painter: QPainter) -> None:
        side = self._side()
        rows, columns = self._size
        center = int(Qt.AlignmentFlag.AlignCenter)
        for k in range(0, columns, 1 if side >= NAMED_PX else 4):
            middle = LEFT_PX + side * (k + 0.5)
            painter.drawText(QRectF(middle - 14, 0, 28, TOP_PX - 2), center, str(k + 1))
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for k in range(0, rows, 1 if side >= ROW_PX else 2):
            middle = TOP_PX + side * (k + 0.5)
            painter.drawText(QRectF(0, middle - 8, LEFT_PX - 4, 16), right, row_name(k))

    def _draw_scale(self, painter: QPainter, scale: Scale, ink: QColor) -> None:
        bottom, width = self._side() * self._size[0], self._side() * self._size[1]
        bar = QRectF(LEFT_PX, TOP_PX + bottom + 10, width, 10)
        for k in range(int(bar.width())):
            color = QColor(color_at(k / bar.width(), scale.is_change))
            painter.fillRect(QRectF(bar.left() + k, bar.top(), 1.5, bar.height()), color)
        low = ("≤ " if scale.cut_low else "") + brief(scale.low)
        high = ("≥ " if scale.cut_high else "") + brief(scale.high)
        foot = QRectF(bar.left(), bar.bottom() + 1, bar.width(), 16)
        painter.setPen(ink)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignLeft | middle), low)
        text = f"{high} {self._unit}".strip()
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignRight | middle), text)
