"""How a command runs: progress and messages to stderr, a seed from the project."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from napari_cellal.core.progress import Job, Progress, run_job

if TYPE_CHECKING:
    import argparse

    from napari_cellal.io.store import Project

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


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")


def seed(a: argparse.Namespace, project: Project) -> int:
    """Return the seed that was given, else the project's."""
    return project.settings.seed if a.seed is None else int(a.seed)
