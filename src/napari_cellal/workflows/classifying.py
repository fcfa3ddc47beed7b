"""Training classifiers, measuring them, and giving classes with them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_cellal.classify.presets import PRESETS, find_preset
from napari_cellal.classify.requests import ClassifierRequest, Patch, PatchFailure
from napari_cellal.classify.settings import ClassifySettings, ViewSettings
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Plane, Status
from napari_cellal.io.atomic import write_atomic
from napari_cellal.io.groups import group_files
from napari_cellal.io.groups import guess_pattern as find_pattern
from napari_cellal.io.image_files import image_files
from napari_cellal.networks import unfinished

from . import learning
from .channel_checks import check_channels
from .patches import PatchSet, of_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellal.classify.requests import TrainedClassifier
    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project
    from napari_cellal.networks.points import FoundRate

_WAITING = (Status.PROPOSED, Status.IMPORTED)
Classes = dict[str, tuple[tuple[int, float], ...]]
"""{cell_id: (class_id, probability) pairs, the most probable first}."""


def request_classifier(
    patches: PatchSet,
    models_folder: str | Path,
    *,
    preset: str = "simple",
    start: str = "auto",
    device: str = "auto",
    view: Mapping[str, Any] | None = None,
    name: str = "",
    **changes: Any,
) -> ClassifierRequest:
    """Return the training of a classifier; a change to None is none.

    Parameters
    ----------
    preset : str
        ``simple``, ``heavy``, or a network of `classify.architectures`.
    start : str
        ``auto``, ``imagenet``, ``scratch``, a .safetensors file, or a model's folder.
    view : mapping or None
        Changes to `ViewSettings`.
    name : str
        What the person calls the model.
    changes
        To the preset's `ClassifySettings`.

    Raises
    ------
    ModelError
        If there is no such preset, or only one class.
    """
    chosen = find_preset(preset)
    if len(patches.class_names) < 2 and not patches.multi_label:
        only = next(iter(patches.class_names.values()), "")
        raise ModelError(
            f"All cells are of one class ({only}), so there is nothing to tell apart. Label some "
            "cells of another class first."
        )
    if not patches.of_split("train"):
        raise ModelError("No picture is for training: all are in the splits val or test.")
    update = {k: v for k, v in changes.items() if v is not None}
    if patches.multi_label:
        update["multi_label"] = True
    shown = {k: v for k, v in (view or {}).items() if v is not None}
    try:
        settings = ClassifySettings.model_validate(chosen.settings.model_dump() | update)
        view_settings = ViewSettings.model_validate({"size_px": chosen.size_px} | shown)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"The setting {first['loc'][0]} does not fit: {first['msg']}.") from error
    folder = Path(models_folder)
    folder.mkdir(parents=True, exist_ok=True)
    return ClassifierRequest(
        patches.patches,
        tuple(patches.class_names),
        tuple(patches.class_names.values()),
        str(folder),
        patches.channels,
        chosen.architecture,
        start,
        device,
        settings,
        view_settings,
        patches.pixel_size_um,
        name.strip(),
    )


def train(request: ClassifierRequest) -> Job[TrainedClassifier]:
    """Return the job of the training; its items are `TrainPoint` and `PatchFailure`."""
    from napari_cellal.classify.train import train_classifier

    return train_classifier(request)


def find_rate(request: ClassifierRequest) -> Job[FoundRate]:
    """Return the job that looks for a learning rate; its items are `networks.points.RatePoint`.

    It changes nothing: the rate that it suggests is for the request's settings.
    """
    from napari_cellal.classify.train import find_classifier_rate

    return find_classifier_rate(request)


def find_imagenet() -> Job[frozenset[str]]:
    """Return the presets whose ImageNet weights are on this computer. Runs in the worker."""
    yield Progress(0, 0, "Looking for starting weights")
    from napari_cellal.classify.architectures import architecture
    from napari_cellal.classify.start import has_imagenet

    return frozenset(n for n, p in PRESETS.items() if has_imagenet(architecture(p.architecture)))


def find_unfinished(project: Project) -> Path | None:
    """Return the file of the training of a project that was cut off last, None without one."""
    return next(iter(unfinished.find(project.folder / "models", ClassifierRequest)), None)


def go_on(file: Path) -> Job[tuple[TrainedClassifier, PatchSet]]:
    """Return the job of a training that was cut off, and what it learns from: as it was then.

    Raises
    ------
    ModelError
        If it cannot go on.
    """
    request = unfinished.read(file, ClassifierRequest)
    trained = yield from train(request)
    names = dict(zip(request.class_ids, request.class_names, strict=True))
    return trained, PatchSet(request.patches, names, request.channels)


@dataclass(frozen=True, slots=True)
class ClassRequest:
    """Pictures and the model that shall class them. Picklable."""

    model_folder: str
    patches: tuple[Patch, ...]
    device: str = "auto"
    own_range: bool = False
    """Whether every picture is scaled by its own intensities: for another microscope."""


@dataclass(frozen=True, slots=True)
class Classed:
    """What a model said of pictures.

    Attributes
    ----------
    probabilities : {key: float32[K]}
        In the order of the record's ``class_ids``.
    """

    record: ModelRecord
    probabilities: dict[str, NDArray[np.float32]]
    failures: tuple[PatchFailure, ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have several classes."""
        return gives_several(self.record)

    def classes(self) -> Classes:
        """Return each picture's classes and their probabilities, the most probable first."""
        ids = self.record.class_ids
        found = {}
        for key, row in self.probabilities.items():
            pairs = [(c, float(p)) for c, p in zip(ids, row, strict=True)]
            found[key] = tuple(sorted(pairs, key=lambda pair: -pair[1]))
        return found


def gives_several(record: ModelRecord) -> bool:
    """Return whether a classifier may give a picture several classes."""
    return bool(record.settings.get("network", {}).get("multi_label", False))


def class_patches(request: ClassRequest) -> Job[Classed]:
    """Return the job that classes pictures; its items are `PatchFailure`."""
    yield Progress(0, len(request.patches), "Loading the model")
    from napari_cellal.classify.predict import load, predict

    classifier = load(Path(request.model_folder), request.device, own_range=request.own_range)
    failures: list[PatchFailure] = []
    job = predict(classifier, request.patches)
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            return Classed(classifier.record, stop.value, tuple(failures))
        if isinstance(step.item, PatchFailure):
            failures.append(step.item)
        yield step


def measure(request: ClassRequest) -> Job[dict[str, Any]]:
    """Return the figures of a model on labelled pictures, as plain values; see docs/cli.md."""
    said = yield from class_patches(request)
    yield Progress(0, 0, "Measuring")
    return figures(said, request.patches)


def figures(said: Classed, patches: Sequence[Patch]) -> dict[str, Any]:
    """Return the figures of answers that are there already.

    Raises
    ------
    CellalError
        If none of the pictures could be classed.
    """
    import numpy as np

    from napari_cellal.classify.lessons import targets_of
    from napari_cellal.evaluate.classification import class_report

    known = [p for p in patches if p.key in said.probabilities]
    if not known:
        raise CellalError("None of the pictures could be classed, so nothing was measured.")
    report = class_report(
        [p.key for p in known],
        targets_of(known, said.record.class_ids) > 0.5,
        np.stack([said.probabilities[p.key] for p in known]),
        said.record.class_names,
        sources=[p.source for p in known] if any(p.source for p in known) else None,
        multi_label=said.multi_label,
    ).to_json()
    names = report.pop("class_names")
    counts = [list(row) for row in report.pop("confusion")]
    return {
        "model": said.record.model_id,
        **report,
        "confusion": {"classes": list(names), "counts": counts},
        "failures": [f.sentence for f in said.failures],
    }


def files_to_class(paths: Iterable[str | Path], pattern: str = "") -> tuple[list[Patch], list[str]]:
    """Return the pictures that files and folders stand for, and what was left out, in sentences.

    Parameters
    ----------
    pattern : str
        Where each channel has a file of its own: a preset or a pattern of `io.groups`.

    Raises
    ------
    CellalError
        If there are none, a path does not exist, or the pattern makes no sense.
    """
    files = image_files(paths)
    if not files:
        raise CellalError("There are no pictures to class there.")
    if not pattern:
        return [Patch(str(f), str(f)) for f in files], []
    grouping = group_files(files, pattern)
    if not grouping.complete:
        raise CellalError(
            f"No picture there has a file for every channel of the pattern '{pattern}'."
        )
    unmatched = [f"{file.name} does not fit the pattern." for file in grouping.unmatched]
    said = [*grouping.problems, *unmatched]
    named = [(str(g.files[0]), tuple(map(str, g.files))) for g in grouping.complete]
    return [Patch(first, first, plane=Plane(files=every)) for first, every in named], said


def guess_pattern(paths: Iterable[str | Path]) -> str:
    """Return the pattern by which files look like one a channel; empty where they do not."""
    return find_pattern(image_files(paths)) or ""


def write_classes(said: Classed, file: str | Path) -> int:
    """Write a table, a line a picture with its class and every class's probability.

    Returns how many. Where a picture may have several classes they are joined by ``|``.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    ids = said.record.class_ids
    names = dict(zip(ids, said.record.class_names, strict=True))
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "class", "probability", *said.record.class_names])
    for key, pairs in said.classes().items():
        if said.multi_label:
            given = "|".join(names[c] for c, p in pairs if p >= 0.5)
        else:
            given = names[pairs[0][0]]
        by_id = dict(pairs)
        table.writerow([key, given, f"{pairs[0][1]:.4f}", *(f"{by_id[c]:.4f}" for c in ids)])
    try:
        write_atomic(Path(file), text.getvalue().encode("utf-8", "replace"))
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error
    return len(said.probabilities)


def find_classifier(project: Project | None, name: str) -> Path:
    """Return the folder of a classifier: a given one, or a project's by its id.

    ``auto`` is the one that a person took into use, else the project's newest.

    Raises
    ------
    ModelError
        If there is none.
    """
    own = [] if project is None else [m for m in project.models if m.kind == "classifier"]
    if project is not None and own and name == "auto":
        return project.model_folder(choose_classifier(project) or "")
    if project is not None and name in {m.model_id for m in own}:
        return project.model_folder(name)
    folder = Path(name)
    if (folder / "card.json").is_file():
        return folder
    if folder.name == "card.json" and folder.is_file():
        return folder.parent
    known = f" It has: {', '.join(m.model_id for m in own)}." if own else ""
    raise ModelError(f"There is no classifier '{name}'.{known} Train one, or give its folder.")


def choose_classifier(project: Project) -> str | None:
    """Return the id of the classifier in use: the one chosen, else the newest; None without."""
    own = {m.model_id: m.created_at for m in project.models if m.kind == "classifier"}
    chosen = project.settings.classifier
    return chosen if chosen in own else max(own, key=own.__getitem__, default=None)


def use_classifier(project: Project, model_id: str) -> None:
    """Make a model the one that gives classes unless another is chosen; ``auto`` the newest."""
    project.settings = project.settings.model_copy(update={"classifier": model_id})


def request_classing(
    project: Project,
    model_folder: Path,
    image_ids: Iterable[str] | None = None,
    *,
    device: str = "auto",
    own_range: bool = False,
) -> ClassRequest:
    """Return the classing of a project's open cells.

    Parameters
    ----------
    own_range : bool
        Whether every cell is scaled by its own intensities.

    Raises
    ------
    ModelError
        If the model does not know the project's classes, or images have other channels.
    """
    return finish(
        classing_steps(project, model_folder, image_ids, device=device, own_range=own_range)
    )


def classing_steps(
    project: Project,
    model_folder: Path,
    image_ids: Iterable[str] | None = None,
    *,
    device: str = "auto",
    own_range: bool = False,
) -> Steps[ClassRequest]:
    """Do what `request_classing` does, pausing after each image."""
    record = _card(project, model_folder)
    if not set(record.class_names) & {c.name for c in project.active_classes}:
        raise ModelError(
            f"The model knows none of the project's classes; it knows "
            f"{', '.join(record.class_names)}. Add one of them to the project first."
        )
    found: list[Patch] = []
    for key in list(project.images) if image_ids is None else list(image_ids):
        cells = [c for c in project.cells.of_image(key) if c.status in _WAITING]
        if cells and record.channels:
            check_channels(record, [project.images[key]])
        found += of_cells(project, cells)
        yield
    return ClassRequest(str(model_folder), tuple(found), device, own_range)


def _card(project: Project, folder: Path) -> ModelRecord:
    own = (m for m in project.models if project.model_folder(m.model_id) == folder)
    if (record := next(own, None)) is not None:  # without torch, which the window never imports
        return record
    from napari_cellal.networks.model_files import load_record

    return load_record(folder)


def apply_classed(project: Project, said: Classed, min_probability: float = 0.0) -> int:
    """Give open proposals the classes that a classifier found, one step of undo; return how many.

    The model's classes are the project's by their names, probabilities of others are dropped.
    """
    return finish(classed_steps(project, said, min_probability))


def classed_steps(project: Project, said: Classed, min_probability: float = 0.0) -> Steps[int]:
    """Do what `apply_classed` does, pausing after each portion."""
    by_name = {c.name: c.class_id for c in project.active_classes}
    same = {
        c: by_name[name]
        for c, name in zip(said.record.class_ids, said.record.class_names, strict=True)
        if name in by_name
    }
    found = {
        key: tuple((same[c], p) for c, p in pairs if c in same)
        for key, pairs in said.classes().items()
        if pairs[0][0] in same
    }
    return learning.class_steps(project, found, min_probability, said.record.model_id)
