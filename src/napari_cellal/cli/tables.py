"""The command that sums a project up: by cell, image or well, as a table or a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project
from napari_cellal.io.store.totals import cell_totals

from .running import run, say

if TYPE_CHECKING:
    import argparse

    from napari_cellal.workflows.summarizing import Summary

    from .running import Result

PAGE = ".html"
_SHOWN = 20


def add_table(p: argparse.ArgumentParser) -> None:
    """Add the arguments of ``table``."""
    p.add_argument("--per", choices=["cell", "image", "well"], default="well")
    p.add_argument(
        "-o",
        "--output",
        help=".csv, .parquet, or .html for a page with plates; default: cells.csv, images.csv or "
        "wells.csv in the project",
    )
    p.add_argument("--features", default="", help="also means of these; see measure")
    p.add_argument(
        "--against", metavar="OTHER", help="what changed since: another project, or its table, CSV"
    )
    p.add_argument(
        "--columns", default="", help="A,B: those to look for outliers in, and shown on a page"
    )


def table(a: argparse.Namespace) -> Result:
    """Write a table of cells, images or wells."""
    from napari_cellal.io import tables
    from napari_cellal.workflows import comparing, plate_page, summarizing

    if a.per == "cell" and (a.against or a.features or a.columns):
        raise CellalError(
            "--against, --features and --columns go with --per image or well; measure writes the "
            "measurements of each cell."
        )
    with Project.open(a.project) as project:
        out = Path(a.output) if a.output else project.folder / f"{a.per}s.csv"
        is_page = out.suffix.lower() == PAGE
        if is_page and a.per != "well":
            raise CellalError("A page shows plates: leave out --per, or write a .csv.")
        if not is_page:
            tables.check_output(out)
        if a.per == "cell":
            n = run(summarizing.write_cells(project, out, a.score))
            return {"per": "cell", "lines": n, "file": str(out)}
        found = _summary(project, a.per, a.score, a.features)
        _require_wells(found)
        notes: list[str] = []
        shown = _columns(a.columns, found) or plate_page.shown_columns(found)
        if a.against:
            found, notes = comparing.compare(found, _other(a.against, a))
            for note in notes:
                say(note)
        name = project.name
        missing = project.scans.not_searched()
        failures = [(project.images[key].name, why) for key, why in missing.items()]
    if is_page:
        page = plate_page.write_page(
            found, out, name, shown, is_change=bool(a.against), failures=failures
        )
        run(page)
    else:
        run(summarizing.write_summary(found, out))
    result: Result = {
        "per": a.per,
        "lines": len(found.lines),
        "file": str(out),
        "columns": [c.name for c in found.columns],
        "left_out": found.left_out,
        "not_searched": len(failures),
        "notes": notes,
    }
    if a.per == "well":
        odd = [f"{c}_change" for c in shown] if a.against else shown
        result["outliers"] = [
            {"plate": o.plate, "well": o.well, "column": o.column, "value": o.value, "z": o.z}
            for o in summarizing.outliers(found, [c for c in odd if found.column(c) >= 0])
        ]
    if a.against:
        result["changes"] = [
            {**dict(zip(found.about, line.about, strict=True)), "before": before, "now": now}
            for line, before, now in comparing.changes(found, "cells", _SHOWN)
        ]
    return result


def _summary(project: Project, per: str, score: float, features: str) -> Summary:
    from napari_cellal.workflows import learning, summarizing

    means = summarizing.NO_MEANS
    if features:
        requests = learning.measure_requests(project)
        measured = run(learning.measure(requests, project.cache_folder, features))
        means = run(summarizing.measured_means(project.folder, measured.path, score))
        for _, reason in measured.failures:
            say(reason)
    return summarizing.summarize(
        project.images.values(),
        project.active_classes,
        cell_totals(project.folder, score),
        per=per,
        means=means,
        not_searched=project.scans.not_searched(),
    )


def _require_wells(found: Summary) -> None:
    if found.per == "well" and not found.lines:
        raise CellalError(
            "No image of this project has a well. Wells come from file names (add --pattern) or "
            "from an OME-Zarr plate; --per image needs none."
        )


def _columns(text: str, found: Summary) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if found.column(name) < 0:
            known = ", ".join(c.name for c in found.columns)
            raise CellalError(f"There is no column {name}. There are: {known}.")
    return names


def _other(text: str, a: argparse.Namespace) -> Summary:
    from napari_cellal.workflows import comparing

    if Path(text).suffix.lower() == ".csv":
        return comparing.read_summary(text, a.per)
    with Project.open(text) as other:
        found = _summary(other, a.per, a.score, a.features)
    _require_wells(found)
    return found
