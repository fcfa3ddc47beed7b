"""A scan from its first image to its last: tasks handed out, results written, progress told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.workflows.worker import Failed, Finished, WorkerProcess

from .streams import Streams, deaf_children, look_at_computer, usable_cores
from .writing import ScanWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_cellal.core.reconcile import RunSummary
    from napari_cellal.io.store import Project

    from .plan import ScanPlan
    from .tasks import Done, ScanSpec, Task

_WAIT_S = 0.2


class Crew(Protocol):
    """Whoever does the tasks of a scan: `streams.Streams` or `cluster.Cluster`."""

    @property
    def size(self) -> int:
        """How many tasks are computed at once."""

    @property
    def words(self) -> str:
        """What does the work, for a person."""

    def put(self, tasks: Iterable[Task], *, soon: bool = False) -> None:
        """Add tasks; ``soon`` puts them before those that wait."""

    def take(self, timeout_s: float) -> list[Done]:
        """Return what is done by now, waiting for a first one as long as is given."""

    def close(self) -> None:
        """Give up what is not done."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan brought.

    Attributes
    ----------
    images : int
        Of this run's choice, those done before too.
    done : int
        Images done in this run.
    cells : int
        Found in this run.
    failed : {image_id: sentence}
    seconds : float
        From the first task to the last, the models' loading included.
    busy : float
        Share of the time since the first result in which those who compute did so, 0..1.
    crew : str
        What did the work.
    ended : bool
        Whether nothing of the scan is left to do.
    notes : tuple of str
        What the person should know of the computing, e.g. that memory was short.
    """

    images: int
    done: int
    cells: int
    summary: RunSummary
    failed: Mapping[str, str]
    seconds: float
    busy: float
    crew: str
    ended: bool
    notes: tuple[str, ...] = ()


class _Pace:
    """How quickly images come, in words; the models' loading does not count."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._since: tuple[float, int] | None = None

    def words(self, done: int) -> str:
        """Return rate and time left, as soon as there is something to tell them from."""
        now = time.perf_counter()
        if self._since is None:
            self._since = (now, done) if done else None
        if self._since is None or done == self._since[1]:
            return ""
        rate = (done - self._since[1]) / (now - self._since[0])
        return f", {rate:.3g} images a second, {_time_words((self._total - done) / rate)} left"


def _time_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def hire(
    spec: ScanSpec, device: str, *, workers: int = 0, scheduler: str = "", a_path: str = ""
) -> Job[Crew]:
    """Return those who do the tasks: processes of this computer, or a cluster's workers.

    Parameters
    ----------
    workers : int
        Processes of this computer; 0 chooses.
    scheduler : str
        The address of a dask scheduler.
    a_path : str
        An image, which the workers of a cluster must see.

    Raises
    ------
    CellalError
        If the device or the cluster cannot be used.
    """
    if scheduler:
        yield Progress(0, 0, "Asking the cluster")
        try:
            from .cluster import Cluster
        except ImportError as error:
            raise CellalError(
                "A scan on a cluster needs the package distributed: install "
                "napari-cellal[cluster], here and on the workers."
            ) from error
        return Cluster(spec, scheduler, device, a_path)
    if not spec.uses_torch:
        return Streams(spec, ("cpu",) * (workers or usable_cores()))
    first = WorkerProcess("napari-cellal scan 1")
    try:
        devices = yield from _asked(first, device)
    except BaseException:  # Ctrl+C too: no process may stay
        first.stop()
        raise
    if workers:
        kinds = dict.fromkeys(devices)
        devices = tuple(list(kinds)[k % len(kinds)] for k in range(workers))
    return Streams(spec, devices, first)


def _asked(worker: WorkerProcess, device: str) -> Job[tuple[str, ...]]:
    """Return what the computer has; asked in a process, for torch must not be loaded in ours."""
    with deaf_children():
        worker.start(look_at_computer, device)
    while True:
        yield Progress(0, 0, "Looking at the computer")
        for message in worker.poll(_WAIT_S):
            if isinstance(message, Finished):
                return tuple(message.value)
            if isinstance(message, Failed):
                raise CellalError(message.message)


def scan(project: Project, plan: ScanPlan, crew: Crew) -> Job[ScanReport]:
    """Do what a plan has to be done and return what came of it.

    Runs where the project is open. Closed at any moment, or killed, it goes on another time
    with what was done by then; see `writing.ScanWriter`.
    """
    writer = ScanWriter(project, plan)
    total = len(plan.waiting)
    pace = _Pace(total)
    begun = time.perf_counter()
    first: float | None = None
    busy_s = 0.0
    notes: dict[str, None] = {}
    try:
        crew.put(finish(writer.begin()))
        yield Progress(0, total, f"Starting {crew.words}")
        while writer.left:
            results = crew.take(_WAIT_S)
            if first is not None:
                busy_s += sum(result.busy_s for result in results)
            elif results:
                first = time.perf_counter()
            for result in results:
                notes |= dict.fromkeys(result.notes)
            crew.put(finish(writer.take(results)), soon=True)
            done = total - writer.left
            message = f"{writer.cells} cells{pace.words(done)}"
            if writer.failed:
                message += f", {len(writer.failed)} failed"
            yield Progress(done, total, message)
        seconds = time.perf_counter() - begun
        since_first = seconds if first is None else time.perf_counter() - first
        size, words = crew.size, crew.words
    finally:
        crew.close()
    return ScanReport(
        total + plan.done + len(plan.failed),
        writer.done,
        writer.cells,
        writer.summary,
        writer.failed,
        seconds,
        min(1.0, busy_s / max(since_first * size, 1e-6)),
        words,
        writer.end(),
        tuple(notes),
    )


def paused_words(project_name: str, left: int, total: int) -> str:
    """Return what a person reads who broke a scan off."""
    return (
        f"Paused: {total - left} of {total} images are done and kept. Go on with: napari-cellal "
        f"scan {project_name} --resume"
    )
