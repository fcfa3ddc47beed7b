"""The cells of one image as a napari Shapes layer, kept in step with the rows both ways.

napari's data events are not enough to say what a person did (a paste tells of no data, new
rows copy the last row's features, indices are unreliable), so the layer's rows are compared
with the table by id, and the difference becomes one edit a gesture.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from napari_cellal.core import gestures
from napari_cellal.core.handiwork import handiwork, same_boxes

from .box_looks import UNCLASSED, BoxLooks
from .crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit
    from napari_cellal.core.records import Cell

    from .session import Session

HALF_PX = 0.5
"""napari puts the middle of an image's first pixel at 0; boxes are counted from its edge."""
_AROUND = 40  # boxes shown first when one cell is centred: more than the zoom lets see
_PORTION = 120  # boxes added in one turn of the window's loop
_FEW = 300  # shapes that are recoloured by their looks, 0.03 ms each beside 17 ms a look
_LOOKS = 3
_HELP = (
    "1 to 9 class, Enter accept, Delete reject, Tab next box, W draw, F image finished, ? all keys"
)
_UNFINISHED = {"adding", "removing", "changing"}


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float[N, 4, 2] corner points (y, x) of float[N, 4] boxes, clockwise."""
    y0, x0, y1, x1 = boxes.T
    return np.stack([np.stack(p, axis=1) for p in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))], axis=1)


class BoxLayer:
    """Keeps one Shapes layer and the shown cells of the session's image in step.

    Parameters
    ----------
    session : Session
    later : callable or None
        Runs a function in a later turn of the window's loop. With it, an image of many
        boxes appears in portions, those around the cell in hand first; without, at once.

    Attributes
    ----------
    layer : napari.layers.Shapes
        Add it to a viewer; its feature ``cell_id`` names the row of each shape.
    """

    def __init__(
        self, session: Session, later: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        self.session = session
        self._later = later
        self._waiting: list[str] = []
        self._pale: set[str] = set()
        """Cells whose new look is not on the layer yet."""
        self._reloads = 0
        self._quiet_depth = 0
        self._shown: dict[str, Cell] = {}
        self._looks = BoxLooks(session)
        self.crowd = Crowd(session)
        self.layer = Shapes(
            ndim=2,
            name="Boxes",
            translate=(-HALF_PX, -HALF_PX),
            features={"cell_id": np.array([], dtype=object)},
            edge_color=UNCLASSED,
            face_color="transparent",
            opacity=1.0,
        )
        self.layer.events.data.connect(self._on_layer_data)
        self.layer.events.features.connect(self._on_layer_data)  # a paste emits only this
        self.layer.selected_data.events.items_changed.connect(self._on_layer_selection)
        self.layer.events.help.connect(self._on_help)
        self._on_help()
        session.edited.connect(self._on_edit)
        session.image_changed.connect(self._on_image)
        session.shown_changed.connect(self._on_shown)
        session.classes_changed.connect(self._on_classes)
        session.selection_changed.connect(self._on_session_selection)
        self._on_image()

    def disconnect(self) -> None:
        """Stop listening to the session."""
        for signal, slot in (
            (self.session.edited, self._on_edit),
            (self.session.image_changed, self._on_image),
            (self.session.shown_changed, self._on_shown),
            (self.session.classes_changed, self._on_classes),
            (self.session.selection_changed, self._on_session_selection),
        ):
            signal.disconnect(slot)

    def _on_help(self) -> None:
        """Say our keys in the status bar, where napari would say its own for Shapes."""
        self.layer.help = _HELP

    def forget_mouse(self) -> None:
        """Highlight no box: the mouse has left the canvas.

        napari goes on outlining the last box that the mouse was over, in a blue that a class
        has too.
        """
        layer = self.layer
        if not (layer._is_creating or layer._is_moving):
            layer._value = (None, None)
            layer._set_highlight()

    # -- reading the layer ----------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the cell id of each shape, '' where a shape has none yet."""
        return [str(k) if isinstance(k, str) else "" for k in self.layer.features["cell_id"]]

    def boxes(self) -> NDArray[np.float64]:
        """Return float64[N, 4], the box around each shape."""
        data = self.layer.data
        if not data:
            return np.empty((0, 4))
        low = np.array([d[:, -2:].min(axis=0) for d in data], dtype=float)
        high = np.array([d[:, -2:].max(axis=0) for d in data], dtype=float)
        return np.concatenate([low, high], axis=1)

    # -- writing the layer ----------------------------------------------------------------

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        self._quiet_depth += 1
        try:
            yield
        finally:
            self._quiet_depth -= 1

    @contextmanager
    def _one_refresh(self, thumbnail: bool) -> Iterator[None]:
        """Tell the viewer once of all that changes in the block.

        napari draws, outlines and measures the layer anew at each step of a change, and the
        viewer checks its dimensions: 26 ms for another image's first boxes, 12 in one go.
        """
        events = self.layer.events
        with (
            self.layer.block_thumbnail_update(),
            events.data.blocker(),
            events.set_data.blocker(),
            events.highlight.blocker(),
        ):
            yield
        self.layer.refresh(thumbnail=thumbnail)
        events.data(
            value=self.layer.data, action="changed", data_indices=(-1,), vertex_indices=((),)
        )

    def _on_image(self, *_: object) -> None:
        """Show another image's boxes."""
        self.crowd.start()
        if self.layer.mode not in ("select", "pan_zoom"):
            with self._quiet():  # a box half drawn belongs to the image before
                self.layer.mode = "select"
        self._reload()

    @property
    def _is_drawing(self) -> bool:
        return self.layer.mode == "add_rectangle" and bool(self.layer._is_creating)

    def show_view(self, view: Box) -> bool:
        """Show the boxes around a part of a crowded image, (y0, x0, y1, x1) px.

        Return whether they had to be loaded.
        """
        if self._is_drawing or not self.crowd.needs(view):
            return False
        self.crowd.look_at(view)
        self._reload()
        return True

    def _reload(self) -> None:
        """Load the layer afresh."""
        cells = self.crowd.cells()
        first, focus = len(cells), self.session.focus
        if self._later is not None and len(cells) > _AROUND:
            first = _PORTION * (2 if self.crowd.is_on else 1)  # in view: nearly all at once
            if focus is not None:
                first = _AROUND
                y, x = focus.box[0] + focus.box[2], focus.box[1] + focus.box[3]
                cells.sort(
                    key=lambda c: abs(c.box[0] + c.box[2] - y) + abs(c.box[1] + c.box[3] - x)
                )
        self._waiting = [c.cell_id for c in cells[first:]]
        self._looks.fit(cells, self.crowd.loaded)
        self._reloads += 1
        with self._quiet(), self._one_refresh(thumbnail=not self._waiting):
            self._clear()
            self._add(cells[:first])
            self._select_in_layer(self.session.selection)
        if self._waiting:
            self._go_on_later()

    def _go_on_later(self) -> None:
        """Add a portion in a later turn, unless the layer is loaded afresh until then.

        Else the turn of the image before would come ahead of this one's first drawing.
        """
        reloads = self._reloads
        if self._later is not None:
            self._later(lambda: self._add_portion() if reloads == self._reloads else None)

    def _add_portion(self) -> None:
        """Add the next boxes that are still waiting to be shown."""
        project = self.session.project
        if project is None or not self._waiting:
            self._waiting = []
            return
        if self._is_drawing or self.session.is_leaving:
            self._go_on_later()  # not under a person's hand, nor in its way
            return
        portion, self._waiting = self._waiting[:_PORTION], self._waiting[_PORTION:]
        rows = project.cells.rows(portion)
        cells = [c for c in rows.values() if c is not None and c.cell_id not in self._shown]
        with self._quiet(), self._one_refresh(thumbnail=not self._waiting):
            self._add([c for c in cells if self.session.shown.includes(c)])
            self._select_in_layer(self.session.selection)
        if self._waiting:
            self._go_on_later()

    def _clear(self) -> None:
        self.layer.selected_data = set()
        self.layer.data = []
        self._write_ids([])  # napari keeps the features of shapes that are gone
        self._shown = {}
        self._pale = set()

    def _add(self, cells: list[Cell]) -> None:
        if not cells:
            return
        before = self.ids()
        rgba, widths = self._looks.of(cells)
        self.layer.add(
            list(corners(np.array([c.box for c in cells]))),
            shape_type="rectangle",
            edge_color=rgba,
            edge_width=widths,
            face_color="transparent",
        )
        self._shown.update({c.cell_id: c for c in cells})
        self._write_ids(before + [c.cell_id for c in cells])

    def _write_ids(self, ids: list[str]) -> None:
        column = np.empty(len(ids), dtype=object)
        column[:] = ids
        self.layer.features = {"cell_id": column}
        # Else the next drawn box would carry the last row's id.
        self.layer.feature_defaults = {"cell_id": ""}

    def _drop(self, cell_ids: set[str]) -> None:
        ids = self.ids()
        places = [i for i, key in enumerate(ids) if key in cell_ids]
        if places:
            self.layer.selected_data = set()
            self.layer.remove(places)
            self._write_ids([key for key in ids if key not in cell_ids])
        for key in cell_ids:
            self._shown.pop(key, None)

    def _push(self, rows: dict[str, Cell | None]) -> None:
        """Make the touched shapes equal their rows, leaving the others alone."""
        wanted = {
            key: cell
            for key, cell in rows.items()
            if cell is not None
            and cell.image_id == self.session.image_id
            and self.session.shown.includes(cell)
            and (key in self._shown or self.crowd.includes(cell.box))
        }
        drop = {
            key
            for key in rows
            if key in self._shown and (key not in wanted or wanted[key].box != self._shown[key].box)
        }
        add = [cell for key, cell in wanted.items() if key not in self._shown or key in drop]
        if self.crowd.is_full(len(self._shown) + len(add)) and not self._is_drawing:
            self._reload()  # shows that there are too many
            return
        with self._quiet():
            self._drop(drop)
            self._add(add)
            kept = {k: c for k, c in wanted.items() if k not in drop and k in self._shown}
            if kept:
                self._shown.update(kept)
                if self._later is not None and self._looks_can_wait:
                    if not self._pale:
                        self._later(self._recolor_pale)
                    self._pale.update(kept)
                else:
                    self._recolor(kept)
            if drop or add:
                self._select_in_layer(self.session.selection)

    @property
    def _looks_can_wait(self) -> bool:
        # The portions of a long edit: recolouring costs more than writing one.
        return self.session.is_leaving or len(self.session.works) > 0

    def _recolor_pale(self) -> None:
        """Give the look that was put off, unless the image has gone by now."""
        if self._later is not None and self._pale and self._looks_can_wait:
            self._later(self._recolor_pale)
            return
        pale = sorted(self._pale & self._shown.keys(), key=lambda key: _look(self._shown[key]))
        self._pale = set(pale[_PORTION:])
        if pale:
            self._recolor(pale[:_PORTION])
        if self._pale and self._later is not None:
            self._later(self._recolor_pale)

    def _recolor(self, changed: Collection[str] | None = None) -> None:
        """Give shapes the look of their cells: the changed ones, or all."""
        ids = self.ids()
        if not ids or any(key not in self._shown for key in ids):
            return
        cells = [self._shown[key] for key in ids]
        groups: dict[tuple[object, ...], set[int]] = {}
        wanted = set(changed or ())
        for i, key in enumerate(ids):
            if key in wanted:
                groups.setdefault(_look(cells[i]), set()).add(i)
        with self._quiet():
            if changed is None or len(wanted) > _FEW or len(groups) > _LOOKS:
                rgba, widths = self._looks.of(cells)
                self.layer.edge_color = rgba
                if widths != list(self.layer.edge_width):
                    self.layer.edge_width = widths
                return
            # napari recolours all 5,000 shapes in 120 ms, the selected ones in 17.
            selected = set(self.layer.selected_data)
            for places in groups.values():
                rgba, widths = self._looks.of([cells[min(places)]])
                self.layer.selected_data = places
                red, green, blue, alpha = (round(v * 255) for v in rgba[0])
                self.layer.current_edge_color = f"#{red:02x}{green:02x}{blue:02x}{alpha:02x}"
                self.layer.current_edge_width = widths[0]
            self.layer.selected_data = selected

    # -- from the table -------------------------------------------------------------------

    def _on_edit(self, edit: Edit) -> None:
        if self._quiet_depth:
            return
        touched = {
            key: row
            for key, row in edit.after.items()
            if key in self._shown or (row is not None and row.image_id == self.session.image_id)
        }
        if not touched:
            return
        grows = not self.crowd.is_on and any(edit.before[key] is None for key in touched)
        if grows and self.session.is_crowded and not self._is_drawing:
            self.crowd.start()
            self._reload()
        else:
            self._push(touched)

    def _on_shown(self, *_: object) -> None:
        if self.session.project is None or self.session.image_id is None:
            return
        if self.crowd.is_on:
            self._reload()
            return
        rows = self.session.project.cells.of_image(self.session.image_id)
        differs = [
            c for c in rows if self.session.shown.includes(c) is not (c.cell_id in self._shown)
        ]
        self._push({c.cell_id: c for c in differs})

    def _on_classes(self) -> None:
        self._recolor()

    def _on_session_selection(self, *_: object) -> None:
        if self.crowd.is_on:
            with self._quiet():
                self._add([c for c in self.crowd.in_hand() if c.cell_id not in self._shown])
        self._select_in_layer(self.session.selection)

    def _select_in_layer(self, cell_ids: tuple[str, ...]) -> None:
        wanted = set(cell_ids)
        places = {i for i, key in enumerate(self.ids()) if key in wanted}
        if places != set(self.layer.selected_data):
            with self._quiet():
                self.layer.selected_data = places

    # -- from the layer -------------------------------------------------------------------

    def _on_layer_selection(self, *_: object) -> None:
        if self._quiet_depth:
            return
        ids = self.ids()
        chosen = [ids[i] for i in sorted(self.layer.selected_data) if i < len(ids) and ids[i]]
        self.session.select(chosen)

    def _on_layer_data(self, event: Any = None) -> None:
        if self._quiet_depth or str(getattr(event, "action", "")) in _UNFINISHED:
            return
        if len(self.layer.data) != len(self.layer.features):
            return  # in the middle of an add; the features event follows
        self.reconcile()

    def reconcile(self) -> None:
        """Write what a person did to the layer as one edit, and make the layer follow."""
        session = self.session
        if session.project is None or session.image_id is None:
            return
        ids, boxes = self.ids(), self.boxes()
        image = session.image
        assert image is not None
        work = handiwork(
            self._shown, ids, boxes, self._upright(), image.shape[1:], session.draw_class_id
        )
        by = session.person
        edits = [gestures.move(work.moved, by), gestures.remove(work.gone, by)]
        new_ids: list[str] = []
        for class_id, drawn in work.drawn.items():
            draw = gestures.draw(session.image_id, [box for _, box in drawn], class_id, by)
            edits.append(draw)
            new_ids += draw.after
            for (i, _), key in zip(drawn, draw.after, strict=True):
                ids[i] = key
        done = [edit for edit in edits if edit]
        if done:
            label = done[0].label if len(done) == 1 else "edited boxes"
            with self._quiet():
                session.do(gestures.join(label, done, by))
        self._follow(ids, boxes)
        if new_ids:
            if self.layer.mode == "add_rectangle":
                self.layer.mode = "select"
            session.select(new_ids)
            self._select_in_layer(session.selection)

    def _follow(self, ids: list[str], boxes: NDArray[np.float64]) -> None:
        """Make the layer equal the table after a gesture, whether it was written or refused.

        Rotated or bent shapes become upright rectangles again.
        """
        waiting = set(self._waiting)
        now = {c.cell_id: c for c in self.crowd.cells() if c.cell_id not in waiting}
        upright = self._upright()
        keep, kept = [], set()
        for i, key in enumerate(ids):
            good = key in now and key not in kept and upright[i]
            if good:
                kept.add(key)
            keep.append(good)
        rows = np.array(
            [now[key].box if k else (0, 0, 0, 0) for key, k in zip(ids, keep, strict=True)]
        ).reshape(-1, 4)
        right = same_boxes(rows, boxes) & np.array(keep, dtype=bool)
        with self._quiet():
            wrong = np.nonzero(~right)[0].tolist()
            if wrong:
                self.layer.selected_data = set()
                self.layer.remove(wrong)
            staying = [key for key, good in zip(ids, right, strict=True) if good]
            if staying != self.ids():
                self._write_ids(staying)
            changed = self._shown.keys() != now.keys() or any(
                self._shown[key] is not now[key] and self._shown[key] != now[key] for key in now
            )
            self._shown = {key: now[key] for key in staying}
            self._add([c for key, c in now.items() if key not in self._shown])
            if changed:
                self._recolor()
            self._select_in_layer(self.session.selection)

    def _upright(self) -> NDArray[np.bool_]:
        """Return bool[N], True where a shape is a rectangle along the image's axes."""
        data = self.layer.data
        four = [len(d) == 4 for d in data]
        if not all(four):
            return np.array(
                [k and _is_upright(d[None, :, -2:])[0] for k, d in zip(four, data, strict=True)]
            )
        if not data:
            return np.zeros(0, dtype=bool)
        return _is_upright(np.stack([d[:, -2:] for d in data]))


def _look(cell: Cell) -> tuple[int, str]:
    """Return what a box's colour and width depend on."""
    return (-1 if cell.class_id is None else cell.class_id, cell.status.value)


def _is_upright(corner: NDArray[np.float64]) -> NDArray[np.bool_]:
    # corner [N, 4, 2]
    low, high = corner.min(axis=1, keepdims=True), corner.max(axis=1, keepdims=True)
    at_edge = np.isclose(corner, low, atol=1e-3) | np.isclose(corner, high, atol=1e-3)
    return at_edge.all(axis=(1, 2))
