"""Boxes of Shapes and Labels layers that are in the viewer already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Shapes
from qtpy.QtCore import QObject

from napari_cellal.workflows.bringing import bring_boxes, find_label_masks

from .box_shapes import HALF_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from qtpy.QtWidgets import QMenu

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.workflows.worker import Failed

    from .workspace import Workspace


class LayerBoxes(QObject):
    """Brings the boxes of another layer into the image on screen."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self._session = workspace.session

    def layers(self) -> list[Layer]:
        """Return the layers that could be brought: Shapes and Labels that are not ours."""
        masks = self._workspace.masks
        ours = (self._workspace.boxes.layer, masks and masks.layer)
        return [
            layer
            for layer in self._workspace.viewer.layers
            if isinstance(layer, Shapes | Labels) and layer not in ours
        ]

    def fill(self, menu: QMenu) -> None:
        """List the layers in a menu."""
        menu.clear()
        for layer in self.layers():
            menu.addAction(layer.name, lambda layer=layer: self.bring(layer))
        if menu.isEmpty():
            menu.addAction("No other Shapes or Labels layer is open.").setEnabled(False)

    def bring(self, layer: Layer) -> None:
        """Bring a layer's boxes, where it lies on the image, as open boxes without a class."""
        session, name = self._session, layer.name
        if session.project is None or session.image_id is None:
            session.tell("Open an image first.")
            return
        if isinstance(layer, Shapes):
            outlines = [np.asarray(outline)[:, -2:] for outline in layer.data]
            boxes = [(*o.min(axis=0).tolist(), *o.max(axis=0).tolist()) for o in outlines]
            self._apply(layer, name, boxes, session.image_id)
            return
        if layer.ndim != 2 or layer.multiscale:
            session.tell(f"{name} has more than one plane: bring labels of one plane.")
            return
        image_id = session.image_id
        handle = self._workspace.jobs.run(
            f"Reading {name}", find_label_masks, np.asarray(layer.data), lane="quick"
        )
        handle.finished.connect(
            lambda masks: self._apply(layer, name, [m.box for m in masks], image_id, masks)
        )
        handle.failed.connect(self._on_failed)

    def _on_failed(self, failed: Failed) -> None:
        self._session.tell(failed.message, error=True)

    def _apply(
        self,
        layer: Layer,
        name: str,
        boxes: list[Box],
        image_id: str,
        masks: Sequence[Mask] = (),
    ) -> None:
        session = self._session
        if session.project is None or image_id not in session.project.images:
            return
        placed = [_on_image(layer, box) for box in boxes]
        shapes = [_moved(mask, box) for mask, box in zip(masks, placed, strict=bool(masks))]
        edit, known = bring_boxes(session.project, image_id, placed, name, shapes)
        if not session.do(edit):
            return
        n = sum(row is not None for row in edit.after.values())
        text = f"{n} boxes of {name} brought."
        if known:
            text += f" {known} are there already, or are cells that you have reviewed."
        session.tell(text)


def _on_image(layer: Layer, box: Box) -> Box:
    """Return where a box of a layer lies on the image: layers may be scaled and moved."""
    y0, x0, y1, x1 = box
    corners = [(y, x) for y in (y0, y1) for x in (x0, x1)]
    shift = HALF_PX if isinstance(layer, Labels) else 0.0  # a label's pixel spans -.5 to .5
    lead = (0.0,) * (layer.ndim - 2)
    world = np.array([layer.data_to_world((*lead, y - shift, x - shift))[-2:] for y, x in corners])
    world += HALF_PX
    return (*world.min(axis=0).tolist(), *world.max(axis=0).tolist())


def _moved(mask: Mask, box: Box) -> Mask | None:
    """Return a mask where its layer lies on the image; None where that is scaled or between pixels.

    A mask that fills its box says no more than the box.
    """
    (y0, x0, y1, x1), own = box, mask.box
    dy, dx = round(y0 - own[0]), round(x0 - own[1])
    there = mask.moved(dy, dx)
    apart = max(abs(a - b) for a, b in zip(there.box, (y0, x0, y1, x1), strict=True))
    return None if apart > _ON_PIXELS or mask.is_rectangle else there


_ON_PIXELS = 1e-6
