"""Training a classifier in the Train dock: chosen, watched, stopped, judged and used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.classify.requests import PatchFailure
from napari_cellal.core.errors import CellalError
from napari_cellal.networks import unfinished
from napari_cellal.networks.points import TrainPoint
from napari_cellal.ui.controls import button, note
from napari_cellal.ui.dock import Needs
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.training_plot import TrainingPlot
from napari_cellal.workflows import classifying, judging, pacing, patches

from .class_with import ClassWith
from .classifier_choices import ClassifierChoices
from .classifier_summary import ClassifierSummary
from .train_cut_off import CutOff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_cellal.classify.requests import ClassifierRequest, TrainedClassifier
    from napari_cellal.core.progress import Progress
    from napari_cellal.io.store import Project
    from napari_cellal.networks.points import FoundRate
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.judging import Judgement
    from napari_cellal.workflows.patches import PatchSet
    from napari_cellal.workflows.worker import Failed


class ClassifierTraining(QWidget):
    """The part of the Train dock for classifiers.

    Parameters
    ----------
    show_part : callable
        Scrolls the dock to a widget.
    is_seen : callable
        Whether the dock is on screen.
    """

    def __init__(
        self,
        workspace: Workspace,
        show_part: Callable[[QWidget], object],
        is_seen: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = workspace.session
        self._show_part = show_part
        self._is_seen = is_seen
        self._failures = 0
        self._preparing = False
        """Whether cells are being collected for a training."""
        self._gives_way = False
        """Whether what the bar shows may be pushed aside."""
        self.needs = Needs()
        self.needs.say(
            "Nothing to train on yet: open a project.",
            "Go to Project",
            lambda: self.workspace.raise_dock("Project"),
            "Shows the Project dock",
        )
        self.cut_off = CutOff(classifying.find_unfinished)
        self.cut_off.wanted.connect(self._go_on)
        self.page = QWidget()
        self.choices = ClassifierChoices(workspace)
        self.start = button(
            "Train",
            "Train a network to tell these classes apart, here, in the background; go on "
            "labelling meanwhile",
            self._start,
            main=True,
        )
        self.bar = JobBar(
            "Stop, and keep nothing of this training",
            (
                "Stop and keep the best",
                "End the training after this step. What did best by then becomes a model.",
            ),
        )
        self.plot = TrainingPlot(
            "F1, validation", "F1, how well it tells pictures apart that it does not learn from"
        )
        self.plot.hide()
        self.text = note()
        self.text.hide()
        self.summary = ClassifierSummary(workspace)
        self.class_with = ClassWith(workspace)
        self.choices.advanced.rate_asked.connect(self._find_rate)
        self.choices.measure_asked.connect(self._measure)
        for body, widgets in (
            (self.page, (self.choices, self.start)),
            (
                self,
                (
                    self.needs,
                    self.cut_off,
                    self.page,
                    self.bar,
                    self.plot,
                    self.text,
                    self.summary,
                    self.class_with,
                ),
            ),
        ):
            layout = QVBoxLayout(body)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(6)
            for widget in widgets:
                layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what can be done now."""
        project = self.session.project
        self.page.setVisible(project is not None)
        self.needs.setVisible(project is None)
        self._look_for_cut_off()
        if project is not None:
            self.choices.show_all()

    def forget(self) -> None:
        """Show nothing of another project; a training under way goes on."""
        self.choices.forget()
        self.summary.forget()
        self.class_with.forget()
        if not self.busy:
            self.plot.hide()
            self._say("")
        if self._look_for_cut_off():
            self.session.tell("The training of a classifier was cut off. Go on with it? See Train.")

    def _look_for_cut_off(self) -> bool:
        return self.cut_off.look(None if self.busy else self.session.project)

    def _say(self, text: str) -> None:
        self.text.setText(text)
        self.text.setVisible(bool(text))

    @property
    def busy(self) -> bool:
        """True while a training, or what belongs to it, is under way that does not give way."""
        return self.bar.busy and not self._gives_way

    # -- training -------------------------------------------------------------------------

    def _start(self) -> None:
        self._with_pictures(self._train)

    def _measure(self) -> None:
        self._with_pictures(self._find_pace)

    def _find_rate(self) -> None:
        self._with_pictures(self._look_for_rate)

    def _with_pictures(self, run: Callable[[Project, PatchSet], object]) -> None:
        """Run something on what is learned from, once that is collected."""
        project = self.session.project
        if project is None or self._preparing:
            return
        if self.busy:
            self.session.tell("A training is under way. Cancel it first, or wait.")
            return
        if problem := self.choices.source.problem(project):
            self.session.tell(problem)
            return
        if self.choices.source.is_folder:
            assert self.choices.source.found is not None
            run(project, self.choices.source.found)
            return
        self._preparing = True

        def collected() -> object:  # a failed one is told by whoever works the steps off
            try:
                return (yield from patches.project_steps(project, seed=project.settings.seed))
            finally:
                self._preparing = False

        self.session.works.add(collected(), lambda found: run(project, found))

    def _request(self, project: Project, found: PatchSet) -> ClassifierRequest | None:
        """Return the training as chosen; say why where there is none."""
        if self.session.project is not project:
            return None
        try:
            return self.choices.request(project, found)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return None

    def _find_pace(self, project: Project, found: PatchSet) -> None:
        """Find out how long a step takes here, unless somebody wants the worker meanwhile."""
        request = self._request(project, found)
        if request is None:
            return
        kind = self.choices.kind
        title = "Measuring the speed of this computer"
        handle = self.workspace.jobs.run(title, pacing.measure_classifier, request, gives_way=True)
        self._gives_way = True
        self.bar.follow(handle)

        def on_measured(seconds: float) -> None:
            pacing.remember(kind, seconds)
            self.choices.show_time()

        handle.finished.connect(on_measured)
        handle.failed.connect(self._on_failed)

    def _look_for_rate(self, project: Project, found: PatchSet) -> None:
        request = self._request(project, found)
        if request is None:
            return
        title = "Looking for a learning rate"
        handle = self.workspace.jobs.run(title, classifying.find_rate, request)
        self._gives_way = False
        self.bar.follow(handle)

        def on_found(rate: FoundRate) -> None:
            if self.session.project is project:
                self.choices.advanced.show_rate(rate)

        handle.finished.connect(on_found)
        handle.failed.connect(self._on_failed)

    def _train(self, project: Project, found: PatchSet) -> None:
        request = self._request(project, found)
        if request is None:
            return
        handle = self.workspace.jobs.run(
            "Training the classifier",
            classifying.train,
            request,
            after_cancel=lambda: unfinished.forget(request),
        )
        self._follow(project, handle, found, self.choices.kind)

    def _go_on(self, file: Path) -> None:
        """Train on from where a training was cut off."""
        project = self.session.project
        if project is None or self.busy:
            return
        handle = self.workspace.jobs.run(
            "Going on with the training",
            classifying.go_on,
            file,
            after_cancel=lambda: unfinished.forget_file(file),
        )
        self._follow(project, handle)

    def _follow(
        self,
        project: Project,
        handle: JobHandle,
        found: PatchSet | None = None,
        pace_kind: str = "",
    ) -> None:
        """Show a training to its end.

        Parameters
        ----------
        found : PatchSet or None
            What it learns from; None where its result says so.
        pace_kind : str
            What its time holds for; see `pacing`. Empty where that is not known.
        """
        folder, name = project.folder, project.name

        def on_trained(result: Any) -> None:
            trained, learned_from = result if found is None else (result, found)
            if pace_kind:
                pacing.remember_training(pace_kind, trained.record)
            self.choices.show_time()
            self.choices.look_for_weights(anew=True)  # they may have been downloaded
            self._on_trained(folder, name, trained, learned_from)

        self.summary.forget()
        self._failures = 0
        self._gives_way = False
        self.plot.clear()
        self.bar.follow(handle, can_keep=True)
        self.cut_off.hide()
        self._say("You can go on labelling meanwhile.")
        self._show_part(self.bar)
        handle.progressed.connect(self._on_step)
        handle.finished.connect(on_trained)
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(lambda: self._say("Cancelled; nothing of it was kept."))

    def _on_step(self, step: Progress) -> None:
        if isinstance(step.item, PatchFailure):
            self._failures += 1
            more = f" ({self._failures:,} so far)" if self._failures > 1 else ""
            self._say(f"Left out: {step.item.sentence}{more}")
        point = step.item
        if not isinstance(point, TrainPoint):
            return
        if not self.plot.losses:  # the first step: now the curves have their place
            self.plot.show()
            self._show_part(self.plot)
        self.plot.add(point, step.total)
        if point.score is not None:
            self._say(f"Step {point.step}: F1 {point.score:.2f} on the validation pictures.")

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self._say(failed.message)

    def _on_trained(
        self, folder: object, name: str, trained: TrainedClassifier, found: PatchSet
    ) -> None:
        """Register a model and measure it on what it did not see."""
        project = self.session.project
        if project is None or project.folder != folder:
            # It is registered when its project is opened again.
            self._say("")
            self.session.tell(f"The new classifier of {name} is ready there.")
            return
        request = judging.request_judgement(trained, found, project=project)
        old = classifying.choose_classifier(project)
        if old is not None:  # until a person says otherwise
            classifying.use_classifier(project, old)
        project.add_model(trained.record)
        if request is None:
            self._show(project, trained, found, None)
            return
        self._say("The model is ready; it is measured on pictures that it did not learn from.")
        handle = self.workspace.jobs.run("Measuring the new classifier", judging.judge, request)
        self.bar.follow(handle)
        show = self._show
        handle.finished.connect(lambda judged: show(project, trained, found, judged))
        handle.failed.connect(lambda f: show(project, trained, found, None, f.message))
        handle.cancelled.connect(lambda: show(project, trained, found, None, "Not measured."))

    def _show(
        self,
        project: Project,
        trained: TrainedClassifier,
        found: PatchSet,
        judged: Judgement | None,
        problem: str = "",
    ) -> None:
        self._say("")
        if self.session.project is not project:
            return
        text = self.summary.show_model(trained, found, judged, problem)
        self._show_part(self.summary)
        if not (self._is_seen() and self.isVisible()):
            self.session.tell(f"The new classifier is ready. {text} See Train.")
