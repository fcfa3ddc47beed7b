"""The new model beside the one in use, class by class and image by image, and the choice."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cellal.ui.controls import button, heading, note, row
from napari_cellal.workflows.detecting import CLASSICAL, choose_model
from napari_cellal.workflows.training import use_detector

if TYPE_CHECKING:
    from napari_cellal.detect.requests import TrainedModel
    from napari_cellal.evaluate.changes import ImageChange
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.promoting import Verdict

MOST_IMAGES = 12
MOST_PX = 140


class VerdictPanel(QWidget):
    """Shown from the end of a comparison until the person has chosen."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.model: TrainedModel | None = None
        self._said = ""
        self._line = note()
        self._table = note()
        self._table.setTextFormat(Qt.TextFormat.RichText)
        self._table.setToolTip(
            "Average precision at an overlap of 0.5, 0 to 1, on the same held-out images; in "
            "brackets the 95 % interval over images"
        )
        self._head = heading("Images that changed most")
        self.images = QListWidget()
        self.images.setToolTip(
            "Click one to see it. F1 of the old and of the new model on its confirmed cells, and "
            "what the new one proposes otherwise"
        )
        self.images.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.images.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.images.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.images.itemClicked.connect(self._open)
        self.use = button("Use it", "Make it the model of Detect", self._use)
        self.keep = button(
            "Keep the old one", "The new one stays in the list of models", self._keep
        )
        self.choice = row(self.use, self.keep)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self._line, self._table, self.choice, self._head, self.images):
            layout.addWidget(widget)
        self.hide()

    def forget(self) -> None:
        """Show nothing of an earlier model."""
        self.model = None
        self.hide()

    def show_verdict(self, model: TrainedModel, verdict: Verdict | None, problem: str) -> str:
        """Show a comparison; return it in a sentence."""
        self.model = model
        name = "" if verdict is None else self._workspace.model_name(verdict.old_id)
        text = problem or "It was not compared."
        if verdict is not None:
            text = verdict.line(name)
        self._said = text
        self._line.setText(text)
        table = "" if verdict is None else _table(verdict, name)
        self._table.setText(table)
        self._table.setVisible(bool(table))
        self._fill(() if verdict is None else verdict.changes)
        self.choice.show()
        self.show()
        return text

    def _fill(self, changes: tuple[ImageChange, ...]) -> None:
        project = self.session.project
        self.images.clear()
        for change in changes[:MOST_IMAGES]:
            if project is None or change.image_id not in project.images:
                continue
            mark = "▲" if change.gain > 0 else "▼" if change.gain < 0 else "="
            item = QListWidgetItem(
                f"{mark} {project.images[change.image_id].name}\n"
                f"     {change.f1_old:.2f} → {change.f1_new:.2f} ({in_words(change)})"
            )
            item.setToolTip(item.text())
            item.setData(Qt.ItemDataRole.UserRole, change.image_id)
            self.images.addItem(item)
        n = self.images.count()
        rows = sum(self.images.sizeHintForRow(k) for k in range(n))
        self.images.setFixedHeight(min(rows, MOST_PX) + 8)
        self.images.setVisible(n > 0)
        self._head.setVisible(n > 0)

    def _open(self, item: QListWidgetItem) -> None:
        image_id = item.data(Qt.ItemDataRole.UserRole)
        if self.session.project is not None and image_id in self.session.project.images:
            self.session.show_image(image_id)

    def _use(self) -> None:
        self.choice.hide()
        if self.session.project is not None and self.model is not None:
            use_detector(self.session.project, self.model.record.model_id)
            self.session.models_changed.emit()

    def _keep(self) -> None:
        self.choice.hide()
        self.show_in_use()

    def show_in_use(self) -> None:
        """Say which model is in use, once the person has chosen; another may be by now."""
        project = self.session.project
        if project is None or self.model is None or not self.choice.isHidden():
            return
        used = choose_model(project)
        is_new = used == self.model.record.model_id
        name = "The new model" if is_new else self._workspace.model_name(used)
        self._line.setText(f"{self._said} {name} is in use in Detect.")


def in_words(change: ImageChange) -> str:
    """Return what differs, e.g. ``3 new, 1 lost``."""
    parts = (
        (change.new, "new"),
        (change.lost, "lost"),
        (change.moved, "moved"),
        (change.reclassed, "of another class"),
    )
    return ", ".join(f"{n} {word}" for n, word in parts if n)


def _table(verdict: Verdict, old_name: str) -> str:
    """Return the figures as an HTML table; empty where nothing was measured."""
    new, old = verdict.new, verdict.old
    if new is None:
        return ""
    plain = verdict.old_id == CLASSICAL  # gives no classes
    heads = ["", escape(old_name), "new"] if old is not None else ["", "new"]
    sides = [old, new] if old is not None else [new]
    lines = []
    if plain:
        lines.append(["cells", *(_number(f["any_class"]["ap50"]) for f in sides)])
    lines.append(
        [
            "<b>mean</b>",
            *("–" if plain and f is old else _with_interval(f) for f in sides),
        ]
    )
    for name in new["per_class"]:
        if new["per_class"][name]["support"]:
            cells = [
                "–" if plain and f is old else _number(f["per_class"].get(name, {}).get("ap50"))
                for f in sides
            ]
            lines.append([escape(name), *cells])
    rows = [heads, *lines]
    body = "".join(
        "<tr>" + "".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in line) + "</tr>" for line in rows
    )
    return f"<table>{body}</table>"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}"


def _with_interval(figures: dict[str, Any]) -> str:
    text = f"<b>{_number(figures['map50'])}</b>"
    if figures["interval"] and figures["images"] > 1:
        low, high = figures["interval"]
        text += f"&nbsp;({low:.2f}–{high:.2f})"
    return text
