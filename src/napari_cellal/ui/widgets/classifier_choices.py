"""What a person chooses before a classifier is trained, and what it will learn from."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_cellal.classify.presets import PRESETS
from napari_cellal.classify.settings import ClassifySettings, ViewSettings
from napari_cellal.ui.controls import ComboBox, heading, note, row
from napari_cellal.ui.settings_form import SettingsForm
from napari_cellal.workflows import classifying, patches

from .advanced_settings import AdvancedSettings
from .start_weights import StartWeights

if TYPE_CHECKING:
    from napari_cellal.classify.requests import ClassifierRequest
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.patches import Lessons, PatchSet
    from napari_cellal.workflows.worker import Failed

CELLS, FOLDER = "cells", "folder"
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
        self._workspace = workspace
        self._filled_for: Project | None = None
        self.found: PatchSet | None = None
        """The pictures of the folder, once they are read."""
        self.folder = ""
        self.name = QLineEdit()
        self.name.setPlaceholderText("e.g. white cells")
        self.name.setToolTip("What you want to call the model")
        self.source = ComboBox(
            "The cells of this project that you confirmed, or pictures in a folder: one folder a "
            "class, or a table (CSV) that names each picture's class"
        )
        self.source.addItem("Confirmed cells", CELLS)
        self.source.addItem("A folder of pictures…", FOLDER)
        self.source.activated.connect(self._on_source)
        self._about_source = note()
        self.preset = ComboBox("How large the network is, and how long it learns")
        for at, (name, preset) in enumerate(PRESETS.items()):
            self.preset.addItem(name.capitalize(), name)
            self.preset.setItemData(at, preset.cost, Qt.ItemDataRole.ToolTipRole)
        self.preset.activated.connect(self._on_preset)
        self._cost = note()
        self.start = StartWeights(workspace)
        self.start.chosen.connect(self._show_start)
        self._table = note()
        self._table.setTextFormat(Qt.TextFormat.RichText)
        self._table.setToolTip(
            "Learned: what the network is shown. Validation: held out, these say when to stop. "
            "Test: held out, these only measure the finished model"
        )
        self._warnings = note()
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
            row(QLabel("Learns from"), self.source),
            self._about_source,
            row(QLabel("Network"), self.preset),
            self._cost,
            self.start,
            heading("It learns from"),
            self._table,
            self._warnings,
            self.advanced,
        ):
            layout.addWidget(widget)
        self._about_source.hide()

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
        if self.is_folder and self.found is None:
            self._table.setText("No folder is read yet.")
            self._warnings.hide()
            return
        lessons = self.lessons(project)
        self._table.setText(_table(lessons))
        said = lessons.warnings()
        more = [f"And {len(said) - MOST_NOTES} more."] if len(said) > MOST_NOTES else []
        self._warnings.setText("\n".join(f"• {text}" for text in [*said[:MOST_NOTES], *more]))
        self._warnings.setVisible(bool(said))

    def lessons(self, project: Project) -> Lessons:
        """Return what there is to learn from, as chosen."""
        if self.is_folder and self.found is not None:
            return patches.lessons_in(self.found)
        return patches.lessons_of(project)

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

    def _on_source(self, *_: object) -> None:
        if self.is_folder:
            place = QFileDialog.getExistingDirectory(self, "A folder of pictures", self.folder)
            if place:
                self._read(place)
            elif not self.folder:
                self.source.setCurrentIndex(0)
        self._about_source.setVisible(self.is_folder)
        self.count()

    def _read(self, folder: str) -> None:
        """Have a worker read a folder: it may hold very many pictures."""
        project = self.session.project
        if project is None:
            return
        self.folder, self.found = folder, None
        self._about_source.setText(f"Reading {folder}…")
        read = partial(patches.read_folder, folder, seed=project.settings.seed)
        handle = self._workspace.jobs.run(f"Reading {Path(folder).name}", read, lane="quick")

        def on_read(found: PatchSet) -> None:
            if self.folder == folder:
                self.found = found
                self._about_source.setText(folder)
                if not self.name.text():
                    self.name.setText(Path(folder).name)
                self.count()

        def on_failed(failed: Failed) -> None:
            if self.folder == folder:
                self.folder = ""
                self._about_source.setText(failed.message)
            self.session.tell(failed.message, error=True)

        handle.finished.connect(on_read)
        handle.failed.connect(on_failed)

    def forget(self) -> None:
        """Show nothing of another project."""
        self.name.clear()
        self.folder, self.found = "", None
        self.source.setCurrentIndex(0)
        self._about_source.hide()

    # -- what was chosen ------------------------------------------------------------------

    @property
    def is_folder(self) -> bool:
        """Whether pictures of a folder are learned from, and not the project's cells."""
        return bool(self.source.currentData() == FOLDER)

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

    def problem(self, project: Project) -> str:
        """Return why nothing can be trained yet; empty where it can."""
        if self.is_folder:
            return "" if self.found is not None else "Choose a folder of pictures first."
        if not self.lessons(project).of("train"):
            return (
                "No labels to learn from yet: confirm some cells with a class, or choose a folder "
                "of pictures."
            )
        return ""


def _table(lessons: Lessons) -> str:
    """Return the number of pictures of every class and split (rich text)."""
    names = list(dict.fromkeys(n for split in ("train", "val", "test") for n in lessons.of(split)))
    lines = [("", "learned", "validation", "test")]
    for name in names[:MOST_CLASSES]:
        numbers = [lessons.of(split).get(name, 0) for split in ("train", "val", "test")]
        lines.append((escape(name), *(f"{n:,}" for n in numbers)))
    if len(names) > MOST_CLASSES:
        lines.append((f"and {len(names) - MOST_CLASSES} more classes", "", "", ""))
    totals = [sum(lessons.of(split).values()) for split in ("train", "val", "test")]
    lines.append(("<b>all</b>", *(f"<b>{n:,}</b>" for n in totals)))
    rows = "".join(
        "<tr>"
        + f"<td>{first}&nbsp;&nbsp;</td>"
        + "".join(f"<td align='right'>{text}&nbsp;&nbsp;</td>" for text in rest)
        + "</tr>"
        for first, *rest in lines
    )
    return f"<table>{rows}</table>"
