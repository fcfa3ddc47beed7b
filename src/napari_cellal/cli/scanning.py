"""The command that searches plates, folders and slides, and goes on where it stood."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project

from .running import Teller, none_of, run, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from .running import Result


def add_scan(p: Any, score: Callable[[str], float], number: Callable[[str], int]) -> None:
    """Add the command's arguments."""
    p.add_argument(
        "paths",
        nargs="*",
        help="folders, images, plates, lists of files (CSV); default: all images",
    )
    p.add_argument(
        "--pattern", default="auto", help="auto, none, or one file a channel: as of the command add"
    )
    p.add_argument("--channels", default="", help="names for the channels of new images, A,B,C")
    p.add_argument("--model", default="auto", help="auto, shipped, classical, or a model's id")
    p.add_argument("--score", type=score, default=0.0, help="keep proposals that score this")
    p.add_argument("--flips", action="store_true", help="look at each image mirrored too")
    p.add_argument(
        "--classifier", default="", help="give classes: auto, a classifier's id or folder"
    )
    p.add_argument(
        "--measure",
        nargs="?",
        const="quick",
        default="",
        metavar="FEATURES",
        help="also measure the cells; default: quick",
    )
    p.add_argument("--resume", action="store_true", help="go on with the scan begun last")
    p.add_argument("--restart", action="store_true", help="search all images anew")
    p.add_argument("--workers", type=number, default=0, help="processes; 0 chooses")
    p.add_argument("--scheduler", default="", metavar="ADDRESS", help="a dask scheduler's address")


def scan(a: argparse.Namespace) -> Result:
    """Search many images, class and measure their cells."""
    from napari_cellal.workflows.adding import LookOptions
    from napari_cellal.workflows.scanning import places, plan

    if a.resume and (a.paths or a.restart):
        raise CellalError(
            "--resume goes on with the scan begun last: leave paths and --restart out."
        )
    begun = time.perf_counter()
    with Project.open(a.project) as project:
        arrived = places.Arrived(tuple(project.images), 0)
        settings = plan.ScanSettings(a.model, a.score, a.classifier, a.measure, a.flips)
        going_on = None
        if a.resume:
            going_on = plan.unfinished_scan(project)
            settings = plan.settings_of(going_on)
            images = project.scans.images(going_on.scan_id)
            arrived = places.Arrived(tuple(i.image_id for i in images), 0)
        elif a.paths:
            names = tuple(a.channels.split(",")) if a.channels else ()
            arrived = run(places.add_places(project, a.paths, LookOptions(a.pattern, names)))
        for line in (*arrived.notes, *arrived.problems):
            say(line)
        todo = plan.plan_scan(
            project,
            arrived.image_ids,
            settings,
            device=a.device,
            restart=a.restart,
            going_on=going_on,
        )
        for warning in todo.warnings:
            say(warning)
        report = _run(project, todo, a) if todo.waiting else None
        failed = report.failed if report is not None else todo.failed
        images_n = len(todo.waiting) + todo.done + len(todo.failed)
        if images_n and len(failed) == images_n:
            raise CellalError(none_of(images_n, "searched", next(iter(failed.values()))))
        summary = report.summary if report is not None else None
        if report is None:
            say("Nothing is left to do: all these images are done. --restart searches them anew.")
        return {
            "scan": todo.spec.scan_id,
            "resumed": todo.resumed,
            "images": images_n,
            "added": arrived.added,
            "finished_left_out": sum(project.images[k].finished for k in arrived.image_ids),
            "done": todo.done + (report.done if report is not None else 0),
            "done_now": report.done if report is not None else 0,
            "cells": report.cells if report is not None else 0,
            "new": summary.new if summary is not None else 0,
            "moved": summary.moved if summary is not None else 0,
            "kept": summary.kept if summary is not None else 0,
            "lost": summary.lost if summary is not None else 0,
            "failed": [
                {"image": project.images[key].name, "error": sentence}
                for key, sentence in failed.items()
            ],
            "problems": list(arrived.problems),
            "notes": [*arrived.notes, *(report.notes if report is not None else ())],
            "warnings": list(todo.warnings),
            "model": todo.spec.run.model_id,
            "classifier": todo.spec.classifier_id,
            "measured": todo.spec.features,
            "workers": report.crew if report is not None else "",
            "busy": round(report.busy, 3) if report is not None else None,
            "images_per_second": round(report.done / report.seconds, 3) if report else None,
            "seconds": round(time.perf_counter() - begun, 2),
        }


def _run(project: Project, todo: Any, a: argparse.Namespace) -> Any:
    """Have a scan done; Ctrl+C pauses it.

    Raises
    ------
    CellalError
        If it was paused, saying how it goes on.
    """
    from napari_cellal.workflows.scanning import running

    first = project.image_path(next(iter(todo.waiting)))
    left = len(todo.waiting)
    try:
        crew = run(
            running.hire(
                todo.spec, a.device, workers=a.workers, scheduler=a.scheduler, a_path=str(first)
            )
        )
        tell = Teller()
        job = running.scan(project, todo, crew)
        try:
            while True:
                step = next(job)
                left = step.total - step.done
                tell(step)
        except StopIteration as stop:
            return stop.value
        finally:
            job.close()
    except KeyboardInterrupt:
        raise CellalError(running.paused_words(a.project, left, len(todo.waiting))) from None
