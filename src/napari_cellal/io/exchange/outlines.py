"""Masks from polygons, and polygons along the pixels' edges from masks.

Coordinates are (x, y) px of the image, from 0 at the corner of the first pixel, so a mask
that goes out as polygons comes back as it was.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_cellal.core.masks import mask_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Mask

Point: TypeAlias = tuple[float, float]
"""(x, y)."""
Ring: TypeAlias = "Sequence[Point]"
MAX_PIXELS = 100_000_000
_MOST_CROSSINGS = 20_000_000


def mask_of_rings(rings: Sequence[Ring]) -> Mask | None:
    """Return the mask of closed rings: pixels whose middle lies in an odd number of them.

    None where that is no pixel, or where the rings enclose more than 100 million.
    """
    corners = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings if len(ring) >= 3]
    if not corners:
        return None
    every = np.concatenate(corners)
    if not np.isfinite(every).all():
        return None
    (x0, y0), (x1, y1) = every.min(axis=0), every.max(axis=0)
    left, top = math.floor(x0), math.floor(y0)
    width, height = math.ceil(x1) - left, math.ceil(y1) - top
    if not 0 < height * width <= MAX_PIXELS:
        return None
    begin = np.concatenate(corners) - (left, top)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in corners]) - (left, top)
    # The rows whose middle (r + 0.5) an edge passes, the upper end counted and the lower not.
    first = np.ceil(np.minimum(begin[:, 1], end[:, 1]) - 0.5).astype(np.int64)
    count = np.ceil(np.maximum(begin[:, 1], end[:, 1]) - 0.5).astype(np.int64) - first
    if count.sum() > _MOST_CROSSINGS:
        return None
    edge = np.repeat(np.arange(len(begin)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (row + 0.5 - begin[edge, 1]) / (end[edge, 1] - begin[edge, 1])
    x = begin[edge, 0] + slope * (end[edge, 0] - begin[edge, 0])
    crossed = np.zeros((height, width + 1), np.int32)
    np.add.at(crossed, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    return mask_of(np.cumsum(crossed, axis=1)[:, :width] % 2 == 1, top, left)


def mask_of_pieces(pieces: Sequence[Sequence[Ring]]) -> Mask | None:
    """Return the mask of what lies in any of the pieces, each as in `mask_of_rings`; or None."""
    masks = [mask for mask in map(mask_of_rings, pieces) if mask is not None]
    if len(masks) < 2:
        return masks[0] if masks else None
    windows = np.array([mask.window for mask in masks])
    (top, left), (bottom, right) = windows[:, :2].min(axis=0), windows[:, 2:].max(axis=0)
    if (bottom - top) * (right - left) > MAX_PIXELS:
        return None
    bits = np.zeros((bottom - top, right - left), np.bool_)
    for mask in masks:
        bits[mask.y0 - top :, mask.x0 - left :][: mask.height, : mask.width] |= mask.bits()
    return mask_of(bits, int(top), int(left))


def rings_of_mask(mask: Mask) -> list[list[list[tuple[int, int]]]]:
    """Return the outlines of a mask's pieces: of each the outer ring, then those of its holes.

    The first corner is repeated as the last. Pieces that touch at a corner only are apart.
    """
    bits = np.pad(mask.bits(), 1)
    outer: list[list[tuple[int, int]]] = []
    holes: list[list[tuple[int, int]]] = []
    for ring in _rings(_edges(bits)):
        (outer if _area(ring) > 0 else holes).append(ring)
    # The smallest outline around it is the piece that a hole belongs to.
    outer.sort(key=_area)
    pieces = [[ring] for ring in outer]
    for hole in holes:
        own = next(k for k, ring in enumerate(outer) if _holds(ring, hole))
        pieces[own].append(hole)
    return [
        [[(x - 1 + mask.x0, y - 1 + mask.y0) for x, y in ring] for ring in piece]
        for piece in pieces
    ]


_Edges: TypeAlias = "dict[tuple[int, int], list[tuple[int, int]]]"


def _edges(bits: NDArray[np.bool_]) -> _Edges:
    """Return {corner: the next ones} around the True pixels, which lie to the right (y down)."""
    below, above = bits[1:] & ~bits[:-1], bits[:-1] & ~bits[1:]
    right, left = bits[:, 1:] & ~bits[:, :-1], bits[:, :-1] & ~bits[:, 1:]
    result: _Edges = {}

    def add(begin: tuple[int, int], end: tuple[int, int]) -> None:
        result.setdefault(begin, []).append(end)

    for y, x in np.argwhere(below).tolist():
        add((x, y + 1), (x + 1, y + 1))
    for y, x in np.argwhere(above).tolist():
        add((x + 1, y + 1), (x, y + 1))
    for y, x in np.argwhere(right).tolist():
        add((x + 1, y + 1), (x + 1, y))
    for y, x in np.argwhere(left).tolist():
        add((x + 1, y), (x + 1, y + 1))
    return result


def _rings(edges: _Edges) -> list[list[tuple[int, int]]]:
    """Return the closed ways along the edges, without corners on a straight line."""
    rings = []
    while edges:
        begin, ends = next(iter(edges.items()))
        ring = [begin]
        before, here = begin, ends.pop()
        if not ends:
            del edges[begin]
        while here != begin:
            ring.append(here)
            ends = edges[here]
            # Where two pixels meet at a corner the way turns right, so that they stay apart.
            dx, dy = here[0] - before[0], here[1] - before[1]
            turn = (here[0] - dy, here[1] + dx)
            following = turn if turn in ends else ends[0]
            ends.remove(following)
            if not ends:
                del edges[here]
            before, here = here, following
        rings.append(_without_straight(ring))
    return rings


def _without_straight(ring: list[tuple[int, int]]) -> list[tuple[int, int]]:
    n = len(ring)
    kept = [
        (x, y)
        for k, (x, y) in enumerate(ring)
        if (ring[k - 1][0] == x) != (x == ring[(k + 1) % n][0])
    ]
    return [*kept, kept[0]]


def _area(ring: Sequence[tuple[int, int]]) -> float:
    """Return the enclosed area, px²: positive for outer rings."""
    xs, ys = np.asarray(ring, np.float64).T
    return float((xs[:-1] * ys[1:] - xs[1:] * ys[:-1]).sum() / 2)


def _holds(ring: Sequence[tuple[int, int]], hole: Sequence[tuple[int, int]]) -> bool:
    """Return whether a pixel beside the hole's first corner lies in the ring."""
    # A hole's rings have the cell to their right: the pixel there is inside its piece.
    (ax, ay), (bx, by) = hole[0], hole[1]
    dx, dy = np.sign(bx - ax), np.sign(by - ay)
    px, py = ax + dx / 2 - dy / 2, ay + dy / 2 + dx / 2
    inside = False
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        if (y0 > py) != (y1 > py) and px < x0 + (py - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside
