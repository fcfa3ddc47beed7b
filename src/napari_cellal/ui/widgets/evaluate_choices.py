"""What a person chooses before a measurement: the model, the images, the score that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_cellal.core.records import Split, local_time
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.ui.controls import ComboBox, heading, note
from napari_cellal.ui.slider import Slider
from napari_cellal.workflows import detecting, evaluating, scoring

from .class_with import OWN_RANGE
from .evaluate_tables import n_of

if TYPE_CHECKING:
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace

USUAL_SCORE = 0.5
_SPLITS = (
    (Split.VAL.value, "Held-out images (val)"),
    (Split.TEST.value, "Test images"),
    (evaluating.ALL, "All finished images"),
)


class EvaluateChoices(QWidget):
    """Nothing is measured by a choice."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.model = ComboBox("What is measured. Models that you train appear here.")
        self.split = ComboBox(
            "On which images. Only finished ones say where no cell is. A model should be measured "
            "on images that it did not learn from"
        )
        for key, text in _SPLITS:
            self.split.addItem(text, key)
        self.model.activated.connect(self.show_about)
        self.split.activated.connect(self.show_about)
        self._about = note()
        self.score = Slider(Qt.Orientation.Horizontal)
        self.score.setRange(0, 1)
        self.score.setSingleStep(0.01)
        self.score.setDecimals(2)
        self.score.setValue(USUAL_SCORE)
        self.score.setToolTip(
            "Boxes that score less count as not found, in everything but mAP50; at once, without "
            "measuring again"
        )
        self._score_head = heading("Count boxes that score at least")
        self.own_range = QCheckBox("Each cell by its own intensities")
        self.own_range.setToolTip(OWN_RANGE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Model"),
            self.model,
            heading("Measured on"),
            self.split,
            self._about,
            self._score_head,
            self.score,
            self.own_range,
        ):
            layout.addWidget(widget)

    def fill(self) -> None:
        """Offer the models that there are."""
        project, kept = self.session.project, self.model.currentData()
        self.model.clear()
        self.model.addItem("Shipped (blood cells and nuclei)", SHIPPED)
        self.model.addItem("Classical (no training needed)", detecting.CLASSICAL)
        if project is None:
            return
        for record in project.models:
            name, made = self._workspace.model_name(record.model_id), local_time(record.created_at)
            self.model.addItem(f"{record.kind.capitalize()} {name} · {made}", record.model_id)
            kind = "gives classes only" if record.kind == "classifier" else "finds cells"
            self.model.setItemData(self.model.count() - 1, kind, Qt.ItemDataRole.ToolTipRole)
        self.model.addItem("What was proposed before review", scoring.PROPOSED)
        at = self.model.findData(kept or detecting.choose_model(project))
        self.model.setCurrentIndex(max(0, at))

    def choose_model(self, model_id: str) -> None:
        """Choose what is measured next; nothing is measured yet."""
        self.model.setCurrentIndex(max(0, self.model.findData(model_id)))
        self.show_about()

    def choose_split(self, project: Project) -> None:
        """Choose held-out images where some are finished, else test images, else all."""
        done = {r.split for r in project.images.values() if r.finished}
        chosen = next((s.value for s in (Split.VAL, Split.TEST) if s in done), evaluating.ALL)
        self.split.setCurrentIndex(self.split.findData(chosen))

    @property
    def classes(self) -> bool:
        """Whether the chosen model is a classifier."""
        chosen = self.model.currentData()
        project = self.session.project
        return any(m.model_id == chosen and m.kind == "classifier" for m in _models(project))

    @property
    def finds_cells(self) -> bool:
        """Whether the chosen model looks for boxes."""
        return self.model.currentData() != scoring.PROPOSED and not self.classes

    def show_about(self, *_: object) -> None:
        """Say what is measured on."""
        project = self.session.project
        if project is None:
            return
        ids = evaluating.in_split(project, self.split.currentData())
        done = sum(project.images[key].finished for key in ids)
        text = f"{done:,} of {n_of(len(ids), 'image')} finished."
        if self.split.currentData() == evaluating.ALL:
            text += " Those that a model learned from flatter it."
        if not self.finds_cells:
            text = "Compares the classes of confirmed cells; boxes are not searched."
        self._about.setText(text)
        for widget in (self._score_head, self.score):
            widget.setVisible(self.finds_cells)
        self.own_range.setVisible(self.classes)


def _models(project: Project | None) -> list[ModelRecord]:
    return [] if project is None else list(project.models)
