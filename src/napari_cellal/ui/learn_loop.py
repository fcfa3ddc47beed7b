"""The loop of Learn: measure, suggest, answer, refit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_cellal.active.forecast import class_needs
from napari_cellal.workflows import learning, pools

from .cell_table import CellTable
from .learn_curve import LearningCurve
from .live_pool import LivePool
from .question import Question
from .think_ahead import ThinkAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.active.requests import SuggestRequest, SuggestResult
    from napari_cellal.core.history import Edit
    from napari_cellal.io.store import Project
    from napari_cellal.workflows.worker import Failed

    from .jobs import JobHandle, Jobs
    from .session import Session


LOOK_AHEAD = 4
"""Images of so many next candidates are read before they are asked for."""


class LearnLoop:
    """Asks a person about one cell after the other.

    Attributes
    ----------
    question_changed : Signal(Question or None)
    state_changed : Signal(str)
        One line on what the loop is doing or needs.
    answered : Signal()
        An answer was given and the next question is on its way.
    upcoming : Signal(tuple of image_id)
        Images that will probably be needed next.
    job_started : Signal(JobHandle)
        A long job of the loop, for a progress bar.
    measured : Signal()
        Another table of features is there.
    """

    question_changed = Signal(object)
    state_changed = Signal(str)
    answered = Signal()
    upcoming = Signal(tuple)
    job_started = Signal(object)
    measured = Signal()

    def __init__(self, session: Session, jobs: Jobs) -> None:
        self.session = session
        self.jobs = jobs
        self.question: Question | None = None
        self.strategy = "automatic"
        self.curve = LearningCurve(session, jobs)
        self.remaining = 0
        self.labels = 0
        self.holdout_labels = 0
        self.cells = CellTable(session, jobs)
        self.cells.changed.connect(self.measured.emit)
        self.better = self.cells.better
        self.better.started.connect(self.job_started.emit)
        self._ahead = ThinkAhead(jobs, self._on_thought)
        self._pool = LivePool(jobs)
        self._is_answered = False
        self._waits_at: tuple[str | None, tuple[str, ...]] | None = None
        """The image and the cells in hand when the person began to wait for a question."""
        self._is_unseen = False
        """True for a question that came when the person had gone elsewhere."""
        self._skipped: list[str] = []
        self._asked: list[str] = []
        self._pending: JobHandle | None = None
        self._again = False
        self._next_is_due = False
        self.active = False
        """True from Start until the project changes, or a job fails or is cancelled."""
        session.project_changed.connect(self._on_project)
        session.edited.connect(self._on_edit)
        session.images_changed.connect(self._on_images)

    def disconnect(self) -> None:
        """Stop listening to the session, and think no further."""
        self._ahead.forget()
        self.session.project_changed.disconnect(self._on_project)
        self.session.edited.disconnect(self._on_edit)
        self.session.images_changed.disconnect(self._on_images)

    @property
    def is_asking(self) -> bool:
        """True while the cell in hand is the one asked about, so that a key answers."""
        return (
            self.active
            and self.question is not None
            and self.session.selection[:1] == (self.question.cell_id,)
        )

    @property
    def is_busy(self) -> bool:
        """True while something is measured, read or chosen."""
        return self._pending is not None

    @property
    def table(self) -> learning.Measured | None:
        """The measured cells, None before the first start."""
        return self.cells.now

    @property
    def features_path(self) -> str | None:
        """Where their features are, None before the first start."""
        return None if self.cells.now is None else self.cells.now.path

    @property
    def needs(self) -> dict[str, int]:
        """{class: labels it should still get} of the active classes that lack some."""
        project = self.session.project
        if project is None or self._pool.now is None:
            return {}
        names = {c.class_id: c.name for c in project.active_classes}
        found = class_needs(Counter(self._pool.now.labelled.values()), names)
        return {name: of["needs"] for name, of in found.items() if of["needs"]}

    # -- starting -------------------------------------------------------------------------

    def start(self) -> None:
        """Measure what is not measured yet, then ask the first question."""
        if self.session.project is None:
            return
        self.active = True
        self._wait_here()
        if self._pending is not None:  # what is under way goes on with a question
            return
        if self.question is not None and not self._is_answered and not self.cells.is_stale:
            self._set_question(self.question)
            return
        if not self.cells.is_stale and self.cells.now is not None:
            self._ask()
        else:
            self.measure()

    def measure(self) -> None:
        """Measure the cells, and ask nothing unless the loop is active."""
        project = self.session.project
        if project is None or self._pending is not None:
            return
        before = self.cells.looks_at
        self._pending = self.cells.begin(project)
        if self.cells.looks_at != before:
            self._pool.forget()
        if self._pending is None:
            self.active = False
            self.state_changed.emit("No cells yet. Detect some first.")
            return
        self._pending.finished.connect(self._on_measured)
        self._pending.failed.connect(self._on_failed)
        self._pending.cancelled.connect(self._on_cancelled)
        self.job_started.emit(self._pending)
        self.upcoming.emit(self.cells.image_ids)
        self.state_changed.emit("Measuring the cells…")

    def _on_measured(self, measured: learning.Measured) -> None:
        self._pending = None
        self.cells.take(measured)
        if measured.failures:
            self.session.tell(
                f"{len(measured.failures)} images could not be measured: {measured.failures[0][1]}",
                error=True,
            )
        if self.cells.is_stale:  # boxes changed while they were measured
            self.measure()
        elif self.active:
            self._ask()

    def _on_failed(self, failed: Failed) -> None:
        self._pending = None
        self._again = False
        self.cells.is_stale = True  # the table may be what is wrong; measuring anew costs little
        self._set_question(None)
        self.active = False
        self.session.tell(failed.message, error=True)
        self.state_changed.emit(failed.message)

    def _on_cancelled(self) -> None:
        self._pending = None
        self.cells.is_stale = True
        self.active = False
        self.state_changed.emit("Stopped. What was measured is kept.")

    # -- asking ---------------------------------------------------------------------------

    def _ask(self) -> None:
        project = self.session.project
        table = self.cells.now
        if project is None or table is None or not self.active:
            return
        if self._waits_at is None:
            self._wait_here()
        if self._pending is not None:
            self._again = True
            return
        pool = self._pool.now
        if pool is None:
            self._pending = self._pool.read(project, self.cells.looks_at)
            self._pending.finished.connect(self._on_pool)
            self._pending.failed.connect(self._on_failed)
            self._pending.cancelled.connect(self._on_cancelled)
            return
        self.holdout_labels = len(pool.holdout)
        request = self._request(project, table, pool, self._skipped)
        check = None
        if pools.check_is_due(pool):
            measured, skipped = pool.rows_in(table.cell_ids), self._skipped
            check = next((c for c in pool.checks if c in measured and c not in skipped), None)
        known = self._ahead.take(request)
        if known is None:
            self._pending = self.jobs.run(
                "Choosing the next cell", learning.suggest, request, lane="quick"
            )
        else:
            self._pending = self.jobs.known("Choosing the next cell", known)
        self._pending.finished.connect(lambda result: self._on_suggested(result, check, request))
        self._pending.failed.connect(self._on_failed)
        self._pending.cancelled.connect(self._on_cancelled)

    def _request(
        self,
        project: Project,
        measured: learning.Measured,
        pool: pools.Pool,
        leave_out: Sequence[str],
    ) -> SuggestRequest:
        return learning.request_suggestions(
            project,
            measured,
            pool,
            strategy=self.strategy,
            n=LOOK_AHEAD,
            leave_out=leave_out,
        )

    def _think_ahead(self, question: Question) -> None:
        """Have the next question chosen for each answer that this one may get."""
        project, measured, pool = self.session.project, self.cells.now, self._pool.now
        if project is None or measured is None or pool is None or not self.active:
            return
        cell_id = question.cell_id
        guessed = [class_id for class_id, _ in question.probabilities]
        others = [c.class_id for c in project.active_classes if c.class_id not in guessed]

        def make() -> SuggestRequest | None:
            if self.question is not question or self._pending is not None:
                return None
            return self._request(project, measured, pool, [*self._skipped, cell_id])

        held_out = cell_id in pool.checks or cell_id in pool.holdout
        self._ahead.begin(make, cell_id, [*guessed, *others, None], held_out=held_out)

    def _on_thought(self, result: SuggestResult) -> None:
        images = self._images_of(result.suggestions.cell_ids[:1])
        self.upcoming.emit(images)
        for image_id in images:
            self.session.read_ahead(image_id)

    def _images_of(self, cell_ids: Sequence[str]) -> tuple[str, ...]:
        rows = self.session.project.cells.rows(cell_ids) if self.session.project else {}
        return tuple(dict.fromkeys(c.image_id for c in rows.values() if c))

    def _on_pool(self, _pool: pools.Pool) -> None:
        self._pending = None
        self._again = False
        self._ask()

    def _on_suggested(
        self, result: SuggestResult, check: str | None, request: SuggestRequest
    ) -> None:
        self._pending = None
        if self._again:
            self._again = False
            self._ask()
            return
        self.remaining = result.remaining
        self.labels = result.labels
        self.curve.add(result, request)
        if not self.active or (self.question is not None and not self._is_answered):
            return  # she went back meanwhile, and hers stays: a key must not hit another cell
        if check is not None:
            reason = "a check: it measures how good the model is and is not learned from"
            self._set_question(Question(check, reason, is_check=True), go=not self._has_moved)
            return
        found = result.suggestions
        if not len(found):
            self._set_question(None)
            self.state_changed.emit(
                "Nothing is left to ask about. Detect more images, or go back with B."
                if not self._skipped
                else f"Only the {len(self._skipped)} cells that you skipped are left."
            )
            self._skipped.clear()
            return
        self.upcoming.emit(self._images_of(found.cell_ids))
        pairs = zip(found.class_ids, found.probabilities[0].tolist(), strict=True)
        ranked = tuple(sorted(pairs, key=lambda p: -p[1]))
        self._set_question(
            Question(found.cell_ids[0], found.reasons[0], ranked, found.neighbours[0]),
            go=not self._has_moved,
        )

    def _wait_here(self) -> None:
        self._waits_at = (self.session.image_id, self.session.selection)

    @property
    def _has_moved(self) -> bool:
        """True if the person has gone to another image or cell since the wait began.

        A key pressed there is meant for what is there: the question must not come under it.
        """
        if self._waits_at is None:
            return False
        image_id, in_hand = self._waits_at
        now = self.session.selection
        return self.session.image_id != image_id or bool(now and now[0] not in in_hand)

    def _set_question(self, question: Question | None, *, go: bool = True) -> None:
        """Ask, and show the cell, or only say that a question is there."""
        self.question = question
        self._is_answered = False
        self._waits_at = None
        self._is_unseen = not go
        self.session.conceal(question.cell_id if question and question.is_check else None)
        if question is not None and self.session.project is not None:
            cell = self.session.project.cells.get(question.cell_id)
            if cell is None:  # deleted meanwhile
                self.question = None
                self._ask()
                return
            if go:
                self.session.go_to(cell)
            waits = "The next question waits, since you went elsewhere. N shows it."
            self.state_changed.emit("" if go else waits)
            self._think_ahead(question)
        self.question_changed.emit(question)

    # -- answering ------------------------------------------------------------------------

    def answer(self, class_id: int) -> None:
        """Give the asked cell a class and go to the next."""
        self._answer(lambda: self.session.give_class(class_id))

    def accept(self) -> None:
        """Give the asked cell the model's guess and go to the next."""
        if self.question is None:
            return
        if self.question.probabilities:
            best, p = self.question.probabilities[0]
            if len(self.question.probabilities) == 1 or p > self.question.probabilities[1][1]:
                self.answer(best)
                return
        project = self.session.project
        cell = None if project is None else project.cells.get(self.question.cell_id)
        if cell is not None and cell.class_id is not None and not self.question.is_check:
            self.answer(cell.class_id)
        else:
            self.session.tell("The model has no guess here yet. Press the number of the class.")

    def mark_unsure(self) -> None:
        """Set the asked cell aside and go to the next."""
        self._answer(self.session.mark_unsure)

    def reject(self) -> None:
        """Say that the asked box is no cell and go to the next."""
        self._answer(self.session.remove)

    def skip(self) -> None:
        """Go to the next without an answer; the cell comes again at the end."""
        if not self.active:
            self.start()
        elif self._is_answered:
            return
        elif self._is_unseen:
            self._set_question(self.question)
        elif self.question is not None:
            self._skipped.append(self.question.cell_id)
            self._next()
        else:
            self._ask()

    def back(self) -> None:
        """Ask again about the cell before."""
        if not self._asked or self.session.project is None:
            self.session.tell("There is no question before this one.")
            return
        cell_id = self._asked.pop()
        if cell_id in self._skipped:
            self._skipped.remove(cell_id)
        cell = self.session.project.cells.get(cell_id)
        if cell is None:
            self.back()
            return
        said = ""
        if cell.is_label and cell.class_id is not None:
            said = f"; you said {self.session.project.classes[cell.class_id].name}"
        self._set_question(Question(cell_id, f"you asked to see it again{said}"))

    def _answer(self, gesture: Callable[[], bool]) -> None:
        """Write an answer and ask for the next question, as soon as the answer is written.

        The answer is about the cell asked, whatever else was clicked meanwhile. A key that
        comes before the next question is there is not an answer.
        """
        if self.question is None or self._is_answered:
            return
        self.session.select([self.question.cell_id])
        self.session.conceal(None)
        self.answered.emit()
        self.session.leave()
        self._next_is_due = True
        try:
            done = gesture()
        finally:
            is_due, self._next_is_due = self._next_is_due, False
        if done and is_due:  # it changed nothing, so that no edit was told of
            self._next()

    def _next(self) -> None:
        self._is_answered = True
        if self.question is not None:
            self._asked.append(self.question.cell_id)
        self._ask()

    # -- the project ----------------------------------------------------------------------

    def _on_project(self, _project: object) -> None:
        if self._pending is not None:
            # What it still sends is about the project before.
            for signal in (self._pending.finished, self._pending.failed, self._pending.cancelled):
                signal.disconnect()
            self._pending.cancel()
            self._pending = None
        self.cells.forget()
        self._ahead.forget()
        self._again = False
        self._is_answered = self._is_unseen = False
        self._waits_at = None
        self.session.conceal(None)
        self.active = False
        self.labels = self.holdout_labels = self.remaining = 0
        self._pool.forget()
        self._skipped.clear()
        self._asked.clear()
        self.question = None
        self.question_changed.emit(None)
        self.curve.forget()

    def _on_images(self) -> None:
        self._pool.forget()
        project, asked = self.session.project, self.question
        if project is None or asked is None or project.cells.get(asked.cell_id) is not None:
            return
        self._set_question(None)  # its image was removed
        self._ask()

    def _on_edit(self, edit: Edit) -> None:
        self._pool.follow(edit)
        if self.cells.follow(edit) and not self.active:
            self.state_changed.emit("")
        asked = self.question
        if not self._next_is_due and asked and edit.after.get(asked.cell_id, asked) is None:
            self._set_question(None)  # undone, or deleted in another dock
            if self.active:
                self._ask()
        if self._next_is_due:
            # This is the first to hear of the edit: the child refits while the others draw.
            self._next_is_due = False
            self._next()
