"""What a person did to the boxes on a layer, told from how they lie there now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .geometry import clip_boxes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .geometry import Box
    from .records import Cell

SMALLEST_PX = 3.0
"""A stray click in draw mode is not a cell."""


def same_boxes(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool[N], True where two boxes, float[N, 4] px, are one but for float32 corners."""
    near: NDArray[np.bool_] = np.isclose(a, b, rtol=1e-6, atol=1e-3)
    return np.asarray(near.all(axis=1), dtype=bool)


@dataclass(frozen=True, slots=True)
class Handiwork:
    """The difference between a layer's boxes and the cells they stand for.

    Attributes
    ----------
    moved : list of (Cell, Box)
        Cells with the box that they have now, cut to the image.
    drawn : {class_id: [(place, Box)]}
        Boxes without a cell, by the class that they get; ``place`` counts the layer's rows.
    gone : list of Cell
        Cells without a box.
    """

    moved: list[tuple[Cell, Box]] = field(default_factory=list)
    drawn: dict[int | None, list[tuple[int, Box]]] = field(default_factory=dict)
    gone: list[Cell] = field(default_factory=list)


def handiwork(
    shown: Mapping[str, Cell],
    ids: Sequence[str],
    boxes: NDArray[np.float64],
    upright: NDArray[np.bool_],
    shape: tuple[int, int],
    draw_class_id: int | None,
) -> Handiwork:
    """Return what was done to the cells ``shown``.

    Parameters
    ----------
    shown : {cell_id: Cell}
        What the layer was last made to show.
    ids : str a row
        The cell that each row says it is; a copy brings that of its model along.
    boxes : float[N, 4]
        (y0, x0, y1, x1), image px.
    upright : bool[N]
        False for shapes that were turned or bent. That says nothing about a cell, so a known
        one is not moved by it.
    shape : (Y, X), px
    draw_class_id : int or None
        The class of boxes drawn anew; a copy has its model's.
    """
    inside = clip_boxes(boxes, shape)
    sides = inside[:, 2:] - inside[:, :2]
    big = np.asarray(sides.min(axis=1, initial=np.inf) >= SMALLEST_PX)
    known = np.array([shown[key].box if key in shown else (0.0, 0.0, 0.0, 0.0) for key in ids])
    same = same_boxes(known.reshape(-1, 4), boxes)
    work = Handiwork()
    seen: set[str] = set()
    for i, (key, box) in enumerate(zip(ids, inside.tolist(), strict=True)):
        now: Box = tuple(box)
        cell = shown.get(key)
        if cell is not None and key not in seen:
            seen.add(key)
            if big[i] and upright[i] and not same[i]:
                work.moved.append((cell, now))
        elif big[i] and (cell is None or upright[i]):
            class_id = draw_class_id if cell is None else cell.class_id
            work.drawn.setdefault(class_id, []).append((i, now))
    work.gone.extend(cell for key, cell in shown.items() if key not in seen)
    return work
