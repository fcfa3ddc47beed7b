"""The features that take their time, computed beside the loop of Learn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_cellal.workflows import describing, learning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.workflows.worker import Failed

    from .jobs import JobHandle, Jobs
    from .session import Session


class BetterFeatures:
    """Computes the chosen features while the loop asks with the quick ones.

    Attributes
    ----------
    choice : str
        A key of `describing.CHOICES`.
    ready : Signal(Measured)
    started : Signal(JobHandle)
    """

    ready = Signal(object)
    started = Signal(object)

    def __init__(self, session: Session, jobs: Jobs) -> None:
        self.session = session
        self.jobs = jobs
        self.choice = describing.AUTOMATIC
        self._job: JobHandle | None = None
        self._begun: tuple[learning.Measured, Sequence[MeasureRequest]] | None = None

    def begin(self, quick: learning.Measured, requests: Sequence[MeasureRequest]) -> None:
        """Compute the chosen ones, unless the quick ones are all that is wanted.

        Parameters
        ----------
        requests : sequence of MeasureRequest
            The images; their cells are read from the project's database.
        """
        self.forget()
        if self.session.project is None:
            return
        self._begun = (quick, requests)
        self.ready.emit(quick)
        in_colour = all(r.rgb for r in requests)
        if describing.sets_of(self.choice, in_colour=in_colour) == (describing.QUICK,):
            return
        self._job = self.jobs.run(
            "Looking at the cells more closely",
            learning.measure_project,
            str(self.session.project.folder),
            requests,
            str(Path(quick.path).parent),
            self.choice,
            lane="heavy",
        )
        self._job.finished.connect(self._on_finished)
        self._job.failed.connect(self._on_failed)
        self._job.cancelled.connect(self._on_cancelled)
        self.started.emit(self._job)

    def choose(self, choice: str) -> None:
        """Take other features; until they are ready the quick ones."""
        self.choice = choice
        if self._begun is not None:
            self.begin(*self._begun)

    def forget(self) -> None:
        """Give up what is being computed; the rows that are done stay in the cache."""
        self._begun = None
        if self._job is not None:
            for signal in (self._job.finished, self._job.failed, self._job.cancelled):
                signal.disconnect()
            self._job.cancel()
            self._job = None

    def _on_finished(self, measured: learning.Measured) -> None:
        self._job = None
        self.ready.emit(measured)
        self.session.tell(f"The learner now looks at the cells by {measured.words}.")

    def _on_failed(self, failed: Failed) -> None:
        self._job = None
        text = f"{failed.message} The learner goes on with quick measurements."
        self.session.tell(text, error=True)

    def _on_cancelled(self) -> None:
        self._job = None
        self.session.tell("Stopped. The learner goes on with quick measurements.")
