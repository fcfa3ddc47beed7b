"""What the points of the map are coloured by: class, state, image or group."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.records import Status

from .box_looks import UNCLASSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.records import Cell
    from napari_cellal.io.store import Project
    from napari_cellal.io.store.search import CellState

STATUS_COLORS = {
    Status.PROPOSED: ("proposed", "#999999"),
    Status.IMPORTED: ("imported", "#CC79A7"),
    Status.CONFIRMED: ("confirmed", "#009E73"),
    Status.CORRECTED: ("corrected", "#E69F00"),
    Status.DRAWN: ("drawn", "#56B4E9"),
    Status.UNSURE: ("unsure", "#F0E442"),
    Status.REJECTED: ("rejected", "#D55E00"),
}
_STATUSES: dict[str, int] = {s: k for k, s in enumerate(STATUS_COLORS)}
_GONE = -2
GOLDEN = 0.61803398875
_HIDDEN = np.uint32(0xFF505050)

Legend = list[tuple[str, str, int]]


class PointStates:
    """Class, state and image of every point of the map, kept up to date edit by edit.

    Parameters
    ----------
    cell_ids : sequence of str, N
    states : iterable of (cell_id, image_id, class_id, status)
        Cells that are missing here were rejected or deleted.
    """

    def __init__(
        self,
        cell_ids: Sequence[str],
        states: Iterable[CellState],
    ) -> None:
        self.index_of = {key: k for k, key in enumerate(cell_ids)}
        self._class = np.full(len(cell_ids), -1, np.int64)
        self._status = np.full(len(cell_ids), _GONE, np.int64)
        self._image = np.full(len(cell_ids), -1, np.int64)
        self._images: dict[str, int] = {}
        for key, image_id, class_id, status in states:
            self._put(key, image_id, class_id, _STATUSES[status])

    def _put(self, key: str, image_id: str, class_id: int | None, status: int) -> None:
        k = self.index_of.get(key)
        if k is not None:
            self._class[k] = -1 if class_id is None else class_id
            self._status[k] = status
            self._image[k] = self._images.setdefault(image_id, len(self._images))

    def follow(self, key: str, cell: Cell | None) -> None:
        """Take in what became of a cell."""
        if cell is not None:
            self._put(key, cell.image_id, cell.class_id, _STATUSES[cell.status])
        elif key in self.index_of:
            self._status[self.index_of[key]] = _GONE

    def colors(self, project: Project, by: str) -> tuple[NDArray[np.uint32], Legend]:
        """Return each point's colour, 0xffRRGGBB, and (name, colour, points), most points first.

        Parameters
        ----------
        by : str
            ``class``, ``status``, ``image`` or ``group``.
        """
        if by == "class":
            known = [(c.class_id, c.name, c.color) for c in project.classes.values()]
            codes = self._class
            names = [(-1, "no class yet", UNCLASSED), *known]
        elif by == "status":
            codes = self._status
            names = [(k, *STATUS_COLORS[s]) for s, k in _STATUSES.items()]
        else:
            codes, names = self._places(project, by)
        gone = self._status == _GONE
        names = sorted(names)
        known = np.array([code for code, _, _ in names], np.int64)
        at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        shown = (known[at] == codes) & ~gone
        paints = np.array([0xFF000000 | int(c[1:], 16) for _, _, c in names], np.uint32)
        colors = np.where(shown, paints[at], _HIDDEN)
        counts = np.bincount(at[shown], minlength=len(names)).tolist()
        legend = [(name, color, n) for (_, name, color), n in zip(names, counts, strict=True) if n]
        if gone.any():
            legend.append(("rejected or deleted", "#505050", int(gone.sum())))
        return colors, sorted(legend, key=lambda line: -line[2])

    def _places(
        self, project: Project, by: str
    ) -> tuple[NDArray[np.int64], list[tuple[int, str, str]]]:
        words = {}
        for key, k in self._images.items():
            record = project.images.get(key)
            name = "" if record is None else (record.name if by == "image" else record.group)
            words[k] = name or "no group"
        names = sorted(set(words.values()))
        code = {name: k for k, name in enumerate(names)}
        table = np.array([code[words[k]] for k in range(len(words))] or [0], np.int64)
        return table[self._image], [(k, name, _hue(k)) for name, k in code.items()]


def _hue(k: int) -> str:
    """Return the k-th of any number of colours, neighbours far apart."""
    rgb = colorsys.hsv_to_rgb((0.6 + k * GOLDEN) % 1, 0.55 + 0.35 * (k % 2), 0.95)
    return "#" + "".join(f"{round(255 * v):02X}" for v in rgb)
