"""The project's classes: colour, name, key, all changeable in place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QGridLayout, QLineEdit, QToolButton, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import button, empty, row, swatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.records import CellClass
    from napari_cellal.ui.session import Session


class ClassList(QWidget):
    """A row a class, and a line to add more."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self.names = QLineEdit()
        self.names.setPlaceholderText("Add: RBC, WBC, Platelets")
        self.names.setToolTip("Names of new classes, with commas between them")
        self.names.returnPressed.connect(self.add_typed)
        add = button("Add", "Add the classes typed on the left", self.add_typed)
        add.setFixedWidth(56)
        self._add_line = row(self.names, add)
        self.refresh()

    def add_typed(self) -> None:
        """Add the classes that were typed."""
        project = self.session.project
        if project is None:
            return
        try:
            project.add_classes(self.names.text().split(","))
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self.names.clear()
        if self.session.draw_class_id is None and project.active_classes:
            self.session.draw_class_id = project.active_classes[0].class_id

    def refresh(self, *_: object) -> None:
        """Show the project's classes."""
        empty(self._grid, keep=self._add_line)
        project = self.session.project
        classes = project.active_classes if project else []
        for place, c in enumerate(classes):
            for column, widget in enumerate(self._row(c)):
                self._grid.addWidget(widget, place, column)
        self._grid.setColumnStretch(1, 1)
        self._grid.addWidget(self._add_line, len(classes), 0, 1, 4)

    def _row(self, c: CellClass) -> list[QWidget]:
        color = QToolButton()
        color.setIcon(swatch(c.color))
        color.setToolTip(f"Choose another colour for {c.name}")
        color.clicked.connect(lambda: self._recolor(c))
        name = QLineEdit(c.name)
        name.setToolTip("Rename freely: labels and models keep the class")
        name.editingFinished.connect(
            lambda: self._change(name, c.name, lambda text: replace(c, name=text))
        )
        key = QLineEdit(c.shortcut)
        key.setFixedWidth(34)
        key.setMaxLength(1)
        key.setToolTip(f"The key, 1 to 9, that gives the class {c.name}")
        key.editingFinished.connect(
            lambda: self._change(key, c.shortcut, lambda text: replace(c, shortcut=text))
        )
        retire = QToolButton()
        retire.setText("×")
        retire.setToolTip(f"Retire {c.name}: no new cells get it, labelled cells keep it")
        retire.clicked.connect(lambda: self._update(replace(c, retired=True, shortcut="")))
        return [color, name, key, retire]

    def _change(self, field: QLineEdit, old: str, make: Callable[[str], CellClass]) -> None:
        text = field.text().strip()
        if text == old:
            return
        if field.maxLength() == 1 and text and text not in "123456789":
            self.session.tell("A class's key is one of 1 to 9.", error=True)
            field.setText(old)
            return
        if not self._update(make(text)):
            field.setText(old)

    def _recolor(self, c: CellClass) -> None:
        chosen = QColorDialog.getColor(QColor(c.color), self, f"Colour of {c.name}")
        if chosen.isValid():
            self._update(replace(c, color=chosen.name()))

    def _update(self, changed: CellClass) -> bool:
        if self.session.project is None:  # closed with the field still being edited
            return False
        try:
            self.session.project.update_class(changed)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return False
        return True
