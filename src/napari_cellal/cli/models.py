"""The commands that find cells, train detectors and measure them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.io.store import Project

from . import classifiers
from .running import Teller, none_of, rates, run, run_to_best, say, seed
from .settings import changed, told

if TYPE_CHECKING:
    import argparse

    from .running import Result


def detect(a: argparse.Namespace) -> Result:
    """Propose boxes."""
    from napari_cellal.detect.settings import PredictSettings
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
        settings = PredictSettings(
            flips=a.flips, same_class_iou=a.same_class_iou, any_class_iou=a.any_class_iou
        )
        request = detecting.request_detection(
            project, ids, model=a.model, device=a.device, settings=settings
        )
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
        if run.failures and not run.images:
            raise CellalError(none_of(len(ids), "searched", run.failures[0]))
    return {
        "images": run.images,
        "cells": run.cells,
        "new": run.summary.new,
        "moved": run.summary.moved,
        "shifted": run.summary.shifted,
        "reclassed": run.summary.reclassed,
        "kept": run.summary.kept,
        "lost": run.summary.lost,
        "seconds": round(time.perf_counter() - begun, 2),
        "device": _device_of(a.device) if request.model != detecting.CLASSICAL else "cpu",
        "model": request.model_id,
        "warnings": list(request.warnings),
        "failures": list(run.failures),
    }


def _device_of(name: str) -> str:
    from napari_cellal.networks.devices import choose_device

    return choose_device(name).type


def train(a: argparse.Namespace) -> Result:
    """Train a detector and compare it with the one in use; or only look for a learning rate."""
    from napari_cellal.workflows import compositing, promoting, training

    if a.kind == "classifier":
        return classifiers.train(a)
    a.preset = a.preset or "fast"
    steps = a.steps or (1_000_000 if a.minutes else None)
    begun = time.perf_counter()
    with Project.open(a.project) as project:
        settings = training.settings_for(
            project,
            a.preset,
            a.start,
            seed=seed(a, project),
            minutes=a.minutes or None,
            steps=steps,
            shrink=a.shrink,
            learning_rate=a.rate,
        )
        settings = changed(settings, told(a.set, type(settings)))
        composite = run(compositing.composite_for(project, a.composite))
        request = training.request_training(
            project,
            preset=a.preset,
            start=a.start,
            device=a.device,
            settings=settings,
            composite=composite,
        )
        what = training.training_set(project)
        say(what.line())
        for warning in what.warnings():
            say(warning)
        if a.find_rate:
            return rates(run_to_best(training.find_rate(request)))
        trained = run_to_best(training.train(request))
        stopped = str(trained.record.trained_on.get("stopped", ""))
        if stopped:
            say(stopped)
        training.register_model(project, trained, use=False)
        comparison = promoting.request_comparison(
            project, trained.record.model_id, device=a.device, seed=seed(a, project)
        )
        verdict = run(promoting.compare(comparison))
        say(verdict.line())
        if not verdict.better:
            new_id = trained.record.model_id
            say(f"{verdict.old_id} stays in use. To try the new one: detect --model {new_id}")
        else:
            training.use_detector(project, trained.record.model_id)
        names = {c.image_id: project.images[c.image_id].name for c in verdict.changes}
    return {
        "model": trained.record.model_id,
        "start": trained.record.start,
        "composite": request.composite.kind if request.composite else "none",
        "seconds": round(time.perf_counter() - begun, 1),
        "stopped": stopped,
        "in_use": verdict.better,
        "old": verdict.old,
        "new": verdict.new,
        "changed": [{"image": names[c.image_id]} | c.as_dict() for c in verdict.changes],
        "warnings": what.warnings(),
    }


def models(a: argparse.Namespace) -> Result:
    """List the models, or take one into use: also an older one, to roll back."""
    from napari_cellal.workflows import detecting, promoting, training

    with Project.open(a.project) as project:
        if a.use:
            name = a.use if a.use == "auto" else detecting.choose_model(project, a.use)
            training.use_detector(project, name)
        return {
            "detector": detecting.choose_model(project),
            "models": promoting.list_models(project),
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
    from napari_cellal.workflows import evaluating, patches

    if classifiers.is_for_classifier(a):
        if not patches.is_project(a.project):
            return classifiers.evaluate(a, None)
        with Project.open(a.project) as project:
            return classifiers.evaluate(a, project)
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
