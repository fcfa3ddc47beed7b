"""What a person chooses before a classifier is trained, and what it will learn from."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_cellal.classify.presets import PRESETS
from napari_cellal.classify.settings import ClassifySettings, ViewSettings
from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import ComboBox, button, clock, note, row
from napari_cellal.ui.settings_form import SettingsForm
from napari_cellal.workflows import classifying, pacing

from .advanced_settings import AdvancedSettings
from .data_page import DataPage
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
    """Name, what is learned from, size, starting weights, settings.

    Attributes
    ----------
    measure_asked : Signal()
        The person wants to know how long it takes on this computer.
    """

    measure_asked = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self._looks = False
        self._held = 0
        """Pictures that are looked at on the way."""
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
        self._time = note()
        self.measure = button(
            "Measure",
            "Runs three steps, without keeping anything. It gives way to whatever you start.",
            self.measure_asked.emit,
        )
        self.measure.setFixedWidth(90)
        self.start = StartWeights(workspace)
        self.start.chosen.connect(self._show_start)
        self.learns_from = LearnsFrom()
        self.learns_from.table.setToolTip(
            "Learned: what the network is shown. Validation: held out, these say when to stop. "
            "Test: held out, these only measure the finished model"
        )
        self.data = DataPage(workspace, self.source)
        self.form = SettingsForm(ClassifySettings(), GROUPS)
        self.view = SettingsForm(
            ViewSettings(), [("How a cell is shown", tuple(ViewSettings.model_fields))]
        )
        self.advanced = AdvancedSettings(self.view, self.form, learns_from="pictures")
        self.advanced.reset_asked.connect(self._show_settings)
        for form in (self.form, self.view):
            form.changed.connect(self.show_time)
        workspace.device_found.connect(self.show_time)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            row(QLabel("Name"), self.name),
            self.source,
            row(QLabel("Network"), self.preset),
            self._cost,
            row(self._time, self.measure),
            self.start,
            self.learns_from,
            self.data,
            self.advanced,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def show_all(self) -> None:
        """Show the project as it is now."""
        self._workspace.find_device()
        self.look_for_weights()
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
        self._held = sum(lessons.of("val").values())
        if lessons.drawn:  # a tenth will be
            self._held = sum(lessons.of("train").values()) // 10
        self.show_time()
        said = lessons.warnings()
        more = [f"And {len(said) - MOST_NOTES} more."] if len(said) > MOST_NOTES else []
        self.learns_from.show_counts(_counts(lessons), [*said[:MOST_NOTES], *more])

    def _fill_starts(self) -> None:
        """Offer the weights that fit the preset's network."""
        network = PRESETS[self.preset.currentData()].architecture
        self.start.offer("classifier", network, ["imagenet"])
        self._show_start()

    def _show_start(self) -> None:
        self.start.show_about(self.start.words_of("imagenet", "from scratch"))

    def look_for_weights(self, *, anew: bool = False) -> None:
        """Have a worker say which published weights are on this computer, once unless ``anew``."""
        if self._looks or (self.start.here is not None and not anew):
            return
        self._looks = True
        title = "Looking for starting weights"
        handle = self._workspace.jobs.run(title, classifying.find_imagenet)

        def on_found(presets: frozenset[str]) -> None:
            self.start.here = frozenset((PRESETS[n].architecture, "imagenet") for n in presets)
            self._show_start()

        handle.finished.connect(on_found)
        handle.ended.connect(lambda: setattr(self, "_looks", False))

    def show_time(self, *_: object) -> None:
        """Say how long it takes here, if that was measured."""
        project, device = self.session.project, self._workspace.device_name
        if project is None:
            return
        try:
            settings, kind = self.settings(), self.kind
        except CellalError as error:
            self._time.setText(str(error))
            self.measure.hide()
            return
        text = ""
        has_steps = settings.head == "linear"  # the other heads are fitted in one go
        seconds = pacing.estimate_s(kind, settings) if device and has_steps else None
        if seconds is not None:
            text = f"About {clock(seconds)} on this computer ({device}; measured here)."
        elif has_steps and settings.minutes:
            text = f"At most {clock(settings.minutes * 60)}, as you set it."
        elif has_steps:
            text = "How long it takes on this computer is not measured yet."
        self._time.setText(text)
        self._time.setVisible(bool(text))
        self.measure.setVisible(has_steps and seconds is None and bool(device))
        self._cost.setVisible(has_steps and seconds is None)

    def _show_settings(self) -> None:
        preset = PRESETS[self.preset.currentData()]
        project = self.session.project
        seed = 0 if project is None else project.settings.seed
        self.form.set_value(preset.settings.model_copy(update={"seed": seed}))
        self.view.set_value(ViewSettings(size_px=preset.size_px))
        self._cost.setText(preset.cost)
        self.advanced.show_changes()
        self.show_time()

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

    def settings(self) -> ClassifySettings:
        """Return the settings in the form.

        Raises
        ------
        CellalError
            If one cannot be used.
        """
        value = self.form.value()
        assert isinstance(value, ClassifySettings)
        return value

    @property
    def kind(self) -> str:
        """What a measured time must be of, to hold for this training."""
        view = self.view.value()
        assert isinstance(view, ViewSettings)
        name = PRESETS[self.preset.currentData()].architecture
        device = self._workspace.device_name
        return pacing.kind_of_classifier(name, self.settings(), view, self._held, device)

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
