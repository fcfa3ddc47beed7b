"""What a person chooses before a classifier is trained, and what it will learn from."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_cellal.classify.presets import PRESETS
from napari_cellal.classify.settings import ClassifySettings, ViewSettings
from napari_cellal.ui.controls import ComboBox, note, row
from napari_cellal.ui.settings_form import SettingsForm
from napari_cellal.workflows import classifying

from .advanced_settings import AdvancedSettings
from .learns_from import LearnsFrom
from .picture_source import PictureSource
from .start_weights import StartWeights

if TYPE_CHECKING:
    from napari_cellal.classify.requests import ClassifierRequest
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.patches import Lessons, PatchSet

SPLITS = ("train", "val", "test")
MOST_CLASSES = 24
"""In the table; a person reads no longer one, and the rest is counted."""
MOST_NOTES = 6
GROUPS = (
    ("Length", ("steps", "minutes", "patience")),
    (
        "Learning",
        (
            "head",
            "learning_rate",
            "batch_size",
            "optimizer",
            "schedule",
            "plateau_patience",
            "warmup",
            "frozen_share",
            "layer_decay",
            "norm",
            "dropout",
            "weight_decay",
            "label_smoothing",
            "class_weights",
            "mixup",
            "average",
            "clip_norm",
            "seed",
        ),
    ),
    (
        "Pictures",
        (
            "shrink",
            "flips",
            "turns",
            "zoom_jitter",
            "shift",
            "shear",
            "brightness_jitter",
            "stain_jitter",
        ),
    ),
    ("Measuring on the way", ("validate_every",)),
)


class ClassifierChoices(QWidget):
    """Name, what is learned from, size, starting weights, settings."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._filled_for: Project | None = None
        self.name = QLineEdit()
        self.name.setPlaceholderText("e.g. white cells")
        self.name.setToolTip("What you want to call the model")
        self.source = PictureSource(workspace)
        self.source.changed.connect(self.count)
        self.source.was_read.connect(self._on_read)
        self.preset = ComboBox("How large the network is, and how long it learns")
        for at, (name, preset) in enumerate(PRESETS.items()):
            self.preset.addItem(name.capitalize(), name)
            self.preset.setItemData(at, preset.cost, Qt.ItemDataRole.ToolTipRole)
        self.preset.activated.connect(self._on_preset)
        self._cost = note()
        self.start = StartWeights(workspace)
        self.start.chosen.connect(self._show_start)
        self.learns_from = LearnsFrom()
        self.learns_from.table.setToolTip(
            "Learned: what the network is shown. Validation: held out, these say when to stop. "
            "Test: held out, these only measure the finished model"
        )
        self.form = SettingsForm(ClassifySettings(), GROUPS)
        self.view = SettingsForm(
            ViewSettings(), [("How a cell is shown", tuple(ViewSettings.model_fields))]
        )
        self.advanced = AdvancedSettings(self.view, self.form, learns_from="pictures")
        self.advanced.reset_asked.connect(self._show_settings)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            row(QLabel("Name"), self.name),
            self.source,
            row(QLabel("Network"), self.preset),
            self._cost,
            self.start,
            self.learns_from,
            self.advanced,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def show_all(self) -> None:
        """Show the project as it is now."""
        self._fill_starts()
        if self._filled_for is not self.session.project:  # else what a person set stays
            self._filled_for = self.session.project
            self._show_settings()
        self.count()

    def count(self) -> None:
        """Say what there is to learn from."""
        project = self.session.project
        if project is None:
            return
        if self.source.is_folder and self.source.found is None:
            self.learns_from.show_nothing("No folder is read yet.")
            return
        lessons = self.source.lessons(project)
        said = lessons.warnings()
        more = [f"And {len(said) - MOST_NOTES} more."] if len(said) > MOST_NOTES else []
        self.learns_from.show_counts(_counts(lessons), [*said[:MOST_NOTES], *more])

    def _fill_starts(self) -> None:
        """Offer the weights that fit the preset's network."""
        network = PRESETS[self.preset.currentData()].architecture
        self.start.offer("classifier", network, ["imagenet"])
        self._show_start()

    def _show_start(self) -> None:
        self.start.show_about(
            "From ImageNet weights (downloaded once), else from nothing.",
            model="Goes on from what that model knows.",
        )

    def _show_settings(self) -> None:
        preset = PRESETS[self.preset.currentData()]
        project = self.session.project
        seed = 0 if project is None else project.settings.seed
        self.form.set_value(preset.settings.model_copy(update={"seed": seed}))
        self.view.set_value(ViewSettings(size_px=preset.size_px))
        self._cost.setText(preset.cost)
        self.advanced.show_changes()

    # -- choosing -------------------------------------------------------------------------

    def _on_preset(self, *_: object) -> None:
        self._fill_starts()
        self._show_settings()

    def _on_read(self, folder: str) -> None:
        if not self.name.text():
            self.name.setText(Path(folder).name)

    def forget(self) -> None:
        """Show nothing of another project."""
        self.name.clear()
        self.source.forget()

    # -- what was chosen ------------------------------------------------------------------

    def request(self, project: Project, found: PatchSet) -> ClassifierRequest:
        """Return the training as chosen.

        Raises
        ------
        CellalError
            If it cannot be done.
        """
        start = self.start.value
        if start in {m.model_id for m in project.models}:
            start = str(project.model_folder(start))
        settings: Any = self.form.value()
        view: Any = self.view.value()
        return classifying.request_classifier(
            found,
            project.folder / "models",
            preset=self.preset.currentData(),
            start=start,
            view=view.model_dump(),
            name=self.name.text(),
            **settings.model_dump(),
        )


def _counts(lessons: Lessons) -> list[tuple[str, ...]]:
    """Return the number of pictures of every class and split, for `LearnsFrom`."""
    names = list(dict.fromkeys(n for split in SPLITS for n in lessons.of(split)))
    lines = [("", "learned", "validation", "test")]
    for name in names[:MOST_CLASSES]:
        numbers = [lessons.of(split).get(name, 0) for split in SPLITS]
        lines.append((escape(name), *(f"{n:,}" for n in numbers)))
    if len(names) > MOST_CLASSES:
        lines.append((f"and {len(names) - MOST_CLASSES} more classes", "", "", ""))
    totals = [sum(lessons.of(split).values()) for split in SPLITS]
    lines.append(("<b>all</b>", *(f"<b>{n:,}</b>" for n in totals)))
    return lines
