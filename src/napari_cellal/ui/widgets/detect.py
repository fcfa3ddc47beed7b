"""The Detect dock: which model, where, and how sure it must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QLabel, QRadioButton, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Status, local_time
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.ui.controls import ComboBox, Fold, button, heading, note, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.slider import Slider
from napari_cellal.workflows import detecting
from napari_cellal.workflows.training import use_detector

from .class_with import ClassWith

if TYPE_CHECKING:
    from napari_cellal.io.store import Project
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.session import Shown
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed


class DetectDock(Dock):
    """Runs a detector on the view, the image, or all images."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self._running: tuple[JobHandle, Project, Any] | None = None
        self.needs = Needs()
        self.add(self.needs)
        self.page = QWidget()
        self._build()
        self.add(self.page)
        self.column.addStretch(1)
        self.listen(
            (session.project_changed, self.refresh),
            (session.images_changed, self.refresh),
            (session.models_changed, self._fill_models),
            (session.models_changed, self.class_with.refresh),
            (session.project_changed, self._fill_models),
            (session.project_changed, self.class_with.forget),
            (session.edited, self._show_count),
            (session.image_changed, self._show_count),
            (session.shown_changed, self._show_count),
            (session.shown_changed, self._show_score),
        )
        workspace.device_found.connect(self._on_device)
        self._fill_models()
        self.refresh()

    def disconnect_session(self) -> None:
        """Keep what a run has found by now, and stop listening."""
        if self._running is not None and not self._running[0].done:
            self._apply(*self._running, "")
        super().disconnect_session()

    def _build(self) -> None:
        self.model = ComboBox("The model that proposes boxes. Models you train appear here.")
        self.model.activated.connect(self._on_model)
        self._about = note()
        self._device = QLabel("Device: looking…")
        self._device.setToolTip("Where heavy work runs: an NVIDIA GPU, Apple's GPU, or the CPU")
        self._scopes = QButtonGroup(self)
        scopes = []
        for place, (text, tip) in enumerate(
            (
                ("This view", "Only the part of the image that is on screen"),
                ("This image", "The image on screen"),
                ("All images", "Every image that is not finished, in the background"),
            )
        ):
            radio = QRadioButton(text)
            radio.setToolTip(tip)
            self._scopes.addButton(radio, place)
            scopes.append(radio)
        scopes[1].setChecked(True)
        self.score = Slider(Qt.Orientation.Horizontal)
        self.score.setRange(0, 1)
        self.score.setSingleStep(0.01)
        self.score.setDecimals(2)
        self.score.setToolTip(
            "Hides open proposals that score less, at once and without running again. "
            "Reviewed boxes always stay."
        )
        self.score.valueChanged.connect(lambda v: self.session.set_shown(min_score=float(v)))
        self._count = note()
        self.run = button(
            "Detect",
            "Propose boxes. What you reviewed is never changed by a run.",
            self._run,
            main=True,
        )
        self.flips = QCheckBox("Look four times (flipped)")
        self.flips.setToolTip(
            "Looks at each image mirrored three ways too and takes the mean of what is found: "
            "boxes lie a little better, and scores become lower where the looks differ."
        )
        self._advanced = QWidget()
        inner = QVBoxLayout(self._advanced)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self.flips)
        inner.addWidget(note("Boxes lie a little better; it takes four times as long."))
        self.fold = Fold("How a trained model looks. It need never be changed.", self._advanced)
        self.bar = JobBar()
        self._result = note()
        self.class_with = ClassWith(self.workspace)
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Model"),
            self.model,
            self._about,
            self._device,
            heading("Where"),
            row(*scopes, 1),
            self.fold,
            self._advanced,
            self.run,
            self.bar,
            self._result,
            heading("Show proposals that score at least"),
            self.score,
            self._count,
            self.class_with,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be done now."""
        project = self.session.project
        ready = project is not None and bool(project.images)
        self.page.setVisible(ready)
        self.needs.setVisible(not ready)
        if not ready:
            self.needs.say(
                "No images yet: the detector needs something to look at.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock adds images",
            )
            self._result.setText("")
            return
        if not self._has_chosen:  # the first images say which model suits
            self._fill_models()
        self.workspace.find_device()
        self._show_count()

    def _on_device(self, name: str) -> None:
        self._device.setText(f"Device: {name}")

    def _fill_models(self, *_: object) -> None:
        project = self.session.project
        self._has_chosen = project is not None and bool(project.images)
        self.model.clear()
        self.model.addItem("Shipped (blood cells and nuclei)", SHIPPED)
        self.model.addItem("Classical (no training needed)", detecting.CLASSICAL)
        if project is not None:
            for record in project.models:
                if record.kind == "detector":
                    name = self.workspace.model_name(record.model_id)
                    made = local_time(record.created_at)
                    self.model.addItem(f"{name} · {made}", record.model_id)
            self.model.setCurrentIndex(max(0, self.model.findData(detecting.choose_model(project))))
        self._describe_model()

    def _describe_model(self) -> None:
        project, chosen = self.session.project, self.model.currentData()
        has_settings = chosen != detecting.CLASSICAL
        self.fold.setVisible(has_settings)
        self._advanced.setVisible(has_settings and self.fold.isChecked())
        record = next(
            (m for m in (project.models if project else []) if m.model_id == chosen), None
        )
        if chosen == SHIPPED:
            self._about.setText(
                "Finds red and white blood cells, platelets and nuclei in colour images and "
                "single channels. Your training starts from it."
            )
            return
        if record is None:
            self._about.setText(
                "Finds round, contrasting objects without training. It gives boxes, not classes: "
                "Learn does those."
            )
            return
        text = f"Finds {', '.join(record.class_names)}."
        if "map50" in record.metrics:
            text += (
                f" mAP50 {record.metrics['map50']:.2f} on {record.metrics.get('images', '?')} "
                "held-out images."
            )
        self._about.setText(f"{text} Started from {record.start or 'scratch'}.")

    def _on_model(self, *_: object) -> None:
        if self.session.project is not None:
            use_detector(self.session.project, self.model.currentData())
            self.session.models_changed.emit()

    def _show_score(self, shown: Shown) -> None:
        if self.score.value() != shown.min_score:
            with QSignalBlocker(self.score):
                self.score.setValue(shown.min_score)

    def _show_count(self, *_: object) -> None:
        self.when_seen(self._count_proposals)

    def _count_proposals(self) -> None:
        project = self.session.project
        if project is None or self.session.image_id is None:
            self._count.setText("")
            return
        if self.session.is_crowded:
            n = project.cells.counts_of(self.session.image_id).get(Status.PROPOSED, 0)
            self._count.setText(f"{n:,} proposals in this image; zoom in to see them.")
            return
        rows = project.cells.of_image(self.session.image_id)
        waiting = [c for c in rows if c.status.value == "proposed"]
        shown = sum(self.session.shown.includes(c) for c in waiting)
        self._count.setText(f"{shown} of {len(waiting)} proposals of this image shown.")

    # -- running --------------------------------------------------------------------------

    def _run(self) -> None:
        project = self.session.project
        if project is None:
            return
        if self.bar.busy:
            self.session.tell("A detection run is under way. Cancel it first, or wait.")
            return
        scope = self._scopes.checkedId()
        if scope == 2:
            ids = [key for key, r in project.images.items() if not r.finished]
            if not ids:
                self.session.tell("Every image is finished, so there is nothing to detect.")
                return
        elif self.session.image_id is None:
            return
        else:
            ids = [self.session.image_id]
        view = self.workspace.current_view() if scope == 0 else None
        model = self.model.currentData()
        flips = self.flips.isChecked() and model != detecting.CLASSICAL
        settings = PredictSettings(flips=flips)
        try:
            request = detecting.request_detection(
                project, ids, model=model, view=view, settings=settings
            )
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self.session.tell_all(request.warnings)
        title = f"Detecting in {len(ids)} images" if len(ids) > 1 else "Detecting"
        # Training may hold the heavy lane for minutes, and answers the quick one.
        lane = "classical" if request.model == detecting.CLASSICAL else "heavy"
        handle = self.workspace.jobs.run(title, detecting.detect, request, lane=lane)
        self._result.setText("")
        self.bar.follow(handle)
        self._running = running = (handle, project, view)
        handle.finished.connect(lambda _value: self._apply(*running, ""))
        handle.cancelled.connect(lambda: self._apply(*running, "Stopped. "))
        handle.failed.connect(lambda failed: self._on_failed(failed, *running))

    def _apply(self, handle: JobHandle, project: Project, view: Any, prefix: str) -> None:
        if self.session.project is not project:
            return
        if not handle.items:
            self._result.setText(f"{prefix}Nothing was changed.")
            return

        def tell(run: detecting.DetectionRun) -> None:
            lines = run.lines()
            if run.unclassed and not project.active_classes:
                lines[1:2] = [
                    "They have no class yet: name classes in Project, then Detect again or answer "
                    "in Learn."
                ]
            self._result.setText(prefix + "\n".join(lines[:4]))
            if not self.is_on_screen and handle.title != "Detecting":
                self.session.tell(prefix + lines[0])

        self.session.works.add(detecting.detection_steps(project, handle.items, view), tell)

    def _on_failed(self, failed: Failed, handle: JobHandle, project: Project, view: Any) -> None:
        self.session.tell(failed.message, error=True)
        self._apply(handle, project, view, f"{failed.message} ")
