"""Gives open cells their classes by a classifier that was trained, in one step of undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_cellal.core.records import local_time
from napari_cellal.ui.controls import ComboBox, SpinBox, button, heading, note, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import classifying

if TYPE_CHECKING:
    from napari_cellal.classify.requests import PatchFailure
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.classifying import Classed, ClassRequest
    from napari_cellal.workflows.worker import Failed

OWN_RANGE = (
    "For cells of another microscope or stain than the model learned from: each is scaled between "
    "its own darkest and brightest. Leave it off where they look like those; there it does harm"
)


class ClassWith(QWidget):
    """A choice of the project's classifiers and a button; hidden while there are none."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.model = ComboBox("The classifier that gives the classes. Train makes them.")
        self.model.activated.connect(self._on_model)
        self._about = note()
        self.sure = SpinBox(
            0, 100, 5, 0, "Only cells whose most probable class is at least this sure, %", 0
        )
        self.sure.setPrefix("≥ ")
        self.sure.setSuffix(" %")
        self.sure.setFixedWidth(112)
        self.own_range = QCheckBox("Each cell by its own intensities")
        self.own_range.setToolTip(OWN_RANGE)
        self.run = button(
            "Class everything open",
            "Give every proposal of the project the class that this model finds, if it is at "
            "least so sure; in one step that can be undone. They stay proposals: nobody has "
            "looked at them. Cells that you reviewed are left alone.",
            self._run,
        )
        self.bar = JobBar("Stop; no cell is changed")
        self._result = note()
        self._result.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Class the boxes with a trained model"),
            self.model,
            self._about,
            self.own_range,
            row(self.run, self.sure),
            self.bar,
            self._result,
        ):
            layout.addWidget(widget)
        self.refresh()

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Offer the project's classifiers; the one in use is chosen."""
        project = self.session.project
        self.model.clear()
        for record in reversed(_classifiers(project)):
            name = self._workspace.model_name(record.model_id)
            self.model.addItem(f"{name} · {local_time(record.created_at)}", record.model_id)
        if project is not None:
            chosen = classifying.choose_classifier(project)
            self.model.setCurrentIndex(max(0, self.model.findData(chosen)))
        self.setVisible(self.model.count() > 0)
        self._describe()

    def forget(self, *_: object) -> None:
        """Show nothing of another project."""
        self._say("")
        self.refresh()

    def _describe(self) -> None:
        chosen = self.model.currentData()
        record = next((m for m in _classifiers(self.session.project) if m.model_id == chosen), None)
        if record is None:
            return
        text = f"Tells apart {', '.join(record.class_names)}."
        if "accuracy" in record.metrics:
            text += (
                f" Right on {record.metrics['accuracy']:.0%} of "
                f"{record.metrics.get('cells', '?')} validation pictures."
            )
        self._about.setText(text)

    def _on_model(self, *_: object) -> None:
        if self.session.project is not None:
            classifying.use_classifier(self.session.project, self.model.currentData())
            self.session.models_changed.emit()

    def _say(self, text: str) -> None:
        self._result.setText(text)
        self._result.setVisible(bool(text))

    # -- classing -------------------------------------------------------------------------

    def _run(self) -> None:
        project = self.session.project
        if project is None or self.model.currentData() is None:
            return
        if self.bar.busy:
            self.session.tell("Cells are being classed. Cancel it first, or wait.")
            return
        folder = project.model_folder(self.model.currentData())
        self._say("")
        self.session.works.add(
            classifying.classing_steps(project, folder, own_range=self.own_range.isChecked()),
            lambda request: self._begin(project, request),
        )

    def _begin(self, project: Project, request: ClassRequest) -> None:
        if self.session.project is not project:
            return
        if not request.patches:
            self.session.tell("No box is open, so there is nothing to class. Detect some first.")
            return
        sure = self.sure.value() / 100
        title = f"Classing {len(request.patches):,} cells"
        handle = self._workspace.jobs.run(title, classifying.class_patches, request)
        self.bar.follow(handle)
        handle.finished.connect(lambda said: self._apply(project, request, said, sure))
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(lambda: self._say("Stopped. Nothing was changed."))

    def _apply(self, project: Project, request: ClassRequest, said: Classed, sure: float) -> None:
        if self.session.project is not project:
            return

        def tell(n: int) -> None:
            above = f", those at least {sure:.0%} sure" if sure else ""
            text = f"Classed {n:,} of {len(request.patches):,} open cells{above}."
            if n:
                text += " Ctrl+Z takes it back."
            if said.failures:
                text += f" {_problems(said.failures)}"
            self._say(text)
            self.session.tell(text)

        self.session.works.add(classifying.classed_steps(project, said, sure), tell)

    def _on_failed(self, failed: Failed) -> None:
        self._say(failed.message)
        self.session.tell(failed.message, error=True)


def _classifiers(project: Project | None) -> list[ModelRecord]:
    return [m for m in (project.models if project else []) if m.kind == "classifier"]


def _problems(failures: tuple[PatchFailure, ...]) -> str:
    more = f" And {len(failures) - 1:,} more." if len(failures) > 1 else ""
    return f"{failures[0].sentence}{more}"
