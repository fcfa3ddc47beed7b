"""A map of the measured cells, kept in the project's cache."""

from __future__ import annotations

import contextlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import Job, Progress
from napari_cellal.features.table import read_arrays, write_arrays

from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 4
"""Maps in a project's cache; the oldest go."""
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class CellMap:
    """Where each cell lies.

    Attributes
    ----------
    cell_ids : tuple of str, N
    places : float32[N, 2]
        Each axis with mean 0 and standard deviation 1.
    """

    cell_ids: tuple[str, ...]
    places: NDArray[np.float32]


def make_map(features_path: str, how: str, seed: int, cache_folder: str | Path) -> Job[CellMap]:
    """Return the job that lays the measured cells out; see `active.layout.places`.

    UMAP itself tells of no progress and hears no cancel: the window ends its process.
    """
    yield Progress(0, 0, "Reading the measured cells")
    from napari_cellal.active.layout import layout_name, places
    from napari_cellal.active.matrix import load_matrix

    matrix = load_matrix(features_path)
    file = Path(cache_folder) / layout_name(matrix, how, seed)
    try:
        found = read_arrays(file)["places"].astype(np.float32, copy=False)
        if found.shape == (len(matrix), 2):
            return CellMap(matrix.cell_ids, found)
    except _UNREADABLE:  # not made yet, or damaged: it is made anew
        pass
    yield Progress(0, 0, f"Laying out {len(matrix):,} cells")
    with algebra_on_one_thread():
        found = places(matrix, how, seed)
    with contextlib.suppress(OSError):  # a full disk costs time later, not this map
        write_arrays(file, {"places": found})
    maps = sorted(Path(cache_folder).glob("map-*.npz"), key=lambda p: p.stat().st_mtime)
    for old in maps[:-KEPT]:
        with contextlib.suppress(OSError):  # in use, on Windows; it goes the next time
            old.unlink()
    return CellMap(matrix.cell_ids, found)
