"""How far a job is, and the ways out of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFrame,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
)

from .controls import button, clock, note, row

if TYPE_CHECKING:
    from napari_cellal.core.progress import Progress

    from .jobs import JobHandle

QUIET_S = 0.5
"""A job shorter than this shows no progress bar."""
MEASURED_S = 2.0
"""Before so long a rate says little."""


class JobBar(QFrame):
    """Progress of one job: done of all, rate, time left, and a way out.

    Parameters
    ----------
    cancel_tip : str
        What becomes of what is there by then.
    keep : (text, tooltip) or None
        A second way out, for jobs that can end early and keep what they have; it is offered
        from the first part of their result on.
    """

    def __init__(
        self,
        cancel_tip: str = "Stop. A detection run keeps what it has found by then",
        keep: tuple[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._bar = QProgressBar()
        self._bar.setTextVisible(True)
        self._bar.setToolTip("How far the job is")
        self._text = note()
        self.cancel = button("Cancel", cancel_tip, self._on_cancel)
        self.cancel.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.cancel.setFixedWidth(70)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self._bar, self.cancel))
        layout.addWidget(self._text)
        self.keep = None if keep is None else button(*keep, self._on_keep)
        if self.keep is not None:
            self.keep.hide()
            layout.addWidget(self.keep)
        self._offers_keep = False
        self._handle: JobHandle | None = None
        self._first: tuple[float, Progress] | None = None
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(int(QUIET_S * 1000))
        self._delay.timeout.connect(self._reveal)
        self.hide()

    @property
    def busy(self) -> bool:
        """True while a job is shown or about to be."""
        return self._handle is not None and not self._handle.done

    def follow(self, handle: JobHandle, *, can_keep: bool = False) -> None:
        """Show a job from now to its end; ``can_keep``: it may be asked for what it has."""
        if self._handle is not None:
            self._handle.progressed.disconnect(self._on_progress)
            self._handle.ended.disconnect(self._on_end)
        self._handle = handle
        self._first = None
        self._offers_keep = can_keep
        self._bar.setRange(0, 0)
        self._text.setText(handle.title)
        self.cancel.setEnabled(True)
        if self.keep is not None:
            self.keep.setEnabled(True)
            self.keep.hide()
        # Methods, not lambdas: Qt lets go of them when the bar goes with its window.
        handle.progressed.connect(self._on_progress)
        handle.ended.connect(self._on_end)
        self._delay.start()

    def _reveal(self) -> None:
        if self.busy:
            self.show()

    def _on_progress(self, step: Progress) -> None:
        handle = self._handle
        if handle is None:
            return
        if step.total:
            self._bar.setRange(0, step.total)
            self._bar.setValue(step.done)
            self._bar.setFormat(f"{step.done} of {step.total}")
        if self._offers_keep and self.keep is not None and step.item is not None:
            self.keep.show()
        if handle.is_cancelling or handle.is_ending:
            return  # it says that it stops
        text = step.message or handle.title
        self._text.setText(f"{text}{self._speed(step)}")

    def _speed(self, step: Progress) -> str:
        """Return rate and time left, from the first count on; empty while they say little."""
        now = time.monotonic()
        first = self._first
        if first is None or step.total != first[1].total or step.done < first[1].done:
            self._first = (now, step) if step.total else None
            return ""
        spent, n = now - first[0], step.done - first[1].done
        if not n or spent < MEASURED_S:
            return ""
        rate = f"{n / spent:.1f} a second" if n > spent else f"{spent / n:.1f} s each"
        left = spent / n * (step.total - step.done)
        return f" · {rate} · about {clock(left)} left"

    def _on_end(self) -> None:
        self._delay.stop()
        self._handle = None
        self.hide()

    def _on_cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._stopping("Stopping…")

    def _on_keep(self) -> None:
        if self._handle is not None:
            self._handle.end_early()
            self._stopping("Stopping after this step, and keeping the best…")

    def _stopping(self, text: str) -> None:
        self.cancel.setEnabled(self._handle is not None and not self._handle.is_cancelling)
        if self.keep is not None:
            self.keep.setEnabled(False)
        self._text.setText(text)
