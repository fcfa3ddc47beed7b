"""A scan on one computer: processes that read ahead and compute, fed and emptied by threads.

Each process takes tasks by rounds, large ones at first and small ones towards the end, so that
all end together. One that dies gives its tasks back; a task that kills its process twice fails.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.detect.requests import ImageFailure
from napari_cellal.workflows.worker import Failed, Finished, WorkerProcess

from .tasks import Done

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .searching import Pixels, Scanner
    from .tasks import ScanSpec, Task

_AHEAD_BYTES = 400_000_000  # pixels that one process holds before they are needed
_AHEAD = 3  # tasks that are read ahead, where they are small
_ROUND = 32  # most tasks a process is given at once
_WAITING = 256  # results that wait for the writer
_LISTEN_S = 0.1  # a wish to stop waits so long at most
_PATIENCE_S = 0.3  # for a process told to end in the middle of an image: it keeps nothing
_LIVES = 2  # times that a task may end its process
_PROCESS_BYTES = 1_500_000_000  # what a process with a network takes, generously


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that this thread starts not hear Ctrl+C: it is for the project's owner."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it would open our ears again when it starts later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@lru_cache(maxsize=1)
def _scanner(spec: ScanSpec, device: str) -> Scanner:
    """Return the hands for a scan, kept warm between the rounds of a process."""
    from .searching import Scanner

    return Scanner(spec, device)


def work_through(
    spec: ScanSpec, tasks: Sequence[Task], device: str = "auto", readers: int = 2
) -> Job[None]:
    """Do tasks one after the other; the items are `Done`.

    Threads read the next ones meanwhile, as far as 400 MB go.
    """
    total = sum(len(task.images) for task in tasks)
    yield Progress(0, total, "Loading the model")
    scanner = _scanner(spec, device)
    ahead: deque[tuple[Task, list[Future[Pixels]]]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        try:
            left = iter(tasks)
            done = 0
            while True:
                while len(ahead) < _AHEAD and (
                    not ahead or sum(_size(t) for t, _ in ahead) < _AHEAD_BYTES
                ):
                    task = next(left, None)
                    if task is None:
                        break
                    images = range(len(task.images))
                    ahead.append((task, [pool.submit(scanner.read_image, task, k) for k in images]))
                if not ahead:
                    return
                task, pixels = ahead.popleft()
                result = scanner.do(task, [future.result() for future in pixels])
                done += len(task.images)
                yield Progress(done, total, "", result)
        finally:
            pool.shutdown(cancel_futures=True)


def _size(task: Task) -> int:
    """Return about how many bytes the pixels of a task take."""
    if task.part is not None:
        y0, x0, y1, x1 = task.part.window
        return 2 * (y1 - y0) * (x1 - x0) * len(task.images[0].channels)
    return 0 if task.kind != "lot" else 8_000_000 * len(task.images)


def look_at_computer(device: str) -> Job[tuple[str, ...]]:
    """Return the device of each process that this computer should run.

    One for each GPU, or for each core where there is none and memory for so many.
    """
    yield Progress(0, 0, "Looking at the computer")
    import torch

    from napari_cellal.networks.devices import choose_device

    kind = choose_device(device).type
    if kind == "cuda":
        return tuple(f"cuda:{k}" for k in range(torch.cuda.device_count()))
    return (kind,) if kind != "cpu" else ("cpu",) * usable_cores()


def work_beside(
    spec: ScanSpec,
    tasks: Sequence[Task],
    devices: Sequence[str],
    niceness: int = 0,
    answers: queue.SimpleQueue[Sequence[Task]] | None = None,
) -> Job[None]:
    """Do tasks in a process for each device; the items are `Done`, as those of `work_through`.

    The one that runs this only waits: a thread of a window will do.

    Parameters
    ----------
    niceness : int, 0..19
        How far the processes stand back for others.
    answers : queue or None
        Brings the tasks that follow from each result, maybe none, in any thread: the same
        processes do them, their models are loaded already. None: nothing follows.
    """
    done, left, unanswered = 0, sum(len(task.images) for task in tasks), 0
    crew = Streams(spec, devices, niceness=niceness)
    try:
        crew.put(tasks)
        while left or unanswered:
            for result in crew.take(_LISTEN_S) if left else ():
                done, left = done + len(result.items), left - len(result.items)
                unanswered += answers is not None
                yield Progress(done, done + left, "", result)
            while unanswered and answers is not None:
                try:
                    follow = answers.get(timeout=0 if left else _LISTEN_S)
                except queue.Empty:
                    break
                crew.put(follow, soon=True)
                left += sum(len(task.images) for task in follow)
                unanswered -= 1
            # no total before the first: loading the models is not the pace of what follows
            total = done + left
            yield Progress(done, total) if done else Progress(0, 0, f"Starting {crew.words}")
    finally:
        crew.close()


def usable_cores() -> int:
    """Return how many cores this process may use, or fewer where memory is short."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:  # what files take of the memory is given up for programs
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = int(text.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):  # another system: its cores must do
        return max(1, cores or 1)
    return max(1, min(cores or 1, free // _PROCESS_BYTES))


class Streams:
    """Processes of this computer that do the tasks of a scan.

    Parameters
    ----------
    devices : sequence of str
        One a process.
    first : WorkerProcess or None
        One that is up already.
    niceness : int, 0..19
        How far the others stand back for other programs.
    """

    def __init__(
        self,
        spec: ScanSpec,
        devices: Sequence[str],
        first: WorkerProcess | None = None,
        niceness: int = 0,
    ) -> None:
        self._spec = spec
        self.size = len(devices)
        self.words = f"{self.size} process{'es' * (self.size > 1)}"
        self._todo: deque[Task] = deque()
        self._deaths: dict[str, int] = {}
        self._lock = threading.Condition()
        self._results: queue.Queue[Done | Failed] = queue.Queue(_WAITING)
        self._stopped = False
        names = [f"napari-cellal scan {k + 1}" for k in range(self.size)]
        workers = [WorkerProcess(name, niceness) for name in names]
        workers[0] = first or workers[0]
        self._threads = [
            threading.Thread(target=self._drive, args=pair, daemon=True)
            for pair in zip(workers, devices, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, tasks: Iterable[Task], *, soon: bool = False) -> None:
        """Add tasks; ``soon`` puts them before those that wait."""
        with self._lock:
            if soon:
                self._todo.extendleft(reversed(list(tasks)))
            else:
                self._todo.extend(tasks)
            self._lock.notify_all()

    def take(self, timeout_s: float) -> list[Done]:
        """Return what is done by now, waiting for a first one as long as is given.

        Raises
        ------
        CellalError
            If no task can be done at all, e.g. since the model cannot be loaded.
        """
        found: list[Done] = []
        with contextlib.suppress(queue.Empty):
            while True:
                result = self._results.get(timeout=0 if found else timeout_s)
                if isinstance(result, Failed):
                    raise CellalError(result.message)
                found.append(result)
        if not found and not any(thread.is_alive() for thread in self._threads):
            raise CellalError(
                "The background processes ended unexpectedly. What is done is kept; go on with it "
                "by scan PROJECT --resume."
            )
        return found

    def close(self) -> None:
        """End the processes; what they are at is lost."""
        with self._lock:
            self._stopped = True
            self._todo.clear()
            self._lock.notify_all()
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):  # one may wait for room for its result
                    self._results.get_nowait()
                thread.join(0.05)

    # -- one thread for each process ------------------------------------------------------

    def _drive(self, worker: WorkerProcess, device: str) -> None:
        try:
            with deaf_children():
                while tasks := self._round():
                    self._run(worker, device, tasks)
        except OSError as error:
            self._results.put(Failed(f"A process could not be started ({error}).", foreseen=True))
        except Exception as error:  # noqa: BLE001  else its tasks would be waited for without end
            self._results.put(Failed(f"A process could not be driven ({error!r}).", repr(error)))
        finally:
            worker.stop(_PATIENCE_S)

    def _round(self) -> list[Task]:
        """Return the next tasks for one process; none when all is over."""
        with self._lock:
            while not self._todo and not self._stopped:
                self._lock.wait()
            n = min(_ROUND, max(1, len(self._todo) // (2 * self.size)))
            return [self._todo.popleft() for _ in range(min(n, len(self._todo)))]

    def _run(self, worker: WorkerProcess, device: str, tasks: list[Task]) -> None:
        worker.start(work_through, self._spec, tasks, device)
        left = deque(tasks)
        while not self._stopped:
            for message in worker.poll(0.2):
                if isinstance(message, Progress):
                    if isinstance(message.item, Done):
                        left.popleft()
                        self._results.put(message.item)
                elif isinstance(message, Finished):
                    return
                elif isinstance(message, Failed):
                    self._after_failure(message, left)
                    return

    def _after_failure(self, failed: Failed, left: deque[Task]) -> None:
        if failed.foreseen or not left:
            self._results.put(failed)
            return
        task = left.popleft()  # the one it was at
        deaths = self._deaths.get(task.key, 0) + 1
        if deaths < _LIVES:
            again = [task]
        elif len(task.images) > 1:  # by itself each will show whether it was the one
            again = [replace(task, images=(image,)) for image in task.images]
            deaths = _LIVES - 1
        else:
            again = []
            failures = tuple(ImageFailure(i.image_id, failed.message) for i in task.images)
            self._results.put(Done(task.key, failures))
        self._deaths |= {each.key: deaths for each in again}
        self.put([*again, *left], soon=True)
