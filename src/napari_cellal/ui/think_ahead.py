"""The next question, chosen for each answer that may come while the person still looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_cellal.workflows import learning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.active.requests import SuggestRequest, SuggestResult
    from napari_cellal.core.progress import Progress

    from .jobs import JobHandle, Jobs

_PAUSE_MS = 60
"""The question's picture is drawn first."""
_PATIENCE_S = 120.0
"""What the worker is at (groups of 100,000 cells take some seconds) is needed for the next
question too: ending its process would only begin it again."""


class ThinkAhead(QObject):
    """Asks a worker, while a question is on screen, what each answer to it would lead to.

    What comes next is the same as if the worker were asked after the answer: a result is taken
    for an equal request only, and whatever else happens meanwhile makes the requests differ.

    Parameters
    ----------
    jobs : Jobs
    on_thought : callable
        Hears of each `SuggestResult` that may be needed next.
    """

    def __init__(self, jobs: Jobs, on_thought: Callable[[SuggestResult], None]) -> None:
        super().__init__(jobs)
        self._jobs = jobs
        self._on_thought = on_thought
        self._job: JobHandle | None = None
        self._known: list[tuple[SuggestRequest, SuggestResult]] = []
        self._begin: Callable[[], None] = lambda: None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(lambda: self._begin())

    def begin(
        self,
        make: Callable[[], SuggestRequest | None],
        cell_id: str,
        class_ids: Sequence[int | None],
        *,
        held_out: bool,
    ) -> None:
        """Think about the answers to a question, in a moment.

        Parameters
        ----------
        make : callable
            Returns the request that leaves the asked cell out; None gives up.
        class_ids : sequence of (int or None)
            Answers that may come, the most probable first; None is no class.
        held_out : bool
            Whether the answer is only measured on.
        """
        self.forget()

        def begin() -> None:
            base = make()
            if base is None:
                return
            self._job = self._jobs.run(
                "Thinking ahead",
                learning.suggest_after,
                base,
                cell_id,
                tuple(class_ids),
                held_out,
                lane="quick",
                gives_way=True,
                patience_s=_PATIENCE_S,
            )
            self._job.progressed.connect(lambda step: self._on_step(base, cell_id, held_out, step))

        self._begin = begin
        self._timer.start(_PAUSE_MS)

    def _on_step(self, base: SuggestRequest, cell_id: str, held_out: bool, step: Progress) -> None:
        if step.item is not None:
            class_id, result = step.item
            request = learning.answered(base, cell_id, class_id, held_out=held_out)
            self._known.append((request, result))
            self._on_thought(result)

    def take(self, request: SuggestRequest) -> SuggestResult | None:
        """Return the answer to a request that was thought about, else None; think no more."""
        found = next((result for known, result in self._known if known == request), None)
        self.forget()
        return found

    def forget(self) -> None:
        """Stop thinking; what was thought is of no use any more."""
        self._timer.stop()
        self._known = []
        if self._job is not None:
            self._job.progressed.disconnect()
            self._job.cancel()
            self._job = None
