"""What a training learns from, in numbers, and what should be mended first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui.controls import heading, note

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class LearnsFrom(QWidget):
    """A table of counts over the warnings about them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = note()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self._warnings = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (heading("It learns from"), self.table, self._warnings):
            layout.addWidget(widget)

    def show_counts(self, lines: Iterable[Sequence[str]], warnings: Iterable[str]) -> None:
        """Show other counts.

        Parameters
        ----------
        lines : iterable of sequences of str
            Rich text: a name and its numbers, under a first line that names the columns.
        warnings : iterable of str
            Sentences.
        """
        rows = "".join(
            "<tr>"
            + f"<td>{first}&nbsp;&nbsp;</td>"
            + "".join(f"<td align='right'>{text}&nbsp;&nbsp;</td>" for text in rest)
            + "</tr>"
            for first, *rest in lines
        )
        self.table.setText(f"<table>{rows}</table>")
        said = "\n".join(f"• {text}" for text in warnings)
        self._warnings.setText(said)
        self._warnings.setVisible(bool(said))

    def show_nothing(self, why: str) -> None:
        """Say why there is nothing to count yet."""
        self.table.setText(why)
        self._warnings.hide()
