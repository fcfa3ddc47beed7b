"""Questions whose answers take too long for the window, asked in a thread beside it."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_cellal.core.errors import CellalError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def _always() -> bool:
    return True


def _leave(_error: CellalError) -> None:
    """Say nothing of an error."""


def _note_fault(asked: Future[None]) -> None:
    """Log a fault of ours: nobody looks at what became of the question in the thread."""
    if not asked.cancelled() and (error := asked.exception()) is not None:
        log.error("A question could not be answered.", exc_info=error)


class Asker(QObject):
    """Has questions answered one after the other; who asked hears of it in the window's thread.

    Parameters
    ----------
    name : str
        Of the thread.
    parent : QObject
        Who asks; nothing is heard any more once it is gone.
    """

    _answered = Signal(object, object)

    def __init__(self, name: str, parent: QObject) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"cellal-{name}")
        self._answered.connect(self._on_answered)

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(
        self,
        question: Callable[[], Answer],
        then: Callable[[Answer], object],
        *,
        failed: Callable[[CellalError], object] = _leave,
        is_wanted: Callable[[], bool] = _always,
    ) -> None:
        """Have ``then`` hear the answer, or ``failed`` the error.

        Parameters
        ----------
        is_wanted : callable
            Whether an answer is still waited for; asked before the question, in the thread, and
            again before the answer is told.
        """

        def work() -> None:
            if not is_wanted():
                return
            tell: Callable[[], object]
            try:
                tell = partial(then, question())
            except CellalError as error:
                tell = partial(failed, error)
            try:
                self._answered.emit(is_wanted, tell)
            except RuntimeError:  # the window closed meanwhile
                return

        self._pool.submit(work).add_done_callback(_note_fault)

    def _on_answered(self, is_wanted: Callable[[], bool], tell: Callable[[], object]) -> None:
        if is_wanted():
            tell()
