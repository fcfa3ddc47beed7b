"""The curve of Learn: how good the learner was after each answer, and with random picks instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_cellal.workflows import learning

if TYPE_CHECKING:
    from napari_cellal.active.requests import (
        ControlPoint,
        HoldoutScore,
        SuggestRequest,
        SuggestResult,
    )

    from .jobs import Jobs
    from .session import Session

FEWEST_CHECKS = 5
"""Below so many held-out answers an accuracy says nothing."""
CONTROL_AFTER = 10
"""So many new labels make it worth to replay random picks again."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The learner after so many labels, measured on the hold-out."""

    labels: int
    score: HoldoutScore


class LearningCurve:
    """Follows the learner of the open project.

    Attributes
    ----------
    points : list of CurvePoint, by rising labels
    control : tuple of ControlPoint
        What random picks would have given.
    changed : Signal()
        The learner learned anew, or random picks were replayed.
    """

    changed = Signal()

    def __init__(self, session: Session, jobs: Jobs) -> None:
        self._session = session
        self._jobs = jobs
        self.points: list[CurvePoint] = []
        self.control: tuple[ControlPoint, ...] = ()
        self._control_at = 0

    def forget(self) -> None:
        """Begin anew, for another project."""
        self.points = []
        self.control = ()
        self._control_at = 0
        self.changed.emit()

    def add(self, result: SuggestResult, request: SuggestRequest) -> None:
        """Add how good the learner is now; an earlier point of as many labels or more goes."""
        if result.holdout is not None and result.holdout.cells >= FEWEST_CHECKS:
            kept = [p for p in self.points if p.labels < result.labels]
            self.points = [*kept, CurvePoint(result.labels, result.holdout)]
            if result.labels - self._control_at >= CONTROL_AFTER:
                self._control_at = result.labels
                self._replay_random(request)
        self.changed.emit()

    def _replay_random(self, request: SuggestRequest) -> None:
        """Ask what random picks would have given, beside the questions."""
        project = self._session.project

        def show(points: tuple[ControlPoint, ...]) -> None:
            if self._session.project is project:
                self.control = points
                self.changed.emit()

        # not in the lane that answers, which would wait for it
        job = self._jobs.run(
            "Replaying random picks", learning.random_control, request, lane="classical"
        )
        job.finished.connect(show)
