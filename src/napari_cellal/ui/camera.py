"""The camera's moves to cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import napari

    from napari_cellal.core.records import Cell

    from .session import Session

CELL_SHARE = 0.22
"""Share of the canvas that a centred cell fills, so that its neighbours are seen too."""


def camera_of(viewer: napari.Viewer) -> Any:
    """Return a viewer's camera, which napari keeps in ``viewer.scene`` since 0.9."""
    return getattr(viewer, "scene", viewer).camera


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
        camera = camera_of(self.viewer)
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
            camera = camera_of(self.viewer)
            camera.center, camera.zoom = self._before
            self._before = None
