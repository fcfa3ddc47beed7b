"""Images with more cells than a Shapes layer bears: boxes in view, and where all the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.io.store.search import density

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell

    from .session import Session

MOST_IN_VIEW = 600
"""Boxes on the layer at once in a crowded image; 0.45 ms each."""
MARGIN = 0.15
"""Share of the view's size that is loaded around it, so that small moves bring nothing new."""
SQUARES = 256
"""Squares of the overview along the longer side of the image."""


class Crowd:
    """Chooses which cells of the session's image are on the box layer.

    All of them, or, in a crowded image, those in view if they are not too many.

    Attributes
    ----------
    is_on : bool
        Whether the image is crowded.
    loaded : Box or None
        The part of a crowded image whose boxes are on the layer, (y0, x0, y1, x1) px.
    too_many : bool
        Whether the view holds more than `MOST_IN_VIEW` cells, so that none is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.loaded: Box | None = None
        self.is_on = False
        self.too_many = False

    def start(self) -> None:
        """Look at the session's image, which is another one now."""
        self.is_on = self._session.is_crowded
        self.loaded = None
        self.too_many = self.is_on

    def needs(self, view: Box) -> bool:
        """Return whether cells are to be loaded for a view, (y0, x0, y1, x1) px."""
        if not self.is_on:
            return False
        if self.loaded is None:
            return True
        y0, x0, y1, x1 = self.loaded
        inside = y0 <= view[0] and x0 <= view[1] and view[2] <= y1 and view[3] <= x1
        # much closer: fewer cells may be few enough now
        return not inside or (view[2] - view[0]) * 2 < y1 - y0

    def look_at(self, view: Box) -> None:
        """Choose the cells in a view from now on."""
        height, width = (view[2] - view[0]) * MARGIN, (view[3] - view[1]) * MARGIN
        self.loaded = (view[0] - height, view[1] - width, view[2] + height, view[3] + width)

    def forget_view(self) -> None:
        """Have the cells in view chosen again."""
        self.loaded = None

    def is_full(self, n: int) -> bool:
        """Return whether ``n`` boxes are more than the layer of a crowded image should hold."""
        return self.is_on and n > MOST_IN_VIEW

    def includes(self, box: Box) -> bool:
        """Return whether a box of the image belongs on the layer."""
        if not self.is_on:
            return True
        if self.loaded is None or self.too_many:
            return False
        y0, x0, y1, x1 = self.loaded
        return box[0] <= y1 and box[2] >= y0 and box[1] <= x1 and box[3] >= x0

    def cells(self) -> list[Cell]:
        """Return the cells that belong on the layer, in the order of arrival."""
        session = self._session
        if not self.is_on:
            return session.cells()
        if self.loaded is None or session.project is None or session.image_id is None:
            return []
        rows = session.project.cells
        found = rows.in_view(session.image_id, self.loaded, MOST_IN_VIEW + 1)
        self.too_many = len(found) > MOST_IN_VIEW
        near = [] if self.too_many else [c for c in found if session.shown.includes(c)]
        there = {c.cell_id for c in near}
        return near + [c for c in self.in_hand() if c.cell_id not in there]

    def in_hand(self) -> list[Cell]:
        """Return the selected cells of the image: they are always on the layer."""
        session = self._session
        return [c for c in session.selected() if c.image_id == session.image_id]


def overview(
    folder: Path, image_id: str, size: tuple[int, int]
) -> tuple[NDArray[np.float32], float]:
    """Return how many cells lie in each square, float32[rows, columns], and its side, px.

    Of 200,000 cells it takes 0.2 s: for a thread, not the window's.

    Parameters
    ----------
    folder : Path
        The project's.
    size : (height, width), px
        Of the image.
    """
    height, width = size
    side = max(height, width) / SQUARES
    counts = np.zeros((int(np.ceil(height / side)), int(np.ceil(width / side))), np.float32)
    for row, column, n in density(folder, image_id, side):
        if 0 <= row < counts.shape[0] and 0 <= column < counts.shape[1]:
            counts[row, column] = n
    return counts, side
