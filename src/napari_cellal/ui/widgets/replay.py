"""What asking saved: labelling replayed on a person's own labels, beside random picks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.active.requests import ControlPoint, HoldoutScore
from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import note
from napari_cellal.ui.learn_curve import CurvePoint
from napari_cellal.ui.plots import CurvePlot
from napari_cellal.workflows import simulating

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.workspace import Workspace

SEEDS = 5
MOST_STEPS = 60
_SHARE = 0.5
"""Of the labels: once all are asked for, both ways are alike."""


class Replay(QWidget):
    """A curve and a sentence; hidden until a replay has ended.

    Parameters
    ----------
    follow : callable
        Shows the progress of the job that it is given.
    """

    def __init__(self, workspace: Workspace, follow: Callable[[Any], None]) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = workspace.session
        self._follow = follow
        self.curve = CurvePlot()
        self.curve.setToolTip(
            "Your labels, asked for again as if they were unknown, and measured on those left "
            "out. The band goes from the worst to the best of the replays. Dashed: cells picked "
            "at random"
        )
        self.words = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.curve)
        layout.addWidget(self.words)
        self.hide()

    def forget(self) -> None:
        """Show nothing: the project is another."""
        self.hide()

    def start(self) -> None:
        """Replay the project's labels in a worker; shown when done."""
        project = self.session.project
        if project is None:
            return
        labels = len(project.cells.labels())
        steps = max(2, min(MOST_STEPS, round(_SHARE * labels)))
        try:
            request = simulating.request_simulation(
                project, seeds=SEEDS, steps=steps, seed=project.settings.seed
            )
        except CellalError as error:
            self.session.tell(str(error))
            return
        # not in the lane that answers, which would wait for it
        handle = self.workspace.jobs.run(
            "Replaying your labels", simulating.simulate, request, lane="classical"
        )
        handle.finished.connect(
            lambda result: self._show(result) if self.session.project is project else None
        )
        handle.failed.connect(lambda failed: self.session.tell(failed.message, error=True))
        self._follow(handle)

    def _show(self, result: dict[str, Any]) -> None:
        asked, random = result["curves"]["automatic"], result["curves"]["random"]
        cells, end, by_chance = result["holdout"], asked[-1], random[-1]
        self.curve.show_points(
            [
                CurvePoint(
                    int(p["labels"]), HoldoutScore(cells, p["mean"], p["low"], p["high"], 0.0)
                )
                for p in asked
                if p["labels"]
            ],
            [ControlPoint(int(p["labels"]), p["mean"], 0.0) for p in random if p["labels"]],
        )
        self.words.setText(
            f"Replayed {result['seeds']} times on your own labels: right in "
            f"{end['mean']:.2f} of {cells} cells left out after {end['labels']} labels, "
            f"{by_chance['mean']:.2f} with random ones.{_saving(result['labels_to'])}"
        )
        self.show()


def _saving(labels_to: dict[str, dict[str, float | None]]) -> str:
    """Return how many labels the highest target took that both ways reached."""
    for target in sorted(labels_to, key=float, reverse=True):
        asked, random = labels_to[target]["automatic"], labels_to[target]["random"]
        if asked is not None and random is not None:
            return f" {float(target):.2f} took {asked:.0f} labels, {random:.0f} at random."
    return ""
