"""The commands that find cells, train detectors and measure them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.core.records import Split
from napari_cellal.io.store import Project

from .running import Teller, run, say, seed

if TYPE_CHECKING:
    import argparse

    from .running import Result


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


def train(a: argparse.Namespace) -> Result:
    """Train a detector and compare it with the one in use."""
    from napari_cellal.detect.settings import TrainSettings
    from napari_cellal.workflows import compositing, detecting, evaluating, training

    steps = a.steps or (1_000_000 if a.minutes else None)
    begun = time.perf_counter()
    with Project.open(a.project) as project:
        settings = TrainSettings(seed=seed(a, project), minutes=a.minutes or None, shrink=a.shrink)
        if steps:
            settings = settings.model_copy(update={"steps": steps})
        composite = run(compositing.composite_for(project, a.composite))
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
        trained = run(training.train(request))
        training.register_model(project, trained, use=False)
        old = new = None
        if evaluating.truth_of(project, Split.VAL):
            new, old = (
                run(
                    evaluating.evaluate(
                        evaluating.request_evaluation(
                            project, model=m, split="val", device=a.device, seed=seed(a, project)
                        )
                    )
                )
                for m in (trained.record.model_id, old_id)
            )
        better = bool(new and old and evaluating.is_better(new, old))
        if better:
            training.use_detector(project, trained.record.model_id)
        if new is None:
            say(
                "No held-out image (val) is finished, so the new model was not measured and "
                f"{old_id} stays in use. To try it: detect --model {trained.record.model_id}"
            )
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
        made = run(compositing.fit_composite(request))
        project.set_composite(made)
        problems: list[str] = []
        if a.output:
            problems = run(compositing.export_composites(project, made, a.output))
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
            seed=seed(a, project),
        )
        for warning in request.run.warnings:
            say(warning)
        return run(evaluating.evaluate(request))
