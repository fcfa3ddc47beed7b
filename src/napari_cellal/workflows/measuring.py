"""One line a cell for other programs: what it is, and its measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cellal.core.wells import plate_well_site
from napari_cellal.io.tables import table_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_cellal.core.records import Cell, ImageRecord
    from napari_cellal.features.table import FeatureTable
    from napari_cellal.io.store import Project
    from napari_cellal.io.tables import Kind

ABOUT: dict[str, Kind] = {
    "cell_id": "text",
    "image": "text",
    "plate": "text",
    "well": "text",
    "site": "text",
    "class": "text",
    "status": "text",
    "model": "text",
    "model_class": "text",
    "score": "number",
    "probability": "number",
    "y0": "number",
    "x0": "number",
    "y1": "number",
    "x1": "number",
}
"""What stands before the measurements in every line."""
_PORTION = 1000


def write_measurements(project: Project, table: FeatureTable, out: str | Path) -> None:
    """Write one line a cell: what it is, then its measurements.

    Parameters
    ----------
    out : path
        ``.csv``, or ``.parquet``; see `io.tables.table_file`.

    Raises
    ------
    CellalError
        If the file cannot be written, or for Parquet without the package pyarrow.
    """
    columns = ABOUT | dict.fromkeys(table.names, "measurement")
    names = {c.class_id: c.name for c in project.classes.values()}
    with table_file(out, columns) as file:
        for start in range(0, len(table), _PORTION):
            keys = table.cell_ids[start : start + _PORTION]
            rows = project.cells.rows(keys)
            lines = []
            for key, values in zip(keys, table.values[start : start + _PORTION], strict=True):
                cell = rows[key]
                if cell is None:  # removed while the others were measured
                    about: tuple[Any, ...] = (key, *[None] * (len(ABOUT) - 1))
                else:
                    about = about_cell(cell, project.images[cell.image_id], names)
                lines.append((*about, *values))
            file.write(lines)


def about_cell(cell: Cell, image: ImageRecord, names: Mapping[int, str]) -> tuple[Any, ...]:
    """Return the values of `ABOUT`; ``names`` are {class_id: name}."""
    name = None if cell.class_id is None else names.get(cell.class_id)
    place = (part or None for part in plate_well_site(image.place))
    said = _said(cell, names)
    return (cell.cell_id, image.name, *place, name, cell.status.value, *said, *cell.box)


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
