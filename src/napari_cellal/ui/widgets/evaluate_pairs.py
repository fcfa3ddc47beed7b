"""What is most often wrong, as a list whose lines lead to the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cellal.evaluate.tables import mix_ups
from napari_cellal.ui.controls import heading

from .evaluate_tables import in_words

if TYPE_CHECKING:
    from napari_cellal.evaluate.matches import Confusion

MOST_PAIRS = 8


class Pairs(QWidget):
    """Hidden while nothing is wrong.

    Attributes
    ----------
    chosen : Signal(true, said)
        Class ids as in `Match`.
    """

    chosen = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setToolTip("Click one to see the cells")
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemClicked.connect(
            lambda item: self.chosen.emit(*item.data(Qt.ItemDataRole.UserRole))
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(heading("Most often wrong"))
        layout.addWidget(self.list)

    def show_table(self, table: Confusion, names: dict[int, str]) -> None:
        """Show the mix-ups of another matrix."""
        self.list.clear()
        for mix in mix_ups(table, MOST_PAIRS):
            item = QListWidgetItem(in_words(mix, names))
            item.setToolTip(item.text())
            item.setData(Qt.ItemDataRole.UserRole, (mix.true, mix.said))
            self.list.addItem(item)
        n = self.list.count()
        height = sum(self.list.sizeHintForRow(k) for k in range(n))
        self.list.setFixedHeight(height + 8)
        self.setVisible(n > 0)
