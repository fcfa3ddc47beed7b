"""How the cells look that were measured on: intensities, and a map, for a report."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.planes import is_large, read_plane, read_plane_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.records import Cell
    from napari_cellal.detect.requests import ImageRequest
    from napari_cellal.evaluate.report import Look, Sight

    from .reporting import ReportRequest
    from .scoring import Answers

    _Window = tuple[int, int, int, int]

MOST_CELLS = 1000
"""More points than that cover each other; they take five seconds or so."""


def look_of(request: ReportRequest, answers: Answers) -> Job[Look | None]:
    """Return how the cells look, or `MOST_CELLS` of them, the same ones each time.

    The map of a classifier's cells is made of what its last layer is given; that of a
    detector's of size, brightness and contrast. None where no image can be read.
    """
    from napari_cellal.evaluate.report import Look, Sight

    chosen, images = _chosen(request.cells), _Images()
    known: dict[str, Sight] = {}
    measured: dict[str, NDArray[np.float64]] = {}
    for k, (key, cell) in enumerate(chosen):
        yield Progress(k, len(chosen), "Looking at the cells")
        image, _, source, size = request.images[key]
        try:
            pixels = images.cut(image, _window(cell, size))
        except ImageError:
            continue
        flat = pixels.reshape(len(pixels), -1).astype(np.float64)
        mean, spread = flat.mean(axis=1), flat.std(axis=1)
        y0, x0, y1, x1 = cell.box
        side = np.log(max((y1 - y0) * (x1 - x0), 1)) / 2
        known[cell.cell_id] = Sight(cell.class_id, source, tuple(mean.tolist()))
        measured[cell.cell_id] = np.array([side, *mean, *spread])
    widths = [len(sight.brightness) for sight in known.values()]
    if not widths:
        return None
    n = max(set(widths), key=widths.count)
    known = {key: sight for key, sight in known.items() if len(sight.brightness) == n}
    if answers.request.classes is None:
        rows = measured
        words = "size, brightness and contrast of the cells in every channel"
    else:
        rows = yield from _seen_by(answers, list(known))
        words = "what the network's last layer is given"
    yield Progress(0, 0, "Laying the cells out")
    names = tuple(f"channel {k + 1}" for k in range(n))
    return _placed(known, rows, Look((), names, words))


class _Images:
    """Reads cells out of images; the last image stays, for the cells of one follow each other."""

    def __init__(self) -> None:
        self._kept: tuple[object, NDArray[Any]] | None = None

    def cut(self, image: ImageRequest, window: _Window | None) -> NDArray[Any]:
        """Return [C, y, x], a part of an image or all of it.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        if window is not None and is_large(image.path, image.plane):
            return read_plane_region(image.path, image.plane, window)
        name = (image.path, image.plane)
        if self._kept is None or self._kept[0] != name:
            self._kept = (name, read_plane(image.path, image.plane))
        pixels = self._kept[1]
        if window is None:
            return pixels
        y0, x0, y1, x1 = window
        return pixels[:, y0:y1, x0:x1]


def _chosen(cells: Mapping[str, Sequence[Cell]]) -> list[tuple[str, Cell]]:
    """Return (image_id, cell), by image, drawn by the cells' ids."""
    every = [(key, c) for key, some in cells.items() for c in some]
    drawn = sorted(every, key=lambda pair: hashlib.sha256(pair[1].cell_id.encode()).hexdigest())
    kept = {cell.cell_id for _, cell in drawn[:MOST_CELLS]}
    return [pair for pair in every if pair[1].cell_id in kept]


def _window(cell: Cell, size: tuple[int, int]) -> _Window | None:
    """Return the part of the image that a cell is in, px; None for a picture of one cell."""
    y0, x0, y1, x1 = (round(v) for v in cell.box)
    if y1 <= y0 or x1 <= x0:
        return None
    height, width = size
    top, left = min(max(0, y0), height - 1), min(max(0, x0), width - 1)
    return top, left, max(top + 1, min(height, y1)), max(left + 1, min(width, x1))


def _seen_by(answers: Answers, cell_ids: Sequence[str]) -> Job[dict[str, NDArray[np.float64]]]:
    """Return {cell_id: float64[F]}, what the classifier's last layer is given."""
    from napari_cellal.classify.alike import features_of
    from napari_cellal.classify.predict import load

    classes = answers.request.classes
    assert classes is not None
    classifier = load(Path(classes.model_folder), classes.device, own_range=classes.own_range)
    patches = {p.key: p for p in classes.patches}
    wanted = [patches[key] for key in cell_ids if key in patches]
    read, rows = yield from features_of(classifier, wanted)
    return {p.key: row.astype(np.float64) for p, row in zip(read, rows, strict=True)}


def _placed(
    known: Mapping[str, Sight], rows: Mapping[str, NDArray[np.float64]], look: Look
) -> Look:
    """Return the look with its cells, those with features on the map."""
    from napari_cellal.evaluate.scatter import principal

    on_map = [key for key in known if key in rows]
    cells = dict(known)
    if len(on_map) > 2:
        places, explained = principal(np.stack([rows[key] for key in on_map]))
        look = replace(look, explained=explained)
        for key, (x, y) in zip(on_map, places.tolist(), strict=True):
            cells[key] = replace(cells[key], place=(x, y))
    return replace(look, cells=tuple(cells.values()))
