"""The gallery: pictures of many cells, picked with the mouse and classed with one key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRect, Qt, QTimer
from qtpy.QtGui import QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QMenu, QSlider

from napari_cellal.core.records import Status
from napari_cellal.ui.batch_filter import BatchFilter
from napari_cellal.ui.box_looks import UNCLASSED
from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.controls import button, note, row, swatch
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.grid import CAPTION_PX, PictureGrid
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.picking_keys import bind_picking_keys
from napari_cellal.ui.words import STATUS_WORDS

if TYPE_CHECKING:
    from napari_cellal.core.records import Cell
    from napari_cellal.ui.workspace import Workspace

SMALLEST_PX, LARGEST_PX, USUAL_PX = 40, 200, 96
PICTURE_SIDES = (64, 128, 200)
"""Pictures are made in one of these sizes and drawn smaller."""
PICTURE_BYTES = 96 * 2**20
SLIDER_MS = 300
"""So long after the last step of a slider the pictures or the list follow."""
_MARKS = {
    Status.CONFIRMED: "✓",
    Status.CORRECTED: "✓",
    Status.DRAWN: "✓",
    Status.UNSURE: "?",
    Status.REJECTED: "✕",
}
_FADED, _FADES_TO = 0.55, QColor("#8a8a8a")
"""What is done grows pale, not dark: the cell is still to be seen, light or fluorescent."""


class GalleryDock(Dock):
    """Filters, the grid of pictures, and a button for every gesture that has a key."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.batch = batch = workspace.batch
        self.needs = Needs()
        self.add(self.needs)
        self.filter = BatchFilter(session, batch)
        self.pictures = CellPictures(session, workspace.images, 128, PICTURE_BYTES // (4 * 128**2))
        self.grid = PictureGrid(self._draw, self._describe)
        self.grid.setToolTip("")
        self.home = self.grid
        self._is_mine = False
        self._build()
        self._bind_keys()
        self._looks = QTimer(self)
        self._looks.setSingleShot(True)
        self._looks.setInterval(SLIDER_MS)
        self._looks.timeout.connect(self._draw_anew)
        self._shown = QTimer(self)
        self._shown.setSingleShot(True)
        self._shown.setInterval(SLIDER_MS)
        self._shown.timeout.connect(batch.ask_again)
        self.pictures.arrived.connect(self.grid.viewport().update)
        self.grid.picked_changed.connect(self._on_grid)
        self.grid.opened.connect(self._open)
        workspace.images.looks.changed.connect(self._looks.start)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self.refresh),
            (session.classes_changed, self._on_classes),
            (session.selection_changed, self._redraw),
            (session.shown_changed, self._on_shown),
            (session.image_changed, self._on_image),
            (batch.listed, self._on_list),
            (batch.rows_changed, self._redraw),
            (batch.picked_changed, self._on_picked),
            (batch.state_changed, self._show_state),
            (workspace.learn.job_started, self._follow),
        )
        self._on_list()
        self._on_picked()
        self.refresh()

    def disconnect_session(self) -> None:
        """Stop listening and making pictures, before the window closes."""
        super().disconnect_session()
        self.filter.disconnect_batch()
        self.pictures.close()

    def _build(self) -> None:
        batch = self.batch
        self._hint = Needs()
        self._why = note()
        self.bar = JobBar()
        self._size = QSlider(Qt.Orientation.Horizontal)
        self._size.setRange(SMALLEST_PX, LARGEST_PX)
        self._size.setValue(USUAL_PX)
        self._size.setToolTip("Size of the pictures")
        self._size.setFixedWidth(90)
        self._size.valueChanged.connect(self._on_size)
        self._count = note()
        self._refresh = button(
            "Refresh",
            "Make the list anew: cells that were classed stay in their places until then (F5)",
            batch.refresh,
        )
        self._refresh.setFixedWidth(70)
        self._classes = button(
            "Class as", "Give the picked cells a class; the keys 1 to 9 do the same", lambda: None
        )
        self._menu = QMenu(self._classes)
        self._classes.setMenu(self._menu)
        self._gestures = row(
            self._classes,
            button("Accept", "Right as they are (Enter)", batch.accept),
            button("Unsure", "Set aside (0)", batch.mark_unsure),
            button("Reject", "No cells; drawn boxes are deleted (Delete)", batch.remove),
            button("Undo", "Take back the last step (Ctrl+Z)", self.session.undo),
        )
        self._map = button(
            "Map", "The cells as points, close where they look alike (M)", self._show_map
        )
        self._map.setFixedWidth(60)
        self._top = row(self._count, self._size, self._map, self._refresh)
        self._top.layout().setStretch(0, 1)
        self.page = (
            self.filter,
            self._hint,
            self._why,
            self.bar,
            self._top,
            self.grid,
            self._gestures,
        )
        self.add(*self.page)
        self.column.setStretchFactor(self.grid, 1)
        for widget in (self.bar, self._hint, self._why):
            widget.hide()

    def _bind_keys(self) -> None:
        keys = bind_picking_keys(self.grid, self.session, self.batch, self._gesture)
        keys.bind(("Ctrl+A",), "all", self.grid.pick_all)
        keys.bind(("G",), "back to the image", self.workspace.focus_canvas)
        keys.bind(("M",), "map", self._show_map)
        keys.bind(("?",), "show the keys", self.workspace.show_keys)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be done now, when the dock is on screen."""
        self.when_seen(self._show)

    def _show(self) -> None:
        project = self.session.project
        there = project is not None and bool(project.images)
        for widget in (self.filter, self._top, self.grid, self._gestures):
            widget.setVisible(there)
        if not there:
            self._hint.hide()
            self._why.hide()
            self.needs.say(
                "No cells to show yet: open a project with images first.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock makes and opens projects",
            )
            return
        self.needs.hide()
        self.filter.fill()
        self._fill_classes()
        self._show_state()
        if not self.batch.cell_ids and not self.batch.is_busy:
            self.batch.refresh()

    def _fill_classes(self) -> None:
        project = self.session.project
        self._menu.clear()
        for c in project.active_classes if project is not None else ():
            text = f"{c.name}\t{c.shortcut}" if c.shortcut else c.name
            action = self._menu.addAction(swatch(c.color), text)
            action.triggered.connect(lambda _=False, k=c.class_id: self._give_class(k))

    def _on_project(self, _project: object) -> None:
        self.pictures.forget()
        self.refresh()

    def _on_shown(self, *_: object) -> None:
        self.when_seen(self._shown.start)

    def _on_image(self, *_: object) -> None:
        if self.filter.follows_image and self.session.image_id is not None:
            self.when_seen(self.filter.apply)

    def _on_classes(self) -> None:
        self.refresh()
        self._redraw()

    def _on_list(self) -> None:
        self.grid.set_count(len(self.batch.cell_ids))
        self._show_count()

    def _redraw(self, *_: object) -> None:
        self.grid.viewport().update()

    def _draw_anew(self) -> None:
        self.pictures.forget()
        self._redraw()

    def _follow(self, handle: Any) -> None:
        if self.batch.needs_measuring:
            self.bar.follow(handle)
            self._hint.hide()
            handle.ended.connect(self._show_state)

    def _show_state(self) -> None:
        batch = self.batch
        if batch.needs_measuring and not self.bar.busy:
            self._hint.say(
                "This order needs the cells measured; they stand by image until then.",
                "Measure the cells",
                batch.measure,
                "Measures every cell, in the background; Learn uses the same measurements",
            )
        else:
            self._hint.hide()
        self._why.setText(batch.note)
        self._why.setVisible(bool(batch.note) and not batch.needs_measuring)
        self._refresh.setText("Refresh •" if batch.is_behind else "Refresh")
        self._show_count()

    def _show_count(self) -> None:
        n, picked = len(self.batch.cell_ids), len(self.batch.picked)
        if self.batch.is_busy and not n:
            text = "Looking…"
        elif not n:
            text = "No cell is like that." if self.session.project else ""
        else:
            text = (
                f"{picked:,} selected of {n:,}"
                if picked
                else f"{n:,} {'cell' if n == 1 else 'cells'}"
            )
        score = self.session.shown.min_score
        if score > 0:
            text += f", score from {score:.2f}"
        self._count.setText(text)

    def _on_size(self, side: int) -> None:
        self.grid.set_side(side)
        wanted = next(s for s in PICTURE_SIDES if s >= side)
        if wanted != self.pictures.side_px:
            self.pictures.forget(wanted)

    def _show_map(self) -> None:
        self.workspace.raise_dock("Map")

    # -- picking --------------------------------------------------------------------------

    def _on_grid(self) -> None:
        ids = self.batch.cell_ids
        self._is_mine = True
        self.batch.pick([ids[k] for k in self.grid.picked.tolist()])
        self._is_mine = False

    def _on_picked(self) -> None:
        self._show_count()
        if self._is_mine:
            return
        picked = set(self.batch.picked)
        ids = self.batch.cell_ids if picked else ()  # of a million, looking takes a while
        self.grid.pick([k for k, key in enumerate(ids) if key in picked])

    def _open(self, item: int) -> None:
        (cell,) = self.batch.rows([self.batch.cell_ids[item]])
        if cell is None:
            self.session.tell("This cell was deleted. Ctrl+Z brings it back.")
        else:
            self.session.go_to(cell)

    # -- gestures -------------------------------------------------------------------------

    def _give_class(self, class_id: int) -> None:
        self._gesture(lambda: self.batch.give_class(class_id))

    def _gesture(self, do: Any) -> None:
        """Do it; after a single cell go on to the next that nobody has answered."""
        alone = len(self.batch.picked) == 1
        item = self.grid.current
        if not do() or not alone or item < 0:
            return
        ids = self.batch.cell_ids
        following = range(item + 1, len(ids))
        self.grid.go_to(next((k for k in following if not self.batch.is_done(ids[k])), item))

    # -- drawing --------------------------------------------------------------------------

    def _draw(self, painter: QPainter, places: list[tuple[int, QRect]]) -> None:
        project = self.session.project
        if project is None or not self.isVisible():
            return
        ids = self.batch.cell_ids
        cells = self.batch.rows([ids[item] for item, _ in places])
        there = [c for c in cells if c is not None and c.image_id in project.images]
        pictures = dict(zip((c.cell_id for c in there), self.pictures.of(there), strict=True))
        in_hand = set(self.session.selection)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        for (_, place), cell in zip(places, cells, strict=True):
            side = place.width()
            frame = QRect(place.left(), place.top(), side, side)
            painter.fillRect(frame, QColor("black"))
            if cell is None:
                self._write(painter, place, "deleted")
                continue
            done = self.batch.is_done(cell.cell_id)
            picture = pictures.get(cell.cell_id)
            if picture is not None:
                at = QRect(frame)
                at.setSize(picture.size().scaled(frame.size(), Qt.AspectRatioMode.KeepAspectRatio))
                at.moveCenter(frame.center())
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
                if done:
                    painter.fillRect(at, _FADES_TO)
                    painter.setOpacity(_FADED)
                painter.drawPixmap(at, picture)
                painter.setOpacity(1.0)
            self._dress(painter, frame, cell, cell.cell_id in in_hand)
            self._write(painter, place, self._caption(cell))

    def _dress(self, painter: QPainter, frame: QRect, cell: Cell, in_hand: bool) -> None:
        """Draw the edge in the class's colour, thin while nobody looked, and the state's mark."""
        project = self.session.project
        known = None if cell.class_id is None else project.classes[cell.class_id]
        color = QColor(UNCLASSED if known is None else known.color)
        waiting = cell.status in (Status.PROPOSED, Status.IMPORTED)
        width = 1 if waiting else 3
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(color, width, join=Qt.PenJoinStyle.MiterJoin))
        half = width // 2
        painter.drawRect(frame.adjusted(half, half, -half - 1, -half - 1))
        if in_hand:
            painter.setPen(QPen(QColor("white"), 1, Qt.PenStyle.DashLine))
            painter.drawRect(frame.adjusted(4, 4, -5, -5))
        mark = _MARKS.get(cell.status)
        if mark is not None:
            spot = QRect(frame.right() - 16, frame.top(), 17, 17)
            painter.fillRect(spot, color)
            light = color.lightnessF() > 0.45
            painter.setPen(QColor("black" if light else "white"))
            painter.drawText(spot, int(Qt.AlignmentFlag.AlignCenter), mark)

    def _write(self, painter: QPainter, place: QRect, text: str) -> None:
        foot = QRect(place.left(), place.bottom() - CAPTION_PX + 1, place.width(), CAPTION_PX)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        text = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, foot.width())
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignCenter), text)

    def _class_name(self, class_id: int | None) -> str:
        project = self.session.project
        known = None if class_id is None or project is None else project.classes.get(class_id)
        return "no class yet" if known is None else known.name

    def _caption(self, cell: Cell) -> str:
        if cell.class_id is None:
            return "–"
        pairs, _ = self.batch.probabilities(cell)
        if self.batch.order == "mislabels" and pairs and pairs[0][0] != cell.class_id:
            return f"{self._class_name(cell.class_id)}? {self._class_name(pairs[0][0])}"
        said = dict(pairs).get(cell.class_id)
        share = "" if said is None else f" {said:.2f}"
        return self._class_name(cell.class_id) + share

    def _describe(self, item: int) -> str:
        """Return what is known of a cell, for its tooltip."""
        project = self.session.project
        (cell,) = self.batch.rows([self.batch.cell_ids[item]])
        if cell is None or project is None or cell.image_id not in project.images:
            return "This cell was deleted."
        lines = [f"{self._class_name(cell.class_id)}, {STATUS_WORDS[cell.status]}"]
        pairs, model_id = self.batch.probabilities(cell)
        if pairs:
            said = ", ".join(f"{self._class_name(k)} {p:.2f}" for k, p in pairs[:4])
            by = "Learn" if model_id == "learn" else self.workspace.model_name(model_id)
            lines.append(f"{by} says: {said}")
        if cell.proposed is not None:
            by = self.workspace.model_name(cell.proposed.model_id)
            lines.append(f"Proposed by {by}, score {cell.proposed.score:.2f}")
        lines.append(project.images[cell.image_id].name)
        if cell.note:
            lines.append(cell.note)
        return "\n".join(lines)
