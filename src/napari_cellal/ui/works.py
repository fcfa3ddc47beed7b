"""Long edits of the window's thread, written in portions between which it hears mouse and keys."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from napari_cellal.core.errors import CellalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.history import Steps

Result = TypeVar("Result")
TURN_S = 0.015
"""How long a long edit is written in one turn of the window's loop; drawing takes as long again."""


@dataclass(frozen=True, slots=True)
class _Work:
    steps: Steps[Any]
    then: Callable[[Any], object]
    alone: bool


class Works:
    """Works off the steps of long edits, one edit after the other.

    Parameters
    ----------
    later : callable or None
        Runs a function in a later turn of the window's loop; without, all is done at once.
    tell_error : callable
        Hears the sentence of an edit that could not be written.
    """

    def __init__(
        self,
        later: Callable[[Callable[[], None]], object] | None,
        tell_error: Callable[[str], object],
    ) -> None:
        self._later = later
        self._tell_error = tell_error
        self._queue: deque[_Work] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_alone(self) -> bool:
        """Whether what the person does now has to wait for the end of one of them."""
        return any(work.alone for work in self._queue)

    def add(
        self, steps: Steps[Result], then: Callable[[Result], object], *, alone: bool = False
    ) -> None:
        """Run the steps of a long edit in portions; ``then`` hears their result.

        One that cannot be written is told; ``then`` hears nothing of it. ``alone``: what
        the person does meanwhile waits for the end.
        """
        self._queue.append(_Work(steps, then, alone))
        if self._later is None:
            self.finish()
        elif len(self._queue) == 1:
            self._go_on()

    def finish(self) -> None:
        """Work off at once what is still to be written: what comes next builds on it."""
        while self._queue:
            self._step()

    def _go_on(self) -> None:
        begun = last = time.monotonic()
        try:
            while self._queue:
                self._step()
                now = time.monotonic()
                if 2 * now - last > begun + TURN_S:  # another step as long would be too much
                    break
                last = now
        finally:
            if self._queue and self._later is not None:
                self._later(self._go_on)

    def _step(self) -> None:
        work = self._queue[0]
        try:
            next(work.steps)
        except StopIteration as end:
            self._queue.popleft()
            work.then(end.value)
        except CellalError as error:
            self._queue.popleft()
            self._tell_error(str(error))
        except BaseException:  # a fault of ours: not the next one's too
            self._queue.popleft()
            raise
