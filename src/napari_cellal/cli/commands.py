"""What each command does: arguments in, plain values out.

Workflows are imported inside, so that ``new`` and ``info`` do not wait for torch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress, run_job
from napari_cellal.core.records import Cell, Split
from napari_cellal.io.store import Project

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_cellal.io.groups import Grouping

T = TypeVar("T")
Result = dict[str, Any]


class Teller:
    """Writes progress to stderr, twice a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, step: Progress) -> None:
        """Write a line unless one was written just now."""
        now = time.monotonic()
        if now - self._last < 0.5:
            return
        self._last = now
        share = f"{step.done}/{step.total} " if step.total else ""
        sys.stderr.write(f"{share}{step.message}\n")
        sys.stderr.flush()


def _run(job: Job[T]) -> T:
    return run_job(job, Teller())


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")


def _seed(a: argparse.Namespace, project: Project) -> int:
    return project.settings.seed if a.seed is None else int(a.seed)


def new(a: argparse.Namespace) -> Result:
    """Make a project."""
    with Project.create(a.project, a.classes.split(",") if a.classes else []) as project:
        return {
            "project": str(project.folder),
            "classes": [c.name for c in project.active_classes],
        }


def add(a: argparse.Namespace) -> Result:
    """Add images."""
    from napari_cellal.workflows import adding, splitting

    pairs = [item.partition("=") for item in a.split]
    if any(not path for _, _, path in pairs):
        raise CellalError("--split takes NAME=FILE, e.g. train=train.txt.")
    splits = splitting.read_splits({name: path for name, _, path in pairs})
    if a.dry_run:
        if not a.pattern:
            raise CellalError("--dry-run shows what --pattern would do; name one.")
        return _preview(adding.find_groups(a.paths, a.pattern))
    names = tuple(a.channels.split(",")) if a.channels else ()
    options = adding.LookOptions(a.pattern, names, a.z, a.t)
    with Project.open(a.project) as project:
        looked = _run(adding.look_at_images(a.paths, options))
        if not looked.images:
            problem = next(iter(looked.problems), f"No image fits the pattern {a.pattern}.")
            raise CellalError(problem)
        added = adding.add_looked(project, looked, splits)
    return {
        "added": len(added.records),
        "known": added.known,
        "problems": list(added.problems),
        "notes": list(added.notes),
    }


def _preview(grouping: Grouping) -> Result:
    return {
        "channels": list(grouping.channels),
        "images": [
            {
                "name": group.name,
                "place": dict(group.place),
                "files": [str(file) for file in group.files],
                "missing": list(group.missing),
            }
            for group in grouping.groups
        ],
        "unmatched": [str(file) for file in grouping.unmatched],
        "problems": list(grouping.problems),
    }


def split(a: argparse.Namespace) -> Result:
    """Say what images are for."""
    from napari_cellal.workflows import finding, splitting

    with Project.open(a.project) as project:
        found = finding.find_images(project, a.images)
        changed = splitting.change_split(project, found, Split(a.split))
        if changed and project.models:
            say("Models that are there may have been trained on these images: train anew.")
        splits = [r.split for r in project.images.values()]
        return {
            "changed": len(changed),
            "with_group": len(set(changed) - set(found)),
            "by_split": {s.value: splits.count(s) for s in Split},
        }


def refresh(a: argparse.Namespace) -> Result:
    """Look at the image files again."""
    from napari_cellal.workflows import refreshing

    with Project.open(a.project) as project:
        found = _run(refreshing.refresh(refreshing.files_to_check(project)))
        names = [project.images[key].name for key in found.changed]
        accepted = refreshing.accept_changes(project, found) if a.accept else 0
    return {
        "images": found.images,
        "changed": names,
        "accepted": accepted,
        "problems": list(found.problems),
    }


def remove(a: argparse.Namespace) -> Result:
    """Take images and their boxes out of the project."""
    from napari_cellal.workflows import finding, removing

    with Project.open(a.project) as project:
        found = finding.find_images(project, a.images)
        removal = removing.look_at_removal(project, found)
        removing.remove_images(project, removal, with_reviewed=a.with_reviewed)
    return {
        "removed": len(removal.image_ids),
        "cells": removal.cells,
        "reviewed": removal.reviewed,
        "images": list(removal.names),
    }


def info(a: argparse.Namespace) -> Result:
    """Return what a project holds."""
    with Project.open(a.project) as project:
        counts = project.cells.counts()
        by_class: dict[str, int] = {}
        by_status: dict[str, int] = {}
        for (status, class_id), n in counts.items():
            name = "unclassed" if class_id is None else project.classes[class_id].name
            by_class[name] = by_class.get(name, 0) + n
            by_status[status.value] = by_status.get(status.value, 0) + n
        splits = [r.split for r in project.images.values()]
        return {
            "project": str(project.folder),
            "images": len(splits),
            "finished": sum(r.finished for r in project.images.values()),
            "cells": sum(counts.values()),
            "by_class": by_class,
            "by_status": by_status,
            "by_split": {s.value: splits.count(s) for s in Split},
            "detector": project.settings.detector,
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
        }


def detect(a: argparse.Namespace) -> Result:
    """Propose boxes."""
    from napari_cellal.workflows import detecting, finding

    begun = time.perf_counter()
    with Project.open(a.project) as project:
        if not project.images:
            raise CellalError("The project has no images yet. Add some first.")
        ids = finding.find_images(project, [a.images])
        if a.images == "*":
            ids = [key for key in ids if not project.images[key].finished]
        if not ids:
            raise CellalError(
                "Every image of the project is finished. Name those to search with --images."
            )
        request = detecting.request_detection(project, ids, model=a.model, device=a.device)
        for warning in request.warnings:
            say(warning)
        items: list[Any] = []

        def collect(step: Progress) -> None:
            if step.item is not None:
                items.append(step.item)
            tell(step)

        tell = Teller()
        try:
            run_job(detecting.detect(request), collect)
        finally:  # also after Ctrl+C: what was found by then is kept
            run = detecting.apply_detections(project, items, min_score=a.score)
    return {
        "images": run.images,
        "cells": run.cells,
        "new": run.summary.new,
        "moved": run.summary.moved,
        "kept": run.summary.kept,
        "lost": run.summary.lost,
        "seconds": round(time.perf_counter() - begun, 2),
        "device": _device_of(a.device) if request.model != detecting.CLASSICAL else "cpu",
        "model": request.model_id,
        "warnings": list(request.warnings),
        "failures": list(run.failures),
    }


def _device_of(name: str) -> str:
    from napari_cellal.detect.devices import choose_device

    return choose_device(name).type


def suggest(a: argparse.Namespace) -> Result:
    """Return the next cells to label."""
    from napari_cellal.workflows import learning

    with Project.open(a.project) as project:
        requests = learning.measure_requests(project)
        measured = _run(learning.measure(requests, project.cache_folder))
        pool = learning.Pool(project)
        request = learning.request_suggestions(
            project,
            measured.path,
            pool,
            strategy=a.strategy,
            estimator=a.estimator,
            n=a.n,
            seed=a.seed,
        )
        result = _run(learning.suggest(request))
        found = result.suggestions
        rows = project.cells.rows(found.cell_ids)
        suggestions = []
        for k, cell_id in enumerate(found.cell_ids):
            cell = rows[cell_id]
            assert cell is not None
            names = {c: project.classes[c].name for c in found.class_ids if c in project.classes}
            suggestions.append(
                {
                    "cell": cell_id,
                    "image": project.images[cell.image_id].name,
                    "box": list(cell.box),
                    "reason": found.reasons[k],
                    "probabilities": {
                        names[c]: round(float(p), 4)
                        for c, p in zip(found.class_ids, found.probabilities[k], strict=True)
                        if c in names
                    },
                }
            )
    return {
        "suggestions": suggestions,
        "labels": result.labels,
        "remaining": result.remaining,
        "holdout": None if result.holdout is None else asdict(result.holdout),
    }


def _cells(project: Project, ids: Sequence[str]) -> list[Cell]:
    rows = project.cells.rows(ids)
    missing = [key for key, cell in rows.items() if cell is None]
    if missing:
        raise CellalError(f"The project has no cell {', '.join(missing)}.")
    return [c for c in rows.values() if c is not None]


def label(a: argparse.Namespace) -> Result:
    """Give a cell a class."""
    with Project.open(a.project) as project:
        found = project.class_named(a.class_name)
        if found is None or found.retired:
            names = ", ".join(c.name for c in project.active_classes)
            raise CellalError(f"The project has no class {a.class_name}. It has: {names}.")
        cells = _cells(project, [a.cell])
        project.history.do(gestures.give_class(cells, found.class_id, found.name, project.person))
        return {"cell": a.cell, "class": found.name, "labels": len(project.cells.labels())}


def review(a: argparse.Namespace) -> Result:
    """Accept, reject, set aside or reopen cells."""
    do = {
        "accept": gestures.accept,
        "reject": gestures.remove,
        "unsure": gestures.mark_unsure,
        "reopen": gestures.reopen,
    }[a.action]
    with Project.open(a.project) as project:
        edit = do(_cells(project, a.cells), project.person)
        project.history.do(edit)
        return {"action": a.action, "cells": len(edit.after)}


def train(a: argparse.Namespace) -> Result:
    """Train a detector and compare it with the one in use."""
    from napari_cellal.detect.settings import TrainSettings
    from napari_cellal.workflows import compositing, detecting, evaluating, training

    steps = a.steps or (1_000_000 if a.minutes else None)
    begun = time.perf_counter()
    with Project.open(a.project) as project:
        settings = TrainSettings(seed=_seed(a, project), minutes=a.minutes or None, shrink=a.shrink)
        if steps:
            settings = settings.model_copy(update={"steps": steps})
        composite = _run(compositing.composite_for(project, a.composite))
        request = training.request_training(
            project,
            preset=a.preset,
            start=a.start,
            device=a.device,
            settings=settings,
            composite=composite,
        )
        say(training.training_set(project).line())
        old_id = detecting.choose_model(project)
        trained = _run(training.train(request))
        training.register_model(project, trained, use=False)
        old = new = None
        if evaluating.truth_of(project, Split.VAL):
            new, old = (
                _run(
                    evaluating.evaluate(
                        evaluating.request_evaluation(
                            project, model=m, split="val", device=a.device, seed=_seed(a, project)
                        )
                    )
                )
                for m in (trained.record.model_id, old_id)
            )
        better = new is None or old is None or (new["map50"] or 0) > (old["map50"] or 0)
        if better:
            training.use_detector(project, trained.record.model_id)
    return {
        "model": trained.record.model_id,
        "start": trained.record.start,
        "composite": request.composite.kind if request.composite else "none",
        "seconds": round(time.perf_counter() - begun, 1),
        "in_use": better,
        "old": old,
        "new": new,
    }


def composite(a: argparse.Namespace) -> Result:
    """Fit the map from channels to colour, store it, and write pictures."""
    from napari_cellal.workflows import compositing

    pairs = [item.partition("=") for item in a.colors.split(",") if item]
    if any(not color for _, _, color in pairs):
        raise CellalError("--colors takes CHANNEL=COLOUR,..., e.g. DNA=blue,ER=#00FF00.")
    with Project.open(a.project) as project:
        request = compositing.request_composite(
            project,
            a.kind,
            preset=a.preset,
            colors={channel.strip(): color.strip() for channel, _, color in pairs},
        )
        made = _run(compositing.fit_composite(request))
        project.set_composite(made)
        problems: list[str] = []
        if a.output:
            problems = _run(compositing.export_composites(project, made, a.output))
    return {
        "kind": made.kind,
        "channels": list(made.channels),
        "colors": list(request.colors),
        "explained": [round(share, 4) for share in made.explained],
        "weights": [[round(w, 4) for w in row] for row in made.weights],
        "problems": problems,
    }


def evaluate(a: argparse.Namespace) -> Result:
    """Measure a model on a split."""
    from napari_cellal.workflows import evaluating

    with Project.open(a.project) as project:
        request = evaluating.request_evaluation(
            project,
            model=a.model,
            split=a.split,
            score=a.score,
            device=a.device,
            seed=_seed(a, project),
        )
        for warning in request.run.warnings:
            say(warning)
        return _run(evaluating.evaluate(request))


def simulate(a: argparse.Namespace) -> Result:
    """Replay active learning on the project's labels."""
    from napari_cellal.workflows import simulating

    with Project.open(a.project) as project:
        request = simulating.request_simulation(
            project,
            strategies=a.strategies.split(","),
            seeds=a.seeds,
            steps=a.steps,
            estimator=a.estimator,
            metric=a.metric,
            classes=a.classes.split(",") if a.classes else (),
            seed=_seed(a, project),
        )
        return _run(simulating.simulate(request))


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

    data = str(_run(fetch_bccd())) if a.data == "bccd" else a.data
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
    report = _run(run_demo(demo))
    if not a.project:
        say(f"The project is in a temporary folder, {folder}; --project keeps it where you say.")
    if a.screenshot or not a.headless:
        _show_window(report["project"], a.screenshot, stay=not a.headless)
        report["screenshot"] = a.screenshot
    return report
