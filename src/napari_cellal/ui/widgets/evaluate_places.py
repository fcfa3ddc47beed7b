"""Boxes where no cell is: a list to jump from, and a way to make one a cell after all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cellal.core import gestures
from napari_cellal.ui.box_looks import UNCLASSED
from napari_cellal.ui.controls import button, heading, note, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.evaluate.matches import Match
    from napari_cellal.ui.marked_place import MarkedPlace
    from napari_cellal.ui.session import Session

MOST = 500
LIST_PX = 130


class Places(QWidget):
    """Shown once a square of boxes without a cell was clicked; outlines the one looked at."""

    def __init__(self, session: Session, mark: MarkedPlace) -> None:
        super().__init__()
        self.session = session
        self._mark = mark
        self._matches: tuple[Match, ...] = ()
        self.list = QListWidget()
        self.list.setToolTip("Click one to see the place; the surest first")
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setFixedHeight(LIST_PX)
        self.list.currentRowChanged.connect(self._go)
        self._say = note()
        self.add_cell = button(
            "It is a cell: add it",
            "Draws the model's box as a cell of that class, and the table follows. Undo: Ctrl+Z",
            self._add,
        )
        self.done = button("Close", "Hides this list", self.put_away)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (heading("Boxes where no cell is"), self._say, self.list):
            layout.addWidget(widget)
        layout.addWidget(row(self.add_cell, self.done))
        self.hide()

    def show_matches(self, matches: Sequence[Match], said: str) -> None:
        """List other boxes; ``said`` is the class that the model gave them."""
        project = self.session.project
        self._matches = ()
        self.list.clear()
        if project is None:
            return
        here = [m for m in matches if m.image_id in project.images]
        for m in here[:MOST]:
            item = QListWidgetItem(f"{m.score:.2f}  {project.images[m.image_id].name}")
            item.setToolTip(item.text())
            self.list.addItem(item)
        self._matches = tuple(here[:MOST])
        more = f", the surest {MOST}" if len(here) > MOST else ""
        self._say.setText(
            f"{len(here):,} said to be {said}{more}. Is one a cell that was forgotten?"
        )
        self.show()

    def put_away(self) -> None:
        """Hide the list, and the outline on the picture."""
        self._mark.clear()
        self.hide()

    def _go(self, at: int) -> None:
        project = self.session.project
        self._mark.clear()
        if project is None or not 0 <= at < len(self._matches):
            return
        m = self._matches[at]
        if m.image_id in project.images:
            self.session.look_at(m.image_id, m.box)
            said = project.classes.get(m.said)
            self._mark.show(m.box, UNCLASSED if said is None else said.color)
        else:
            self.session.tell("This image was removed.")

    def _add(self) -> None:
        at = self.list.currentRow()
        if not 0 <= at < len(self._matches):
            self.session.tell("Click one of the boxes in the list first.")
            return
        m = self._matches[at]
        if self.session.project is None or m.image_id not in self.session.project.images:
            self.session.tell("This image was removed.")
            return
        edit = gestures.draw(m.image_id, [m.box], m.said, self.session.person)
        if self.session.do(edit):
            self._matches = self._matches[:at] + self._matches[at + 1 :]
            # Qt tells of the next row by its number before the row goes: one too far
            blocked = self.list.blockSignals(True)
            self.list.takeItem(at)
            self.list.blockSignals(blocked)
            self._go(self.list.currentRow())
