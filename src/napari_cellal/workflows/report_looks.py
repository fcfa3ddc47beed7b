"""How cells look: sizes, intensities, and a map, for a report or a page of the data."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.features.view import finite_pixels, image_levels
from napari_cellal.io.planes import is_large, read_plane, read_plane_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.records import Cell
    from napari_cellal.detect.embed import Embedder
    from napari_cellal.detect.requests import ImageRequest
    from napari_cellal.evaluate.report import Look, Sight

    from .reporting import ImageFacts
    from .scoring import Answers

    _Window = tuple[int, int, int, int]

MOST_CELLS = 1000
"""More points than that cover each other; they take five seconds or so."""


def look_of(
    cells: Mapping[str, Sequence[Cell]],
    images: Mapping[str, ImageFacts],
    answers: Answers | None = None,
) -> Job[Look | None]:
    """Return how the cells look, or `MOST_CELLS` of them, the same ones each time.

    The map of a classifier's cells is made of what its last layer is given; that of a
    detector's of size, brightness and contrast; that of cells without a model of what the
    network sees that comes with the package. None where no image can be read.
    """
    from napari_cellal.detect.eyes import load_embedder
    from napari_cellal.evaluate.report import Look, Sight

    eye = (yield from load_embedder(SHIPPED)) if answers is None else None
    chosen, reader = _chosen(cells), _Images()
    known: dict[str, Sight] = {}
    measured: dict[str, NDArray[np.float64]] = {}
    for k, (key, cell) in enumerate(chosen):
        yield Progress(k, len(chosen), "Looking at the cells")
        image, _, source, size = images[key]
        try:
            pixels = reader.cut(image, _window(cell, size))
        except ImageError:
            continue
        flat = pixels.reshape(len(pixels), -1).astype(np.float64)
        mean, spread = flat.mean(axis=1), flat.std(axis=1)
        y0, x0, y1, x1 = cell.box
        side = np.log(max((y1 - y0) * (x1 - x0), 1)) / 2
        side_px = (pixels.shape[1] * pixels.shape[2]) ** 0.5
        known[cell.cell_id] = Sight(cell.class_id, source, tuple(mean.tolist()), side_px)
        measured[cell.cell_id] = (
            np.array([side, *mean, *spread]) if eye is None else _embedded(eye, pixels)
        )
    widths = [len(sight.brightness) for sight in known.values()]
    if not widths:
        return None
    n = max(set(widths), key=widths.count)
    known = {key: sight for key, sight in known.items() if len(sight.brightness) == n}
    rows = measured
    if answers is None:
        words = "what the shipped detector's network sees in them"
    elif answers.request.classes is None:
        words = "size, brightness and contrast of the cells in every channel"
    else:
        rows = yield from _seen_by(answers, list(known))
        words = "what the network's last layer is given"
    yield Progress(0, 0, "Laying the cells out")
    names = tuple(f"channel {k + 1}" for k in range(n))
    return _placed(known, rows, Look((), names, words))


def _embedded(eye: Embedder, pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return what a network sees of a cell that was cut out, [C, y, x], by its own intensities."""
    clean = finite_pixels(pixels)
    channels = tuple(str(k) for k in range(len(clean)))
    whole = [(0, 0, clean.shape[1], clean.shape[2])]
    rgb = len(clean) == 3
    found = eye.rows(
        clean, np.array(whole, float), rgb=rgb, channels=channels, levels=image_levels(clean)
    )
    return np.asarray(found[0], np.float64)


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
