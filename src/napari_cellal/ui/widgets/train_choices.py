"""What a person chooses before a training: size, start, what is seen; and what it learns from."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.detect.architectures import architecture
from napari_cellal.detect.presets import PRESETS
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.io.composites import COLORS, PCA
from napari_cellal.ui.controls import ComboBox, button, clock, note, row
from napari_cellal.ui.settings_form import SettingsForm
from napari_cellal.workflows import compositing, pacing, training

from .advanced_settings import AdvancedSettings
from .data_page import DataPage
from .learns_from import LearnsFrom
from .start_weights import AUTOMATIC, PUBLISHED, StartWeights, what_it_knows

if TYPE_CHECKING:
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.training import TrainingSet

SEES = (
    (compositing.NONE, "all channels"),
    (COLORS, "channels in colours"),
    (PCA, "principal components"),
)
GROUPS = (
    ("Length", ("steps", "minutes", "patience")),
    (
        "Learning",
        (
            "learning_rate",
            "batch_size",
            "schedule",
            "plateau_patience",
            "warmup",
            "optimizer",
            "frozen_stages",
            "frozen_share",
            "layer_decay",
            "weight_decay",
            "average",
            "keep_start",
            "clip_norm",
            "seed",
        ),
    ),
    (
        "Pictures",
        (
            "crop_px",
            "shrink",
            "scale",
            "mosaic",
            "copy_paste",
            "repeat_rare",
            "even_crops",
            "flips",
            "turns",
            "scale_jitter",
            "brightness_jitter",
            "stain_jitter",
            "channel_jitter",
        ),
    ),
    ("Measuring on the way", ("validate_every", "validate_on")),
)


class TrainChoices(QWidget):
    """Preset with its cost here, starting weights, what the network sees, labels, settings.

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
        self._filled_for: Project | None = None
        self._has_looked = False
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
        self.start.chosen.connect(self._show_settings)
        self.sees = ComboBox(
            "What the network sees of images with several channels. All channels natively loses "
            "nothing; colours start from weights that know pictures of three channels."
        )
        for kind, text in SEES:
            self.sees.addItem(text, kind)
        self.sees.activated.connect(self._show_start)
        self._sees_line = row(QLabel("It sees"), self.sees)
        self._sees_line.hide()
        self.learns_from = LearnsFrom()
        self.data = DataPage(workspace)
        self.form = SettingsForm(TrainSettings(), GROUPS)
        self.form.changed.connect(self._on_setting)
        self.advanced = AdvancedSettings(self.form, learns_from="labels")
        self.advanced.reset_asked.connect(self._show_settings)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            row(QLabel("Preset"), self.preset),
            self._cost,
            row(self._time, self.measure),
            self.start,
            self._sees_line,
            self.learns_from,
            self.data,
            self.advanced,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def show_all(self) -> None:
        """Show the project as it is now."""
        self.look_for_weights()
        self._fill_starts()
        if self._filled_for is not self.session.project:  # else what a person set stays
            self._filled_for = self.session.project
            self._show_settings()
        self.show_time()
        self.count()

    def count(self) -> None:
        """Say what there is to learn from."""
        project = self.session.project
        if project is None:
            return
        found = training.training_set(project)
        self.learns_from.show_counts(_counts(found), found.warnings())
        self.learns_from.table.setToolTip(found.line())
        usual = training.settings_for(project, self.preset.currentData(), self.start.value)
        if usual != self.form.base:  # more images are worth more steps
            self.form.set_value(usual, keep=True)
            self._on_setting()
        several = any(len(r.channels) > 1 and not r.rgb for r in project.images.values())
        self._sees_line.setVisible(several)

    def _fill_starts(self) -> None:
        """Offer the weights that fit the preset's network."""
        project = self.session.project
        if project is None:
            return
        name = PRESETS[self.preset.currentData()].architecture
        network = architecture(name)
        published = [key for key in PUBLISHED if getattr(network, key)]
        self.start.offer("detector", name, published, shipped=network.shipped)
        self._show_start()

    def _show_start(self, *_: object) -> None:
        project = self.session.project
        if project is None:
            return
        automatic = ""
        if self.start.value == AUTOMATIC:
            try:
                settings, composite = self.settings(), project.composite(self.kind_seen)
            except CellalError:  # said when the training starts
                return
            found = training.automatic_start(
                project, self.preset.currentData(), settings, composite
            )
            automatic = self._words_of(found)
        self.start.show_about(automatic)

    def _words_of(self, automatic: str) -> str:
        """Return from what a training starts that was left to choose by itself."""
        if automatic == "published":
            network = architecture(PRESETS[self.preset.currentData()].architecture)
            kinds = [kind for kind in PUBLISHED if getattr(network, kind)]
            otherwise = "from scratch"
            if len(kinds) > 1 and self.start.is_here(kinds[1]):
                otherwise = f"from {PUBLISHED[kinds[1]]} weights"
            return self.start.words_of(kinds[0], otherwise)
        if automatic == SHIPPED:
            return f"From the shipped detector. {what_it_knows(shipped_record())}"
        project = self.session.project
        record = next(m for m in project.models if m.model_id == automatic) if project else None
        name = self._workspace.model_name(automatic)
        return f"From the model in use, {name}. {what_it_knows(record) if record else ''}"

    def look_for_weights(self, *, anew: bool = False) -> None:
        """Have a worker say which published weights are on this computer, once unless ``anew``."""
        if self._has_looked and not anew:
            return
        self._has_looked = True
        title = "Looking for starting weights"
        handle = self._workspace.jobs.run(title, training.find_published)

        def on_found(here: frozenset[tuple[str, str]]) -> None:
            self.start.here = here
            self._show_start()

        handle.finished.connect(on_found)

    def _show_settings(self) -> None:
        project = self.session.project
        if project is not None:
            preset = self.preset.currentData()
            self.form.set_value(training.settings_for(project, preset, self.start.value))
            self._cost.setText(PRESETS[preset].cost)
        self._on_setting()

    def _on_setting(self) -> None:
        self.advanced.show_changes()
        self._show_start()
        self.show_time()

    def show_time(self, *_: object) -> None:
        """Say how long it takes here, if that was measured."""
        project = self.session.project
        device = self._workspace.device_name
        if project is None:
            return
        try:
            settings = self.settings()
        except CellalError as error:
            self._time.setText(str(error))
            self.measure.hide()
            return
        seconds = pacing.estimate_s(self.kind, settings) if device else None
        if seconds is not None:
            self._time.setText(
                f"About {clock(seconds)} on this computer ({device}; measured here)."
            )
        elif settings.minutes:
            self._time.setText(f"At most {clock(settings.minutes * 60)}, as you set it.")
        else:
            self._time.setText("How long it takes on this computer is not measured yet.")
        self.measure.setVisible(seconds is None and bool(device))
        self._cost.setVisible(seconds is None)  # a time of another computer beside it confuses

    # -- choosing -------------------------------------------------------------------------

    def _on_preset(self, *_: object) -> None:
        self._fill_starts()
        self._show_settings()

    # -- what was chosen ------------------------------------------------------------------

    @property
    def kind_seen(self) -> str:
        """How channels become what the network sees; see `compositing`."""
        return compositing.NONE if self._sees_line.isHidden() else str(self.sees.currentData())

    def settings(self) -> TrainSettings:
        """Return the settings in the form.

        Raises
        ------
        CellalError
            If one cannot be used.
        """
        value = self.form.value()
        assert isinstance(value, TrainSettings)
        return value

    @property
    def kind(self) -> str:
        """What a measured time must be of, to hold for this training."""
        project = self.session.project
        assert project is not None
        name = PRESETS[self.preset.currentData()].architecture
        return pacing.kind_of(project, name, self.settings(), self._workspace.device_name)

    def request(self, project: Project, composite: Any = None) -> Any:
        """Return the training as chosen.

        Raises
        ------
        CellalError
            If it cannot be done.
        """
        return training.request_training(
            project,
            preset=self.preset.currentData(),
            start=self.start.value,
            settings=self.settings(),
            composite=composite,
        )


def _counts(found: TrainingSet) -> list[tuple[str, ...]]:
    """Return the number of images and of boxes of every class, for `LearnsFrom`."""
    images = f"{found.images:,} ({found.complete:,} finished)"
    boxes = [
        (escape(name), f"{n:,}", f"{found.val_by_class.get(name, 0):,}")
        for name, n in found.boxes.items()
    ]
    return [("", "learned", "held out"), ("images", images, f"{found.val_images:,}"), *boxes]
