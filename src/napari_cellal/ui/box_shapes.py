"""Cells as rectangles on a napari Shapes layer, each known by its cell's id."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from .box_looks import UNCLASSED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from napari_cellal.core.records import Cell

    from .box_looks import BoxLooks

HALF_PX = 0.5
"""napari puts the middle of an image's first pixel at 0; boxes are counted from its edge."""
_FEW = 300  # shapes that are recoloured by their looks, 0.03 ms each beside 17 ms a look
_LOOKS = 3


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float[N, 4, 2] corner points (y, x) of float[N, 4] boxes, clockwise."""
    y0, x0, y1, x1 = boxes.T
    return np.stack([np.stack(p, axis=1) for p in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))], axis=1)


class BoxShapes:
    """Draws cells on a Shapes layer, and reads what a person did to them.

    Attributes
    ----------
    layer : napari.layers.Shapes
        Its feature ``cell_id`` names the row of each shape.
    shown : dict of str to Cell
        The cells on the layer, as they were drawn.
    """

    def __init__(self, looks: BoxLooks) -> None:
        self.looks = looks
        self.shown: dict[str, Cell] = {}
        self._quiet_depth = 0
        self.layer = Shapes(
            ndim=2,
            name="Boxes",
            translate=(-HALF_PX, -HALF_PX),
            features={"cell_id": np.array([], dtype=object)},
            edge_color=UNCLASSED,
            face_color="transparent",
            opacity=1.0,
        )

    def forget_mouse(self) -> None:
        """Highlight no box: the mouse has left the canvas, or a key chose another box.

        napari goes on outlining the last box that the mouse was over, in a blue that a class
        has too.
        """
        layer = self.layer
        if not (layer._is_creating or layer._is_moving):
            layer._value = (None, None)
            layer._set_highlight()

    @property
    def is_drawing(self) -> bool:
        """True while a person's mouse draws a box."""
        return self.layer.mode == "add_rectangle" and bool(self.layer._is_creating)

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

    def upright(self) -> NDArray[np.bool_]:
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

    # -- writing the layer ----------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """True in a block of `quiet`: the layer tells of changes that no person made."""
        return self._quiet_depth > 0

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Say that the changes in the block are not a person's."""
        self._quiet_depth += 1
        try:
            yield
        finally:
            self._quiet_depth -= 1

    @contextmanager
    def one_refresh(self, thumbnail: bool) -> Iterator[None]:
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

    def clear(self) -> None:
        """Take all shapes off."""
        self.layer.selected_data = set()
        self.layer.data = []
        self.write_ids([])  # napari keeps the features of shapes that are gone
        self.shown = {}

    def add(self, cells: list[Cell]) -> None:
        """Draw cells that are not on the layer."""
        if not cells:
            return
        before = self.ids()
        rgba, widths = self.looks.of(cells)
        self.layer.add(
            list(corners(np.array([c.box for c in cells]))),
            shape_type="rectangle",
            edge_color=rgba,
            edge_width=widths,
            face_color="transparent",
        )
        self.shown.update({c.cell_id: c for c in cells})
        self.write_ids(before + [c.cell_id for c in cells])

    def write_ids(self, ids: list[str]) -> None:
        """Say whose each shape is, in the layer's order."""
        column = np.empty(len(ids), dtype=object)
        column[:] = ids
        self.layer.features = {"cell_id": column}
        # Else the next drawn box would carry the last row's id.
        self.layer.feature_defaults = {"cell_id": ""}

    def drop(self, cell_ids: set[str]) -> None:
        """Take the shapes of these cells off."""
        ids = self.ids()
        places = [i for i, key in enumerate(ids) if key in cell_ids]
        if places:
            self.remove(places)
            self.write_ids([key for key in ids if key not in cell_ids])
        for key in cell_ids:
            self.shown.pop(key, None)

    def remove(self, places: list[int]) -> None:
        """Take shapes off by their place in the layer; whose each is, is not written.

        napari then believes that the mouse has moved nothing, and the button that comes up would
        be a click on whatever shape has the place by now: another cell than the one in hand.
        """
        moving = self.layer._is_moving
        self.layer.selected_data = set()
        self.layer.remove(places)
        self.layer._is_moving = moving

    def select(self, cell_ids: tuple[str, ...]) -> None:
        """Select the shapes of these cells, and no others."""
        wanted = set(cell_ids)
        places = {i for i, key in enumerate(self.ids()) if key in wanted}
        if places != set(self.layer.selected_data):
            self.forget_mouse()  # which the camera is about to leave where it is
            with self.quiet():
                self.layer.selected_data = places

    def recolor(self, changed: Collection[str] | None = None) -> None:
        """Give shapes the look of their cells: the changed ones, or all."""
        ids = self.ids()
        if not ids or any(key not in self.shown for key in ids):
            return
        cells = [self.shown[key] for key in ids]
        groups: dict[tuple[object, ...], set[int]] = {}
        wanted = set(changed or ())
        for i, key in enumerate(ids):
            if key in wanted:
                groups.setdefault(self.looks.kind(cells[i]), set()).add(i)
        with self.quiet():
            if changed is None or len(wanted) > _FEW or len(groups) > _LOOKS:
                rgba, widths = self.looks.of(cells)
                self.layer.edge_color = rgba
                if widths != list(self.layer.edge_width):
                    self.layer.edge_width = widths
                return
            # napari recolours all 5,000 shapes in 120 ms, the selected ones in 17.
            selected = set(self.layer.selected_data)
            for places in groups.values():
                rgba, widths = self.looks.of([cells[min(places)]])
                self.layer.selected_data = places
                red, green, blue, alpha = (round(v * 255) for v in rgba[0])
                self.layer.current_edge_color = f"#{red:02x}{green:02x}{blue:02x}{alpha:02x}"
                self.layer.current_edge_width = widths[0]
            self.layer.selected_data = selected


def _is_upright(corner: NDArray[np.float64]) -> NDArray[np.bool_]:
    # corner [N, 4, 2]
    low, high = corner.min(axis=1, keepdims=True), corner.max(axis=1, keepdims=True)
    at_edge = np.isclose(corner, low, atol=1e-3) | np.isclose(corner, high, atol=1e-3)
    return at_edge.all(axis=(1, 2))
