"""Many points in the plane: zoomed, moved and lassoed with the mouse.

Drawn with numpy into a picture, with software alone; docs/benchmarks.md says how quick that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPoint, QPointF, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QMouseEvent, QPaintEvent, QPixmap, QWheelEvent

NEAR_PX = 8
"""A point so far from the mouse is pointed at."""
FEW = 5_000
"""So many points in view, or fewer, are drawn larger."""
CLICK_PX = 4
_EDGE = 4  # px around the view in which no point is drawn, so that stamps need no clipping
_LASSO = QColor(86, 180, 233)


class Scatter(QWidget):
    """Points of the plane, each in its colour; the picked ones larger, with a light rim.

    Parameters
    ----------
    hint : callable
        Returns (picture or None, text) of the point under the mouse.

    Attributes
    ----------
    lassoed : Signal(intp[n], bool)
        Points inside a drawn outline; whether to add them to those picked before.
    clicked : Signal(int)
    lasso_is_on : bool
        Whether a drag draws an outline; with Shift it always does. Else it moves the map.
    """

    lassoed = Signal(object, bool)
    clicked = Signal(int)

    def __init__(self, hint: Callable[[int], tuple[QPixmap | None, str]]) -> None:
        super().__init__()
        self._hint = hint
        self.lasso_is_on = False
        self._points = np.zeros((0, 2), np.float32)
        self._order = np.zeros(0, np.intp)
        self._colors = np.zeros(0, np.uint32)
        self._picked = np.zeros(0, bool)
        self._center = np.zeros(2)
        self._scale = 50.0  # px a unit
        self._image: QImage | None = None
        self._canvas = np.zeros((0, 0), np.uint32)  # the image's memory
        self._at = np.zeros((0, 2), np.int32)  # px of every point, (y, x)
        self._under = -1
        self._start: QPointF | None = None
        self._last = QPointF()
        self._outline: list[QPointF] = []
        self._mode = ""
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    # -- points ---------------------------------------------------------------------------

    def set_points(self, points: NDArray[np.float32], colors: NDArray[np.uint32]) -> None:
        """Show other points, all of them in view."""
        self._points = points
        self._start, self._outline = None, []  # what a lasso went around lies elsewhere now
        # In a mixed order, always the same: else the last class would lie over the others.
        self._order = np.random.default_rng(0).permutation(len(points))
        self._picked = np.zeros(len(points), bool)
        self._under = -1
        self._colors = colors
        self.fit()

    def set_colors(self, colors: NDArray[np.uint32]) -> None:
        """Give the points other colours, 0xffRRGGBB."""
        self._colors = colors
        self._redraw()

    def set_picked(self, items: NDArray[np.intp]) -> None:
        """Show other points as picked."""
        self._picked = np.zeros(len(self._points), bool)
        self._picked[items] = True
        self._redraw()

    @property
    def picked(self) -> NDArray[np.intp]:
        """The points shown as picked."""
        return np.flatnonzero(self._picked)

    def fit(self) -> None:
        """Show all points."""
        if len(self._points):
            low, high = np.percentile(self._points, (0.1, 99.9), axis=0)
            self._center = (low + high) / 2
            size = np.maximum(high - low, 1e-3)
            room = np.array([self.width(), self.height()])
            self._scale = float(max(1.0, (0.88 * room / size).min()))
        self._redraw()

    def place_of(self, item: int) -> QPoint:
        """Return where a point is on the widget."""
        y, x = self._places()[item].tolist()
        return QPoint(x, y)

    def point_at(self, place: QPointF) -> int:
        """Return the point nearest to a place of the widget, -1 where none is near."""
        at = self._places()
        if not len(at):
            return -1
        far = (at[:, 0] - place.y()) ** 2 + (at[:, 1] - place.x()) ** 2
        nearest = int(far.argmin())
        return nearest if far[nearest] <= NEAR_PX**2 else -1

    def _places(self) -> NDArray[np.int32]:
        if len(self._at) != len(self._points):
            middle = np.array([self.width() / 2, self.height() / 2])
            px = (self._points - self._center) * (self._scale, -self._scale) + middle
            # Far outside is outside: 32 bits must not overflow.
            self._at = np.clip(px, -1e6, 1e6).astype(np.int32)[:, ::-1]
        return self._at

    # -- drawing --------------------------------------------------------------------------

    def _redraw(self) -> None:
        self._image = None
        self._at = np.zeros((0, 2), np.int32)
        self.update()

    def resizeEvent(self, _event: QEvent) -> None:
        """Draw in another size."""
        self.fit()

    def changeEvent(self, event: QEvent) -> None:
        """Draw on another ground."""
        super().changeEvent(event)
        if event.type() == event.Type.PaletteChange:
            self._redraw()

    def _render(self) -> QImage:
        width, height = max(1, self.width()), max(1, self.height())
        ground = self.palette().color(QPalette.ColorRole.Base)
        self._canvas = np.full((height, width), ground.rgb(), np.uint32)
        at = self._places()[self._order]
        inside = (
            (at >= _EDGE).all(axis=1) & (at[:, 0] < height - _EDGE) & (at[:, 1] < width - _EDGE)
        )
        order = self._order[inside]
        flat = at[inside, 0].astype(np.intp) * width + at[inside, 1]
        canvas = self._canvas.reshape(-1)
        radius = 2 if len(flat) <= FEW else 1
        colors = self._colors[order]
        _stamp(canvas, flat, colors, radius, width)
        picked = self._picked[order]
        if picked.any():
            rim = np.uint32(self.palette().color(QPalette.ColorRole.WindowText).rgb())
            few = radius + (1 if picked.sum() < FEW else 0)
            _stamp(canvas, flat[picked], rim, few, width)
            _stamp(canvas, flat[picked], colors[picked], few - 1, width)
        return QImage(self._canvas.data, width, height, 4 * width, QImage.Format.Format_RGB32)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the points, the outline in hand, and what the mouse points at."""
        if self._image is None:
            self._image = self._render()
        painter = QPainter(self)
        painter.drawImage(0, 0, self._image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._outline:
            painter.setPen(QPen(_LASSO, 2))
            painter.setBrush(QColor(86, 180, 233, 40))
            painter.drawPolygon(QPolygonF(self._outline))
        if 0 <= self._under < len(self._points):
            self._paint_hint(painter)

    def _paint_hint(self, painter: QPainter) -> None:
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        place = self.place_of(self._under)
        painter.setPen(QPen(ink, 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(place, 6, 6)
        picture, text = self._hint(self._under)
        side = 96 if picture is None else max(picture.width(), picture.height())
        lines = text.splitlines()
        metrics = painter.fontMetrics()
        wide = max([side, *(metrics.horizontalAdvance(line) for line in lines)]) + 12
        box = QRect(0, 0, wide, side + 12 + metrics.height() * len(lines))
        # On the other side of the map's middle, so that it hides nothing near the mouse.
        left = 8 if place.x() > self.width() / 2 else self.width() - wide - 8
        box.moveTopLeft(QPoint(left, 8))
        ground = self.palette().color(QPalette.ColorRole.Window)
        painter.fillRect(box, ground)
        painter.setPen(ink)
        painter.drawRect(box)
        if picture is not None:
            frame = QRect(box.left() + 6, box.top() + 6, wide - 12, side)
            at = picture.rect()
            at.moveCenter(frame.center())
            painter.drawPixmap(at.topLeft(), picture)
        for k, line in enumerate(lines):
            y = box.top() + side + 8 + metrics.height() * k + metrics.ascent()
            painter.drawText(QPoint(box.left() + 6, y), line)

    # -- mouse ----------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom, the place under the mouse staying there."""
        factor = 1.0015 ** event.angleDelta().y()
        at = event.position()
        off = np.array([at.x() - self.width() / 2, self.height() / 2 - at.y()])
        scale = min(max(self._scale * factor, 1.0), 1e6)
        self._center = self._center + off / self._scale - off / scale
        self._scale = scale
        self._redraw()
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to move the map, or to draw an outline."""
        self._start = self._last = event.position()
        is_left = event.button() == Qt.MouseButton.LeftButton
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self._mode = "lasso" if is_left and (shift or self.lasso_is_on) else "move"
        self._under = -1
        if self._mode == "lasso":
            self._outline = [event.position()]

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the map, draw on, or say what is under the mouse."""
        place = event.position()
        if self._start is None:
            under = self.point_at(place)
            if under != self._under:
                self._under = under
                self.update()
            return
        if self._mode == "lasso":
            self._outline.append(place)
            self.update()
            return
        moved = place - self._last
        self._last = place
        self._center = self._center - np.array([moved.x(), -moved.y()]) / self._scale
        self._redraw()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End what the press began; a click without a drag is one on a point."""
        start, self._start = self._start, None
        outline, self._outline = self._outline, []
        if start is None:
            return
        if (event.position() - start).manhattanLength() < CLICK_PX and len(outline) < 4:
            item = self.point_at(event.position())
            if item >= 0:
                self.clicked.emit(item)
        elif self._mode == "lasso":
            more = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            self.lassoed.emit(self._inside(outline), more)
        self.update()

    def mouseDoubleClickEvent(self, _event: QMouseEvent) -> None:
        """Show all points again."""
        self.fit()

    def leaveEvent(self, _event: QEvent) -> None:
        """Point at nothing."""
        self._under = -1
        self.update()

    def _inside(self, outline: list[QPointF]) -> NDArray[np.intp]:
        """Return the points inside an outline, by painting it: quick, whatever its shape."""
        mask = QImage(self.width(), self.height(), QImage.Format.Format_Grayscale8)
        mask.fill(0)
        painter = QPainter(mask)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("white"))
        painter.drawPolygon(QPolygonF(outline))
        painter.end()
        rows = np.frombuffer(mask.constBits().asstring(mask.sizeInBytes()), np.uint8)
        rows = rows.reshape(mask.height(), mask.bytesPerLine())
        at = self._places()
        shown = (at >= 0).all(axis=1) & (at[:, 0] < mask.height()) & (at[:, 1] < mask.width())
        items = np.flatnonzero(shown)
        return items[rows[at[items, 0], at[items, 1]] > 127]

    def sizeHint(self) -> QSize:
        """Return a square."""
        return QSize(360, 360)

    def minimumSizeHint(self) -> QSize:
        """Return room to see something."""
        return QSize(160, 160)


def _stamp(
    canvas: NDArray[np.uint32],
    flat: NDArray[np.intp],
    colors: NDArray[np.uint32] | np.uint32,
    radius: int,
    width: int,
) -> None:
    """Draw a disc around each pixel of a flattened picture."""
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= radius * radius + (radius > 1):
                canvas[flat + dy * width + dx] = colors
