"""The camera's moves to cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import napari

    from napari_cellal.core.records import Cell

    from .session import Session

CELL_SHARE = 0.22
"""Share of the canvas that a centred cell fills, so that its neighbours are seen too."""

_View = tuple[tuple[float, ...], float]
"""Centre and zoom."""
_Size = tuple[int, ...]


class Camera:
    """Centres cells and remembers the view to come back to: the last that the person chose."""

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self.viewer = viewer
        self.session = session
        self._before: _View | None = None
        self._canvas_then: _Size = (1, 1)
        """The canvas's size at that time, px."""
        self._ours: _View | None = None
        self._fitted: Cell | None = None
        self._size_px: tuple[int, ...] | None = None
        session.center_asked.connect(self.center)
        session.image_changed.connect(self._on_image)

    def disconnect(self) -> None:
        """Stop listening to the session."""
        self.session.center_asked.disconnect(self.center)
        self.session.image_changed.disconnect(self._on_image)

    def _on_image(self, *_: object) -> None:
        """Show the next image as the person looked at the last, not where a cell of that was."""
        self._fitted = None
        image = self.session.image
        size_px = None if image is None else image.shape[1:]
        was_moved = self._before is not None and self._view() != self._ours
        if size_px != self._size_px or was_moved:  # of another size: whole, see `ImageView`
            self._before = None
        elif self.session.focus is None:
            self.back()
        self._size_px = size_px

    def center(self, cell: Cell, zoom: bool = True) -> None:
        """Bring a cell to the middle of the canvas, in a size to judge it by.

        A large cell does not make its image smaller than when all of that is seen.
        """
        camera = self.viewer.scene.camera
        if self._before is None:
            self._before, self._canvas_then = self._view(), self._canvas()
        y0, x0, y1, x1 = cell.box
        camera.center = ((y0 + y1) / 2, (x0 + x1) / 2)
        if zoom:
            canvas = self._canvas()
            wanted = min(canvas) * CELL_SHARE / max(y1 - y0, x1 - x0)
            if self._size_px is not None:
                wanted = max(wanted, min(np.divide(canvas, self._size_px)))
            camera.zoom = float(np.clip(wanted, 0.05, 40))
        self._ours = self._view()
        self._fitted = cell if zoom else None

    def fit_again(self) -> None:
        """Show the cell that was zoomed to as large as the canvas now lets it be.

        Not if the person has looked elsewhere since.
        """
        if self._fitted is not None and self._view() == self._ours:
            self.center(self._fitted)

    def _view(self) -> _View:
        camera = self.viewer.scene.camera
        return tuple(camera.center), camera.zoom

    def _canvas(self) -> _Size:
        return tuple(self.viewer.window._qt_viewer.canvas.size)

    def back(self) -> None:
        """Return to the view before the first centring.

        An image that was seen whole is so again, as large as the canvas now lets it be.
        """
        if self._before is not None:
            camera = self.viewer.scene.camera
            camera.center, zoom = self._before
            if self._size_px is not None:
                then, now = (
                    np.divide(c, self._size_px) for c in (self._canvas_then, self._canvas())
                )
                if zoom <= min(then):
                    zoom *= min(now) / min(then)
            camera.zoom = zoom
            self._before = None
