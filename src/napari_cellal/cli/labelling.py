"""The commands of a scripted person: what to label next, labels, reviews, and replaying them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project

from .running import none_of, run, say, seed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_cellal.core.records import Cell

    from .running import Result


def suggest(a: argparse.Namespace) -> Result:
    """Return the next cells to label, or the next images to finish."""
    from napari_cellal.active.forecast import class_needs
    from napari_cellal.workflows import browsing, finishing, learning, looked_at, pools

    with Project.open(a.project) as project:
        if a.images:
            ranked = run(finishing.images_to_finish(finishing.request_images(project)))[: a.n]
            return {
                "images": [
                    {
                        "image": project.images[w.image_id].name,
                        "worth": round(w.worth, 4),
                        "open": w.open,
                        "classes": w.classes,
                        "reason": w.reason,
                    }
                    for w in ranked
                ]
            }
        images = looked_at.images_looked_at(project)
        requests = learning.measure_requests(project, images)
        measured = run(learning.measure(requests, project.cache_folder, a.features))
        if measured.failures and not measured.cell_ids:
            raise CellalError(none_of(len(requests), "measured", measured.failures[0][1]))
        pool = pools.Pool(project, images)
        request = learning.request_suggestions(
            project,
            measured,
            pool,
            strategy=a.strategy,
            estimator=a.estimator,
            n=a.n,
            seed=a.seed,
            like=a.like,
        )
        result = run(learning.suggest(request))
        control = run(learning.random_control(request)) if a.control else None
        doubted = None
        if a.check_labels:
            look = replace(browsing.ProjectLook.of(project), seed=request.seed)
            asked = browsing.request_order(look, measured.path, "mislabels")
            doubted = run(browsing.check_labels(asked, a.n))
        found = result.suggestions
        counts = Counter(request.labelled.values())
        if not requests:
            say("The project has no cells to ask about. Detect or import some first.")
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
        "by_class": class_needs(counts, request.class_names),
        "random_control": None if control is None else [asdict(p) for p in control],
        "mislabels": None
        if doubted is None
        else [
            {
                "cell": m.cell_id,
                "class": request.class_names[m.class_id],
                "likely": request.class_names[m.likely_id],
                "probability": round(m.probability, 4),
                "likely_probability": round(m.likely_probability, 4),
            }
            for m in doubted
        ],
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
            features=a.features,
            classes=a.classes.split(",") if a.classes else (),
            seed=seed(a, project),
            batch=a.batch,
            start=a.start,
        )
        if a.published:
            request = simulating.published(request)
        result = run(simulating.simulate(request))
        if a.published:
            again = replace(request, metric="published_precision")
            result["published"] = run(simulating.simulate(again))
        if a.plot:
            simulating.write_plot(result, a.plot)
        return result
