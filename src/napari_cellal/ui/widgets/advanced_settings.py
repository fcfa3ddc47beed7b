"""Every setting of a training, folded away, and a search for its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui.controls import Fold, button
from napari_cellal.ui.training_plot import RatePlot

if TYPE_CHECKING:
    from napari_cellal.networks.points import FoundRate
    from napari_cellal.ui.settings_form import SettingsForm


class AdvancedSettings(QWidget):
    """Forms under a line that says how much was changed.

    Parameters
    ----------
    forms : SettingsForm
        The last one has the learning rate.
    learns_from : str
        In the plural, for a person.

    Attributes
    ----------
    rate_asked : Signal()
        The person wants a learning rate to be found.
    reset_asked : Signal()
        The person wants the preset's settings back.
    """

    rate_asked = Signal()
    reset_asked = Signal()

    def __init__(self, *forms: SettingsForm, learns_from: str) -> None:
        super().__init__()
        self._forms = forms
        self.find_rate = button(
            "Find a learning rate",
            f"Some 60 steps with a rising rate show which one suits these {learns_from}; it is "
            "put into the form. Nothing is kept of them.",
            self.rate_asked.emit,
        )
        self.rates = RatePlot()
        self.rates.hide()
        self.reset = button("As the preset has it", "Take back your changes", self.reset_asked.emit)
        inner = QWidget()
        self.fold = Fold(
            "Every setting of the training. The preset's need never be changed.", inner
        )
        folded = QVBoxLayout(inner)
        folded.setContentsMargins(0, 0, 0, 0)
        for widget in (*forms, self.find_rate, self.rates, self.reset):
            folded.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.fold)
        layout.addWidget(inner)
        for form in forms:
            form.changed.connect(self.show_changes)

    def show_changes(self) -> None:
        """Say how many settings a person changed."""
        n = sum(len(form.changes()) for form in self._forms)
        self.fold.setText(f"Advanced ({n} changed)" if n else "Advanced")
        self.reset.setEnabled(bool(n))

    def show_rate(self, found: FoundRate) -> None:
        """Draw the search for a learning rate and put its suggestion into the form."""
        self.rates.show_points(found.points, found.suggested)
        self.rates.show()
        self._forms[-1].change("learning_rate", found.suggested)
