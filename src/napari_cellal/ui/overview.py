"""A crowded image in the viewer: follows the camera, and shows where the cells are."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer

from .box_shapes import HALF_PX
from .crowd import overview

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    import numpy as np
    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box

    from .boxes import BoxLayer
    from .session import Session

    Counted = tuple[NDArray[np.float32], float]

PAUSE_MS = 120
"""From one loading of boxes to the next at least: a person who pans wants to see it move."""
RECOUNT_MS = 500
"""Counting 200,000 cells takes 0.2 s: not after each of many edits."""


class Overview(QObject):
    """Loads the boxes in view, and shows a picture of all of them where they are too many.

    Parameters
    ----------
    view : callable
        Returns the part of the image that is on screen.
    ask : callable
        Asks the database beside the window's thread; see `Batch.ask`.

    Attributes
    ----------
    layer : napari.layers.Image or None
        How many cells lie where; in the viewer while a crowded image is on screen.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        boxes: BoxLayer,
        view: Callable[[], Box],
        ask: Callable[[Callable[[], Counted], Callable[[Counted], object]], object],
    ) -> None:
        super().__init__()
        self._ask = ask
        self._viewer, self._session, self._boxes, self._view = viewer, session, boxes, view
        self.layer: Image | None = None
        self._is_off = False
        self._looked_at = 0.0
        self._look_timer = self._timer(0, self._look)
        self._count_timer = self._timer(RECOUNT_MS, self._count)
        viewer.scene.camera.events.connect(self._on_camera)
        session.image_changed.connect(self._on_image)
        session.edited.connect(self._on_edit)
        self._on_image()

    def _timer(self, ms: int, do: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(ms)
        timer.timeout.connect(do)
        return timer

    def disconnect_all(self) -> None:
        """Stop following."""
        self._is_off = True
        self._viewer.scene.camera.events.disconnect(self._on_camera)
        self._session.image_changed.disconnect(self._on_image)
        self._session.edited.disconnect(self._on_edit)

    def _on_camera(self, *_: object) -> None:
        if self._boxes.crowd.is_on and not self._look_timer.isActive():
            # At once where the camera rested: the boxes come with the picture's first drawing.
            since_ms = (time.monotonic() - self._looked_at) * 1000
            self._look_timer.start(max(0, round(PAUSE_MS - since_ms)))

    def _on_image(self, *_: object) -> None:
        layers = self._viewer.layers
        if self.layer is not None:
            if self.layer in layers:
                layers.remove(self.layer)
            self.layer = None
        if self._boxes.crowd.is_on:
            self._count_timer.start()
            self._look_timer.start()

    def _on_edit(self, *_: object) -> None:
        if self._boxes.crowd.is_on:
            self._count_timer.start()
            self._on_camera()  # the edit may have made the image a crowded one

    def _count(self) -> None:
        """Have it counted where the cells are."""
        project, image = self._session.project, self._session.image
        if self._is_off or project is None or image is None or not self._boxes.crowd.is_on:
            return
        question = partial(overview, project.folder, image.image_id, image.shape[1:])
        self._ask(question, partial(self._show, image.image_id))

    def _show(self, image_id: str, counted: Counted) -> None:
        """Show where the cells are in a layer below the boxes."""
        if self._is_off or self._session.image_id != image_id or not self._boxes.crowd.is_on:
            return
        counts, side = counted
        layers = self._viewer.layers
        if self.layer is None:
            self.layer = Image(
                counts,
                name="Where cells are",
                scale=(side, side),
                translate=(side / 2 - HALF_PX, side / 2 - HALF_PX),
                colormap="yellow",
                blending="additive",
                opacity=0.6,
                interpolation2d="linear",  # squares about as large as the screen's px make a moiré
                visible=self._boxes.crowd.too_many,
            )
            active = layers.selection.active
            place = layers.index(self._boxes.layer) if self._boxes.layer in layers else len(layers)
            layers.insert(place, self.layer)
            if active is not None and active in layers:
                layers.selection.active = active
        else:
            self.layer.data = counts
        self.layer.contrast_limits = (0, max(1.0, float(counts.max())))
        if self._boxes.crowd.too_many:  # there may be fewer by now
            self._boxes.crowd.forget_view()
            self._look_timer.start()

    def _look(self) -> None:
        if self._is_off:
            return
        if self._boxes.show_view(self._view()):
            self._looked_at = time.monotonic()
        if self.layer is not None:
            self.layer.visible = self._boxes.crowd.too_many
