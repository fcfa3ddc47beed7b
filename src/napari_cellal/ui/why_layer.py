"""What spoke for a cell's class, as a napari layer over the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from napari.utils.colormaps import Colormap

from .box_shapes import HALF_PX

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Layer

    from napari_cellal.workflows.explaining import Explained


HEAT = Colormap(
    [[1, 0.2, 0, 0], [1, 0.2, 0, 0.45], [1, 1, 0, 0.9]], name="cellal heat", display_name="Heat"
)
"""From nothing through red to yellow: seen on bright and on dark images alike."""


class WhyLayer:
    """One heat map at most, below the boxes; nothing of it stays in the project.

    Parameters
    ----------
    boxes : callable
        Gives the layer of the boxes.

    Attributes
    ----------
    layer : napari.layers.Image or None
    """

    def __init__(self, viewer: napari.Viewer, boxes: Callable[[], Layer]) -> None:
        self._viewer = viewer
        self._boxes = boxes
        self.layer: Image | None = None

    def show(self, found: Explained) -> None:
        """Lay a heat map over what the network saw of the image, instead of the one before."""
        self.hide()
        if found.window is None:
            return
        y0, x0, y1, x1 = found.window
        height, width = found.heat.shape
        scale = ((y1 - y0) / height, (x1 - x0) / width)
        self.layer = Image(
            found.heat,
            name=f"Why {found.class_name}",
            scale=scale,
            # napari's px have their middle at whole numbers
            translate=(y0 + scale[0] / 2 - HALF_PX, x0 + scale[1] / 2 - HALF_PX),
            colormap=HEAT,
            contrast_limits=(0, 1),
            blending="translucent",
        )
        layers = self._viewer.layers
        active = layers.selection.active
        boxes = self._boxes()
        layers.insert(layers.index(boxes) if boxes in layers else len(layers), self.layer)
        if active is not None and active in layers:
            layers.selection.active = active

    def hide(self, *_: object) -> None:
        """Take the heat map away."""
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer = None
