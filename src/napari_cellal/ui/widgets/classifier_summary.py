"""What a classifier has learned: how good it is on what it never saw, and whether to use it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import button, heading, note, row
from napari_cellal.workflows import classifying

if TYPE_CHECKING:
    from napari_cellal.classify.requests import TrainedClassifier
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.judging import Judgement
    from napari_cellal.workflows.patches import PatchSet

MOST_CLASSES = 24
MOST_CONFUSED = 4
MOST_FAILURES = 3


class ClassifierSummary(QWidget):
    """Shown from the end of a training until another project is opened."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.model: TrainedClassifier | None = None
        self._line = note()
        self._table = note()
        self._table.setTextFormat(Qt.TextFormat.RichText)
        self._table.setToolTip("On pictures that it did not learn from; see Evaluate for more")
        self._confused = note()
        self._left_out = note()
        self._unknown = note()
        self.add_classes = button(
            "Add its classes to the project", "So that cells can be given them", self._add
        )
        self.use = button(
            "Use it", "Make it the model of Detect and Learn that gives classes", self._use
        )
        self.keep = button(
            "Keep the old one", "The new one stays in the list of models", self._keep
        )
        self.choice = row(self.use, self.keep)
        self.measure = button(
            "See its mistakes…",
            "Shows the Evaluate dock, where every figure leads to its cells",
            self._measure,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("The new classifier"),
            self._line,
            self._table,
            self._confused,
            self._left_out,
            self._unknown,
            self.add_classes,
            self.choice,
            self.measure,
        ):
            layout.addWidget(widget)
        self.hide()

    def forget(self) -> None:
        """Show nothing of an earlier model."""
        self.model = None
        self.hide()

    def show_model(
        self,
        model: TrainedClassifier,
        found: PatchSet,
        judged: Judgement | None,
        problem: str = "",
    ) -> str:
        """Show a model and how good it is; return that in a sentence."""
        self.model = model
        name = self._workspace.model_name(model.record.model_id)
        old = "" if judged is None else self._workspace.model_name(judged.old_id)
        text = problem or "No picture was held out, so nobody can say how good it is."
        if judged is not None:
            text = judged.line(old)
        start = f"Started from {model.record.start}." if model.record.start else ""
        said = " ".join([text, str(model.record.trained_on.get("stopped", "")), start])
        self._line.setText(f"<b>{escape(name)}</b><br>{escape(' '.join(said.split()))}")
        figures = None if judged is None else judged.new
        self._show(self._table, _table(figures))
        self._show(self._confused, "" if figures is None else _confused(figures))
        self._show(self._left_out, _left_out(model, found))
        project = self.session.project
        names = {c.name for c in project.active_classes} if project else set()
        new = [c for c in model.record.class_names if c not in names]
        self._show(
            self._unknown,
            f"The project has no class {', '.join(new)}: cells of it stay as they are."
            if new
            else "",
        )
        self.add_classes.setVisible(bool(new))
        in_use = None if project is None else classifying.choose_classifier(project)
        self.choice.setVisible(in_use != model.record.model_id)
        self.show()
        return text

    @staticmethod
    def _show(line: Any, text: str) -> None:
        line.setText(text)
        line.setVisible(bool(text))

    # -- choosing -------------------------------------------------------------------------

    def _use(self) -> None:
        if self.session.project is not None and self.model is not None:
            classifying.use_classifier(self.session.project, self.model.record.model_id)
            self.session.models_changed.emit()
            self._line.setText(f"{self._line.text()}<br>It is in use in Detect and Learn.")
        self.choice.hide()

    def _keep(self) -> None:
        self._line.setText(f"{self._line.text()}<br>The old model stays in use.")
        self.choice.hide()

    def _add(self) -> None:
        project = self.session.project
        if project is None or self.model is None:
            return
        try:
            project.add_classes(self.model.record.class_names)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self._unknown.hide()
        self.add_classes.hide()

    def _measure(self) -> None:
        if self.model is not None:
            dock: Any = self._workspace.dock("Evaluate")
            dock.choose_model(self.model.record.model_id)
            self._workspace.raise_dock("Evaluate")


def _table(figures: dict[str, Any] | None) -> str:
    """Return a line a class: measured on, precision, recall, F1 (rich text)."""
    if figures is None:
        return ""
    names = list(figures["per_class"])
    heads = ["", "cells", "precision", "recall", "F1"]
    rows = ["".join(f"<th align='left'>{head}&nbsp;&nbsp;</th>" for head in heads)]
    for name in names[:MOST_CLASSES]:
        r = figures["per_class"][name]
        keys = ("precision", "recall", "f1")
        shares = [f"{r[key]:.2f}" if r["support"] else "–" for key in keys]
        cells = [escape(name), f"{r['support']:,}", *shares]
        rows.append("".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in cells))
    more = len(names) - MOST_CLASSES
    rest = f"and {more} more classes" if more > 0 else ""
    return f"<table>{''.join(f'<tr>{text}</tr>' for text in rows)}</table>{rest}"


def _confused(figures: dict[str, Any]) -> str:
    """Return the pairs of classes that are mixed up most, a line each."""
    support = {name: r["support"] for name, r in figures["per_class"].items()}
    return "\n".join(
        f"{pair['cells']:,} of {support[pair['true']]:,} {pair['true']} said to be "
        f"{pair['predicted']}"
        for pair in figures["confused"][:MOST_CONFUSED]
    )


def _left_out(model: TrainedClassifier, found: PatchSet) -> str:
    """Return which pictures could not be used, and why."""
    said = [f.sentence for f in model.failures]
    more = f" And {len(said) - MOST_FAILURES:,} more." if len(said) > MOST_FAILURES else ""
    lines = [*found.notes]
    if said:
        n = f"{len(said):,} picture{'s' * (len(said) != 1)} left out"
        lines.append(f"{n}: {' '.join(said[:MOST_FAILURES])}{more}")
    return "\n".join(lines)
