"""Long work as generators of progress, iterated alike by window, command line and tests."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    done, total : int
        Steps finished and steps in all; ``total`` is 0 while unknown.
    message : str
        What is being done now, in the person's words.
    item : object or None
        A finished part of the result (one image's detections, one point of a
        curve), so that a cancelled job keeps what it had.
    """

    done: int
    total: int
    message: str = ""
    item: object | None = None


class EndEarly(Exception):
    """Thrown into a job where it yields: come to an end now, with what there is.

    A job that can catches it and returns as if it had finished; from any other it comes
    back, and nothing is kept.
    """


class Abandoned(GeneratorExit):
    """Thrown into a job where it yields: nobody waits for it any more, though nobody cancelled it.

    The window was closed, or its process has gone. A job tidies up as when it is cancelled, but
    leaves what it can go on from later.
    """


Job: TypeAlias = Generator[Progress, None, T]
"""A generator of `Progress` that returns a T, yields at least every 0.5 s and cleans up
in ``finally`` when it is closed early."""


def run_job(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Return what the job returns, passing each progress value on."""
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            value: T = stop.value
            return value
        if on_progress is not None:
            on_progress(step)


def unhurried(job: Job[T]) -> Job[T]:
    """Do a job that no `EndEarly` cuts short: without its end, what came before would be lost."""
    try:
        while True:
            step = next(job)
            with suppress(EndEarly):
                yield step
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        job.close()
