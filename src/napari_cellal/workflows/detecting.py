"""Detection runs: what to search, and how its proposals come into the project."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.history import finish
from napari_cellal.core.reconcile import RunSummary, is_replaceable, merge_detections
from napari_cellal.core.records import Detections
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.requests import ImageFailure, ImageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import ImageRecord, ModelRecord
    from napari_cellal.io.store import Project

CLASSICAL = "classical"
_NAMELESS = re.compile(r"gr[ae]y|Ch\d+", re.IGNORECASE)


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
    """

    images: tuple[ImageRequest, ...]
    model: str
    model_id: str
    device: str = "auto"
    view: Box | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectionRun:
    """What a run brought."""

    images: int
    cells: int
    summary: RunSummary
    failures: tuple[str, ...] = ()

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
            parts.append(f"{s.moved} found again")
        if s.kept:
            parts.append(f"{s.kept} you had reviewed, left as they are")
        if s.lost:
            parts.append(f"{s.lost} old proposals gone")
        return [f"{text}: {', '.join(parts)}.", *self.failures]


def choose_model(project: Project, name: str = "auto") -> str:
    """Return a model's id: ``auto`` is the detector in use, at first the classical one.

    Raises
    ------
    ModelError
        If the project has no such detector.
    """
    detectors = [m.model_id for m in project.models if m.kind == "detector"]
    if name == "auto":
        chosen = project.settings.detector
        return chosen if chosen in [CLASSICAL, *detectors] else CLASSICAL
    if name == CLASSICAL or name in detectors:
        return name
    raise ModelError(
        f"The project has no detector called {name}. It has: {', '.join([CLASSICAL, *detectors])}."
    )


def request_detection(
    project: Project,
    image_ids: Iterable[str],
    *,
    model: str = "auto",
    device: str = "auto",
    view: Box | None = None,
) -> DetectRequest:
    """Return the run that searches the images.

    Raises
    ------
    ModelError
        If the model is not there or was made for other channels.
    """
    model_id = choose_model(project, model)
    ids = list(image_ids)
    record = next((m for m in project.models if m.model_id == model_id), None)
    warnings: tuple[str, ...] = ()
    if record is not None:
        _check_channels(project, record, ids)
        warnings = channel_warnings(record, (project.images[key] for key in ids))
    images = tuple(
        ImageRequest(key, str(project.image_path(key)), project.images[key].rgb, project.plane(key))
        for key in ids
    )
    folder = CLASSICAL if record is None else str(project.model_folder(model_id))
    return DetectRequest(images, folder, model_id, device, view, warnings)


def _check_channels(project: Project, record: ModelRecord, image_ids: Sequence[str]) -> None:
    for key in image_ids:
        image = project.images[key]
        if len(image.channels) != len(record.channels):
            raise ModelError(
                f"The model was trained on {len(record.channels)} channels "
                f"({', '.join(record.channels)}), but {image.name} has {len(image.channels)}. "
                "Choose another model for it."
            )


def channel_warnings(record: ModelRecord, images: Iterable[ImageRecord]) -> tuple[str, ...]:
    """Return a sentence for each set of channels that differs from the model's in more than number.

    Names that say nothing (``gray``, ``Ch1``) are not compared.
    """
    said = []
    seen: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        seen.setdefault(image.channels, []).append(image.name)
    for channels, names in seen.items():
        pairs = list(zip(channels, record.channels, strict=False))
        if all(a == b or _NAMELESS.fullmatch(a) or _NAMELESS.fullmatch(b) for a, b in pairs):
            continue
        same = sorted(channels) == sorted(record.channels)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(
            f"{names[0]}{more}: the model was trained on {', '.join(record.channels)}, "
            + ("here they stand in another order: " if same else "here the channels are ")
            + f"{', '.join(channels)}. Its boxes may be wrong."
        )
    return tuple(said)


def detect(request: DetectRequest) -> Job[None]:
    """Return the job of the run; its items are `Detections` and `ImageFailure`."""
    # The items are the result: the dictionary of them need not cross to the window again.
    yield from detect_images(request.images, request.model, request.device)


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
    cells, total = 0, RunSummary()

    def edits() -> Iterator[Edit]:
        nonlocal cells, total
        for item in found:
            detections = _wanted(project, item, view, min_score)
            rows = [
                c
                for c in project.cells.of_image(item.image_id)
                if view is None or not is_replaceable(c) or _is_inside(c.box, view)
            ]
            edit, summary = merge_detections(rows, detections, project.settings.merge_iou)
            cells += len(detections)
            total += summary
            yield edit

    if len(found) == 1:
        label = f"detected {len(_wanted(project, found[0], view, min_score))} cells"
    else:
        good = sum(score >= min_score for item in found for score in item.scores)
        label = f"detected {good} cells in {len(found)} images"
    yield from project.history.do_run(label, edits())
    return DetectionRun(len(found), cells, total, failures)


def _wanted(project: Project, item: Detections, view: Box | None, min_score: float) -> Detections:
    """Return the detections above the score and inside the view, with the project's classes."""
    found = _known_classes(project, item)
    found = _chosen(found, [score >= min_score for score in found.scores])
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
    keep = [i for i, is_wanted in enumerate(wanted) if is_wanted]
    return Detections(
        found.image_id,
        tuple(found.boxes[i] for i in keep),
        tuple(found.scores[i] for i in keep),
        tuple(found.class_ids[i] for i in keep),
        found.model_id,
        tuple(found.probabilities[i] for i in keep) if found.probabilities else (),
    )
