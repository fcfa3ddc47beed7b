"""Active learning on a project: measured cells, what to ask, and classing the rest."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.active.requests import (
    ControlPoint,
    SuggestRequest,
    SuggestResult,
    pack_rows,
)
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import PORTION, edit_of, finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Cell, Origin, Proposal, Review, Split, Status
from napari_cellal.io.store.search import cell_states

from .describing import QUICK, describers, words_of
from .looked_at import request_with, requests_without_cells, with_cells
from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.features.table import FeatureTable, MeasureRequest
    from napari_cellal.io.store import Project

LEARNER = "learn"
"""What stands behind a model's id where the learner gave the class."""
CHECK_SHARE = 4
"""One check question for so many answers that are learned from, until `CHECKS_ENOUGH`."""
CHECKS_ENOUGH = 100


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


def is_held_out(cell_id: str, split: Split, has_val: bool) -> bool:
    """Return whether a cell only ever measures the learner and never teaches it.

    Held out are the cells of ``val`` images; a project without such images holds out a
    fifth of its cells, by their id, which is random.
    """
    return split is Split.VAL if has_val else int(cell_id[:8], 16) % 5 == 0


_WAITING = (Status.PROPOSED, Status.IMPORTED)
_VOUCHED = (Status.CONFIRMED, Status.CORRECTED, Status.DRAWN)


class Pool:
    """The cells of a project as the learner sees them; `follow` keeps it up to date.

    Parameters
    ----------
    image_ids : iterable of str or None
        Only cells of these images, until an edit brings others in.

    Attributes
    ----------
    labelled : {cell_id: class_id}
        Learned from.
    holdout : {cell_id: class_id}
        Measured on.
    candidates : ordered set of cell_id, as dict keys
        May be asked about and then learned from.
    checks : ordered set of cell_id, as dict keys
        Held-out cells without a label, in an order that has nothing to do with the model.
    test : ordered set of cell_id, as dict keys
        Cells without a label in ``test`` images: classed at the end, never asked about.
        Labels in ``test`` images stay out of the pool.
    """

    def __init__(self, project: Project, image_ids: Iterable[str] | None = None) -> None:
        states = project.cells.states(*_WAITING, *_VOUCHED, image_ids=image_ids)
        self._fill({key: r.split for key, r in project.images.items()}, states)

    @classmethod
    def of_states(
        cls, splits: Mapping[str, Split], states: Iterable[tuple[str, str, int | None, str]]
    ) -> Pool:
        """Return the pool of (cell_id, image_id, class_id, status) of cells."""
        pool = cls.__new__(cls)
        pool._fill(splits, states)
        return pool

    def _fill(
        self, splits: Mapping[str, Split], states: Iterable[tuple[str, str, int | None, str]]
    ) -> None:
        self.labelled: dict[str, int] = {}
        self.holdout: dict[str, int] = {}
        self.candidates: dict[str, None] = {}
        self.checks: dict[str, None] = {}
        self.test: dict[str, None] = {}
        self._split_of = splits
        self._table: tuple[str, ...] = ()
        self._row_of: dict[str, int] = {}
        self._may_ask = np.zeros(0, bool)
        self._has_val = Split.VAL in splits.values()
        for key, image_id, class_id, status in states:
            self._put(key, image_id, class_id, Status(status))
        self.checks = dict.fromkeys(sorted(self.checks))

    def follow(self, edit: Edit) -> None:
        """Take in what an edit changed."""
        for key, cell in edit.after.items():
            for part in (self.labelled, self.holdout, self.candidates, self.checks, self.test):
                part.pop(key, None)
            if cell is not None:
                self._put(key, cell.image_id, cell.class_id, cell.status)
            if key in self._row_of:
                self._may_ask[self._row_of[key]] = key in self.candidates

    def rows_in(self, table: tuple[str, ...]) -> Mapping[str, int]:
        """Return the row of each cell in a table of features.

        The table asked for last is kept and followed: with 100,000 cells to look up anew, each
        answer would wait 15 ms longer.
        """
        if table is not self._table:
            self._table = table
            self._row_of = dict(zip(table, range(len(table)), strict=True))
            self._may_ask = np.fromiter(map(self.candidates.__contains__, table), bool, len(table))
        return self._row_of

    def candidates_in(
        self, table: tuple[str, ...], leave_out: Iterable[str] = ()
    ) -> NDArray[np.bool_]:
        """Return which cells of a table of features may be asked about, bool[N]."""
        row_of = self.rows_in(table)
        found = self._may_ask.copy()
        found[[row_of[key] for key in leave_out if key in row_of]] = False
        return found

    def _put(self, key: str, image_id: str, class_id: int | None, status: Status) -> None:
        split = self._split_of.get(image_id, Split.TEST)
        is_label = status in _VOUCHED and class_id is not None
        held = is_held_out(key, split, self._has_val)
        if status not in _WAITING and status not in _VOUCHED:
            return
        if split is Split.TEST:
            if not is_label:
                self.test[key] = None
        elif is_label and class_id is not None:
            (self.holdout if held else self.labelled)[key] = class_id
        elif held:
            self.checks[key] = None
        else:
            self.candidates[key] = None


def read_pool(
    folder: str | Path, splits: Mapping[str, Split], image_ids: Iterable[str] | None
) -> Job[Pool]:
    """Return the job that makes a pool from the database, in any process.

    Of 100,000 cells it takes a fifth of a second, in which a window would stand still.
    """
    yield Progress(0, 0, "Reading the cells")
    return Pool.of_states(splits, cell_states(Path(folder), image_ids))


def check_is_due(pool: Pool) -> bool:
    """Return whether the next question should measure the learner instead of teaching it."""
    due = min(len(pool.labelled) // CHECK_SHARE, CHECKS_ENOUGH)
    return bool(pool.checks) and len(pool.holdout) < due


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
    scores: dict[str, float] = {}
    if strategy == "detector":  # the others need not wait for the rows
        rows = project.cells.rows(pool.candidates)
        scores = {k: c.score for k, c in rows.items() if c is not None and c.score is not None}
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
        scores=scores,
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
    request: SuggestRequest, cell_id: str, class_id: int, *, held_out: bool
) -> SuggestRequest:
    """Return a request that leaves a cell out, as it is once the cell has a class."""
    if held_out:
        return replace(request, holdout={**request.holdout, cell_id: class_id})
    return replace(request, labelled={**request.labelled, cell_id: class_id})


def suggest_after(
    request: SuggestRequest, cell_id: str, class_ids: Sequence[int], held_out: bool
) -> Job[None]:
    """Return the job that answers a request once more for each class that a cell may get.

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
) -> Steps[int]:
    """Do what `apply_classes` does, pausing after each portion.

    Parameters
    ----------
    by : str
        What gave the classes: the learner, or a classifier's id.
    """
    sure = [key for key, pairs in predicted.items() if pairs[0][1] >= min_probability]
    giver = "the learner" if by == LEARNER else f"model {by[:6]}"
    label = f"classed {len(sure)} cells by {giver}"
    chunks = (sure[k : k + PORTION] for k in range(0, len(sure), PORTION))
    edits = (_classing(project, {key: predicted[key] for key in chunk}, by) for chunk in chunks)
    return (yield from project.history.do_run(label, edits, by))


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
