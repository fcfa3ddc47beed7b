"""The commands that make a project, tell what it holds, and show one from end to end.

Workflows are imported inside, so that ``new`` and ``info`` do not wait for torch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Split
from napari_cellal.io.store import Project

from .running import run, say

if TYPE_CHECKING:
    import argparse

    from .running import Result


def new(a: argparse.Namespace) -> Result:
    """Make a project."""
    with Project.create(
        a.project, [name for names in a.classes for name in names.split(",") if name]
    ) as project:
        return {
            "project": str(project.folder),
            "classes": [c.name for c in project.active_classes],
        }


def info(a: argparse.Namespace) -> Result:
    """Return what a project holds."""
    from napari_cellal.workflows import detecting

    with Project.open(a.project) as project:
        counts = project.cells.counts()
        by_class: dict[str, int] = {}
        by_status: dict[str, int] = {}
        for (status, class_id), n in counts.items():
            name = "unclassed" if class_id is None else project.classes[class_id].name
            by_class[name] = by_class.get(name, 0) + n
            by_status[status.value] = by_status.get(status.value, 0) + n
        splits = [r.split for r in project.images.values()]
        by_image = project.cells.counts_by_image()
        listed = [
            {
                "name": r.name,
                "split": r.split.value,
                "finished": r.finished,
                "cells": sum(by_image.get(key, {}).values()),
                "shape": list(r.shape),
                "channels": list(r.channels),
            }
            for key, r in project.images.items()
        ]
        return {
            "project": str(project.folder),
            "classes": [c.name for c in project.active_classes],
            "images": len(splits),
            "finished": sum(r.finished for r in project.images.values()),
            "cells": sum(counts.values()),
            "by_class": by_class,
            "by_status": by_status,
            "by_split": {s.value: splits.count(s) for s in Split},
            "detector": detecting.choose_model(project),
            "models": [
                {
                    "model": m.model_id,
                    "kind": m.kind,
                    "architecture": m.architecture,
                    "start": m.start,
                    "created_at": m.created_at,
                    "metrics": dict(m.metrics),
                }
                for m in project.models
            ],
        } | ({"image_list": listed} if a.images else {})


def _show_window(project: str, screenshot: str | None, *, stay: bool) -> None:
    """Open the window on a project in a process of its own: this one knows no Qt."""
    command = [sys.executable, "-m", "napari_cellal.ui.show", project]
    if screenshot:
        command += ["--screenshot", screenshot]
    if not stay:
        command.append("--close")
    if subprocess.run(command, check=False).returncode:
        raise CellalError(
            "The window could not be opened; the lines above say why. On a machine without a "
            "display use --headless, and xvfb-run for --screenshot."
        )


def demo(a: argparse.Namespace) -> Result:
    """Run the main job end to end, and show it."""
    from napari_cellal.io.samples.bccd import fetch_bccd
    from napari_cellal.workflows.demo import Demo, run_demo

    data = str(run(fetch_bccd())) if a.data == "bccd" else a.data
    folder = Path(a.project or Path(tempfile.mkdtemp(prefix="cellal-demo-")) / "demo.cellal")
    demo = Demo(
        folder,
        data,
        answers=a.answers,
        train_minutes=a.train_minutes,
        preset=a.preset,
        start=a.start,
        device=a.device,
        seed=a.seed or 0,
    )
    if not a.headless:
        demo.train_minutes = min(demo.train_minutes, a.train_minutes if a.project else 0)
    report = run(run_demo(demo))
    if not a.project:
        say(f"The project is in a temporary folder, {folder}; --project keeps it where you say.")
    if a.screenshot or not a.headless:
        _show_window(report["project"], a.screenshot, stay=not a.headless)
        report["screenshot"] = a.screenshot
    return report
