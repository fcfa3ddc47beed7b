"""Edits and their history: the only way in which cells change."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, TypeVar

from psygnal import Signal

from .errors import StaleEditError
from .records import Cell, new_id, now

Result = TypeVar("Result")
Rows = Mapping[str, Cell | None]
Steps: TypeAlias = Generator[None, None, Result]
"""Work of the main thread in portions: pauses after each, returns its result."""
PORTION = 250
"""Rows of a long run that are written at a time: some 25 ms, so that a window stays awake."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One gesture: what the touched rows were and what they become.

    Attributes
    ----------
    label : str
        What was done, in words that fit behind "Undo: ", e.g. ``classed 214 cells``.
    before, after : {cell_id: Cell or None}
        The same keys in both; None where the cell does not exist.
    finished : {image_id: (before, after)}
        Images that were marked finished or unfinished by the gesture.
    by : str
        Who did it: a person's name or a model's id.
    at : str
        When, ISO 8601 UTC.
    run : str
        What the portions of one long run have in common: they are undone together. Empty
        for a gesture that is whole.
    """

    label: str
    before: Rows
    after: Rows
    finished: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    by: str = ""
    at: str = field(default_factory=now)
    run: str = ""

    def inverse(self) -> Edit:
        """Return the edit that takes this one back."""
        return Edit(
            self.label,
            self.after,
            self.before,
            {key: (new, old) for key, (old, new) in self.finished.items()},
            self.by,
            run=self.run,
        )

    @property
    def image_ids(self) -> set[str]:
        """The images whose cells or state the edit touches."""
        rows = [c for side in (self.before, self.after) for c in side.values() if c is not None]
        return {c.image_id for c in rows} | set(self.finished)

    def __bool__(self) -> bool:
        return bool(self.after) or bool(self.finished)


def edit_of(label: str, changes: Iterable[tuple[Cell | None, Cell | None]], by: str = "") -> Edit:
    """Return the edit made of (old, new) pairs, leaving out pairs that are equal."""
    before: dict[str, Cell | None] = {}
    after: dict[str, Cell | None] = {}
    for old, new in changes:
        row = new if new is not None else old
        if old == new or row is None:
            continue
        before[row.cell_id] = old
        after[row.cell_id] = new
    return Edit(label, before, after, by=by)


def finish(steps: Steps[Result]) -> Result:
    """Work steps off at once and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def portions(
    label: str, edits: Iterable[Edit], by: str = "", rows: int = PORTION
) -> Iterator[Edit]:
    """Cut and join edits of different cells into edits of about ``rows`` rows, of one run.

    The edits are taken one by one, as the portions are asked for. Where all of them fit
    into one portion, it is a whole gesture of its own.
    """
    run = new_id()
    before: dict[str, Cell | None] = {}
    after: dict[str, Cell | None] = {}
    finished: dict[str, tuple[bool, bool]] = {}
    is_first = True
    for edit in edits:
        finished.update(edit.finished)
        by = by or edit.by
        for key, row in edit.before.items():
            if len(after) >= rows:
                yield Edit(label, before, after, {}, by, run=run)
                before, after, is_first = {}, {}, False
            before[key] = row
            after[key] = edit.after[key]
    # Images are finished last: a run that is broken off leaves none finished and half filled.
    yield Edit(label, before, after, finished, by, run="" if is_first else run)


class EditStore(Protocol):
    """Where rows and edits are kept. `napari_cellal.io.store` keeps them in SQLite."""

    def rows(self, cell_ids: Iterable[str]) -> dict[str, Cell | None]:
        """Return the present row of each id, None where there is none."""

    def finished(self, image_ids: Iterable[str]) -> dict[str, bool]:
        """Return whether each image is marked finished."""

    def commit_do(self, edit: Edit, also: Callable[[], None] | None = None) -> None:
        """Write rows and edit, drop what had been undone, and do ``also``, in one transaction."""

    def commit_undo(self, edit: Edit) -> None:
        """Write the inverse's rows and mark the newest done edit undone, in one transaction."""

    def commit_redo(self, edit: Edit) -> None:
        """Write the rows again and mark the oldest undone edit done, in one transaction."""

    def last_done(self) -> Edit | None:
        """Return the edit that undo would take back."""

    def first_undone(self) -> Edit | None:
        """Return the edit that redo would do again."""

    def edit_labels(self) -> tuple[str, str]:
        """Return the words of those two edits, empty where there is none."""


class History:
    """Does, undoes and redoes edits on a store.

    ``changed`` is emitted after the rows are safely written, with the edit as it was
    applied (the inverse, for an undo). Main thread only.
    """

    changed = Signal(Edit)

    def __init__(self, store: EditStore) -> None:
        self._store = store

    def do(self, edit: Edit, also: Callable[[], None] | None = None) -> None:
        """Write an edit. An empty one is ignored.

        Parameters
        ----------
        also : callable or None
            Writes to the same store what must be kept with the edit or not at all.

        Raises
        ------
        StaleEditError
            If a row is no longer what the edit was made against; nothing is written.
        """
        if not edit:
            return
        self._check(edit)
        self._store.commit_do(edit, also)
        self.changed.emit(edit)

    def do_run(
        self, label: str, edits: Iterable[Edit], by: str = "", portion: int = PORTION
    ) -> Steps[int]:
        """Write edits of different cells as one step of undo; return how many rows changed.

        A generator that pauses after each portion of about ``portion`` rows, unless one is
        all. One that is left before its end has written the portions so far. What a person
        changed in a pause, or an image removed in it, stays as the person left it.
        """
        rows = 0
        for planned in portions(label, edits, by, portion):
            edit = self._without_stale(planned)
            if edit:
                self._store.commit_do(edit)
                self.changed.emit(edit)
            rows += len(edit.after)
            if edit.run:
                yield
        return rows

    def do_steps(self, edit: Edit) -> Steps[int]:
        """Write a large gesture in portions, as `do_run`; return how many rows changed.

        Raises
        ------
        StaleEditError
            As `do`, at the first step; nothing is written then.
        """
        self._check(edit)
        return (yield from self.do_run(edit.label, [edit], edit.by))

    def undo_steps(self) -> Steps[Edit | None]:
        """Take back the last edit, or all of the last run; return the oldest of it, or None.

        A generator that pauses after each edit.
        """
        last, edit = None, self._store.last_done()
        while edit is not None and (last is None or edit.run == last.run):
            inverse = edit.inverse()
            self._check(inverse)
            self._store.commit_undo(inverse)
            self.changed.emit(inverse)
            if not edit.run:
                return edit
            yield
            last, edit = edit, self._store.last_done()
        return last

    def redo_steps(self) -> Steps[Edit | None]:
        """Do again the edit or the run undone last; return the newest of it, or None.

        A generator that pauses after each edit.
        """
        last, edit = None, self._store.first_undone()
        while edit is not None and (last is None or edit.run == last.run):
            self._check(edit)
            self._store.commit_redo(edit)
            self.changed.emit(edit)
            if not edit.run:
                return edit
            yield
            last, edit = edit, self._store.first_undone()
        return last

    def undo(self) -> Edit | None:
        """Take back the last edit or run at once; see `undo_steps`."""
        return finish(self.undo_steps())

    def redo(self) -> Edit | None:
        """Do again what was undone last at once; see `redo_steps`."""
        return finish(self.redo_steps())

    @property
    def undo_label(self) -> str:
        """What undo would take back, in words; empty where there is nothing."""
        return self._store.edit_labels()[0]

    @property
    def redo_label(self) -> str:
        """What redo would do again, in words; empty where there is nothing."""
        return self._store.edit_labels()[1]

    def _without_stale(self, edit: Edit) -> Edit:
        """Return the edit without the rows and marks that are no longer what it starts from."""
        marks = self._store.finished(edit.image_ids)
        now = self._store.rows(edit.before)
        fresh = [
            key
            for key, row in edit.before.items()
            if now[key] == row
            and all(c is None or c.image_id in marks for c in (row, edit.after[key]))
        ]
        return replace(
            edit,
            before={key: edit.before[key] for key in fresh},
            after={key: edit.after[key] for key in fresh},
            finished={k: pair for k, pair in edit.finished.items() if marks.get(k) == pair[0]},
        )

    def _check(self, edit: Edit) -> None:
        """Raise `StaleEditError` where a row or mark is no longer what the edit starts from."""
        if edit.before.keys() != edit.after.keys():
            raise ValueError("an edit needs the same cells before and after")
        touched = edit.image_ids
        marks = self._store.finished(touched)
        if len(marks) < len(touched):
            raise StaleEditError(
                f"'{edit.label}' was not done: an image that it touches is not in the project "
                "any more."
            )
        stale = [
            key for key, row in self._store.rows(edit.before).items() if row != edit.before[key]
        ]
        stale += [key for key, (old, _) in edit.finished.items() if marks.get(key) != old]
        if stale:
            raise StaleEditError(
                f"'{edit.label}' was not done: {len(stale)} of its cells have changed meanwhile. "
                "Look at the image again and repeat the step."
            )
