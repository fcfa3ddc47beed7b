"""A training that was cut off, by a crash or because napari was closed: go on with it, or not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.networks import unfinished
from napari_cellal.ui.controls import button, note, row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_cellal.io.store import Project


class CutOff(QWidget):
    """Shown while there is one and nothing else is trained.

    Parameters
    ----------
    find : callable
        Gives the file of a project's training that was cut off last, None without one.

    Attributes
    ----------
    wanted : Signal(Path)
        Go on with this one.
    """

    wanted = Signal(object)

    def __init__(self, find: Callable[[Project], Path | None]) -> None:
        super().__init__()
        self._find = find
        self._file: Path | None = None
        self._say = note()
        self.go_on = button(
            "Go on with it",
            "Trains on from where it was, on the labels as they were when it began. Labels given "
            "since then are for the next training",
            self._go_on,
        )
        self.forget = button(
            "Forget it", "Removes what it had reached. Your labels and models stay", self._forget
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._say)
        layout.addWidget(row(self.go_on, self.forget))
        self.hide()

    def look(self, project: Project | None) -> bool:
        """Show what there is of a project, if anything; return whether there is."""
        self._file = None if project is None else self._find(project)
        if self._file is not None:
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(self._file.stat().st_mtime))
            self._say.setText(f"A training was cut off on {at}. Go on with it?")
        self.setVisible(self._file is not None)
        return self._file is not None

    def _go_on(self) -> None:
        if self._file is not None:
            self.wanted.emit(self._file)

    def _forget(self) -> None:
        if self._file is not None:
            unfinished.forget_file(self._file)
            self._file = None
        self.hide()
