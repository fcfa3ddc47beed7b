"""What a model says of a split, kept, so that labels mended later are counted without it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.evaluate.matches import Match, match_boxes_of, match_classes

from . import classifying, evaluating, patches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import Detections
    from napari_cellal.io.store import Project

    Said = dict[str, tuple[tuple[int | None, float], ...]]

_PORTION = 500  # rows read between two pauses, 5 ms
PROPOSED = "proposed"
"""In the place of a model: the classes that models gave to the cells before they were reviewed."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A model and the cells to measure it on; one of the last three is given. Picklable."""

    model_id: str
    split: str
    boxes: evaluating.EvaluateRequest | None = None
    classes: classifying.ClassRequest | None = None
    given: Said | None = None
    class_map: dict[int, int | None] = field(default_factory=dict)
    """The project's class of a classifier's; None where it has no such class."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said.

    Attributes
    ----------
    images : tuple of image_id
        Those that it was asked about.
    found : {image_id: Detections} or None
        None where only classes of cells were asked.
    classes : {cell_id: ((class_id, probability), ...)}
        The most probable first, in the project's classes.
    figures : dict
        As of ``evaluate``; see docs/cli.md. Empty for `PROPOSED`.
    """

    request: ScoreRequest
    images: tuple[str, ...]
    found: Mapping[str, Detections] | None
    classes: Said
    figures: dict[str, Any]
    notes: tuple[str, ...] = ()


def request_score(
    project: Project,
    *,
    model: str = "auto",
    split: str = "test",
    score: float = 0.5,
    device: str = "auto",
    seed: int = 0,
    own_range: bool = False,
) -> ScoreRequest:
    """Return the measurement of a detector, a classifier, or of what was `PROPOSED`.

    Parameters
    ----------
    own_range : bool
        Whether a classifier scales every cell by its own intensities.

    Raises
    ------
    CellalError
        If there is nothing to measure on, or no such model.
    """
    if model == PROPOSED:
        given = _proposed(project, split)
        return ScoreRequest(PROPOSED, split, given=given)
    record = next((m for m in project.models if m.model_id == model), None)
    if record is None or record.kind != "classifier":
        boxes = evaluating.request_evaluation(
            project, model=model, split=split, score=score, device=device, seed=seed
        )
        return ScoreRequest(boxes.run.model_id, split, boxes, notes=boxes.run.warnings)
    taught = patches.of_project(project, seed=seed, taught_to=project.model_folder(model))
    found = patches.in_classes_of(record, taught)
    evaluating.in_split(project, split)  # refuses an unknown one
    chosen = found.patches if split == evaluating.ALL else found.of_split(split)
    if not chosen:
        raise CellalError(f"No labelled cell that the model knows is in the split '{split}'.")
    by_name = {c.name: c.class_id for c in project.active_classes}
    names = zip(record.class_ids, record.class_names, strict=True)
    same = {c: by_name.get(name) for c, name in names}
    folder = str(project.model_folder(model))
    classes = classifying.ClassRequest(folder, tuple(chosen), device, own_range)
    return ScoreRequest(model, split, classes=classes, class_map=same, notes=found.notes)


def _proposed(project: Project, split: str) -> Said:
    said: Said = {}
    for key in evaluating.in_split(project, split):
        for cell in project.cells.of_image(key):
            p = cell.proposed
            if p is not None and p.class_id is not None and cell.is_label:
                sure = dict(p.probabilities).get(p.class_id, p.score)
                said[cell.cell_id] = ((p.class_id, sure),)
    if not said:
        raise CellalError(
            "No reviewed cell of these images was proposed with a class. Detect, review some, and "
            "come back; or choose a model to measure."
        )
    return said


def score(request: ScoreRequest) -> Job[Answers]:
    """Return the job of a measurement."""
    if request.boxes is not None:
        found = yield from evaluating.find(request.boxes)
        yield Progress(0, 0, "Measuring")
        figures = evaluating.figures_of(request.boxes, found)
        notes = (*request.notes, *figures["failures"])
        # The pictures' masks were measured by now; the window needs the boxes.
        kept = {key: replace(d, masks=()) for key, d in found.items()}
        return Answers(request, tuple(request.boxes.truth), kept, {}, figures, notes)
    if request.classes is not None:
        said = yield from classifying.class_patches(request.classes)
        yield Progress(0, 0, "Measuring")
        figures = classifying.figures(said, request.classes.patches)
        classes = {
            key: tuple((request.class_map[c], p) for c, p in pairs)
            for key, pairs in said.classes().items()
        }
        return Answers(request, (), None, classes, figures, (*request.notes, *figures["failures"]))
    return Answers(request, (), None, request.given or {}, {})


def measure_again(request: evaluating.EvaluateRequest, answers: Answers) -> Job[dict[str, Any]]:
    """Return the figures of answers against labels as ``request`` has them; no image is read."""
    yield Progress(0, 0, "Measuring")
    assert answers.found is not None
    return evaluating.figures_of(request, answers.found)


def truth_again(project: Project, answers: Answers) -> dict[str, int]:
    """Return {cell_id: class_id}, the labels as they are now of cells that a model classed."""
    return finish(truth_steps(project, answers))


def truth_steps(project: Project, answers: Answers) -> Steps[dict[str, int]]:
    """Do what `truth_again` does, pausing after each portion."""
    truth: dict[str, int] = {}
    keys = list(answers.classes)
    for k in range(0, len(keys), _PORTION):
        for key, c in project.cells.rows(keys[k : k + _PORTION]).items():
            if c is not None and c.is_label and c.class_id is not None:
                truth[key] = c.class_id
        yield
    return truth


def measure_classes_again(
    truth: Mapping[str, int], names: Mapping[int, str], answers: Answers
) -> Job[dict[str, Any]]:
    """Return the figures of a classifier's answers against labels as ``truth`` has them.

    Raises
    ------
    CellalError
        If there are no labels left.
    """
    yield Progress(0, 0, "Measuring")
    import numpy as np

    from napari_cellal.evaluate.classification import class_report

    keys = [key for key in answers.classes if key in truth]
    if not keys:
        raise CellalError("There are no labels left to measure against: finish some images.")
    ids = sorted({c for pairs in answers.classes.values() for c, _ in pairs if c is not None})
    place = {c: k for k, c in enumerate(ids)}
    # Classes of the model that the project lacks are answers too; theirs are the last columns.
    lacking = max(sum(c is None for c, _ in pairs) for pairs in answers.classes.values())
    found = np.zeros((len(keys), len(ids) + lacking))
    true = np.zeros(found.shape, bool)
    for n, key in enumerate(keys):
        free = iter(range(len(ids), len(ids) + lacking))
        for c, p in answers.classes[key]:
            found[n, next(free) if c is None else place[c]] = p
        if truth[key] in place:
            true[n, place[truth[key]]] = True
    known = [names.get(c, str(c)) for c in ids]
    several = bool(answers.figures.get("multi_label", False))
    columns = [*known, *[""] * lacking]
    report = class_report(keys, true, found, columns, multi_label=several).to_json()
    report["per_class"] = {name: report["per_class"][name] for name in known}
    told = ("accuracy", "interval", "macro_f1", "average_precision", "roc_auc")
    return {key: report[key] for key in (*told, "calibration_error", "reliability", "per_class")}


def request_again(project: Project, answers: Answers) -> evaluating.EvaluateRequest:
    """Return a detector's measurement with the labels as they are now."""
    old = answers.request.boxes
    assert old is not None
    truth: evaluating.Truth = {}
    for key in answers.images:
        cells = evaluating.known_cells(project, key) if key in project.images else None
        if cells is not None:
            truth[key] = ([c.box for c in cells], [c.class_id for c in cells])
    names = {c.class_id: c.name for c in project.active_classes}
    return replace(old, truth=truth, class_names=names, masks={})


def matches_of(
    project: Project, answers: Answers, image_id: str, score: float = 0.5
) -> tuple[Match, ...] | None:
    """Return the answers for an image beside its labels as they are now.

    None where the image can no longer be measured on: it was removed, reopened, or has unsure
    cells.

    Parameters
    ----------
    score : float
        From which on a detector's boxes count.
    """
    if image_id not in project.images:
        return None
    if answers.found is None:
        return match_classes(answers.classes, project.cells.of_image(image_id)) or None
    cells = evaluating.known_cells(project, image_id)
    if cells is None:
        return None
    return match_boxes_of(answers.found.get(image_id), image_id, cells, score)


def images_of(project: Project, answers: Answers) -> list[str]:
    """Return the images whose matches make up a measurement."""
    if answers.found is not None:
        return list(answers.images)
    asked = project.cells.rows(answers.classes)
    return list(dict.fromkeys(c.image_id for c in asked.values() if c is not None))
