"""The commands that write pages: of data, and of a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.io.store import Project

from .running import run, say, seed

if TYPE_CHECKING:
    import argparse

    from .running import Result


def overview(a: argparse.Namespace) -> Result:
    """Write what a model would learn from as one HTML file."""
    from napari_cellal.workflows import overviewing, patches

    pictures = not a.no_pictures
    if not patches.is_project(a.project):
        found = patches.of_folder(a.project, table=a.labels, seed=a.seed or 0)
        file = a.output or f"{Path(a.project).resolve().name}-data.html"
        request = overviewing.request_folder_overview(a.project, file, found, pictures=pictures)
    else:
        with Project.open(a.project) as project:
            file = a.output or f"{project.name}-data.html"
            request = overviewing.request_overview(project, file, pictures=pictures)
    return run(overviewing.write_overview(request))


def report(a: argparse.Namespace) -> Result:
    """Measure a model, or two, and write what came of it as one HTML file."""
    from napari_cellal.workflows import classifying, patches, reporting, scoring

    # a folder of pictures has no model of its own that could be the automatic one
    if a.model != "auto" and not patches.is_project(a.project) and Path(a.project).is_dir():
        models = [classifying.find_classifier(None, m) for m in (a.model, a.against) if m]
        request = reporting.request_folder_report(
            a.project,
            a.output or f"{Path(a.project).resolve().name}-{a.split}.html",
            models,
            split=a.split,
            table=a.labels,
            device=a.device,
            own_range=a.own_range,
            seed=a.seed or 0,
            pictures=not a.no_pictures,
        )
        return run(reporting.write_report(request))
    with Project.open(a.project) as project:
        file = a.output or Path.cwd() / f"{project.name}-{a.split}.html"
        asked = [
            scoring.request_score(
                project,
                model=model,
                split=a.split,
                score=a.score,
                device=a.device,
                seed=seed(a, project),
                own_range=a.own_range,
            )
            for model in (a.model, a.against)
            if model
        ]
        for note in {note for request in asked for note in request.notes}:
            say(note)
        request = reporting.request_report(
            project, file, asked, score=a.score, pictures=not a.no_pictures
        )
    return run(reporting.write_report(request))
