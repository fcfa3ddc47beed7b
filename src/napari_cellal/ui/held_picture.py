"""The picture after an answer in Learn: drawn once, with the next question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from .learn_loop import LearnLoop

HOLD_MS = 150
"""The longest that the picture waits for the next question before it shows the answer."""


class HeldPicture(QObject):
    """Draws nothing between answer and question: one change to see, and sooner."""

    def __init__(self, canvas: QWidget, learn: LearnLoop, parent: QObject) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._learn = learn
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(HOLD_MS)
        self._timer.timeout.connect(self._release)
        learn.answered.connect(self._hold)
        learn.question_changed.connect(self._release)

    def disconnect_all(self) -> None:
        """Stop listening."""
        self._learn.answered.disconnect(self._hold)
        self._learn.question_changed.disconnect(self._release)

    def _hold(self) -> None:
        self._canvas.setUpdatesEnabled(False)
        self._timer.start()

    def _release(self, *_: object) -> None:
        if not self._canvas.updatesEnabled():
            self._timer.stop()
            self._canvas.setUpdatesEnabled(True)
