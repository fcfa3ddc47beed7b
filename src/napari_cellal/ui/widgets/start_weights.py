"""The weights that a training starts from, of those that fit its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_cellal.core.records import local_time
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.ui.controls import ComboBox, note, row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.ui.workspace import Workspace

AUTOMATIC, FILE, SCRATCH = "auto", "file", "scratch"
PUBLISHED = {"coco": "COCO (everyday pictures)", "imagenet": "ImageNet (everyday pictures)"}


class StartWeights(QWidget):
    """A combo with a sentence about what is chosen.

    Attributes
    ----------
    chosen : Signal()
        A person chose.
    """

    chosen = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._file = ""
        self.box = ComboBox("The weights that the training starts from")
        self.box.activated.connect(self._on_chosen)
        self._about = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(row(QLabel("Starts from"), self.box))
        layout.addWidget(self._about)

    def offer(
        self, kind: str, network: str, published: Iterable[str], *, shipped: bool = False
    ) -> None:
        """Offer what fits a network; what was chosen stays where it fits too.

        Parameters
        ----------
        kind : str
            ``detector`` or ``classifier``: whose models of the project.
        published : iterable of str
            Which of `PUBLISHED` there are.
        shipped : bool
            Whether the detector that comes with the package fits.
        """
        project, kept = self._workspace.session.project, self.box.currentData()
        self.box.clear()
        self.box.addItem("Automatic", AUTOMATIC)
        if shipped:
            self.box.addItem("Shipped detector", SHIPPED)
        for record in reversed(project.models if project else []):
            if record.kind == kind and record.architecture == network:
                name = self._workspace.model_name(record.model_id)
                self.box.addItem(f"{name} · {local_time(record.created_at)}", record.model_id)
        for name in published:
            self.box.addItem(PUBLISHED[name], name)
        self.box.addItem("A file…", FILE)
        self.box.addItem("From scratch", SCRATCH)
        at = self.box.findData(kept)
        self.box.setCurrentIndex(max(0, 0 if kept == FILE and not self._file else at))

    def _on_chosen(self, *_: object) -> None:
        if self.box.currentData() == FILE:
            name, _ = QFileDialog.getOpenFileName(
                self, "Starting weights", self._file, "Weights (*.safetensors)"
            )
            self._file = name or self._file
            if not self._file:
                self.box.setCurrentIndex(0)
        self.chosen.emit()

    @property
    def value(self) -> str:
        """What a training calls its start.

        ``auto``, ``shipped``, ``scratch``, a name of `PUBLISHED`, a model's id, a file's path.
        """
        chosen = self.box.currentData() or AUTOMATIC
        return self._file if chosen == FILE else str(chosen)

    def show_about(self, automatic: str, model: str = "") -> None:
        """Say what is chosen; ``automatic`` and ``model`` are what a kind of network says of those.

        Where nothing is said the line is hidden.
        """
        texts = dict.fromkeys(PUBLISHED, "Downloaded once, then kept on this computer.") | {
            AUTOMATIC: automatic,
            SCRATCH: "Knows nothing at first: takes many labels and long.",
            FILE: Path(self._file).name,
        }
        text = texts.get(self.box.currentData(), model)
        self._about.setText(text)
        self._about.setVisible(bool(text))
