"""The commands that bring annotations in and write boxes, crops and measurements out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.io.store import Project

from .running import Teller, none_of, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

Result = dict[str, Any]
CROPS = "crops"


def add_import(p: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    from napari_cellal.io.exchange.formats import AUTO, FORMATS

    p.add_argument("path", help="a file or folder")
    p.add_argument("--format", default=AUTO, choices=[AUTO, *FORMATS])
    p.add_argument("--confirm", action="store_true", help="count the boxes as a person's labels")
    p.add_argument(
        "--finished",
        action="store_true",
        help="with --confirm: the files box every cell, so their images are finished",
    )
    p.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="a class by another name; 'OLD=' leaves it out, '=NEW' is for boxes without a class",
    )
    p.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="WHAT=HEADING,...",
        help="which columns of a table are meant, e.g. image=File,class=Type,xmin=Left",
    )
    p.add_argument("--from-one", action="store_true", help="the table counts pixels from 1")
    p.add_argument(
        "--split-parts",
        action="store_true",
        help="parts of a label that do not touch are cells of their own",
    )
    p.add_argument("--dry-run", action="store_true", help="only tell what would come in")


def import_(a: argparse.Namespace) -> Result:
    """Bring annotations in."""
    from napari_cellal.io.exchange.report import ReadOptions
    from napari_cellal.workflows import annotating

    if a.finished and not a.confirm:
        raise CellalError("--finished goes with --confirm: only a person's labels finish an image.")
    columns = _pairs("--columns", [c for item in a.columns for c in item.split(",")])
    options = ReadOptions(columns, a.from_one, a.split_parts)
    classes = _pairs("--map", a.map)
    with Project.open(a.project) as project:
        images, report = run_job(annotating.read_annotations([a.path], a.format, options), Teller())
        done = annotating.import_annotations(
            project,
            images,
            report,
            classes=classes,
            confirm=a.confirm,
            finished=a.finished,
            dry_run=a.dry_run,
        )
    if done.matched:
        say(done.lines()[0] + (" They count as your labels." if a.confirm else ""))
    elif done.unmatched:  # else they fit several images, and the problems say so
        say(
            f"None of the {len(done.unmatched)} annotated images is in the project, such as "
            f"{done.unmatched[0]}. Add those images, then import again."
        )
    return {
        "dry_run": a.dry_run,
        "files": report.files,
        "matched": done.matched,
        "images": done.images,
        "boxes": done.boxes,
        "repeated": done.repeated,
        "confirmed": done.confirmed,
        "masked": done.masked,
        "kept": done.kept,
        "finished": done.finished,
        "clipped": done.clipped,
        "outside": done.outside,
        "classes": [asdict(link) for link in done.classes],
        "classes_added": list(done.classes_added),
        "unmatched": list(done.unmatched),
        "columns": dict(report.columns),
        "problem_counts": report.counts(),
        "problems": list(done.problems),
    }


def _pairs(option: str, items: Sequence[str]) -> dict[str, str]:
    """Return {old: new} of ``OLD=NEW``; the last = divides, for a class may hold one."""
    pairs: dict[str, str] = {}
    for item in items:
        old, sign, new = item.rpartition("=")
        if not sign:
            raise CellalError(f"{option} takes OLD=NEW, but '{item}' has no =.")
        pairs[old.strip()] = new.strip()
    return pairs


def add_features(p: argparse.ArgumentParser) -> None:
    """Add the choice of features."""
    p.add_argument(
        "--features",
        default="quick",
        help="automatic, quick, cellprofiler, deep, deep:NETWORK, or several joined by +",
    )


def add_measure(p: argparse.ArgumentParser) -> None:
    """Add the arguments of ``measure``."""
    add_features(p)
    p.add_argument(
        "-o", "--output", help=".csv or .parquet; default: measurements.csv in the project"
    )


def measure(a: argparse.Namespace) -> Result:
    """Write the table of measurements."""
    from napari_cellal.io import tables
    from napari_cellal.workflows import learning, measuring
    from napari_cellal.workflows.describing import sets_of

    with Project.open(a.project) as project:
        out = Path(a.output) if a.output else project.folder / "measurements.csv"
        tables.check_output(out)
        sets_of(a.features)
        requests = learning.measure_requests(project)
        if not requests:
            raise CellalError("The project has no cells to measure. Detect or import some first.")
        table = run_job(
            learning.measure_table(requests, project.cache_folder, a.features), Teller()
        )
        if not len(table):
            n = len({r.image_id for r in requests})
            raise CellalError(none_of(n, "measured", table.failures[0][1]))
        measuring.write_measurements(project, table, out)
    return {
        "cells": len(table),
        "features": len(table.names),
        "file": str(out),
        "failures": [reason for _, reason in table.failures],
    }


def add_export(p: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    from napari_cellal.io.exchange.formats import FORMATS

    p.add_argument("out", help="a folder, or a file for formats that are one file")
    p.add_argument("--format", default="voc", choices=[*FORMATS, CROPS])
    p.add_argument("--padding", type=float, default=0.0, help="crops: margin, a share of the box")
    p.add_argument("--size", type=int, help="crops: scaled to squares of this side, px")
    p.add_argument(
        "--picture",
        default="auto",
        choices=["auto", "jpg", "png", "tiff"],
        help="crops: tiff keeps all channels; jpg and png are composites; auto is jpg for colour",
    )
    p.add_argument("--reviewed-only", action="store_true", help="leave out open proposals")


def export(a: argparse.Namespace) -> Result:
    """Write boxes, or the cells themselves."""
    from napari_cellal.workflows import cropping, exporting

    with Project.open(a.project) as project:
        if a.format == CROPS:
            request = run_job(
                cropping.request_crops(
                    project,
                    a.out,
                    picture=a.picture,
                    padding=a.padding,
                    size_px=a.size,
                    reviewed_only=a.reviewed_only,
                ),
                Teller(),
            )
            report = run_job(cropping.cut_crops(request), Teller())
        else:
            job = exporting.write_annotations(
                project, a.out, a.format, reviewed_only=a.reviewed_only
            )
            report = run_job(job, Teller())
    return {
        "files": len(report.files),
        "images": report.images,
        "boxes": report.boxes,
        "folder": str(a.out),
        "lost": list(report.lost),
        "problems": [p.sentence for p in report.problems],
    }
