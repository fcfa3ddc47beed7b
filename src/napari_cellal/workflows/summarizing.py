"""What a project's cells come to: by image, by well, and one line a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Status
from napari_cellal.core.wells import parse_well, plate_well_site
from napari_cellal.evaluate.outliers import is_outlier, robust_z
from napari_cellal.io.store.totals import CellTotals, counted_cells
from napari_cellal.io.tables import table_file

from .measuring import ABOUT, about_cell

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellal.core.records import CellClass, ImageRecord
    from napari_cellal.io.store import Project
    from napari_cellal.io.tables import Kind

_PORTION = 2000


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of each image or well.

    Attributes
    ----------
    name : str
        As it stands in a file: ``cells_RBC``.
    words : str
        For a person: "RBC, cells".
    unit : str
        What stands behind the figure; empty for a count or a share.
    kind : str
        ``count``, ``number`` or ``measurement``; see `io.tables`.
    """

    name: str
    words: str
    unit: str = ""
    kind: Kind = "number"


@dataclass(frozen=True, slots=True)
class Line:
    """One image or well.

    Attributes
    ----------
    about : tuple of str
        What it is, one for each of the summary's ``about``.
    values : tuple of (float or None)
        One a column; None where there is nothing to say: the mean of no cell.
    image_ids : tuple of str
    """

    about: tuple[str, ...]
    values: tuple[float | None, ...]
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of all images or of all wells, in the order of plates, wells and sites.

    Attributes
    ----------
    per : str
        ``image`` or ``well``.
    about : tuple of str
        ``plate, well``; for images ``image, plate, well, site, split``.
    left_out : int
        Images whose well is not known, which no well can hold.
    """

    per: str
    about: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    left_out: int = 0

    @property
    def plates(self) -> tuple[str, ...]:
        """The plates that have wells, in order."""
        at = self.about.index("plate")
        return tuple(dict.fromkeys(line.about[at] for line in self.lines))

    def of_plate(self, plate: str) -> tuple[Line, ...]:
        """Return the lines of one plate."""
        at = self.about.index("plate")
        return tuple(line for line in self.lines if line.about[at] == plate)

    def column(self, name: str) -> int:
        """Return the place of a column, -1 where there is none of that name."""
        return next((k for k, c in enumerate(self.columns) if c.name == name), -1)


def values_of(lines: Sequence[Line], column: int) -> NDArray[np.float64]:
    """Return a column of some lines, float64[N], NaN where there is no value."""
    found = (line.values[column] for line in lines)
    return np.array([np.nan if v is None else v for v in found], np.float64)


@dataclass(frozen=True, slots=True)
class Means:
    """Measurements summed up by image.

    Attributes
    ----------
    names : tuple of str, F
    sums : {image_id: float64[F]}
    cells : {image_id: int}
        How many were measured.
    """

    names: tuple[str, ...]
    sums: Mapping[str, NDArray[np.float64]]
    cells: Mapping[str, int]


NO_MEANS = Means((), {}, {})


def measured_means(folder: Path, features_path: str, min_score: float = 0.0) -> Job[Means]:
    """Return the job that sums up a table of features by image.

    Raises
    ------
    ProjectError
        If the table or the database cannot be read.
    """
    from napari_cellal.features.table import FeatureTable

    yield Progress(0, 0, "Summing up the measurements")
    table = FeatureTable.load(features_path)
    if not len(table):
        return NO_MEANS
    image_of = dict(counted_cells(folder, min_score))
    number: dict[str, int] = {}
    codes = np.full(len(table), -1, np.int64)
    for k, key in enumerate(table.cell_ids):
        image_id = image_of.get(key)
        if image_id is not None:
            codes[k] = number.setdefault(image_id, len(number))
    yield Progress(0, 0, "Summing up the measurements")
    kept = codes >= 0
    counts = np.bincount(codes[kept], minlength=len(number))
    sums = np.stack(
        [
            np.bincount(codes[kept], weights=column, minlength=len(number))
            for column in table.values[kept].T
        ],
        axis=1,
    )
    return Means(
        table.names,
        {key: sums[k] for key, k in number.items()},
        {key: int(counts[k]) for key, k in number.items()},
    )


def summarize(
    images: Iterable[ImageRecord],
    classes: Iterable[CellClass],
    totals: Mapping[str, CellTotals],
    *,
    per: str = "well",
    means: Means = NO_MEANS,
    not_searched: Collection[str] = (),
) -> Summary:
    """Return the figures of every image, or of every well.

    Parameters
    ----------
    classes : iterable of CellClass
        Those that get columns; cells of others count among all cells.
    totals : {image_id: CellTotals}
        See `io.store.totals.cell_totals`. An image that is missing has no cells.
    per : str
        ``image`` or ``well``.
    not_searched : collection of image_id
        Images that a scan could not search, or has not yet: that they have no cell says nothing.
    """
    known = list(classes)
    unsearched = frozenset(not_searched) - totals.keys()
    groups: dict[tuple[str, ...], list[ImageRecord]] = {}
    left_out = 0
    for record in images:
        plate, well, site = plate_well_site(record.place)
        if per == "image":
            key: tuple[str, ...] = (record.name, plate, well, site, record.split.value)
            groups.setdefault((*key, record.image_id), []).append(record)
        elif well:
            groups.setdefault((plate, well), []).append(record)
        else:
            left_out += 1
    lines = []
    for key, records in groups.items():
        ids = tuple(r.image_id for r in records)
        total = sum((totals[i] for i in ids if i in totals), CellTotals())
        about = key[:-1] if per == "image" else key
        figures = _figures(ids, total, known, totals, unsearched)
        lines.append(Line(about, (*figures, *_means(ids, means)), ids))
    about = ("plate", "well")
    if per == "image":
        about = ("image", "plate", "well", "site", "split")
        lines.sort(key=lambda line: _order(*line.about[1:4]))  # without places: as it was
    else:
        lines.sort(key=lambda line: _order(*line.about))
    measured = tuple(Column(f"mean_{n}", f"mean {n}", "", "measurement") for n in means.names)
    if measured:
        measured = (Column("measured", "measured cells", "", "count"), *measured)
    return Summary(per, about, (*_columns(known), *measured), tuple(lines), left_out)


def _order(plate: str, well: str, site: str = "") -> tuple[Any, ...]:
    at = parse_well(well)
    number = int(site) if site.isdecimal() else 0
    return plate, at is None, at or (0, 0), well, number, site


def _columns(classes: Sequence[CellClass]) -> tuple[Column, ...]:
    return (
        Column("images", "images", "", "count"),
        Column("not_searched", "images not searched", "", "count"),
        Column("empty_images", "images without a cell", "", "count"),
        Column("cells", "cells", "", "count"),
        Column("per_image", "cells an image"),
        *(Column(f"cells_{c.name}", f"{c.name}: cells", "", "count") for c in classes),
        Column("unclassed", "cells without a class", "", "count"),
        *(Column(f"share_{c.name}", f"{c.name}: share of classed cells") for c in classes),
        Column("open", "cells that nobody reviewed", "", "count"),
        Column("mean_score", "mean score of proposals"),
        Column("mean_box_area", "mean area of the boxes", "px²"),
    )


def _figures(
    image_ids: Sequence[str],
    total: CellTotals,
    classes: Sequence[CellClass],
    totals: Mapping[str, CellTotals],
    unsearched: Collection[str],
) -> tuple[float | None, ...]:
    of = [total.by_class.get(c.class_id, 0) for c in classes]
    unclassed = total.by_class.get(None, 0)
    classed = total.cells - unclassed
    searched = [key for key in image_ids if key not in unsearched]
    if not searched:  # no cell was found, because nobody looked
        return (len(image_ids), len(image_ids), 0, *(None for _ in range(2 * len(of) + 6)))
    return (
        len(image_ids),
        len(image_ids) - len(searched),
        sum(key not in totals for key in searched),
        total.cells,
        total.cells / len(searched),
        *of,
        unclassed,
        *(n / classed if classed else None for n in of),
        total.waiting,
        total.score / total.scored if total.scored else None,
        total.area_px2 / total.cells if total.cells else None,
    )


def _means(image_ids: Sequence[str], means: Means) -> tuple[float | None, ...]:
    if not means.names:
        return ()
    found = [key for key in image_ids if means.cells.get(key)]
    n = sum(means.cells[key] for key in found)
    if not n:
        return (0, *(None for _ in means.names))
    sums = np.sum([means.sums[key] for key in found], axis=0)
    return (n, *(sums / n).tolist())


# -- outliers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outlier:
    """A well whose figure is far from those of its plate; ``z`` is its robust z-score."""

    plate: str
    well: str
    column: str
    value: float
    z: float


def outliers(summary: Summary, columns: Iterable[str]) -> list[Outlier]:
    """Return the wells far from the others of their plate, the farthest first.

    See `evaluate.outliers`.
    """
    found = []
    for plate in summary.plates:
        lines = summary.of_plate(plate)
        for name in columns:
            values = values_of(lines, summary.column(name))
            scores = robust_z(values)
            for k in np.flatnonzero(is_outlier(scores)).tolist():
                z, value = float(scores[k]), float(values[k])
                found.append(Outlier(plate, lines[k].about[1], name, value, z))
    return sorted(found, key=lambda o: -abs(o.z))


# -- writing -------------------------------------------------------------------------------


def write_summary(summary: Summary, out: str | Path) -> Job[int]:
    """Return the job that writes one line an image or well, and returns how many.

    Raises
    ------
    CellalError
        If the file cannot be written; see `io.tables.table_file`.
    """
    yield Progress(0, len(summary.lines), "Writing the table")
    about: dict[str, Kind] = dict.fromkeys(summary.about, "text")
    columns = about | {c.name: c.kind for c in summary.columns}
    with table_file(out, columns) as file:
        for start in range(0, len(summary.lines), _PORTION):
            yield Progress(start, len(summary.lines), "Writing the table")
            lines = summary.lines[start : start + _PORTION]
            file.write((*(a or None for a in line.about), *line.values) for line in lines)
    return len(summary.lines)


def write_cells(project: Project, out: str | Path, min_score: float = 0.0) -> Job[int]:
    """Return the job that writes one line a cell, rejected ones left out, and returns how many.

    Image by image: a million cells take no more memory than the fullest images.

    Raises
    ------
    CellalError
        If the file cannot be written; see `io.tables.table_file`.
    """
    names = {c.class_id: c.name for c in project.classes.values()}
    n = 0
    with table_file(out, ABOUT) as file:
        for k, image in enumerate(project.images.values()):
            yield Progress(k, len(project.images), f"Writing {image.name}")
            lines = [
                about_cell(cell, image, names)
                for cell in project.cells.of_image(image.image_id)
                if cell.status is not Status.REJECTED
                and not (
                    cell.status is Status.PROPOSED
                    and cell.score is not None
                    and cell.score < min_score
                )
            ]
            file.write(lines)
            n += len(lines)
    return n
