"""Active learning on a project: measured cells, what to ask, and classing the rest."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.active.requests import (
    ControlPoint,
    SuggestRequest,
    SuggestResult,
    pack_rows,
)
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import PORTION, edit_of, finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Cell, Origin, Proposal, Review

from .describing import QUICK, describers, words_of
from .looked_at import request_with, requests_without_cells, with_cells
from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.features.table import FeatureTable, MeasureRequest
    from napari_cellal.io.store import Project

    from .pools import Pool

LEARNER = "learn"
"""What stands behind a model's id where the learner gave the class."""


def measure_requests(
    project: Project, image_ids: Iterable[str] | None = None
) -> list[MeasureRequest]:
    """Return what to measure: every cell that is not rejected, by image."""
    return [
        request_with(request, project.cells.of_image(request.image_id))
        for request in requests_without_cells(project, image_ids)
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """A table of features on disk."""

    path: str
    cell_ids: tuple[str, ...]
    failures: tuple[tuple[str, str], ...] = ()
    features: str = QUICK
    words: str = ""
    """What they are, for a person."""


def measure_project(
    folder: str | Path,
    requests: Sequence[MeasureRequest],
    cache_folder: str | Path,
    features: str = QUICK,
) -> Job[Measured]:
    """Return what `measure` does, of requests whose cells are read from the database first.

    A window that read 100,000 of them itself would stand still for a second.
    """
    yield Progress(0, 0, "Reading the cells")
    filled = []
    for k, request in enumerate(with_cells(Path(folder), requests)):
        filled.append(request)
        if k % 50 == 0:
            yield Progress(0, 0, "Reading the cells")
    return (yield from measure(filled, cache_folder, features))


def measure(
    requests: Sequence[MeasureRequest], cache_folder: str | Path, features: str = QUICK
) -> Job[Measured]:
    """Return the measured cells' table, written to a new file in the cache folder.

    See `measure_table`.
    """
    table = yield from measure_table(requests, cache_folder, features)
    folder = Path(cache_folder)
    # A new name each time: another process may be reading the table before, or one of others.
    kind = hashlib.sha256(features.encode()).hexdigest()[:8]
    path = folder / f"features-{kind}-{uuid.uuid4().hex[:8]}.npz"
    table.save(path)
    for old in folder.glob(f"features-{kind}-*.npz"):
        if old != path:
            with contextlib.suppress(OSError):  # in use, on Windows; it goes the next time
                old.unlink()
    words = words_of(table.names)
    return Measured(str(path), table.cell_ids, table.failures, features, words)


def was_measured(project: Project) -> bool:
    """Return whether cells were measured before: measuring is then mostly reading."""
    return any(project.cache_folder.glob("features-*.npz"))


def measure_table(
    requests: Sequence[MeasureRequest], cache_folder: str | Path, features: str = QUICK
) -> Job[FeatureTable]:
    """Return the cells' features; see `features.cache.measure_images`.

    Parameters
    ----------
    features : str
        Which ones; see `describing.sets_of`.

    Raises
    ------
    CellalError
        If there are no such features.
    """
    from napari_cellal.features.cache import measure_images

    in_colour = all(r.rgb for r in requests)
    found = yield from describers(features, in_colour=in_colour)
    return (yield from measure_images(requests, cache_folder, found))


def request_suggestions(
    project: Project,
    measured: Measured,
    pool: Pool,
    *,
    strategy: str = "automatic",
    estimator: str = "self_training",
    n: int = 1,
    leave_out: Iterable[str] = (),
    seed: int | None = None,
    like: str = "",
) -> SuggestRequest:
    """Return the question which cells to label next; ``leave_out`` are skipped for now.

    Without a ``seed`` the project's is taken. ``like`` names the class that the strategy
    ``rare`` looks for.

    Raises
    ------
    CellalError
        If there is no such class.
    """
    hunted = project.class_named(like) if like else None
    if like and (hunted is None or hunted.retired):
        names = ", ".join(c.name for c in project.active_classes)
        raise CellalError(f"The project has no class {like}. It has: {names}.")
    return SuggestRequest(
        measured.path,
        _of_active(project, pool.labelled),
        _of_active(project, pool.holdout),
        {c.class_id: c.name for c in project.active_classes},
        pack_rows(pool.candidates_in(measured.cell_ids, leave_out)),
        strategy,
        estimator,
        n,
        project.settings.seed if seed is None else seed,
        like=None if hunted is None else hunted.class_id,
        scores=pool.scores_in(measured.cell_ids).tobytes() if strategy == "detector" else b"",
    )


def _of_active(project: Project, labels: Mapping[str, int]) -> dict[str, int]:
    active = {c.class_id for c in project.active_classes}
    return {key: class_id for key, class_id in labels.items() if class_id in active}


def request_rest(
    project: Project, measured: Measured, pool: Pool, *, estimator: str = "self_training"
) -> SuggestRequest:
    """Return the question what every cell without a label is, held-out ones too."""
    request = request_suggestions(project, measured, pool, estimator=estimator)
    return replace(request, others=(*pool.checks, *pool.test), holdout={})


def suggest(request: SuggestRequest) -> Job[SuggestResult]:
    """Return the job that answers a request for suggestions."""
    yield Progress(0, 0, "Choosing the next cell")
    from napari_cellal.active.suggest import suggest_job

    with algebra_on_one_thread():
        return (yield from suggest_job(request))


def answered(
    request: SuggestRequest, cell_id: str, class_id: int | None, *, held_out: bool
) -> SuggestRequest:
    """Return a request that leaves a cell out, as it is once the cell has a class.

    None is no class: it was skipped, set aside, or is no cell.
    """
    if class_id is None:
        return request
    if held_out:
        return replace(request, holdout={**request.holdout, cell_id: class_id})
    return replace(request, labelled={**request.labelled, cell_id: class_id})


def suggest_after(
    request: SuggestRequest, cell_id: str, class_ids: Sequence[int | None], held_out: bool
) -> Job[None]:
    """Return the job that answers a request once more for each answer that a cell may get.

    Its steps carry (class_id, `SuggestResult`). See `answered`.
    """
    for k, class_id in enumerate(class_ids):
        found = yield from suggest(answered(request, cell_id, class_id, held_out=held_out))
        yield Progress(k + 1, len(class_ids), "Thinking ahead", (class_id, found))


def random_control(request: SuggestRequest) -> Job[tuple[ControlPoint, ...]]:
    """Return the job that replays random picks from the labels; see `active.control`."""
    yield Progress(0, 0, "Replaying random picks")
    from napari_cellal.active.control import random_control as replay

    with algebra_on_one_thread():
        return (yield from replay(request))


def class_rest(request: SuggestRequest) -> Job[dict[str, tuple[tuple[int, float], ...]]]:
    """Return the job that gives every candidate its class probabilities."""
    yield Progress(0, 0, "Classing the other cells")
    from napari_cellal.active.suggest import predict_all

    with algebra_on_one_thread():
        return predict_all(request)


def apply_classes(
    project: Project,
    predicted: Mapping[str, tuple[tuple[int, float], ...]],
    min_probability: float,
) -> int:
    """Give open proposals their most probable class, one step of undo; return how many.

    Only above ``min_probability``. The cells stay open: a person has not seen them. Box and
    score stay the detector's; imported and reviewed cells are left alone.
    """
    return finish(class_steps(project, predicted, min_probability))


def class_steps(
    project: Project,
    predicted: Mapping[str, tuple[tuple[int, float], ...]],
    min_probability: float,
    by: str = LEARNER,
    run: str = "",
) -> Steps[int]:
    """Do what `apply_classes` does, pausing after each portion.

    Parameters
    ----------
    by : str
        What gave the classes: the learner, or a classifier's id.
    run : str
        What is classed with the same one is undone together; empty for what is whole.
    """
    sure = [key for key, pairs in predicted.items() if pairs[0][1] >= min_probability]
    giver = "the learner" if by == LEARNER else f"model {by[:6]}"
    chunks = (sure[k : k + PORTION] for k in range(0, len(sure), PORTION))
    edits = (_classing(project, {key: predicted[key] for key in chunk}, by) for chunk in chunks)
    if not run:
        label = f"classed {len(sure)} cells by {giver}"
        return (yield from project.history.do_run(label, edits, by))
    rows = 0
    for edit in edits:
        project.history.do(replace(edit, label=f"classed the rest by {giver}", run=run))
        rows += len(edit.after)
        yield
    return rows


def _classing(
    project: Project, predicted: Mapping[str, tuple[tuple[int, float], ...]], giver: str
) -> Edit:
    changes: list[tuple[Cell | None, Cell | None]] = []
    for cell in project.cells.rows(predicted).values():
        if cell is None or cell.review is not Review.OPEN or cell.origin is not Origin.MODEL:
            continue
        pairs = predicted[cell.cell_id]
        class_id, _ = pairs[0]
        if cell.proposed is None:
            continue
        by = cell.proposed.model_id.split("+")[0]
        proposed = Proposal(cell.box, class_id, cell.proposed.score, f"{by}+{giver}", pairs)
        changes.append((cell, replace(cell, class_id=class_id, proposed=proposed)))
    return edit_of("", changes, giver)
