"""The weights that a training starts from, of those that fit its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_cellal.core.records import local_time
from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.ui.controls import ComboBox, note, row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.records import ModelRecord
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
        self._file = self._network = ""
        self.here: frozenset[tuple[str, str]] | None = None
        """Which of `PUBLISHED` are on this computer, as (network, name); None: not known yet."""
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
        self._network = network
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

    def words_of(self, published: str, otherwise: str) -> str:
        """Return from what a training starts that takes published weights, and where they are.

        ``otherwise`` says what it does where they cannot be had.
        """
        name = PUBLISHED[published]
        is_here = self.is_here(published)
        if is_here:
            return f"From {name} weights, which are on this computer."
        if is_here is None:
            return f"From {name} weights (downloaded once), else {otherwise}."
        return (
            f"From {name} weights, which are not on this computer: they are downloaded first. "
            f"Without a network it starts {otherwise}, and needs more labels and steps."
        )

    def is_here(self, published: str) -> bool | None:
        """Return whether weights of the network are on this computer, None while unknown."""
        return None if self.here is None else (self._network, published) in self.here

    def show_about(self, automatic: str) -> None:
        """Say what is chosen; ``automatic`` is what a kind of network says of that.

        Where nothing is said the line is hidden.
        """
        chosen = self.box.currentData()
        project = self._workspace.session.project
        records = {m.model_id: m for m in (project.models if project else [])}
        if chosen in PUBLISHED:
            text = {
                None: "Downloaded once, then kept on this computer.",
                True: "They are on this computer.",
                False: "They are not on this computer: they are downloaded first, once.",
            }[self.is_here(chosen)]
        elif chosen == SHIPPED:
            text = what_it_knows(shipped_record())
        elif chosen in records:
            text = what_it_knows(records[chosen])
        else:
            text = {
                AUTOMATIC: automatic,
                SCRATCH: "Knows nothing at first: takes many labels and long.",
                FILE: Path(self._file).name,
            }.get(chosen, "")
        self._about.setText(text)
        self._about.setVisible(bool(text))


def what_it_knows(record: ModelRecord) -> str:
    """Return a sentence on a model that a training goes on from."""
    learned = next(
        (f"{record.trained_on[k]:,} {k}" for k in ("images", "cells") if k in record.trained_on), ""
    )
    from_what = f", learned from {learned}" if learned else ""
    return f"Goes on from what that model knows: {', '.join(record.class_names)}{from_what}."
