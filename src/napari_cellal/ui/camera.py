"""The camera's moves to cells, and the halo around the cell in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from .boxes import corners

if TYPE_CHECKING:
    import napari

    from napari_cellal.core.records import Cell

    from .session import Session

CELL_SHARE = 0.22
"""Share of the canvas that a centred cell fills, so that its neighbours are seen too."""


class Camera:
    """Centres cells and remembers the view to come back to."""

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self.viewer = viewer
        self.session = session
        self._before: tuple[tuple[float, ...], float] | None = None
        session.center_asked.connect(self.center)
        session.image_changed.connect(self._forget)

    def disconnect(self) -> None:
        """Stop listening to the session."""
        self.session.center_asked.disconnect(self.center)
        self.session.image_changed.disconnect(self._forget)

    def _forget(self, *_: object) -> None:
        self._before = None

    def center(self, cell: Cell, zoom: bool = True) -> None:
        """Bring a cell to the middle of the canvas, in a size to judge it by."""
        camera = self.viewer.camera
        if self._before is None:
            self._before = (tuple(camera.center), camera.zoom)
        y0, x0, y1, x1 = cell.box
        camera.center = ((y0 + y1) / 2, (x0 + x1) / 2)
        if zoom:
            canvas = min(self.viewer.window._qt_viewer.canvas.size)
            camera.zoom = float(np.clip(canvas * CELL_SHARE / max(y1 - y0, x1 - x0), 0.05, 40))

    def back(self) -> None:
        """Return to the view before the first centring."""
        if self._before is not None:
            self.viewer.camera.center, self.viewer.camera.zoom = self._before
            self._before = None


class Halo:
    """A black and white frame around the current cell, which nothing else has."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.layer = Shapes(
            ndim=2, name="Current cell", edge_color="white", face_color="transparent", opacity=0.9
        )
        self.layer.editable = False
        session.selection_changed.connect(self.update)
        session.edited.connect(self.update)

    def disconnect(self) -> None:
        """Stop listening to the session."""
        self.session.selection_changed.disconnect(self.update)
        self.session.edited.disconnect(self.update)

    def update(self, *_: object) -> None:
        """Put the frame around the cell in hand, or take it away."""
        cell = self.session.current
        if cell is None or cell.image_id != self.session.image_id:
            if self.layer.nshapes:
                self.layer.data = []
            return
        y0, x0, y1, x1 = cell.box
        size = max(y1 - y0, x1 - x0)
        width = max(0.5, 0.02 * size)
        inner = 0.06 * size + 1.5
        frames = corners(
            np.array([[y0 - m, x0 - m, y1 + m, x1 + m] for m in (inner + width, inner)])
        )
        if self.layer.nshapes == 2:
            if not np.allclose(self.layer.data, frames):
                self.layer.data = list(frames)
                self.layer.edge_width = width
            return
        # Black outside white is seen on any background.
        self.layer.add(
            list(frames),
            shape_type="rectangle",
            edge_width=width,
            edge_color=["black", "white"],
            face_color="transparent",
        )
