"""The commands that train classifiers, measure them, and give classes with them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.io.store import Project

from .running import none_of, rates, run, run_to_best, say, seed
from .settings import told

if TYPE_CHECKING:
    import argparse

    from napari_cellal.classify.requests import ClassifierRequest
    from napari_cellal.workflows.patches import PatchSet

    from .running import Result

MODELS = "models"
"""Where the models of a folder of pictures are written unless said otherwise."""


def train(a: argparse.Namespace) -> Result:
    """Train a classifier on a project's confirmed cells or on a folder of pictures."""
    from napari_cellal.workflows import classifying, patches

    begun = time.perf_counter()
    if not patches.is_project(a.project):
        found = patches.of_folder(a.project, table=a.labels, seed=a.seed or 0)
        request = _request(a, found, a.output or MODELS, a.seed or 0)
        if a.find_rate:
            return rates(run_to_best(classifying.find_rate(request)))
        others = _others(a, found)
        trained = run_to_best(classifying.train(request))
        known = classifying.find_classifier(None, trained.folder)
        return _result(a, trained, found, known, others, begun)
    with Project.open(a.project) as project:
        found = patches.of_project(project, seed=seed(a, project))
        folder = a.output or project.folder / "models"
        request = _request(a, found, folder, seed(a, project))
        if a.find_rate:
            return rates(run_to_best(classifying.find_rate(request)))
        others = _others(a, found)
        trained = run_to_best(classifying.train(request))
        project.add_model(trained.record)
        return _result(a, trained, found, Path(trained.folder), others, begun)


def _request(
    a: argparse.Namespace, found: PatchSet, models: str | Path, seed_: int
) -> ClassifierRequest:
    from napari_cellal.classify.settings import ClassifySettings
    from napari_cellal.workflows import classifying

    more: dict[str, Any] = dict(told(a.set, ClassifySettings))
    if a.no_jitter:
        more |= {"brightness_jitter": 0, "stain_jitter": 0}
    named = {
        "head": a.head,
        "norm": a.norm,
        "multi_label": a.multi_label or None,
        "steps": a.steps or (1_000_000 if a.minutes else None),
        "minutes": a.minutes or None,
        "learning_rate": a.rate,
        "mixup": a.mixup,
        "shrink": a.shrink,
    }
    more |= {key: value for key, value in named.items() if value is not None}
    for note in (*found.notes, *_idle(a, found)):
        say(note)
    counts = found.counts()["train"]
    say(f"Trains on {', '.join(f'{n:,} {name}' for name, n in counts.items())}.")
    return classifying.request_classifier(
        found,
        models,
        preset=a.preset or "simple",
        start=a.start,
        device=a.device,
        view={
            "size_px": a.size,
            "context": a.context,
            "field_px": a.field,
            "center": a.center,
            "mask_background": a.mask_background or None,
        },
        name=a.name,
        **{"seed": seed_, **more},
    )


def _idle(a: argparse.Namespace, found: PatchSet) -> list[str]:
    """Return a sentence for each option that changes nothing here."""
    from napari_cellal.classify.architectures import architecture
    from napari_cellal.classify.presets import find_preset

    said = []
    boxes = any(p.box is not None for p in found.patches)
    if not boxes and (a.context is not None or a.field is not None):
        said.append("--context and --field change nothing: these pictures have no boxes.")
    if boxes and a.center is not None:
        said.append("--center changes nothing: cells are cut by their boxes.")
    if boxes and a.labels:
        said.append("--labels changes nothing: a project has its own labels.")
    name = find_preset(a.preset or "simple").architecture
    if a.norm not in (None, "auto") and not architecture(name).has_norms:
        said.append(f"--norm changes nothing: {name} has no norm that could be replaced.")
    return said


def _others(a: argparse.Namespace, found: PatchSet) -> dict[str, PatchSet]:
    """Return what else is measured on: what is wrong with it is said before the training."""
    from napari_cellal.workflows import elsewhere

    names = found.class_names.values()
    return {p: elsewhere.labelled_in(p, names, seed=a.seed or 0) for p in a.test_on}


def _result(
    a: argparse.Namespace,
    trained: Any,
    found: PatchSet,
    folder: Path,
    others: dict[str, PatchSet],
    begun: float,
) -> Result:
    from napari_cellal.workflows import classifying, elsewhere

    test, notes = None, list(found.notes)
    if found.of_split("test"):
        request = classifying.ClassRequest(str(folder), found.of_split("test"), a.device)
        try:
            test = run(classifying.measure(request))
        except CellalError as error:  # the model is there all the same
            notes.append(f"Not measured: {error}")
            say(notes[-1])
    if test is not None:
        say(
            f"Right on {test['accuracy']:.1%} of {test['cells']:,} test pictures "
            f"({test['interval'][0]:.1%} to {test['interval'][1]:.1%})."
        )
    rows = run(elsewhere.measure_elsewhere(trained.record, folder, others, device=a.device))
    if rows:
        say(elsewhere.table(rows))
    return {
        "model": trained.record.model_id,
        "folder": str(folder),
        "start": trained.record.start,
        "cells": found.counts(),
        "seconds": round(time.perf_counter() - begun, 1),
        "val": dict(trained.record.metrics) or None,
        "test": test,
        "elsewhere": rows,
        "notes": notes,
        "failures": [f.sentence for f in trained.failures],
    }


def classify(a: argparse.Namespace) -> Result:
    """Give a project's open cells the classes that a classifier finds."""
    from napari_cellal.workflows import classifying, finding

    with Project.open(a.project) as project:
        ids = finding.find_images(project, [a.images])
        folder = classifying.find_classifier(project, a.model)
        request = classifying.request_classing(
            project, folder, ids, device=a.device, own_range=a.own_range
        )
        said = run(classifying.class_patches(request))
        n = classifying.apply_classed(project, said, a.score)
    return {
        "cells": len(request.patches),
        "classed": n,
        "model": said.record.model_id,
        "failures": [f.sentence for f in said.failures],
    }


def predict(a: argparse.Namespace) -> Result:
    """Class the pictures of folders, without a project."""
    from napari_cellal.workflows import classifying

    begun = time.perf_counter()
    folder = classifying.find_classifier(None, a.model)
    found, left_out = classifying.files_to_class(a.paths, a.pattern)
    request = classifying.ClassRequest(str(folder), tuple(found), a.device, a.own_range)
    for sentence in left_out:
        say(sentence)
    said = run(classifying.class_patches(request))
    if not said.probabilities:
        why = said.failures[0].sentence
        if not a.pattern and (like := classifying.guess_pattern(a.paths)):
            why = f"They look like one file a channel: try --pattern {like}."
        raise CellalError(none_of(len(found), "classed", why))
    n = classifying.write_classes(said, a.output)
    counts: dict[str, int] = {}
    names = dict(zip(said.record.class_ids, said.record.class_names, strict=True))
    for pairs in said.classes().values():
        given = [c for c, p in pairs if p >= 0.5] if said.multi_label else [pairs[0][0]]
        for c in given:
            counts[names[c]] = counts.get(names[c], 0) + 1
    return {
        "pictures": n,
        "by_class": counts,
        "file": str(a.output),
        "seconds": round(time.perf_counter() - begun, 2),
        "model": said.record.model_id,
        "failures": [*left_out, *(f.sentence for f in said.failures)],
    }


def evaluate(a: argparse.Namespace, project: Project | None) -> Result:
    """Measure a classifier on a split of a project's cells, or of a folder of pictures."""
    from napari_cellal.networks.model_files import load_record
    from napari_cellal.workflows import classifying, patches
    from napari_cellal.workflows.evaluating import ALL

    folder = classifying.find_classifier(project, a.model)
    record = load_record(folder)
    names = dict(zip(record.class_ids, record.class_names, strict=True))
    if project is None:
        found = patches.of_folder(
            a.project, table=a.labels, class_names=names, seed=a.seed or 0, taught_to=folder
        )
    else:
        cells = patches.of_project(project, seed=seed(a, project), taught_to=folder)
        found = patches.in_classes_of(record, cells)
    for note in found.notes:
        say(note)
    chosen = found.patches if a.split == ALL else found.of_split(a.split)
    if not chosen:
        raise CellalError(f"No labelled picture is in the split '{a.split}'.")
    request = classifying.ClassRequest(str(folder), chosen, a.device, a.own_range)
    return {**run(classifying.measure(request)), "notes": list(found.notes)}


def explain(a: argparse.Namespace) -> Result:
    """Tell on what an answer rests: where in the picture, and in which channels."""
    from napari_cellal.workflows import explainable, explaining, explanation_pictures, patches

    is_picture = Path(a.project).is_file() or "*" in a.project  # * stands for its channels
    if patches.is_project(a.project) or not is_picture:
        if not a.cell and patches.is_project(a.project):
            raise CellalError("Name the cell of the project with --cell.")
        with Project.open(a.project) as project:
            folder = explainable.find_model(project, a.model)
            request = explaining.request_explanation(
                project,
                folder,
                a.cell,
                class_name=a.class_name,
                device=a.device,
                own_range=a.own_range,
            )
    else:
        folder = explainable.find_model(None, a.model)
        request = explaining.request_explanation(
            None,
            folder,
            a.project,
            class_name=a.class_name,
            device=a.device,
            own_range=a.own_range,
        )
    found = run(explaining.explain(request))
    if a.output:
        explanation_pictures.write_picture(found, a.output)
    return {**found.figures(), "file": a.output}


def is_for_classifier(a: argparse.Namespace) -> bool:
    """Return whether ``evaluate`` is asked for a classifier: by the model's card, or a folder."""
    from napari_cellal.networks.model_files import load_record
    from napari_cellal.workflows import patches

    # a folder of pictures has no model of its own that could be the automatic one
    if a.model != "auto" and not patches.is_project(a.project) and Path(a.project).is_dir():
        return True
    for folder in (Path(a.model), _own_model(a.project, a.model)):
        if (folder / "card.json").is_file():
            return load_record(folder).kind == "classifier"
    return False


def _own_model(project: str, model: str) -> Path:
    end = "" if project.rstrip("/").endswith(".cellal") else ".cellal"
    return Path(f"{project.rstrip('/')}{end}", "models", model)
