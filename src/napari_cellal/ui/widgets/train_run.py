"""A training under way: its curves, its ways out, and the comparison at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.networks import unfinished
from napari_cellal.networks.points import TrainPoint
from napari_cellal.ui.controls import note
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.training_plot import TrainingPlot
from napari_cellal.workflows import compositing, pacing, promoting, training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_cellal.core.progress import Progress
    from napari_cellal.detect.requests import TrainedModel, TrainRequest
    from napari_cellal.io.composites import Composite
    from napari_cellal.io.store import Project
    from napari_cellal.networks.points import FoundRate
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed


class TrainingRun(QWidget):
    """Runs one training after the other, whatever is shown meanwhile.

    Attributes
    ----------
    compared : Signal(TrainedModel, Verdict or None, problem)
        A model of the open project is ready and was compared with the one in use.
    began, ended : Signal()
        A training is under way; it is not any more, whatever came of it.
    measured : Signal()
        The speed of this computer is known now.
    rate_found : Signal(FoundRate)
    drawn : Signal()
        A training's first step was drawn: its curves have their place.
    """

    compared = Signal(object, object, str)
    began = Signal()
    ended = Signal()
    measured = Signal()
    rate_found = Signal(object)
    drawn = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._jobs = workspace.jobs
        self._gives_way = False
        """Whether what the bar shows may be pushed aside."""
        self.bar = JobBar(
            "Stop, and keep nothing of this training",
            (
                "Stop and keep the best",
                "End the training after this step. What did best by then becomes a model, "
                "and is compared with the one in use.",
            ),
        )
        self.plot = TrainingPlot(
            "mAP50, held-out images", "mAP50, how well it finds cells in held-out images"
        )
        self.plot.hide()
        self.text = note()
        self.text.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.bar, self.plot, self.text):
            layout.addWidget(widget)

    @property
    def busy(self) -> bool:
        """True while a training, or what belongs to it, is under way that does not give way."""
        return self.bar.busy and not self._gives_way

    def say(self, text: str) -> None:
        """Show a sentence; an empty one hides the line."""
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def forget(self) -> None:
        """Show nothing of an earlier training; one under way goes on."""
        if not self.busy:
            self.plot.hide()
            self.say("")

    # -- how long it takes ----------------------------------------------------------------

    def measure(self, request: TrainRequest, kind: str) -> None:
        """Find out how long a step takes here, unless somebody wants the worker meanwhile."""
        title = "Measuring the speed of this computer"
        handle = self._jobs.run(title, pacing.measure, request, gives_way=True)
        self._gives_way = True
        self.bar.follow(handle)
        handle.finished.connect(lambda seconds: self._on_measured(kind, seconds))
        handle.failed.connect(self._on_failed)

    def _on_measured(self, kind: str, seconds: float) -> None:
        pacing.remember(kind, seconds)
        self.measured.emit()

    def find_rate(self, request: TrainRequest) -> None:
        """Look for a learning rate; ``rate_found`` tells it."""
        self._gives_way = False
        handle = self._jobs.run("Looking for a learning rate", training.find_rate, request)
        self.bar.follow(handle)
        project = self.session.project

        def on_found(found: FoundRate) -> None:
            if self.session.project is project:
                self.rate_found.emit(found)

        handle.finished.connect(on_found)
        handle.failed.connect(self._on_failed)

    # -- training -------------------------------------------------------------------------

    def start(
        self,
        project: Project,
        request_with: Callable[[Project, Composite | None], TrainRequest],
        kind_seen: str,
        pace_kind: str,
    ) -> None:
        """Train; ``request_with`` makes the request once the colours are known, if any."""
        self._gives_way = False
        try:
            request = request_with(project, None)  # before colours are worked out for nothing
            if kind_seen == compositing.NONE:
                self._train(project, request, pace_kind)
                return
            wanted = compositing.request_composite(project, kind_seen)
            stored = project.composite(kind_seen)
            if stored is not None and stored.channels == wanted.channels:
                self._train(project, request_with(project, stored), pace_kind)
                return
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        title = "Looking at the colours of the images"
        handle = self._jobs.run(title, compositing.fit_composite, wanted, lane="quick")
        self.bar.follow(handle)

        def on_colors(made: Composite) -> None:
            if self.session.project is not project:
                return
            project.set_composite(made)
            try:
                self._train(project, request_with(project, made), pace_kind)
            except CellalError as error:
                self.session.tell(str(error), error=True)

        handle.finished.connect(on_colors)
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)

    def _train(self, project: Project, request: TrainRequest, pace_kind: str) -> None:
        handle = self._jobs.run(
            "Training the detector",
            training.train,
            request,
            after_cancel=lambda: training.forget_unfinished(request),
        )
        seen = ""
        if request.composite is not None and request.composite.explained:
            share = sum(request.composite.explained[:3])
            seen = f"The three components hold {share:.0%} of the variance. "
        self._follow(project, handle, f"{seen}You can go on labelling meanwhile.", pace_kind)

    def go_on(self, project: Project, file: Path) -> None:
        """Go on with a training that was cut off, with the labels as they were then."""
        self._gives_way = False
        handle = self._jobs.run(
            "Training the detector",
            training.go_on,
            file,
            after_cancel=lambda: unfinished.forget_file(file),
        )
        self._follow(project, handle, "It learns from the labels as they were when it began.")

    def _follow(self, project: Project, handle: JobHandle, words: str, pace_kind: str = "") -> None:
        """Show a training to its end, and compare what comes of it."""
        folder, name = project.folder, project.name
        self.plot.clear()
        self.bar.follow(handle, can_keep=True)
        self.say(words)
        handle.progressed.connect(self._on_step)
        handle.finished.connect(lambda done: self.on_trained(folder, name, done, pace_kind))
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)
        handle.ended.connect(self._on_ended)
        self.began.emit()

    def _on_ended(self) -> None:
        self.ended.emit()

    def _on_step(self, step: Progress) -> None:
        point = step.item
        if not isinstance(point, TrainPoint):
            return
        is_first = not self.plot.losses
        self.plot.show()
        self.plot.add(point, step.total)
        if is_first:
            self.drawn.emit()
        if point.score is not None:
            self.say(f"Step {point.step}: mAP50 {point.score:.2f} on held-out images.")

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self.say(failed.message)

    def _on_cancelled(self) -> None:
        self.say("Training was cancelled; nothing of it was kept.")

    def on_trained(
        self, folder: Path, name: str, trained: TrainedModel, pace_kind: str = ""
    ) -> None:
        """Register a model, and compare it with the one in use."""
        if pace_kind:
            pacing.remember_training(pace_kind, trained.record)
            self.measured.emit()
        project = self.session.project
        if project is None or project.folder != folder:
            # It is registered when its project is opened again.
            self.say(f"The new detector of {name} is ready there.")
            self.session.tell(f"The new detector of {name} is ready there.")
            return
        training.register_model(project, trained, use=False)
        request = promoting.request_comparison(project, trained.record.model_id)
        handle = self._jobs.run("Comparing the new model", promoting.compare, request)
        self.bar.follow(handle)
        ended = str(trained.record.trained_on.get("stopped", ""))
        self.say(f"{ended} The new model is ready; it is compared with the one in use.".strip())

        def on_compared(verdict: promoting.Verdict | None, problem: str = "") -> None:
            now = self.session.project
            if now is not None and now.folder == folder:
                self.say(ended)
                self.compared.emit(trained, verdict, problem)
            else:
                self.say("")

        handle.finished.connect(on_compared)
        handle.failed.connect(lambda failed: on_compared(None, failed.message))
        handle.cancelled.connect(lambda: on_compared(None))
