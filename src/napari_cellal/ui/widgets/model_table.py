"""The project's models: which is in use, and the way back to an older one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cellal.core.records import local_time, now
from napari_cellal.ui.controls import button
from napari_cellal.workflows.promoting import list_models
from napari_cellal.workflows.training import use_detector

if TYPE_CHECKING:
    from napari_cellal.ui.workspace import Workspace

HEADS = ("Model", "Made", "Started from", "mAP50")
ROW_PX = 24


class ModelTable(QWidget):
    """Every detector of the project; a double click, or the button, takes one into use."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.table = QTableWidget(0, len(HEADS))
        self.table.setHorizontalHeaderLabels(HEADS)
        self.table.setToolTip("The model in use is bold. A double click takes another into use.")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.table.setShowGrid(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(ROW_PX)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 54), (2, 84), (3, 52)):
            head.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.table.setColumnWidth(column, width)
        self.table.itemDoubleClicked.connect(lambda _item: self._use())
        self.use = button(
            "Use the chosen model",
            "Detect uses it from now on, and trainings are compared with it. Boxes that are there "
            "stay.",
            self._use,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.use)

    def refresh(self) -> None:
        """Read the models anew, the newest first."""
        project = self.session.project
        kept = self.chosen()
        models = [] if project is None else [m for m in list_models(project) if _finds(m)]
        models = [*reversed(models[2:]), *models[:2]]  # two come with the package
        self.table.setRowCount(len(models))
        for at, model in enumerate(models):
            for column, text in enumerate(self._texts(model)):
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, model["model"])
                item.setToolTip(self._tip(model))
                font = item.font()
                font.setBold(model["in_use"])
                item.setFont(font)
                self.table.setItem(at, column, item)
            if model["model"] == kept:
                self.table.selectRow(at)
        self.table.setFixedHeight(ROW_PX * (min(len(models), 6) + 1) + 6)

    def _texts(self, model: dict[str, Any]) -> tuple[str, ...]:
        if "created_at" not in model:
            return (self._workspace.model_name(model["model"]), "", "", "")
        name = model["preset"].capitalize() or model["architecture"]
        start = str(model["start"]).split(" ")[0]
        if model["parent"]:
            start = self._workspace.model_name(model["parent"]).split(" ")[-1]
        score = model["metrics"].get("map50")
        return (
            f"{name} {model['model'][:6]}",
            _when(local_time(model["created_at"])),
            start,
            "–" if score is None else f"{score:.2f}",
        )

    def _tip(self, model: dict[str, Any]) -> str:
        if "created_at" not in model:
            return "Comes with the package"
        text = (
            f"{self._workspace.model_name(model['model'])}, made "
            f"{local_time(model['created_at'])}, started from {model['start']}"
        )
        measured = model["metrics"]
        if "map50" in measured:
            n = measured.get("images", "?")
            text += f"; mAP50 {measured['map50']:.2f} on {n} held-out images by then"
        return text

    def chosen(self) -> str | None:
        """Return the model of the selected row."""
        items = self.table.selectedItems()
        return items[0].data(Qt.ItemDataRole.UserRole) if items else None

    def _use(self) -> None:
        project, model_id = self.session.project, self.chosen()
        if project is None or model_id is None:
            self.session.tell("Choose a model in the list first.")
            return
        use_detector(project, model_id)
        self.session.models_changed.emit()
        self.session.tell(f"{self._workspace.model_name(model_id)} is in use in Detect.")


def _when(local: str) -> str:
    """Return the time of a model made today, the day of any other."""
    day, _, time = local.partition(" ")
    return time if day == local_time(now()).split(" ")[0] else day[5:]


def _finds(model: dict[str, Any]) -> bool:
    return bool(model["kind"] == "detector")
