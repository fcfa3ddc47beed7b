"""The table of measurements for other programs, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.io.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellal.core.records import Cell
    from napari_cellal.features.table import FeatureTable
    from napari_cellal.io.store import Project

SUFFIXES = (".csv", ".parquet")
ABOUT = (
    "cell_id", "image", "class", "status", "model", "model_class", "score", "probability",
    "y0", "x0", "y1", "x1",
)  # fmt: skip
"""What stands before the measurements in every line."""


def check_output(out: str | Path) -> None:
    """Raise `CellalError` where a table cannot be written so; quick, before hours of work."""
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise CellalError(f"{Path(out).name}: tables are written as .csv or .parquet.")
    if suffix == ".parquet":
        _parquet()


def write_measurements(project: Project, table: FeatureTable, out: str | Path) -> None:
    """Write one line a cell: what it is, then its measurements.

    Parameters
    ----------
    out : path
        ``.csv``, or ``.parquet``, which keeps every digit and the columns' types.

    Raises
    ------
    CellalError
        If the file cannot be written, or for Parquet without the package pyarrow.
    """
    check_output(out)
    file = Path(out)
    about = _about(project, table)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() == ".parquet":
            arrow, parquet = _parquet()
            columns: dict[str, Any] = {name: about[name] for name in ABOUT}
            columns |= {name: table.values[:, k] for k, name in enumerate(table.names)}
            buffer = io.BytesIO()
            parquet.write_table(arrow.table(columns), buffer)
            write_atomic(file, buffer.getvalue())
            return
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*ABOUT, *table.names])
        for k, values in enumerate(table.values):
            known = ("" if about[name][k] is None else about[name][k] for name in ABOUT)
            writer.writerow([*known, *(f"{v:.7g}" for v in values)])
        write_atomic(file, text.getvalue().encode("utf-8", "replace"))
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error


def _about(project: Project, table: FeatureTable) -> dict[str, list[Any]]:
    names = {c.class_id: c.name for c in project.classes.values()}
    rows = project.cells.rows(table.cell_ids)
    columns: dict[str, list[Any]] = {name: [] for name in ABOUT}
    for cell_id in table.cell_ids:
        cell = rows[cell_id]
        if cell is None:  # removed while the others were measured
            values: tuple[Any, ...] = (cell_id, *[None] * (len(ABOUT) - 1))
        else:
            image = project.images[cell.image_id].name
            name = None if cell.class_id is None else names.get(cell.class_id)
            values = (cell_id, image, name, cell.status.value, *_said(cell, names), *cell.box)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return columns


def _said(cell: Cell, names: Mapping[int, str]) -> tuple[Any, ...]:
    """Return a model's name, its class, score, and the probability of that class; None if unknown.

    What a person said since does not change them.
    """
    if cell.proposed is None:
        return (None,) * 4
    said = cell.proposed
    if said.class_id is None:
        return (said.model_id, None, said.score, None)
    probability = dict(said.probabilities).get(said.class_id)
    return (said.model_id, names.get(said.class_id), said.score, probability)


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CellalError(
            "Parquet files need the package pyarrow: install napari-cellal[parquet], or write "
            "the table as .csv."
        ) from error
    return pyarrow, pyarrow.parquet
