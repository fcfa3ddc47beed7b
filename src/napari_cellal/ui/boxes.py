"""The cells of one image as a napari Shapes layer, kept in step with the rows both ways.

napari's data events are not enough to say what a person did (a paste tells of no data, new
rows copy the last row's features, indices are unreliable), so the layer's rows are compared
with the table by id, and the difference becomes one edit a gesture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core import gestures
from napari_cellal.core.handiwork import handiwork, same_boxes

from .box_looks import BoxLooks
from .box_shapes import BoxShapes
from .crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit
    from napari_cellal.core.records import Cell

    from .session import Session

_AROUND = 40  # boxes shown first when one cell is centred: more than the zoom lets see
_PORTION = 120  # boxes added in one turn of the window's loop
_HELP = (
    "1 to 9 class, Enter accept, Delete reject, Tab next box, W draw, F image finished, ? all keys"
)
_UNFINISHED = {"adding", "removing", "changing"}


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
    shapes : BoxShapes
    layer : napari.layers.Shapes
        That of ``shapes``; add it to a viewer.
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
        self.shapes = BoxShapes(BoxLooks(session))
        self.crowd = Crowd(session)
        self.layer = self.shapes.layer
        self.layer.events.data.connect(self._on_layer_data)
        self.layer.events.features.connect(self._on_layer_data)  # a paste emits only this
        self.layer.selected_data.events.items_changed.connect(self._on_layer_selection)
        self.layer.events.help.connect(self._on_help)
        self._on_help()
        session.edited.connect(self._on_edit)
        session.image_changed.connect(self._on_image)
        session.concealed_changed.connect(self._on_concealed)
        session.shown_changed.connect(self._on_shown)
        session.classes_changed.connect(self._on_classes)
        session.selection_changed.connect(self._on_session_selection)
        self._on_image()

    def disconnect(self) -> None:
        """Stop listening to the session."""
        for signal, slot in (
            (self.session.edited, self._on_edit),
            (self.session.image_changed, self._on_image),
            (self.session.concealed_changed, self._on_concealed),
            (self.session.shown_changed, self._on_shown),
            (self.session.classes_changed, self._on_classes),
            (self.session.selection_changed, self._on_session_selection),
        ):
            signal.disconnect(slot)

    def _on_help(self) -> None:
        """Say our keys in the status bar, where napari would say its own for Shapes."""
        self.layer.help = _HELP

    def ids(self) -> list[str]:
        """Return the cell id of each shape, '' where a shape has none yet."""
        return self.shapes.ids()

    # -- loading --------------------------------------------------------------------------

    def _on_image(self, *_: object) -> None:
        """Show another image's boxes."""
        self.crowd.start()
        if self.layer.mode not in ("select", "pan_zoom"):
            with self.shapes.quiet():  # a box half drawn belongs to the image before
                self.layer.mode = "select"
        self._reload()

    def show_view(self, view: Box) -> bool:
        """Show the boxes around a part of a crowded image, (y0, x0, y1, x1) px.

        Return whether they had to be loaded.
        """
        if self.shapes.is_drawing or not self.crowd.needs(view):
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
        self.shapes.looks.fit(cells, self.crowd.loaded)
        self._reloads += 1
        with self.shapes.quiet(), self.shapes.one_refresh(thumbnail=not self._waiting):
            self.shapes.clear()
            self._pale = set()
            self.shapes.add(cells[:first])
            self.shapes.select(self.session.selection)
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
        if self.shapes.is_drawing or self.session.is_leaving:
            self._go_on_later()  # not under a person's hand, nor in its way
            return
        portion, self._waiting = self._waiting[:_PORTION], self._waiting[_PORTION:]
        rows = project.cells.rows(portion)
        cells = [c for c in rows.values() if c is not None and c.cell_id not in self.shapes.shown]
        with self.shapes.quiet(), self.shapes.one_refresh(thumbnail=not self._waiting):
            self.shapes.add([c for c in cells if self.session.shown.includes(c)])
            self.shapes.select(self.session.selection)
        if self._waiting:
            self._go_on_later()

    def _push(self, rows: dict[str, Cell | None]) -> None:
        """Make the touched shapes equal their rows, leaving the others alone."""
        wanted = {
            key: cell
            for key, cell in rows.items()
            if cell is not None
            and cell.image_id == self.session.image_id
            and self.session.shown.includes(cell)
            and (key in self.shapes.shown or self.crowd.includes(cell.box))
        }
        drop = {
            key
            for key in rows
            if key in self.shapes.shown
            and (key not in wanted or wanted[key].box != self.shapes.shown[key].box)
        }
        add = [cell for key, cell in wanted.items() if key not in self.shapes.shown or key in drop]
        if self.crowd.is_full(len(self.shapes.shown) + len(add)) and not self.shapes.is_drawing:
            self._reload()  # shows that there are too many
            return
        with self.shapes.quiet():
            self.shapes.drop(drop)
            self._fit_first(add)
            self.shapes.add(add)
            kept = {k: c for k, c in wanted.items() if k not in drop and k in self.shapes.shown}
            if kept:
                self.shapes.shown.update(kept)
                if self._later is not None and self._looks_can_wait:
                    if not self._pale:
                        self._later(self._recolor_pale)
                    self._pale.update(kept)
                else:
                    self.shapes.recolor(kept)
            if drop or add:
                self.shapes.select(self.session.selection)

    def _fit_first(self, cells: Collection[Cell]) -> None:
        """Have the first boxes on an image tell how wide the edges of all may be.

        On an empty slide nothing does, and edges for the whole of it would hide the cells.
        """
        if cells and not self.shapes.shown:
            self.shapes.looks.fit(cells, self.crowd.loaded)

    @property
    def _looks_can_wait(self) -> bool:
        # The portions of a long edit: recolouring costs more than writing one.
        return self.session.is_leaving or len(self.session.works) > 0

    def _recolor_pale(self) -> None:
        """Give the look that was put off, unless the image has gone by now."""
        if self._later is not None and self._pale and self._looks_can_wait:
            self._later(self._recolor_pale)
            return
        pale = sorted(
            self._pale & self.shapes.shown.keys(),
            key=lambda key: self.shapes.looks.kind(self.shapes.shown[key]),
        )
        self._pale = set(pale[_PORTION:])
        if pale:
            self.shapes.recolor(pale[:_PORTION])
        if self._pale and self._later is not None:
            self._later(self._recolor_pale)

    # -- from the table -------------------------------------------------------------------

    def _on_edit(self, edit: Edit) -> None:
        if self.shapes.is_quiet:
            return
        touched = {
            key: row
            for key, row in edit.after.items()
            if key in self.shapes.shown
            or (row is not None and row.image_id == self.session.image_id)
        }
        if not touched:
            return
        grows = not self.crowd.is_on and any(edit.before[key] is None for key in touched)
        if grows and self.session.is_crowded and not self.shapes.is_drawing:
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
            c
            for c in rows
            if self.session.shown.includes(c) is not (c.cell_id in self.shapes.shown)
        ]
        self._push({c.cell_id: c for c in differs})

    def _on_concealed(self, cell_ids: tuple[str, ...]) -> None:
        self.shapes.recolor(cell_ids)

    def _on_classes(self) -> None:
        self.shapes.recolor()

    def _on_session_selection(self, *_: object) -> None:
        if self.crowd.is_on:
            with self.shapes.quiet():
                self.shapes.add(
                    [c for c in self.crowd.in_hand() if c.cell_id not in self.shapes.shown]
                )
        self.shapes.select(self.session.selection)

    # -- from the layer -------------------------------------------------------------------

    def _on_layer_selection(self, *_: object) -> None:
        if self.shapes.is_quiet:
            return
        ids = self.shapes.ids()
        chosen = [ids[i] for i in sorted(self.layer.selected_data) if i < len(ids) and ids[i]]
        self.session.select(chosen)

    def _on_layer_data(self, event: Any = None) -> None:
        if self.shapes.is_quiet or str(getattr(event, "action", "")) in _UNFINISHED:
            return
        if len(self.layer.data) != len(self.layer.features):
            return  # in the middle of an add; the features event follows
        self.reconcile()

    def reconcile(self) -> None:
        """Write what a person did to the layer as one edit, and make the layer follow."""
        session = self.session
        if session.project is None or session.image_id is None:
            return
        ids, boxes = self.shapes.ids(), self.shapes.boxes()
        image = session.image
        assert image is not None
        work = handiwork(
            self.shapes.shown,
            ids,
            boxes,
            self.shapes.upright(),
            image.shape[1:],
            session.draw_class_id,
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
            with self.shapes.quiet():
                session.do(gestures.join(label, done, by))
        self._follow(ids, boxes)
        if new_ids:
            if self.layer.mode == "add_rectangle":
                self.layer.mode = "select"
            session.select(new_ids)
            self.shapes.select(session.selection)

    def _follow(self, ids: list[str], boxes: NDArray[np.float64]) -> None:
        """Make the layer equal the table after a gesture, whether it was written or refused.

        Rotated or bent shapes become upright rectangles again.
        """
        waiting = set(self._waiting)
        now = {c.cell_id: c for c in self.crowd.cells() if c.cell_id not in waiting}
        upright = self.shapes.upright()
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
        with self.shapes.quiet():
            wrong = np.nonzero(~right)[0].tolist()
            if wrong:
                self.shapes.remove(wrong)
            staying = [key for key, good in zip(ids, right, strict=True) if good]
            if staying != self.shapes.ids():
                self.shapes.write_ids(staying)
            changed = self.shapes.shown.keys() != now.keys() or any(
                self.shapes.shown[key] is not now[key] and self.shapes.shown[key] != now[key]
                for key in now
            )
            self._fit_first(now.values())
            self.shapes.shown = {key: now[key] for key in staying}
            self.shapes.add([c for key, c in now.items() if key not in self.shapes.shown])
            if changed:
                self.shapes.recolor()
            self.shapes.select(self.session.selection)
