"""Cells of the whole project, many at a time: what is listed, in which order, what is picked.

The gallery and the map meet here; the picture knows nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cellal.core import gestures
from napari_cellal.core.filters import CellFilter
from napari_cellal.io.store.search import CellState, cell_states, find_cells
from napari_cellal.workflows.browsing import (
    LEARNED_ORDERS,
    ProjectLook,
    order_cells,
    request_order,
)

from .asking import Asker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_cellal.active.requests import OrderRequest, OrderResult
    from napari_cellal.core.errors import CellalError
    from napari_cellal.core.history import Edit
    from napari_cellal.core.records import Cell
    from napari_cellal.workflows.worker import Failed

    from .jobs import JobHandle, Jobs
    from .learn_loop import LearnLoop
    from .session import Session

PORTION = 100
"""Cells written at a time. They may lie anywhere in the database, which takes longer than the
neighbours that a detection writes."""
Made = TypeVar("Made")
ROWS_KEPT = 20_000
"""Rows of listed cells in memory, some 30 MB."""


class Batch(QObject):
    """The list of cells, the picked ones, and what a person does to them.

    Nothing is read before `refresh` is asked for once. The list is what it was when it was
    made: a cell that got a class stays in its place, so that nobody loses hers, until the next
    `refresh`. Main thread only; the database is asked in a thread.

    Attributes
    ----------
    listed : Signal()
        Another list is there.
    rows_changed : Signal()
        Cells of the list may look different.
    picked_changed : Signal()
    state_changed : Signal()
        ``is_busy``, ``needs_measuring`` or ``is_behind`` changed.
    cell_ids : list of str
        The list.
    picked : tuple of cell_id
        Some of the list, in its order.
    is_behind : bool
        Cells came or went since the list was made.
    """

    listed = Signal()
    rows_changed = Signal()
    picked_changed = Signal()
    state_changed = Signal()

    def __init__(self, session: Session, jobs: Jobs, learn: LearnLoop) -> None:
        super().__init__()
        self.session = session
        self._jobs = jobs
        self._learn = learn
        self.wanted = CellFilter()
        self.order = "image"
        self.like = ""
        self.cell_ids: list[str] = []
        self.picked: tuple[str, ...] = ()
        self.is_busy = False
        self.is_behind = False
        self.needs_measuring = False
        self._turn = 0
        self._ordering: JobHandle | None = None
        self._picks_all = False
        self._touched: dict[str, Cell | None] = {}
        self._rows: dict[str, Cell | None] = {}
        self._ranking: OrderResult | None = None
        self._ranking_of: tuple[object, ...] = ()
        self._place: dict[str, int] = {}
        self._asker = Asker("batch", self)
        session.project_changed.connect(self._on_project)
        session.edited.connect(self._on_edit)
        session.images_changed.connect(self._on_images)
        learn.measured.connect(self._on_measured)

    def close(self) -> None:
        """Stop listening and asking."""
        self._overtake()
        self.session.project_changed.disconnect(self._on_project)
        self.session.edited.disconnect(self._on_edit)
        self.session.images_changed.disconnect(self._on_images)
        self._learn.measured.disconnect(self._on_measured)
        self._asker.close()

    # -- listing --------------------------------------------------------------------------

    def set_wanted(self, **changes: Any) -> None:
        """List other cells."""
        wanted = replace(self.wanted, **changes)
        if wanted != self.wanted:
            self.wanted = wanted
            self._picks_all = False
            self.ask_again()

    def show_only(self, cell_ids: Iterable[str], *, pick: bool = True) -> None:
        """List these cells and no others, whatever was left out before; ``pick`` them all."""
        self.wanted = CellFilter(cell_ids=tuple(cell_ids))
        self.pick(())  # a key that comes before the list is about nothing
        self._picks_all = pick
        self.ask_again()

    def ask(
        self,
        question: Callable[[], Made],
        then: Callable[[Made], object],
        *,
        failed: Callable[[CellalError], object] | None = None,
    ) -> None:
        """Have ``then`` hear what a question to the database gives; it is asked in a thread."""
        self._asker.ask(question, then, failed=failed or self._on_error)

    def states(
        self, make: Callable[[list[CellState]], Made], then: Callable[[Made], object]
    ) -> None:
        """Have ``then`` hear what ``make`` makes of `cell_states`; it does so in a thread."""
        project = self.session.project
        if project is not None:
            folder = project.folder
            self.ask(lambda: make(cell_states(folder)), then)

    def set_order(self, order: str, like: str = "") -> None:
        """List the cells in another order; ``like`` names the cell that ``alike`` starts from."""
        if (order, like) != (self.order, self.like):
            self.order, self.like = order, like
            self.ask_again()

    def refresh(self) -> None:
        """Make the list anew: what was classed may no longer belong to it."""
        self._ranking_of = ()
        self.ask_again()

    def measure(self) -> None:
        """Measure the cells, which some orders need; the list is made anew then."""
        self._learn.measure()

    def ask_again(self) -> None:
        """Make the list anew in the order that the learner gave before."""
        project = self.session.project
        self._overtake()
        if project is None:
            self._take([], {})
            return
        path = self._learn.features_path
        is_learned = self.order in LEARNED_ORDERS
        self.needs_measuring = is_learned and path is None
        self.is_busy = True
        self.state_changed.emit()
        if not is_learned or path is None:
            self._find(None)
        elif self._ranking_of == (self.order, self.like, path):
            self._find(self._ranking)
        else:
            look = ProjectLook.of(project)
            make = partial(request_order, look, path, self.order, like=self.like)
            self._ask_for_list(make, partial(self._rank, (self.order, self.like, path)))

    @property
    def note(self) -> str:
        """Why the list is not in the order asked for, or what that did not find; else empty."""
        is_shown = self._ranking is not None and self._ranking_of[:2] == (self.order, self.like)
        return self._ranking.note if is_shown else ""

    def _overtake(self) -> None:
        """Let go of the list that is being made."""
        self._turn += 1
        if self._ordering is not None and not self._ordering.done:
            self._ordering.cancel()
        self._ordering = None

    def _rank(self, what: tuple[object, ...], request: OrderRequest) -> None:
        turn = self._turn
        handle = self._jobs.run("Putting the cells in order", order_cells, request, lane="quick")
        self._ordering = handle

        def take(result: OrderResult) -> None:
            if turn == self._turn:
                self._ranking, self._ranking_of = result, what
                self._find(result)

        handle.finished.connect(take)
        handle.failed.connect(lambda failed: turn == self._turn and self._on_failed(failed))

    def _find(self, ranking: OrderResult | None) -> None:
        project = self.session.project
        if project is None:
            return
        names = {key: record.name for key, record in project.images.items()}
        order = "image" if self.order in LEARNED_ORDERS else self.order
        folder, least = project.folder, self.session.shown.min_score
        wanted = replace(self.wanted, min_score=least)  # as on the picture

        def find() -> tuple[list[str], dict[str, int]]:
            found = find_cells(folder, wanted, order, names)
            if ranking is None:
                return found, {}
            place = {key: k for k, key in enumerate(ranking.cell_ids)}
            last = len(place)
            rank = np.fromiter((place.get(key, last) for key in found), np.int64, len(found))
            return [found[k] for k in np.argsort(rank, kind="stable").tolist()], place

        self._ask_for_list(find, lambda answer: self._take(*answer))

    def _ask_for_list(self, question: Callable[[], Made], then: Callable[[Made], object]) -> None:
        """Have ``then`` hear the answer if no other list was asked for by then."""
        turn = self._turn
        self._asker.ask(question, then, failed=self._on_error, is_wanted=lambda: turn == self._turn)

    def _take(self, cell_ids: list[str], place: dict[str, int]) -> None:
        self.cell_ids, self._place = cell_ids, place
        self.is_busy = self.is_behind = False
        self._touched.clear()
        self.picked = ()
        self.listed.emit()
        self.picked = tuple(cell_ids) if self._picks_all else ()
        self._picks_all = False
        self.picked_changed.emit()
        self.state_changed.emit()

    def _on_error(self, error: CellalError) -> None:
        self._give_up(str(error))

    def _on_failed(self, failed: Failed) -> None:
        self._give_up(failed.message)

    def _give_up(self, text: str) -> None:
        self.is_busy = self._picks_all = False
        self.session.tell(text, error=True)
        self.state_changed.emit()

    # -- cells ----------------------------------------------------------------------------

    def rows(self, cell_ids: Iterable[str]) -> list[Cell | None]:
        """Return the rows of listed cells as they are now, None where one was deleted."""
        project = self.session.project
        keys = list(cell_ids)
        if project is None:
            return [None] * len(keys)
        if len(self._rows) > ROWS_KEPT:
            self._rows.clear()
        missing = [key for key in keys if key not in self._rows]
        if missing:
            self._rows.update(project.cells.rows(missing))
        return [self._rows[key] for key in keys]

    def is_done(self, cell_id: str) -> bool:
        """Return whether a cell was changed since the list was made."""
        return cell_id in self._touched

    def probabilities(self, cell: Cell) -> tuple[tuple[tuple[int, float], ...], str]:
        """Return (class_id, probability), most probable first, and the model's id, or nothing.

        What the learner says in the present order, else what the proposal says.
        """
        ranking, place = self._ranking, self._place.get(cell.cell_id)
        if ranking is not None and ranking.probabilities is not None and place is not None:
            pairs = zip(ranking.class_ids, ranking.probabilities[place].tolist(), strict=True)
            return tuple(sorted(pairs, key=lambda pair: -pair[1])), "learn"
        if cell.proposed is not None and cell.proposed.probabilities:
            ranked = tuple(sorted(cell.proposed.probabilities, key=lambda pair: -pair[1]))
            return ranked, cell.proposed.model_id
        return (), ""

    def pick(self, cell_ids: Iterable[str]) -> None:
        """Take cells of the list in hand."""
        picked = tuple(cell_ids)
        if picked != self.picked:
            self.picked = picked
            self.picked_changed.emit()

    # -- gestures -------------------------------------------------------------------------

    def give_class(self, class_id: int) -> bool:
        """Give the picked cells a class, one step of undo; return whether any are picked."""
        project = self.session.project
        if project is None:
            return False
        name, by = project.classes[class_id].name, self.session.person
        return self._do(
            lambda cells: gestures.give_class(cells, class_id, name, by),
            f"classed {{}} {name}",
        )

    def accept(self) -> bool:
        """Confirm the picked cells as they are."""
        return self._do(lambda cells: gestures.accept(cells, self.session.person), "accepted {}")

    def mark_unsure(self) -> bool:
        """Set the picked cells aside as unsure."""
        by = self.session.person
        return self._do(lambda cells: gestures.mark_unsure(cells, by), "marked {} unsure")

    def remove(self) -> bool:
        """Reject the picked proposals, delete the picked drawn boxes."""
        return self._do(lambda cells: gestures.remove(cells, self.session.person), "rejected {}")

    def _do(self, gesture: Callable[[list[Cell]], Edit], words: str) -> bool:
        project, session = self.session.project, self.session
        keys = self.picked
        if project is None:
            return False
        if not keys:
            session.tell("Pick cells first: click, Shift+click, or drag a frame around them.")
            return False

        def edit(some: tuple[str, ...]) -> Edit:
            return gesture([c for c in project.cells.rows(some).values() if c is not None])

        if len(keys) <= PORTION and not len(session.works):
            return session.do(edit(keys))
        # Read and written portion by portion, behind what is being written already.
        label = words.format(f"{len(keys):,} cells")
        edits = (edit(keys[k : k + PORTION]) for k in range(0, len(keys), PORTION))
        session.works.add(
            project.history.do_run(label, edits, session.person, PORTION),
            lambda n: session.tell(_told(words, n, len(keys))),
            alone=True,
        )
        return True

    # -- the project ----------------------------------------------------------------------

    def _on_project(self, _project: object) -> None:
        self._overtake()
        self._rows.clear()
        self._ranking, self._ranking_of = None, ()
        self.wanted, self.order, self.like = CellFilter(), "image", ""
        self.needs_measuring = False
        self._take([], {})

    def _on_images(self) -> None:
        self._rows.clear()
        self._set_behind()
        self.rows_changed.emit()

    def _on_measured(self) -> None:
        if self.needs_measuring:
            self.ask_again()

    def _on_edit(self, edit: Edit) -> None:
        came = False
        for key, row in edit.after.items():
            old = edit.before[key]
            came = came or old is None
            if key in self._rows:
                self._rows[key] = row
            if not self.cell_ids:
                continue
            if key not in self._touched:
                self._touched[key] = old
            elif self._touched[key] == row:
                del self._touched[key]
        if came:
            self._set_behind()
        self.rows_changed.emit()

    def _set_behind(self) -> None:
        if not self.is_behind:
            self.is_behind = True
            self.state_changed.emit()


def _told(words: str, changed: int, picked: int) -> str:
    """Return what was done to the picked cells, of which some may have been like that before."""
    if not changed:
        return f"None of the {picked:,} cells changed."
    done = words.format(f"{changed:,} cells" if changed > 1 else "1 cell")
    rest = f" The other {picked - changed:,} stay as they were." if changed < picked else ""
    return f"{done[0].upper()}{done[1:]}.{rest} Ctrl+Z takes it back."
