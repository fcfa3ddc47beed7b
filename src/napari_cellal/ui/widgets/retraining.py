"""Training a detector from the Learn dock, and choosing between the new one and the old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.io.composites import COLORS, PCA
from napari_cellal.ui.controls import ComboBox, JobBar, button, heading, note, row
from napari_cellal.workflows import compositing, promoting, training

if TYPE_CHECKING:
    from napari_cellal.detect.requests import TrainedModel, TrainPoint
    from napari_cellal.io.composites import Composite
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed

SEES = (
    (compositing.NONE, "all channels"),
    (COLORS, "channels in colours"),
    (PCA, "principal components"),
)
RECOUNT_MS = 400
"""After a quick series of answers the labels are counted once, not for each."""


class Retraining(QWidget):
    """What there is to train on, the button, the progress and the verdict."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._jobs = workspace.jobs
        self._name = workspace.model_name
        self._new_model: TrainedModel | None = None
        self._recount = QTimer(self)
        self._recount.setSingleShot(True)
        self._recount.setInterval(RECOUNT_MS)
        self._recount.timeout.connect(self.count)
        self.train = button(
            "Retrain the detector",
            "Train a network on your labels, here, in the background",
            self._train,
        )
        self._training_set = note()
        self.sees = ComboBox(
            "What the network sees of images with several channels. All channels natively loses "
            "nothing; colours start from weights that know pictures of three channels."
        )
        for kind, text in SEES:
            self.sees.addItem(text, kind)
        self._sees_line = row(QLabel("It sees"), self.sees)
        self._sees_line.hide()
        self.bar = JobBar()
        self._text = note()
        self._use = button("Use the new model", "Make it the model of Detect", self._use_new)
        self._keep = button("Keep the old one", "It stays in the list of models", self._keep_old)
        self._verdict = row(self._use, self._keep)
        self._verdict.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Detector"),
            self._training_set,
            self._sees_line,
            self.train,
            self.bar,
            self._text,
            self._verdict,
        ):
            layout.addWidget(widget)

    def forget(self) -> None:
        """Let go of what belongs to the project before."""
        self._new_model = None
        self._verdict.hide()
        self._text.setText("")

    def count(self) -> None:
        """Say what there is to train on."""
        project = self.session.project
        if project is not None:
            self._training_set.setText(training.training_set(project).line())
            several = any(len(r.channels) > 1 and not r.rgb for r in project.images.values())
            self._sees_line.setVisible(several)

    def count_soon(self) -> None:
        """Do so when no more answers come for a moment."""
        self._recount.start()

    def _train(self) -> None:
        project = self.session.project
        if project is None:
            return
        if self.bar.busy:
            self.session.tell("Training is under way already.")
            return
        kind = compositing.NONE if self._sees_line.isHidden() else self.sees.currentData()
        try:
            training.request_training(project)  # before colours are worked out for nothing
            if kind == compositing.NONE:
                self._start(project, None)
                return
            wanted = compositing.request_composite(project, kind)
            stored = project.composite(kind)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        if stored is not None and stored.channels == wanted.channels:
            self._start(project, stored)
            return
        title = "Looking at the colours of the images"
        handle = self._jobs.run(title, compositing.fit_composite, wanted, lane="quick")
        self.bar.follow(handle)
        handle.finished.connect(lambda made: self._on_colors(project, made))
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)

    def _on_colors(self, project: Project, composite: Composite) -> None:
        if self.session.project is project:
            project.set_composite(composite)
            self._start(project, composite)

    def _start(self, project: Project, composite: Composite | None) -> None:
        try:
            request = training.request_training(project, composite=composite)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self._verdict.hide()
        handle = self._jobs.run("Training the detector", training.train, request)
        self.bar.follow(handle)
        seen = ""
        if composite is not None and composite.explained:
            share = sum(composite.explained[:3])
            seen = f"The three components hold {share:.0%} of the variance. "
        self._text.setText(f"{seen}You can go on labelling meanwhile.")
        handle.progressed.connect(lambda step: self._on_point(step.item))
        handle.finished.connect(lambda trained: self._on_trained(project, trained))
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)

    def _on_point(self, point: TrainPoint | None) -> None:
        if getattr(point, "val_map50", None) is not None:
            self._text.setText(
                f"Step {point.step}: mAP50 {point.val_map50:.2f} on held-out images."
            )

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self._text.setText("")

    def _on_cancelled(self) -> None:
        self._text.setText("Training was stopped.")

    def _on_trained(self, project: Project, trained: TrainedModel) -> None:
        if self.session.project is not project:
            # It is registered when its project is opened again.
            self.session.tell(f"The new detector of {project.name} is ready there.")
            return
        training.register_model(project, trained, use=False)
        self._new_model = trained
        request = promoting.request_comparison(project, trained.record.model_id)
        handle = self._jobs.run("Comparing the new model", promoting.compare, request)
        self.bar.follow(handle)
        self._text.setText("The new model is ready; it is compared with the one in use.")
        handle.finished.connect(lambda verdict: self._on_compared(project, verdict))
        handle.failed.connect(lambda failed: self._on_compared(project, None, failed.message))
        handle.cancelled.connect(lambda: self._on_compared(project, None))

    def _on_compared(
        self, project: Project, verdict: promoting.Verdict | None, problem: str = ""
    ) -> None:
        if self.session.project is not project or self._new_model is None:
            return
        measured = problem or "It was not compared."
        if verdict is not None:
            measured = verdict.line(self._name(verdict.old_id))
        self._text.setText(f"The new model is ready. {measured}")
        self._verdict.show()
        self.session.tell(f"The new detector is ready. {measured} Use it? See Learn.")

    def _use_new(self) -> None:
        if self.session.project is not None and self._new_model is not None:
            training.use_detector(self.session.project, self._new_model.record.model_id)
            self.session.models_changed.emit()
            self._text.setText("The new model is in use in Detect.")
        self._verdict.hide()

    def _keep_old(self) -> None:
        self._text.setText("The old model stays in use; the new one is in Detect's list.")
        self._verdict.hide()
