"""One measurement of a model after the other, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import detecting, scoring

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers, ScoreRequest
    from napari_cellal.workflows.worker import Failed

_LANES = {detecting.CLASSICAL: "classical", scoring.PROPOSED: "quick"}
"""Where a model is measured; others on the lane of torch."""


class MeasureBar(JobBar):
    """Has a model asked about images in the background; `JobBar` shows it."""

    def __init__(self, workspace: Workspace, cancel_tip: str) -> None:
        super().__init__(cancel_tip)
        self._jobs = workspace.jobs
        self.session = workspace.session

    def request(
        self, model: str, split: str, score: float, *, own_range: bool = False
    ) -> ScoreRequest | None:
        """Return the measurement of a model; None where there is none, and why is told."""
        project = self.session.project
        if project is None:
            return None
        if self.busy:
            self.session.tell("A measurement is under way. Cancel it first, or wait.")
            return None
        try:
            return scoring.request_score(
                project,
                model=model,
                split=split,
                score=score,
                seed=project.settings.seed,
                own_range=own_range,
            )
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return None

    def run(self, request: ScoreRequest, name: str, take: Callable[[Answers], object]) -> None:
        """Measure; ``take`` gets the answers if the project is still the open one.

        Parameters
        ----------
        name : str
            The model's, for a person.
        """
        project = self.session.project
        lane = _LANES.get(request.model_id, "heavy")
        handle = self._jobs.run(f"Measuring {name}", scoring.score, request, lane=lane)
        self.follow(handle)

        def on_answers(answers: Answers) -> None:
            if self.session.project is project:
                take(answers)

        handle.finished.connect(on_answers)
        handle.failed.connect(self._on_failed)

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
