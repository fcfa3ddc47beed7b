"""A box that is no cell of the project, outlined on the picture while a person looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes
from napari.utils.colormaps.standardize_color import transform_color

from .box_shapes import HALF_PX

if TYPE_CHECKING:
    import napari

    from napari_cellal.core.geometry import Box

    from .session import Session

NAME = "Box without a cell"
_SHARE_OF_BOX = 1 / 20
_FILL = 0.12
"""Faint, and yet what tells it from a cell: nothing else has a fill."""


class MarkedPlace:
    """Shows one box at a time, in a layer of its own, until another image is shown."""

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self._viewer, self._session = viewer, session
        self.layer: Shapes | None = None

    def show(self, box: Box, color: str) -> None:
        """Outline a box of the image on screen, (y0, x0, y1, x1) px; the keys stay where they are.

        Parameters
        ----------
        color : str
            Of the class that was said.
        """
        self.clear()
        y0, x0, y1, x1 = box
        edge = transform_color(color)[0].astype(float)
        self.layer = Shapes(
            [np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])],
            shape_type="rectangle",
            name=NAME,
            edge_color=[edge],
            face_color=[[*edge[:3], _FILL]],
            edge_width=max(0.4, min(y1 - y0, x1 - x0) * _SHARE_OF_BOX),
            translate=(-HALF_PX, -HALF_PX),
        )
        self.layer.editable = False
        layers = self._viewer.layers
        active = layers.selection.active
        layers.append(self.layer)
        if active is not None and active in layers:
            layers.selection.active = active
        self._session.image_changed.connect(self.clear)

    def clear(self, *_: object) -> None:
        """Take it off the picture."""
        layer, self.layer = self.layer, None
        if layer is None:
            return
        self._session.image_changed.disconnect(self.clear)
        if layer in self._viewer.layers:  # a person may have deleted it
            self._viewer.layers.remove(layer)
