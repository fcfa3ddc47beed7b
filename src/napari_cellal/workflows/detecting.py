"""Detection runs: what to search, and how its proposals come into the project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.history import finish
from napari_cellal.core.reconcile import RunSummary, is_replaceable, merge_detections
from napari_cellal.core.records import Detections, Status
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.requests import ImageFailure, ImageRequest
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import FOLDER as SHIPPED_FOLDER
from napari_cellal.detect.shipped import SHIPPED, USUAL_SCORE, class_map, suits

from .channel_checks import channel_warnings, check_channels, shipped_warnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import Cell
    from napari_cellal.io.store import Project

CLASSICAL = "classical"
USUAL = PredictSettings()


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """A detection run. Picklable.

    Attributes
    ----------
    model : str
        ``classical`` or a model's folder.
    view : (y0, x0, y1, x1) or None
        Only cells whose middle lies here are proposed or replaced.
    warnings : tuple of str
        What a person should read before the run.
    classes : ((model's class, project's class), ...) or None
        Other classes become none. None: the model's are the project's.
    wanted : tuple of int or None
        Only boxes of these classes of the model are kept; None keeps all.
    settings : PredictSettings
        How a network is run; the classical detector has none.
    """

    images: tuple[ImageRequest, ...]
    model: str
    model_id: str
    device: str = "auto"
    view: Box | None = None
    warnings: tuple[str, ...] = ()
    classes: tuple[tuple[int, int], ...] | None = None
    wanted: tuple[int, ...] | None = None
    settings: PredictSettings = USUAL


@dataclass(frozen=True, slots=True)
class DetectionRun:
    """What a run brought.

    Attributes
    ----------
    unclassed : int
        Open proposals of its images that have no class.
    """

    images: int
    cells: int
    summary: RunSummary
    failures: tuple[str, ...] = ()
    unclassed: int = 0

    def lines(self) -> list[str]:
        """Return the report for a person."""
        s = self.summary
        text = (
            f"{self.cells} cells found in {self.images} images"
            if self.images != 1
            else (f"{self.cells} cells found")
        )
        parts = [f"{s.new} new"]
        if s.moved:
            how = [
                words
                for n, words in (
                    (s.shifted, f"{s.shifted} moved"),
                    (s.reclassed, f"{s.reclassed} with another class"),
                )
                if n
            ]
            parts.append(f"{s.moved} found again" + (f" ({', '.join(how)})" if how else ""))
        if s.kept:
            parts.append(f"{s.kept} you had reviewed, left as they are")
        if s.lost:
            parts.append(f"{s.lost} old proposals gone")
        lines = [f"{text}: {', '.join(parts)}.", *self.failures]
        if self.unclassed:
            lines.insert(1, f"{self.unclassed:,} have no class yet: Learn asks for them.")
        return lines


def choose_model(project: Project, name: str = "auto", image_ids: Iterable[str] = ()) -> str:
    """Return a model's id: ``auto`` is the detector in use.

    Until one is trained or chosen that is the shipped one for images of colour or of one
    channel, else the classical one.

    Parameters
    ----------
    image_ids : iterable of str
        What is to be searched; all of the project's images if empty.

    Raises
    ------
    ModelError
        If the project has no such detector.
    """
    known = known_models(project)
    if name == "auto":
        name = project.settings.detector
        if name not in known:
            images = [project.images[key] for key in image_ids] or project.images.values()
            return SHIPPED if all(suits(image) for image in images) else CLASSICAL
    if name in known:
        return name
    raise ModelError(f"The project has no detector called {name}. It has: {', '.join(known)}.")


def known_models(project: Project) -> list[str]:
    """Return the ids of the detectors that a project has."""
    return [SHIPPED, CLASSICAL, *(m.model_id for m in project.models if m.kind == "detector")]


def request_detection(
    project: Project,
    image_ids: Iterable[str],
    *,
    model: str = "auto",
    device: str = "auto",
    view: Box | None = None,
    settings: PredictSettings = USUAL,
) -> DetectRequest:
    """Return the run that searches the images.

    Raises
    ------
    ModelError
        If the model is not there, was made for other channels, or has no such settings.
    """
    ids = list(image_ids)
    model_id = choose_model(project, model, ids)
    if model_id == CLASSICAL and settings != USUAL:
        raise ModelError(
            "The detector without training finds the same in a mirrored image, and knows no "
            "classes: leave flips and overlaps as they are, or choose a trained model."
        )
    if model_id == SHIPPED:
        return replace(_request_shipped(project, ids, device, view), settings=settings)
    record = next((m for m in project.models if m.model_id == model_id), None)
    warnings: tuple[str, ...] = ()
    if record is not None:
        check_channels(record, (project.images[key] for key in ids))
        warnings = channel_warnings(record, (project.images[key] for key in ids))
    images = tuple(image_request(project, key) for key in ids)
    folder = CLASSICAL if record is None else str(project.model_folder(model_id))
    return DetectRequest(images, folder, model_id, device, view, warnings, settings=settings)


def _request_shipped(
    project: Project, image_ids: Sequence[str], device: str, view: Box | None
) -> DetectRequest:
    """Return the run of the shipped detector, whose classes are found by their names."""
    classes = project.active_classes
    same = class_map((c.class_id, c.name) for c in classes)
    # A project of one class that the model knows is about that class only.
    wanted = tuple(same) if len(classes) == 1 and same else None
    return DetectRequest(
        tuple(image_request(project, key) for key in image_ids),
        str(SHIPPED_FOLDER),
        SHIPPED,
        device,
        view,
        shipped_warnings(project.images[key] for key in image_ids),
        tuple(same.items()),
        wanted,
    )


def image_request(project: Project, image_id: str) -> ImageRequest:
    """Return what a job needs to know of an image."""
    path = str(project.image_path(image_id))
    return ImageRequest(image_id, path, project.images[image_id].rgb, project.plane(image_id))


def detect(request: DetectRequest) -> Job[None]:
    """Return the job of the run; its items are `Detections` and `ImageFailure`."""
    # The items are the result: the dictionary of them need not cross to the window again.
    yield from detections_of(request)


def detections_of(request: DetectRequest) -> Job[dict[str, Detections]]:
    """Yield each image's detections in the project's classes and return all by image_id."""
    results: dict[str, Detections] = {}
    job = detect_images(
        request.images, request.model, request.device, request.settings, view=request.view
    )
    for step in job:
        item = step.item
        if isinstance(item, Detections):
            item = in_classes_of(request, item)
            results[item.image_id] = item
            step = replace(step, item=item)
        yield step
    return results


def in_classes_of(request: DetectRequest, found: Detections) -> Detections:
    """Return the detections with a request's model's classes turned into the project's."""
    if request.wanted is not None:
        found = _chosen(found, [c in request.wanted for c in found.class_ids])
    if request.classes is None:
        return found
    same = dict(request.classes)
    ids = tuple(same.get(c) if c is not None else None for c in found.class_ids)
    rows = zip(ids, found.probabilities, strict=True)
    probabilities = tuple(() if k is None else _shares(row, same) for k, row in rows)
    return replace(found, class_ids=ids, probabilities=probabilities)


def _shares(
    row: Sequence[tuple[int, float]], same: Mapping[int, int]
) -> tuple[tuple[int, float], ...]:
    """Return the probabilities of the project's classes, which sum to 1 again."""
    known = [(same[c], p) for c, p in row if c in same]
    total = sum(p for _, p in known)
    return tuple((c, p / total) for c, p in known) if total else ()


def apply_detections(
    project: Project,
    items: Iterable[Detections | ImageFailure],
    view: Box | None = None,
    min_score: float = 0.0,
) -> DetectionRun:
    """Put a run's proposals into the project, one step of undo, and return what changed.

    What a person reviewed always wins; see `core.reconcile.merge_detections`. Proposals
    that score less than ``min_score`` are left out.
    """
    return finish(detection_steps(project, items, view, min_score))


def detection_steps(
    project: Project,
    items: Iterable[Detections | ImageFailure],
    view: Box | None = None,
    min_score: float = 0.0,
) -> Steps[DetectionRun]:
    """Do what `apply_detections` does, pausing after each portion."""
    failures = tuple(item.sentence for item in items if isinstance(item, ImageFailure))
    found = [
        item
        for item in items
        if not isinstance(item, ImageFailure) and item.image_id in project.images
    ]
    cells, unclassed, total = 0, 0, RunSummary()

    def edits() -> Iterator[Edit]:
        nonlocal cells, unclassed, total
        for item in found:
            edit, summary, n = edit_for(project, item, view, min_score)
            cells += n
            total += summary
            now = {c.cell_id: c for c in project.cells.of_image(item.image_id)} | {**edit.after}
            unclassed += sum(c is not None and _lacks_class(c) for c in now.values())
            yield edit

    if len(found) == 1:
        label = f"detected {len(_wanted(project, found[0], view, min_score))} cells"
    else:
        good = sum(s >= least_score(item, min_score) for item in found for s in item.scores)
        label = f"detected {good} cells in {len(found)} images"
    yield from project.history.do_run(label, edits())
    return DetectionRun(len(found), cells, total, failures, unclassed)


def _lacks_class(cell: Cell) -> bool:
    return cell.status is Status.PROPOSED and cell.class_id is None


def edit_for(
    project: Project, item: Detections, view: Box | None = None, min_score: float = 0.0
) -> tuple[Edit, RunSummary, int]:
    """Return the edit that puts one image's proposals in, what it changes, and their number."""
    detections = _wanted(project, item, view, min_score)
    rows = [
        c
        for c in project.cells.of_image(item.image_id)
        if view is None or not is_replaceable(c) or _is_inside(c.box, view)
    ]
    edit, summary = merge_detections(rows, detections, project.settings.merge_iou)
    return edit, summary, len(detections)


def least_score(item: Detections, asked: float) -> float:
    """Return the score from which proposals are taken."""
    return USUAL_SCORE if item.model_id == SHIPPED and not asked else asked


def _wanted(project: Project, item: Detections, view: Box | None, min_score: float) -> Detections:
    """Return the detections above the score and inside the view, with the project's classes."""
    found = _known_classes(project, item)
    least = least_score(item, min_score)
    found = _chosen(found, [score >= least for score in found.scores])
    if view is None:
        return found
    rows = project.cells.of_image(item.image_id)
    beyond = [c.box for c in rows if is_replaceable(c) and not _is_inside(c.box, view)]
    # A cell on the border whose middle has moved inwards is there already.
    known = {j for _, j in match_boxes(beyond, found.boxes, project.settings.merge_iou)}
    return _chosen(
        found, [_is_inside(box, view) and j not in known for j, box in enumerate(found.boxes)]
    )


def _known_classes(project: Project, found: Detections) -> Detections:
    """Return the detections with the classes that the project has; others become unclassed."""
    only = [c.class_id for c in project.active_classes]
    ids = tuple(c if c in only else None for c in found.class_ids)
    if len(only) == 1:  # one class: whatever is found is it
        ids = tuple(c if c is not None else only[0] for c in ids)
    return replace(found, class_ids=ids)


def _is_inside(box: Box, view: Box) -> bool:
    y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return view[0] <= y < view[2] and view[1] <= x < view[3]


def _chosen(found: Detections, wanted: Sequence[bool]) -> Detections:
    return found.take(i for i, is_wanted in enumerate(wanted) if is_wanted)
