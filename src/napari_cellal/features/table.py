"""The table of features: one row a cell, one column a measurement."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ProjectError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.core.records import Plane

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """What to measure in one image. Holds no pixels, so it is cheap to send to a process.

    Attributes
    ----------
    boxes : tuple of (y0, x0, y1, x1), px, one for each of ``cell_ids``
    fingerprint : str
        Changes when the file's content does.
    masks : tuple of Mask or None, one for each of ``cell_ids``
        Empty where no cell has one.
    """

    image_id: str
    path: str
    plane: Plane
    rgb: bool
    channels: tuple[str, ...]
    fingerprint: str
    cell_ids: tuple[str, ...]
    boxes: tuple[Box, ...]
    masks: tuple[Mask | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Measurements of cells.

    Attributes
    ----------
    cell_ids : tuple of str, N
    names : tuple of str, F
    values : float32[N, F]
        Finite.
    failures : tuple of (image_id, reason)
        Images whose cells could not be measured and have no row.
    """

    cell_ids: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.float32]
    failures: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.cell_ids)

    def save(self, path: str | Path) -> None:
        """Write the table as npz; a reader never sees half of it."""
        write_arrays(
            Path(path),
            {
                "cell_ids": np.array(self.cell_ids, dtype=np.str_),
                "names": np.array(self.names, dtype=np.str_),
                "values": self.values,
                "failures": np.array(self.failures, dtype=np.str_).reshape(-1, 2),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> FeatureTable:
        """Return the table in a file.

        Raises
        ------
        ProjectError
            If the file is missing or is not a table of features.
        """
        try:
            arrays = read_arrays(Path(path))
            table = cls(
                tuple(arrays["cell_ids"].tolist()),
                tuple(arrays["names"].tolist()),
                arrays["values"].astype(np.float32, copy=False),
                tuple((str(a), str(b)) for a, b in arrays["failures"]),
            )
            if table.values.shape != (len(table.cell_ids), len(table.names)):
                raise ValueError("rows and names do not fit the values")
        except _UNREADABLE as error:
            raise ProjectError(
                f"{Path(path).name} is not a table of features ({error}). Measure the cells again."
            ) from error
        return table


def join_tables(tables: list[FeatureTable]) -> FeatureTable:
    """Return the tables as one; a column that an image lacks is 0 for its cells.

    0 is the image's own median for brightness, so that images with different channels
    can stand in one table.
    """
    names = tuple(dict.fromkeys(n for table in tables for n in table.names))
    column = {name: k for k, name in enumerate(names)}
    values = np.zeros((sum(len(t) for t in tables), len(names)), np.float32)
    start = 0
    for table in tables:
        values[start : start + len(table), [column[n] for n in table.names]] = table.values
        start += len(table)
    return FeatureTable(
        tuple(c for t in tables for c in t.cell_ids),
        names,
        values,
        tuple(f for t in tables for f in t.failures),
    )


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as npz beside the target, then move them into place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz file; never unpickles."""
    # opened here: numpy leaves a file that it finds broken open
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
