"""The project's images as a table that stays quick with thousands of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_cellal.core.records import Split, Status

if TYPE_CHECKING:
    from napari_cellal.ui.session import Session

_HEADS = ("Image", "Boxes", "To do", "State")
_TIPS = (
    "The image's file",
    "Boxes, rejected ones left out",
    "Proposals that nobody has looked at",
    "done = finished; val and test = held out, never trained on",
)
_OPEN = (Status.PROPOSED, Status.IMPORTED)


class ImageTable(QAbstractTableModel):
    """Name, boxes, open proposals and state of each image."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self.reload()

    def reload(self, *_: object) -> None:
        """Read everything anew."""
        project = self.session.project
        self.beginResetModel()
        self._ids = list(project.images) if project else []
        self._row_of = {key: i for i, key in enumerate(self._ids)}
        self.endResetModel()

    def refresh_states(self) -> None:
        """Draw the rows anew."""
        if self._ids:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._ids) - 1, 3))

    def row_of(self, image_id: str) -> int:
        """Return the row of an image, -1 where there is none."""
        return self._row_of.get(image_id, -1)

    def id_at(self, row: int) -> str:
        """Return the image of a row."""
        return self._ids[row]

    def rowCount(self, _parent: QModelIndex | None = None) -> int:
        """Return the number of images."""
        return len(self._ids)

    def columnCount(self, _parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(_HEADS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        """Return the columns' heads."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return _HEADS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return _TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what is drawn in a place."""
        project = self.session.project
        if project is None:
            return None
        record = project.images[self._ids[index.row()]]
        if role == Qt.ItemDataRole.ToolTipRole:
            if index.column() == len(_TIPS) - 1:
                return _TIPS[-1]
            return f"{record.path}\n{' x '.join(map(str, record.shape[1:]))} px, " + ", ".join(
                record.channels
            )
        if role == Qt.ItemDataRole.FontRole and record.image_id == self.session.image_id:
            bold = QFont()
            bold.setBold(True)
            return bold
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() in (1, 2):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        counts = project.cells.counts_of(record.image_id)
        waiting = sum(counts.get(s, 0) for s in _OPEN)
        if index.column() == 0:
            return record.name
        if index.column() == 1:
            return _brief(sum(counts.values()) - counts.get(Status.REJECTED, 0))
        if index.column() == 2:
            return _brief(waiting) if waiting else ""
        state = "done" if record.finished else ""
        held = "" if record.split is Split.TRAIN else record.split.value
        return " ".join(filter(None, (state, held)))


class ImageList(QTableView):
    """A table of images; a click shows one, Shift and Ctrl choose several."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.table = ImageTable(session)
        self.setModel(self.table)
        self.setToolTip(
            "Click an image to show it (D and A go forth and back). Shift and Ctrl choose several."
        )
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names often differ in their ends
        self.setWordWrap(False)  # else a second line is cut off where there is no room for it
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        head = self.horizontalHeader()
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 50), (2, 50), (3, 64)):
            head.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.setColumnWidth(column, width)
        self.setMinimumHeight(160)
        self.clicked.connect(self._on_click)

    def chosen(self) -> list[str]:
        """Return the images that are selected, in the list's order."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.table.id_at(row) for row in rows]

    def _on_click(self, index: QModelIndex) -> None:
        if self._is_chosen(index.row()):  # else Ctrl took it out of the choice
            self.session.show_image(self.table.id_at(index.row()))

    def _is_chosen(self, row: int) -> bool:
        return self.selectionModel().isRowSelected(row, QModelIndex())

    def show_current(self) -> None:
        """Select and scroll to the session's image; a choice that holds it stays."""
        row = self.table.row_of(self.session.image_id or "")
        if row >= 0:
            if not self._is_chosen(row):
                self.selectRow(row)
            self.scrollTo(self.table.index(row, 0))
        else:
            self.clearSelection()
        self.table.refresh_states()


def _brief(n: int) -> str:
    """Return a number that fits into a narrow column."""
    return str(n) if n < 10_000 else f"{n // 1000}k"
