"""How a command runs: progress and messages to stderr, a seed from the project."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from napari_cellal.core.progress import EndEarly, Job, Progress, run_job

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from napari_cellal.io.store import Project
    from napari_cellal.networks.points import FoundRate

T = TypeVar("T")
Result = dict[str, Any]


class Teller:
    """Writes progress to stderr, twice a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, step: Progress) -> None:
        """Write a line unless one was written just now."""
        now = time.monotonic()
        if now - self._last < 0.5:
            return
        self._last = now
        share = f"{step.done}/{step.total} " if step.total else ""
        sys.stderr.write(f"{share}{step.message}\n")
        sys.stderr.flush()


def run(job: Job[T]) -> T:
    """Run a job to its end, telling of its progress."""
    return run_job(job, Teller())


def run_to_best(job: Job[T]) -> T:
    """Run a training to its end; Ctrl+C ends it after its step, with what did best by then.

    Raises
    ------
    KeyboardInterrupt
        At a second Ctrl+C, wherever the job is; and at the first one where the job has
        nothing to keep yet.
    """
    tell = Teller()
    with _first_ctrl_c() as asked:
        try:
            step = next(job)
            while not asked:
                tell(step)
                step = next(job)
            step = job.throw(EndEarly())
            while True:
                tell(step)
                step = next(job)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except EndEarly:
            raise KeyboardInterrupt from None
        finally:
            job.close()


def rates(found: FoundRate) -> Result:
    """Return what a search for a learning rate came to."""
    return {
        "rates": [float(f"{p.rate:.3e}") for p in found.points],
        "losses": [round(p.loss, 4) for p in found.points],
        "suggested": found.suggested,
    }


@contextmanager
def _first_ctrl_c() -> Iterator[list[bool]]:
    """Give a list that is filled at the first Ctrl+C; the second one is as ever."""
    asked: list[bool] = []

    def hear(number: int, _frame: object) -> None:
        asked.append(True)
        signal.signal(number, signal.default_int_handler)
        # Not through sys.stderr, which may be in the middle of a line.
        os.write(2, _ENDING.encode())

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


_ENDING = (
    "Stopping after this step; what did best by then is kept. Ctrl+C again stops at once and "
    "keeps nothing of this training.\n"
)


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")


def none_of(images: int, done: str, why: str) -> str:
    """Return what is said where a command could do nothing; ``why`` is true of the first."""
    if images == 1:
        return why
    return f"None of the {images} images could be {done}. {why}"


def seed(a: argparse.Namespace, project: Project) -> int:
    """Return the seed that was given, else the project's."""
    return project.settings.seed if a.seed is None else int(a.seed)
