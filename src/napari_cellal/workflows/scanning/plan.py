"""What a scan is to do, and how far it is: settings, images and their states in the project."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.reconcile import is_replaceable
from napari_cellal.core.records import Detections, ModelRecord, Status
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.features.table import MeasureRequest
from napari_cellal.io.planes import is_large
from napari_cellal.io.store.scans import ScanState
from napari_cellal.workflows.channel_checks import (
    channel_warnings,
    check_channels,
    shipped_warnings,
)
from napari_cellal.workflows.classifying import find_classifier
from napari_cellal.workflows.describing import sets_of
from napari_cellal.workflows.detecting import (
    CLASSICAL,
    USUAL,
    choose_model,
    least_score,
    request_detection,
)

from .tasks import ScanSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.io.store import Project
    from napari_cellal.io.store.scans import ScanRecord

LOT = 4
"""Images that are searched together. What is found may depend on it in the last digits, so a
scan that goes on has the same lots."""
_LARGE_PX = 64_000_000  # smaller images are never searched in parts: no need to open them


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What a person asks for.

    Attributes
    ----------
    model : str
        As `detecting.choose_model` takes it.
    score : float
        Proposals that score less are left out; 0 is the model's usual one.
    classifier : str
        ``auto``, an id or a folder; empty leaves the detector's classes.
    features : str
        Measurements, e.g. ``quick``; empty makes none.
    """

    model: str = "auto"
    score: float = 0.0
    classifier: str = ""
    features: str = ""
    flips: bool = False


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """A scan that is begun, and what of it is to be done now.

    Attributes
    ----------
    lots : tuple of tuple of image_id
        Those with an image that waits, whole: see `LOT`.
    waiting : frozenset of image_id
        Images that are to be done.
    done : int
        Images of this run's choice that are done already.
    failed : {image_id: sentence}
        The same, that failed before.
    large : frozenset of image_id
        Images that are searched in parts.
    warnings : tuple of str
        What a person should read before.
    """

    spec: ScanSpec
    lots: tuple[tuple[str, ...], ...]
    waiting: frozenset[str]
    large: frozenset[str]
    done: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    resumed: bool = False
    warnings: tuple[str, ...] = ()


def settings_of(scan: ScanRecord) -> ScanSettings:
    """Return what was asked for when a scan was begun."""
    kept = scan.settings
    return ScanSettings(
        kept["model"], kept["score"], kept["classifier"], kept["features"], kept["flips"]
    )


def unfinished_scan(project: Project) -> ScanRecord:
    """Return the scan that was begun last and has not ended.

    Raises
    ------
    CellalError
        If there is none.
    """
    for scan in reversed(project.scans.all()):
        if scan.ended_at is None:
            return scan
    raise CellalError(
        "No scan of this project is waiting to go on. Begin one with: napari-cellal scan PROJECT "
        "PATHS."
    )


def plan_scan(
    project: Project,
    image_ids: Iterable[str],
    settings: ScanSettings,
    *,
    device: str = "auto",
    restart: bool = False,
    going_on: ScanRecord | None = None,
) -> ScanPlan:
    """Return the scan of these images, as far as it is not done already.

    A scan with the same settings goes on: images that are done stay so, new ones are added, and
    once all others are done those that failed are tried again. Finished images are left out. A
    scan that was just undone begins anew.

    Parameters
    ----------
    restart : bool
        Search all of them anew.
    going_on : ScanRecord or None
        The scan that must go on, and no other begin.

    Raises
    ------
    ModelError
        If a model is not there, or no image fits it.
    CellalError
        If there are no images, no such measurements, or a scan that should go on cannot since
        its model or the project's classes have changed.
    """
    ids = [key for key in image_ids if not project.images[key].finished]
    if not ids:
        raise CellalError(
            "There is nothing to scan: no images, or a person has marked all of them finished."
        )
    spec, warnings, misfits = _spec(project, ids, settings, device)
    kept = _kept_settings(project, spec, settings)
    same = [scan for scan in project.scans.all() if scan.settings == kept]
    if going_on is not None and going_on.settings != kept:
        raise CellalError(
            "The model or the project's classes are not what they were when the scan was begun, so "
            "it cannot go on. Begin another one with: napari-cellal scan PROJECT PATHS."
        )
    if restart or (same and project.scans.was_undone(same[-1].scan_id)):
        for scan in same:
            project.scans.forget(scan.scan_id)
        same = []
    if same:
        scan = same[-1]
        scan_id = scan.scan_id
        known = {image.image_id: image for image in project.scans.images(scan_id)}
        if fresh := [key for key in ids if key not in known]:
            project.scans.extend(scan_id, _lots(project, fresh))
        elif scan.ended_at is not None and any(i.error for i in known.values()):
            project.scans.retry(scan_id)
    else:
        scan_id = project.scans.begin(kept, _lots(project, ids))
    with project.scans.together():
        for key, sentence in misfits.items():
            project.scans.note_failed(scan_id, key, sentence)
    return _plan(project, replace(spec, scan_id=scan_id), ids, warnings, resumed=bool(same))


def _plan(
    project: Project,
    spec: ScanSpec,
    ids: Sequence[str],
    warnings: tuple[str, ...],
    *,
    resumed: bool,
) -> ScanPlan:
    images = project.scans.images(spec.scan_id)
    chosen = set(ids)
    waiting = {i.image_id for i in images if i.state is ScanState.WAITING} & chosen
    lots: dict[int, list[str]] = {}
    for image in images:
        # one that failed takes no part in its lot, neither then nor now
        if image.state is not ScanState.FAILED:
            lots.setdefault(image.lot, []).append(image.image_id)
    return ScanPlan(
        spec,
        tuple(tuple(lot) for lot in lots.values() if not waiting.isdisjoint(lot)),
        frozenset(waiting),
        frozenset(key for key in waiting if is_in_parts(project, key)),
        sum(i.state is ScanState.DONE and i.image_id in chosen for i in images),
        {
            i.image_id: i.error
            for i in images
            if i.state is ScanState.FAILED
            if i.image_id in chosen
        },
        resumed,
        warnings,
    )


def is_in_parts(project: Project, image_id: str) -> bool:
    """Return whether an image is searched part by part; a file that is gone is not."""
    _, height, width = project.images[image_id].shape
    if height * width <= _LARGE_PX:
        return False
    try:
        return is_large(project.image_path(image_id), project.plane(image_id))
    except CellalError:
        return False


def _lots(project: Project, ids: Sequence[str]) -> list[list[str]]:
    """Return the images in lots; large ones are by themselves."""
    lots: list[list[str]] = []
    room = 0
    for key in ids:
        if is_in_parts(project, key):
            lots.append([key])
            room = 0
        elif room:
            lots[-1].append(key)
            room -= 1
        else:
            lots.append([key])
            room = LOT - 1
    return lots


def image_to_scan(project: Project, image_id: str) -> MeasureRequest:
    """Return what hands need to know of an image: its pixels, and the cells that stay."""
    record = project.images[image_id]
    cells = [
        c
        for c in project.cells.of_image(image_id)
        if c.status is not Status.REJECTED and not is_replaceable(c)
    ]
    return MeasureRequest(
        image_id,
        str(project.image_path(image_id)),
        project.plane(image_id),
        record.rgb,
        record.channels,
        record.fingerprint,
        tuple(c.cell_id for c in cells),
        tuple(c.box for c in cells),
        tuple(c.mask for c in cells),
    )


def _spec(
    project: Project, ids: Sequence[str], settings: ScanSettings, device: str
) -> tuple[ScanSpec, tuple[str, ...], dict[str, str]]:
    """Return what is done to each image, warnings, and why some images cannot be searched."""
    if settings.features:
        sets_of(settings.features)
    model_id = choose_model(project, settings.model, ids)
    record = next((m for m in project.models if m.model_id == model_id), None)
    misfits: dict[str, str] = {}
    for key in ids:
        try:
            if model_id == SHIPPED:
                shipped_warnings([project.images[key]])
            elif record is not None:
                check_channels(record, [project.images[key]])
        except ModelError as error:
            misfits[key] = str(error)
    fitting = [key for key in ids if key not in misfits]
    if not fitting:
        raise ModelError(misfits[ids[0]])
    chosen = PredictSettings(flips=settings.flips) if settings.flips else USUAL
    # Of one image: what 20,000 of them are is looked up lot by lot, see `image_to_scan`.
    run = request_detection(project, fitting[:1], model=model_id, device=device, settings=chosen)
    images = [project.images[key] for key in fitting]
    warnings: tuple[str, ...] = ()
    if model_id == SHIPPED:
        warnings = shipped_warnings(images)
    elif record is not None:
        warnings = channel_warnings(record, images)
    nothing = Detections("", (), (), (), model_id)
    spec = ScanSpec(
        "",
        replace(run, images=(), warnings=()),
        least_score(nothing, settings.score),
        features=settings.features,
    )
    if settings.classifier:
        spec = _with_classifier(project, spec, settings.classifier)
    return spec, warnings, misfits


def _with_classifier(project: Project, spec: ScanSpec, name: str) -> ScanSpec:
    folder = find_classifier(project, name)
    record = _card(folder)
    by_name = {c.name: c.class_id for c in project.active_classes}
    classes = tuple(
        (c, by_name[known])
        for c, known in zip(record.class_ids, record.class_names, strict=True)
        if known in by_name
    )
    if not classes:
        raise ModelError(
            f"The classifier knows none of the project's classes; it knows "
            f"{', '.join(record.class_names)}. Add one of them to the project first."
        )
    return replace(spec, classifier=str(folder), classifier_id=record.model_id, classes=classes)


def _card(folder: Path) -> ModelRecord:
    """Return a model's card; as `model_files.load_record`, but without torch."""
    try:
        return TypeAdapter(ModelRecord).validate_json((folder / "card.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"'{folder}' is not a model: its card cannot be read.") from error


def _kept_settings(project: Project, spec: ScanSpec, settings: ScanSettings) -> dict[str, Any]:
    """Return all that a scan's cells depend on: only with the same may it go on."""
    models: dict[str, ModelRecord] = {m.model_id: m for m in project.models}
    models[SHIPPED] = shipped_record()
    model_id = spec.run.model_id
    weights = "" if model_id == CLASSICAL else models[model_id].weights_sha256
    classifier_weights = ""
    if spec.classifier:
        classifier_weights = _card(Path(spec.classifier)).weights_sha256
    kept = {
        "model": model_id,
        "weights": weights,
        "score": spec.min_score,
        "classifier": spec.classifier,
        "classifier_weights": classifier_weights,
        "features": spec.features,
        "flips": settings.flips,
        "classes": [c.class_id for c in project.active_classes],
    }
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]
