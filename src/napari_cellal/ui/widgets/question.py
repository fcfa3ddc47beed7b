"""The question in the Learn dock: the cell, what the model thinks, its like, and the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.controls import button, empty, note, row, swatch
from napari_cellal.ui.crop_view import CropView
from napari_cellal.ui.neighbours import PICTURE_PX, NeighbourStrip
from napari_cellal.ui.plots import ProbabilityBars

if TYPE_CHECKING:
    from napari_cellal.ui.question import Question
    from napari_cellal.ui.workspace import Workspace

CROP_PX = 112
KEPT = 1000
"""Pictures of neighbours in memory, 14 kB each."""


class QuestionPanel(QWidget):
    """Shows the loop's question; a class key or one of its buttons answers it."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self.loop = workspace.learn
        self._images = workspace.images
        self._pictures = CellPictures(workspace.session, workspace.images, PICTURE_PX, KEPT)
        self._pictures.arrived.connect(self._show_neighbours)
        workspace.images.looks.changed.connect(self._on_looks)
        self._class_rows: list[Any] = []
        self._build()

    def _build(self) -> None:
        loop = self.loop
        self.crop = CropView(self.session, self._images, CROP_PX, "The cell that is asked about")
        self._bars = ProbabilityBars()
        pictures = QWidget()
        line = QHBoxLayout(pictures)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.crop.composite)
        line.addWidget(self._bars, 1)
        self._why = note()
        self._why.setToolTip("Why this cell was chosen")
        self._why.setAlignment(Qt.AlignmentFlag.AlignTop)
        alike = note("Most like it of those you confirmed:")
        alike.setFixedWidth(104)
        self.neighbours = NeighbourStrip()
        self._alike = row(alike, self.neighbours)
        self.answers = QGridLayout()
        self.answers.setSpacing(3)
        self.answers.setContentsMargins(0, 0, 0, 0)
        answers = QWidget()
        answers.setLayout(self.answers)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            pictures,
            self.crop.channels,
            self._why,
            self._alike,
            answers,
            row(
                button("0  Unsure", "Set aside; ask no more (0)", loop.mark_unsure),
                button("No cell", "The box holds no cell: reject it (Delete)", loop.reject),
            ),
            row(
                button("‹ Back", "See the last cell again (B)", loop.back),
                button("Skip ›", "Another cell; this one comes again later (N)", loop.skip),
            ),
        ):
            column.addWidget(widget)

    def close_pictures(self) -> None:
        """Make no more pictures, before the window closes."""
        self._pictures.close()
        self.crop.close()

    def forget(self) -> None:
        """Let go of what belongs to the project before."""
        self._pictures.forget()
        self._keep_room(False)

    def _keep_room(self, keep: bool) -> None:
        """Keep the neighbours' room where a question has none, or let it go.

        Else the buttons would move under the mouse, and a click meant for a class skip the cell.
        For the same reason the lines above them grow only.
        """
        policy = self._alike.sizePolicy()
        policy.setRetainSizeWhenHidden(keep)
        self._alike.setSizePolicy(policy)

    def fill_answers(self) -> None:
        """Show a button a class."""
        project = self.session.project
        if project is None:
            return
        wanted = [(c.class_id, c.name, c.color, c.shortcut) for c in project.active_classes]
        if wanted == self._class_rows:
            return
        self._class_rows = wanted
        empty(self.answers)
        for place, c in enumerate(project.active_classes):
            key = f"{c.shortcut}  " if c.shortcut else ""
            press = button(
                f"{key}{c.name}",
                f"It is {c.name}; go to the next" + (f" ({c.shortcut})" if c.shortcut else ""),
                lambda class_id=c.class_id: self.loop.answer(class_id),
            )
            press.setIcon(swatch(c.color))
            self.answers.addWidget(press, place // 2, place % 2)

    def show_question(self, question: Question | None) -> None:
        """Show another question, or nothing."""
        self.setVisible(question is not None)
        if question is None:
            return
        self._why.setText(f"<b>Why this one:</b> {question.reason}")
        lines = self._why.heightForWidth(self._why.width())
        self._why.setMinimumHeight(max(self._why.minimumHeight(), lines))
        self._show_probabilities(question)
        self.show_crop()
        self._show_neighbours()

    def _show_probabilities(self, question: Question) -> None:
        project = self.session.project
        assert project is not None
        said = dict(question.probabilities)
        text = "Answer without the model's help." if question.is_check else "No guess yet."
        rows = [
            (c.name, c.color, said[c.class_id])
            for c in project.active_classes
            if c.class_id in said
        ]
        self._bars.show_rows(rows, text)

    def show_crop(self) -> None:
        """Show the cell, if its image has been read."""
        question, project = self.loop.question, self.session.project
        if question is None or project is None:
            return
        cell = project.cells.get(question.cell_id)
        picture = self.crop.show_cell(cell)
        if cell is not None and picture is not None:
            self._pictures.keep(cell, picture)  # once confirmed it will be a neighbour of others

    def _on_looks(self) -> None:
        """Draw every picture anew: a person shows the channels in another way."""
        self._pictures.forget()
        if self.isVisible():
            self.show_crop()
            self._show_neighbours()

    def _show_neighbours(self) -> None:
        question, project = self.loop.question, self.session.project
        if question is None or project is None:
            return
        rows = project.cells.rows(question.neighbours)
        cells = [c for c in rows.values() if c is not None and c.is_label]
        self._alike.setVisible(bool(cells))
        if cells:
            self._keep_room(True)
        classes = [project.classes[c.class_id] for c in cells]
        self.neighbours.show_cells(
            [
                (picture, c.name, c.color)
                for picture, c in zip(self._pictures.of(cells), classes, strict=True)
            ]
        )
