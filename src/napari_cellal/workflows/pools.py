"""The cells of a project as the learner sees them: what it learns from, what it may ask."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Split, Status
from napari_cellal.io.store.search import cell_scores, cell_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_cellal.core.history import Edit
    from napari_cellal.io.store import Project

CHECK_SHARE = 4
"""One check question for so many answers that are learned from, until `CHECKS_ENOUGH`."""
CHECKS_ENOUGH = 100


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
    scores : {cell_id: 0..1}
        How sure the detector was, of cells with a label too.
    """

    def __init__(self, project: Project, image_ids: Iterable[str] | None = None) -> None:
        chosen = None if image_ids is None else list(image_ids)
        states = project.cells.states(*_WAITING, *_VOUCHED, image_ids=chosen)
        splits = {key: r.split for key, r in project.images.items()}
        self._fill(splits, states, cell_scores(project.folder, chosen))

    @classmethod
    def of_states(
        cls,
        splits: Mapping[str, Split],
        states: Iterable[tuple[str, str, int | None, str]],
        scores: dict[str, float],
    ) -> Pool:
        """Return the pool of (cell_id, image_id, class_id, status) of cells, and their scores."""
        pool = cls.__new__(cls)
        pool._fill(splits, states, scores)
        return pool

    def _fill(
        self,
        splits: Mapping[str, Split],
        states: Iterable[tuple[str, str, int | None, str]],
        scores: dict[str, float],
    ) -> None:
        self.labelled: dict[str, int] = {}
        self.holdout: dict[str, int] = {}
        self.candidates: dict[str, None] = {}
        self.checks: dict[str, None] = {}
        self.test: dict[str, None] = {}
        self.scores = scores
        self._split_of = splits
        self._table: tuple[str, ...] = ()
        self._row_of: dict[str, int] = {}
        self._may_ask = np.zeros(0, bool)
        self._score = np.zeros(0, np.float32)
        self._has_val = Split.VAL in splits.values()
        for key, image_id, class_id, status in states:
            self._put(key, image_id, class_id, Status(status))
        self.checks = dict.fromkeys(sorted(self.checks))

    def follow(self, edit: Edit) -> None:
        """Take in what an edit changed."""
        for key, cell in edit.after.items():
            for part in (self.labelled, self.holdout, self.candidates, self.checks, self.test):
                part.pop(key, None)
            self.scores.pop(key, None)
            if cell is not None and cell.score is not None:
                self.scores[key] = cell.score
            if cell is not None:
                self._put(key, cell.image_id, cell.class_id, cell.status)
            if key in self._row_of:
                self._may_ask[self._row_of[key]] = key in self.candidates
                if len(self._score):
                    self._score[self._row_of[key]] = self.scores.get(key, np.nan)

    def rows_in(self, table: tuple[str, ...]) -> Mapping[str, int]:
        """Return the row of each cell in a table of features.

        The table asked for last is kept and followed: with 100,000 cells to look up anew, each
        answer would wait 15 ms longer.
        """
        if table is not self._table:
            self._table = table
            self._row_of = dict(zip(table, range(len(table)), strict=True))
            self._may_ask = np.fromiter(map(self.candidates.__contains__, table), bool, len(table))
            self._score = np.zeros(0, np.float32)
        return self._row_of

    def candidates_in(
        self, table: tuple[str, ...], leave_out: Iterable[str] = ()
    ) -> NDArray[np.bool_]:
        """Return which cells of a table of features may be asked about, bool[N]."""
        row_of = self.rows_in(table)
        found = self._may_ask.copy()
        found[[row_of[key] for key in leave_out if key in row_of]] = False
        return found

    def scores_in(self, table: tuple[str, ...]) -> NDArray[np.float32]:
        """Return how sure the detector was of each cell of a table, float32[N]; NaN: no score."""
        self.rows_in(table)
        if len(self._score) != len(table):
            found = map(self.scores.get, table, repeat(np.nan))
            self._score = np.fromiter(found, np.float32, len(table))
        return self._score.copy()

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
    states = cell_states(Path(folder), image_ids)
    return Pool.of_states(splits, states, cell_scores(Path(folder), image_ids))


def check_is_due(pool: Pool) -> bool:
    """Return whether the next question should measure the learner instead of teaching it."""
    due = min(len(pool.labelled) // CHECK_SHARE, CHECKS_ENOUGH)
    return bool(pool.checks) and len(pool.holdout) < due
