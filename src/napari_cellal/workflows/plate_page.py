"""A page about plates: what they hold, as heat maps, and the wells that stand out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import local_time, now
from napari_cellal.core.wells import parse_well, plate_format
from napari_cellal.evaluate.heat import Scale, brief, scale_of
from napari_cellal.evaluate.html import Markup, bullets, cards, element, page, section, table
from napari_cellal.evaluate.outliers import OUTLIER, is_outlier, robust_z
from napari_cellal.evaluate.plate_drawing import DrawnWell, plate_svg, scale_svg
from napari_cellal.io.atomic import write_atomic

from .summarizing import Column, Line, Summary, outliers, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_MAPS = 7
MOST_OUTLIERS = 50
MOST_FAILURES = 200


def shown_columns(summary: Summary) -> list[str]:
    """Return the columns of a page where nobody chose: cells, and the classes' shares."""
    shares = [c.name for c in summary.columns if c.name.startswith("share_")]
    return ["cells", *shares[: MOST_MAPS - 1]]


def write_page(
    summary: Summary,
    out: str | Path,
    title: str,
    columns: Sequence[str],
    *,
    is_change: bool = False,
    failures: Sequence[tuple[str, str]] = (),
) -> Job[None]:
    """Return the job that writes plates as one HTML page.

    Parameters
    ----------
    summary : Summary
        Of wells; with ``is_change`` from `comparing.compare`.
    columns : sequence of str
        Each becomes a heat map a plate; with ``is_change`` of its change.
    failures : sequence of (image, sentence)
        Why the last scan could not search images; empty where it has not come to them.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    yield Progress(0, len(columns), "Writing the page")
    shown = [f"{name}_change" for name in columns] if is_change else list(columns)
    shown = [name for name in shown if summary.column(name) >= 0]
    parts = [element("h1", title), _about(summary, is_change), _totals(summary)]
    parts.append(_outliers(summary, shown))
    for done, name in enumerate(shown, 1):
        parts.append(_maps(summary, name, is_change))
        yield Progress(done, len(shown), "Writing the page")
    if failures:
        parts.append(_failures(failures))
    file = Path(out)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, page(title, parts))
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error


def _about(summary: Summary, is_change: bool) -> Markup:
    text = (
        f"Written {local_time(now())}. Rejected cells are left out. On the plates a frame marks a "
        "well that stands out, hatching one without a value; point at a well to read it."
    )
    if summary.left_out:
        text += f" {summary.left_out:,} images are in no well and left out."
    if is_change:
        text += " The maps show the change: now less before."
    return element("p", text, kind="quiet")


def _sum(summary: Summary, name: str) -> float:
    at = summary.column(name)
    return float(np.nansum(values_of(summary.lines, at))) if at >= 0 else 0.0


def _totals(summary: Summary) -> Markup:
    classed = [c for c in summary.columns if c.name.startswith("cells_")]
    classed = [c for c in classed if not c.name.endswith(("_before", "_change"))]
    images, cells = _sum(summary, "images"), _sum(summary, "cells")
    empty = _sum(summary, "empty_images")
    n = _sum(summary, "not_searched")
    skipped = f", {n:,.0f} not searched" if n else ""
    figures = [
        (f"{len(summary.plates):,}", "plates", f"{len(summary.lines):,} wells"),
        (f"{images:,.0f}", "images", f"{empty:,.0f} without a cell{skipped}"),
        (f"{cells:,.0f}", "cells", f"{_sum(summary, 'open'):,.0f} not reviewed"),
    ]
    figures += [(f"{_sum(summary, c.name):,.0f}", c.words.rsplit(":", 1)[0], "") for c in classed]
    return cards(figures)


def _failures(failures: Sequence[tuple[str, str]]) -> Markup:
    rows = [(name, why or "waits for the scan to go on") for name, why in failures[:MOST_FAILURES]]
    parts = [table(("image", "why"), rows, left=2)]
    if len(failures) > MOST_FAILURES:
        parts.append(bullets([f"{len(failures) - MOST_FAILURES:,} more"]))
    return section("Images that were not searched", *parts)


def _outliers(summary: Summary, columns: Sequence[str]) -> Markup:
    found = outliers(summary, columns)
    how = element(
        "p",
        f"A well whose robust z-score, 0.6745 (value - median of its plate) / median absolute "
        f"deviation, is beyond {OUTLIER}: Iglewicz and Hoaglin, 1993.",
        kind="quiet",
    )
    if not found:
        return section("Wells that stand out", element("p", "None."), how)
    words = {c.name: c.words for c in summary.columns}
    rows = [
        (o.plate or "–", o.well, words[o.column], brief(o.value), f"{o.z:+.1f}")
        for o in found[:MOST_OUTLIERS]
    ]
    parts = [table(("plate", "well", "figure", "value", "robust z"), rows, left=3)]
    if len(found) > MOST_OUTLIERS:
        parts.append(bullets([f"{len(found) - MOST_OUTLIERS:,} more"]))
    return section("Wells that stand out", *parts, how)


def _maps(summary: Summary, name: str, is_change: bool) -> Markup:
    at = summary.column(name)
    column = summary.columns[at]
    plates = {plate: summary.of_plate(plate) for plate in summary.plates}
    scale = scale_of((values_of(p, at) for p in plates.values()), is_change=is_change)
    if scale is None:
        return section(column.words, element("p", "No well has this figure."))
    figures = [
        element("figure", _plate(lines, at, column, scale), element("figcaption", plate or "plate"))
        for plate, lines in plates.items()
    ]
    return section(
        column.words, scale_svg(scale, column.unit), element("div", *figures, kind="side")
    )


def _plate(lines: Sequence[Line], at: int, column: Column, scale: Scale) -> Markup:
    odd = is_outlier(robust_z(values_of(lines, at)))
    wells = {}
    for line, is_odd in zip(lines, odd.tolist(), strict=True):
        place, value = parse_well(line.about[1]), line.values[at]
        if place is not None:
            shown = "no value" if value is None else f"{brief(value)} {column.unit}".strip()
            color = "" if value is None else scale.color(value)
            wells[place] = DrawnWell(color, f"{line.about[1]}: {shown}", is_odd)
    return plate_svg(plate_format(wells), wells)
