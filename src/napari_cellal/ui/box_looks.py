"""Colour, opacity and width of a box: what a person sees of its class and review."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps.standardize_color import transform_color

from napari_cellal.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell

    from .session import Session

UNCLASSED = "#A6FF00"
"""Lime: no class has it, and it stands out on pink smears and on dark fluorescence."""
# Opacity and width (as a share of the normal edge) tell the review state apart.
_LOOK = {
    Status.PROPOSED: (0.8, 0.8),
    Status.IMPORTED: (0.8, 0.8),
    Status.CONFIRMED: (1.0, 1.3),
    Status.CORRECTED: (1.0, 1.3),
    Status.DRAWN: (1.0, 1.3),
    Status.UNSURE: (0.35, 1.3),
    Status.REJECTED: (0.25, 0.4),
}
_SHARE_OF_VIEW = 1 / 400  # about 1.5 px on a screen-high picture
_SHARE_OF_CELL = 1 / 16  # so that a small nucleus, zoomed in, is not hidden by its own frame


class BoxLooks:
    """The looks of the session's boxes. Shapes' edges are measured in image px."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._width = 1.5

    def fit(self, cells: Collection[Cell], view: Box | None) -> None:
        """Choose the width of edges for an image, or for a view, with these cells."""
        image = self._session.image
        if view is not None:
            side = view[2] - view[0]
        elif image is not None:
            side = max(image.shape[1:])
        else:
            return
        self._width = max(1.0, side * _SHARE_OF_VIEW)
        if cells:
            boxes = np.array([c.box for c in cells])
            sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
            self._width = max(0.4, min(self._width, float(np.median(sides)) * _SHARE_OF_CELL))

    def kind(self, cell: Cell) -> tuple[int, str]:
        """Return what a box's colour and width depend on."""
        class_id = self._class_seen(cell)
        return (-1 if class_id is None else class_id, cell.status.value)

    def _class_seen(self, cell: Cell) -> int | None:
        return None if cell.cell_id == self._session.concealed else cell.class_id

    def of(self, cells: Sequence[Cell]) -> tuple[NDArray[np.float64], list[float]]:
        """Return edge colours, float[N, 4] in 0..1, and widths, image px."""
        project = self._session.project
        colors = {None: UNCLASSED}
        if project is not None:
            colors.update({c.class_id: c.color for c in project.classes.values()})
        named = [colors.get(self._class_seen(c), UNCLASSED) for c in cells]
        rgba = transform_color(named).astype(float)
        rgba[:, 3] = [_LOOK[c.status][0] for c in cells]
        return rgba, [_LOOK[c.status][1] * self._width for c in cells]
