"""Which cells of the project are listed, and in which order: the controls for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QLineEdit, QVBoxLayout, QWidget

from napari_cellal.core.filters import NOT_REJECTED, REVIEWED, WAITING
from napari_cellal.core.records import Status

from .controls import ComboBox, button, note, row, swatch

if TYPE_CHECKING:
    from .batch import Batch
    from .session import Session

TYPED_MS = 300
MOST_GROUPS = 500
STATES = (
    ("All but rejected", NOT_REJECTED),
    ("To look at", WAITING),
    ("Reviewed", REVIEWED),
    ("Corrected", (Status.CORRECTED,)),
    ("Drawn", (Status.DRAWN,)),
    ("Unsure", (Status.UNSURE,)),
    ("Rejected", (Status.REJECTED,)),
)
ORDERS = (
    ("image", "By image", "As they stand in the images"),
    ("doubt", "Doubtful first", "The learner's best guess is weakest; needs measured cells"),
    ("score", "Least score first", "The detector was least sure that it is a cell"),
    ("class", "By class", "Class after class, least score first"),
    ("group", "Look-alikes together", "Groups that look alike; needs measured cells"),
    ("alike", "Like the selected cell", "Most like the cell that is picked; needs measured cells"),
    (
        "mislabels",
        "Suspected mistakes",
        "Labels that a learner, which was not shown them, finds least probable; needs measured "
        "cells",
    ),
    ("reviewed", "Reviewed last first", "What you did last"),
)
_ALL, _HERE = "all", "here"


class BatchFilter(QWidget):
    """Combo boxes for class, state, place and order, and a field for names and notes."""

    def __init__(self, session: Session, batch: Batch) -> None:
        super().__init__()
        self.session = session
        self.batch = batch
        self.class_ = ComboBox("Only cells of this class")
        self.state = ComboBox("Only cells in this state")
        self.place = ComboBox("Only cells of this image, plate, well or folder")
        self.order = ComboBox("Which cells come first")
        self.text = QLineEdit()
        self.text.setPlaceholderText("Image name or note")
        self.text.setToolTip("Only cells whose image's name or whose note contains this")
        self.text.setClearButtonEnabled(True)
        self.only = note()
        self._all = button("Show all", "List every cell again, not only those", self._show_all)
        self._all.setFixedWidth(80)
        self._only = row(self.only, self._all)
        self._only.layout().setStretch(0, 1)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.class_, 0, 0)
        grid.addWidget(self.state, 0, 1)
        grid.addWidget(self.place, 1, 0)
        grid.addWidget(self.order, 1, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(grid)
        column.addWidget(self.text)
        column.addWidget(self._only)
        for text, statuses in STATES:
            self.state.addItem(text, statuses)
        for place, (key, text, tip) in enumerate(ORDERS):
            self.order.addItem(text, key)
            self.order.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self._typed = QTimer(self)
        self._typed.setSingleShot(True)
        self._typed.setInterval(TYPED_MS)
        self._typed.timeout.connect(self.apply)
        self.text.textEdited.connect(lambda _: self._typed.start())
        for box in (self.class_, self.state, self.place):
            box.activated.connect(self.apply)
        self.order.activated.connect(self._on_order)
        batch.listed.connect(self._show_wanted)
        self._show_wanted()

    def disconnect_batch(self) -> None:
        """Stop listening, before the window closes."""
        self.batch.listed.disconnect(self._show_wanted)

    def fill(self) -> None:
        """Offer the project's classes and groups."""
        project = self.session.project
        if project is None:
            return
        chosen, place = self.class_.currentData(), self.place.currentData()
        self.class_.clear()
        self.class_.addItem("All classes", _ALL)
        for c in project.active_classes:
            self.class_.addItem(swatch(c.color), c.name, c.class_id)
        self.class_.addItem("No class yet", None)
        _choose(self.class_, chosen)
        self.place.clear()
        self.place.addItem("All images", _ALL)
        self.place.addItem("This image", _HERE)
        groups = sorted({r.group for r in project.images.values() if r.group})
        for group in groups[:MOST_GROUPS]:
            self.place.addItem(group, (group,))
        _choose(self.place, place)

    @property
    def follows_image(self) -> bool:
        """Whether only cells of the image on screen are listed."""
        return self.place.currentData() == _HERE

    def apply(self, *_: object) -> None:
        """List what the controls say."""
        project = self.session.project
        if project is None:
            return
        class_id, place = self.class_.currentData(), self.place.currentData()
        images: tuple[str, ...] | None = None
        if place == _HERE:
            images = (self.session.image_id or "",)
        elif isinstance(place, tuple):
            images = tuple(k for k, r in project.images.items() if r.group == place[0])
        self.batch.set_wanted(
            class_ids=None if class_id == _ALL else (class_id,),
            statuses=self.state.currentData(),
            image_ids=images,
            text=self.text.text(),
        )

    def _on_order(self, *_: object) -> None:
        order = self.order.currentData()
        if order != "alike":
            self.batch.set_order(order)
            return
        like = next(iter((*self.batch.picked, *self.session.selection)), "")
        if like:
            self.batch.set_order(order, like)
        else:
            self.session.tell("Click a cell first; then its like come first.")
            _choose(self.order, self.batch.order)

    def _show_all(self) -> None:
        self.batch.set_wanted(cell_ids=None)

    def _show_wanted(self) -> None:
        wanted = self.batch.wanted
        _choose(self.order, self.batch.order)
        _choose(self.state, wanted.statuses)
        if wanted.class_ids is None:
            _choose(self.class_, _ALL)
        if wanted.image_ids is None:
            _choose(self.place, _ALL)
        if wanted.text != self.text.text() and not self._typed.isActive():
            self.text.setText(wanted.text)
        self._only.setVisible(wanted.cell_ids is not None)
        n = len(wanted.cell_ids or ())
        self.only.setText(f"Only {n:,} {'cell' if n == 1 else 'cells'} picked elsewhere")


def _choose(box: ComboBox, value: object) -> None:
    for place in range(box.count()):
        if box.itemData(place) == value:
            box.setCurrentIndex(place)
            return
    box.setCurrentIndex(0)
