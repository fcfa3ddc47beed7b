"""A second model beside the measured one, on the same cells: what each gets right alone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.evaluate.matches import NOTHING
from napari_cellal.evaluate.tables import class_lines, macro_f1, totals_of
from napari_cellal.ui.controls import ComboBox, button, heading, note
from napari_cellal.ui.counting import Counting

from .measure_bar import MeasureBar

if TYPE_CHECKING:
    from napari_cellal.evaluate.matches import Match
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers


class AgainstPanel(QWidget):
    """Measures a second model on the same split, and keeps both in step with the labels.

    Attributes
    ----------
    measured : Signal()
        The second model's answers are there.
    """

    measured = Signal()

    def __init__(self, workspace: Workspace, first: Counting) -> None:
        super().__init__()
        self._workspace = workspace
        self.session = workspace.session
        self._first = first
        self.second = Counting(self.session)
        self.second.relabelled.connect(self._on_relabelled)
        self.figures: dict[str, Any] = {}
        self.model = ComboBox("The model that is put beside the one above")
        self.compare = button(
            "Compare",
            "Measure the second model on the same images, in the background. It changes nothing",
            self._compare,
        )
        self.bar = MeasureBar(workspace, "Stop measuring the second model")
        self._table = note()
        self._table.setTextFormat(Qt.TextFormat.RichText)
        self._table.setToolTip(
            "First: the model measured above. Second: the one chosen here. Both are counted on the "
            "same labels, as they are now; the average precision of the second goes when a label "
            "changes, until it is compared again"
        )
        self.only_first = button("", "Show these cells in the gallery", self._open_first)
        self.only_second = button("", "Show these cells in the gallery", self._open_second)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Beside another model"),
            self.model,
            self.compare,
            self.bar,
            self._table,
            self.only_first,
            self.only_second,
        ):
            layout.addWidget(widget)
        self.show_both()

    # -- choosing -------------------------------------------------------------------------

    def fill(self, models: ComboBox) -> None:
        """Offer the models that the dock offers."""
        kept = self.model.currentData()
        self.model.clear()
        for k in range(models.count()):
            self.model.addItem(models.itemText(k), models.itemData(k))
        self.model.setCurrentIndex(max(0, self.model.findData(kept)))

    def forget(self) -> None:
        """Let go of the second model's answers."""
        self.second.forget()
        self.figures = {}
        self.show_both()

    def _on_relabelled(self) -> None:
        self.figures = {}  # average precision of other labels; the counts follow

    @property
    def answers(self) -> Answers | None:
        """What the second model said."""
        return self.second.answers

    def _compare(self) -> None:
        first = self._first.answers
        if first is None:
            return
        if self.model.currentData() == first.request.model_id:
            self.session.tell("That is the model measured above. Choose another to put beside it.")
            return
        classes = first.request.classes  # both see the cells alike
        request = self.bar.request(
            self.model.currentData(),
            first.request.split,
            self._first.score,
            own_range=classes is not None and classes.own_range,
        )
        if request is None:
            return
        if (request.boxes is None) != (first.request.boxes is None):
            self.session.tell(
                "One of them finds boxes and the other gives classes only: choose two that do the "
                "same."
            )
            return
        name = self.model.currentText()
        self.bar.run(request, name, lambda answers: self._on_answers(first, answers))

    def _on_answers(self, first: Answers, answers: Answers) -> None:
        if self._first.answers is not first:
            return  # another model is measured by now
        self.figures = answers.figures
        self.second.score = self._first.score
        self.second.take(answers)
        self.measured.emit()

    # -- the result -----------------------------------------------------------------------

    def show_both(self, figures: dict[str, Any] | None = None) -> None:
        """Show the figures of both.

        Parameters
        ----------
        figures : dict or None
            The first model's; what follows from the labels is counted here.
        """
        there = self.second.answers is not None and self._first.answers is not None
        for widget in (self._table, self.only_first, self.only_second):
            widget.setVisible(there)
        project, answers = self.session.project, self.second.answers
        if not there or project is None or answers is None:
            return
        names = {c.class_id: c.name for c in project.active_classes}
        sides = [
            _figures(self._first, figures or {}, names),
            _figures(self.second, self.figures, names),
        ]
        self._table.setText(_table(sides))
        a, b = self._alone()
        self.only_first.setText(f"Right in the first alone: {len(a):,} cells")
        self.only_second.setText(f"Right in the second alone: {len(b):,} cells")
        self.only_first.setEnabled(bool(a))
        self.only_second.setEnabled(bool(b))

    def _alone(self) -> tuple[list[str], list[str]]:
        """Return the cells that one model alone gets right."""
        first, second = _right(self._first), _right(self.second)
        both = first.keys() & second.keys()
        return (
            [key for key in first if key in both and first[key] and not second[key]],
            [key for key in second if key in both and second[key] and not first[key]],
        )

    def _open_first(self) -> None:
        self._open(self._alone()[0])

    def _open_second(self) -> None:
        self._open(self._alone()[1])

    def _open(self, cells: list[str]) -> None:
        self._workspace.batch.show_only(cells, pick=False)
        self._workspace.raise_dock("Gallery")


def _right(counting: Counting) -> dict[str, bool]:
    """Return {cell_id: whether it was found and got its class}."""

    def is_right(m: Match) -> bool:
        return m.true is not None and m.true == m.said

    cells = (m for some in counting.matches.values() for m in some if m.true != NOTHING)
    return {m.cell_id: is_right(m) for m in cells if m.cell_id is not None}


def _figures(
    counting: Counting, figures: dict[str, Any], names: dict[int, str]
) -> dict[str, float | None]:
    """Return a model's figures by their name, in the order of the table."""
    totals = totals_of(counting.tallies.values())
    lines = class_lines(counting.confusion())
    found: dict[str, float | None] = {}
    if counting.answers is not None and counting.answers.found is not None:
        found = {
            "mAP50": figures.get("map50"),
            "cells found: precision": totals.precision,
            "cells found: recall": totals.recall,
            "cells found: F1": totals.f1,
        }
    found |= {"right class": totals.classed_right, "F1, mean of classes": macro_f1(lines)}
    for line in lines:
        if line.support:
            found[f"F1 {names.get(line.class_id, '?')}"] = line.f1
    return found


def _table(sides: list[dict[str, float | None]]) -> str:
    """Return figures side by side with their difference (rich text)."""
    first, second = sides
    rows = ["<tr><td></td><td>first&nbsp;&nbsp;</td><td>second&nbsp;&nbsp;</td><td></td></tr>"]
    for name, a in first.items():
        b = second.get(name)
        texts = ["–" if v is None else f"{v:.3f}" for v in (a, b)]
        gap = "" if a is None or b is None else f"{round(b - a, 3) + 0.0:+.3f}"
        cells = "".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in (escape(name), *texts, gap))
        rows.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"
