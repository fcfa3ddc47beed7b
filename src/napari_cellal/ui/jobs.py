"""Background jobs of the window: child processes, each driven by a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellal.core.progress import Progress
from napari_cellal.workflows.worker import (
    Cancelled,
    Failed,
    Finished,
    Wish,
    WorkerProcess,
    run_told,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.progress import Job

log = logging.getLogger(__name__)

CANCEL_PATIENCE_S = 3.0
"""A job that has not stopped by itself by then is ended with its process, unless it says more."""

CLOSE_PATIENCE_S = 0.3
"""The same once the window closes: nobody waits for what it leaves."""

_LISTEN_S = 0.01
"""The next job waits so long at most until one that gives way hears of it."""

NICENESS = {"heavy": 5, "classical": 5}
"""Lanes whose process stands back for the window: torch takes every core that it gets. Not by
more, or other programs would leave it nothing."""


class JobHandle(QObject):
    """One job, waiting or running. Signals arrive in the main thread.

    What comes after its parent, and so the window, has gone is told to nobody.

    Attributes
    ----------
    title : str
        What the job does, in the person's words.
    items : list
        The parts of the result that have come so far; they outlive a cancel.
    gives_way : bool
        It is cancelled as soon as another job wants its lane.
    patience_s : float
        A job that has not stopped by itself so long after `cancel` is ended with its process.
    after_cancel : callable
        Tidies up what a cancelled job leaves that had to be ended with its process. Called in
        the lane's thread when a job under way has ended so or so, before that is told. Not when
        the window closes: a job may leave what it can go on from.
    most_ahead : int
        So many parts of the result are told at most before `taken` has been called for the
        first of them; the job waits meanwhile. 0: all are told as they come.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    _message = Signal(object)

    def __init__(
        self,
        title: str,
        call: Callable[..., Job[Any]],
        args: tuple[Any, ...],
        parent: QObject | None = None,
        gives_way: bool = False,
        after_cancel: Callable[[], None] = lambda: None,
        patience_s: float | None = None,
        most_ahead: int = 0,
    ) -> None:
        super().__init__(parent)
        self.title = title
        self.gives_way = gives_way
        self.patience_s = CANCEL_PATIENCE_S if patience_s is None else patience_s
        self.after_cancel = after_cancel
        self.call = call
        self.args = args
        self.items: list[Any] = []
        self.done = False
        self.started_at: float | None = None
        self.last: Progress | None = None
        self._cancel = threading.Event()
        self._end_early = threading.Event()
        self._room = threading.Semaphore(most_ahead) if most_ahead else None
        self._message.connect(self._deliver)

    def cancel(self) -> None:
        """Ask the job to stop. What it has finished by then is kept in ``items``."""
        self._cancel.set()
        if self.started_at is None:  # waiting behind another job
            self._deliver(Cancelled())

    def end_early(self) -> None:
        """Ask the job to finish with what it has; one that cannot is cancelled."""
        self._end_early.set()
        if self.started_at is None:
            self._deliver(Cancelled())

    def taken(self) -> None:
        """Say that a part of the result has been dealt with: another one may come."""
        if self._room is not None:
            self._room.release()

    def wait_for_room(self, message: object, is_closing: threading.Event) -> None:
        """Return when a message may be told, or the job ends; for the driving thread."""
        if self._room is None or not isinstance(message, Progress) or message.item is None:
            return
        while not self._room.acquire(timeout=_LISTEN_S):
            if is_closing.is_set() or self.is_cancelling or self.is_ending:
                return

    @property
    def is_ending(self) -> bool:
        """True once the person asked for what there is."""
        return self._end_early.is_set()

    @property
    def is_cancelling(self) -> bool:
        """True once the person asked for the end."""
        return self._cancel.is_set()

    def _deliver(self, message: object) -> None:
        """Hand a message from the driving thread to the main thread's listeners."""
        if self.done or not isalive(self):
            return
        if isinstance(message, Progress):
            self.last = message
            if message.item is not None:
                self.items.append(message.item)
            self.progressed.emit(message)
            return
        self.done = True
        if isinstance(message, Finished):
            self.finished.emit(message.value)
        elif isinstance(message, Cancelled):
            self.cancelled.emit()
        elif isinstance(message, Failed):
            if message.foreseen:  # no matter for the terminal: the window says it
                log.info("%s: %s\n%s", self.title, message.message, message.trace)
            else:
                log.error("%s: %s\n%s", self.title, message.message, message.trace)
            self.failed.emit(message)
        self.ended.emit()


class Lane:
    """A queue of jobs that one child process works off, in order."""

    def __init__(self, name: str) -> None:
        self._worker = WorkerProcess(f"napari-cellal {name}", NICENESS.get(name, 0))
        self._queue: queue.Queue[JobHandle | None] = queue.Queue()
        self._thread = threading.Thread(target=self._drive, name=name, daemon=True)
        self._closing = threading.Event()
        self._polite: list[JobHandle] = []
        self._thread.start()

    @property
    def worker_pid(self) -> int | None:
        """The child's process id, None while it is down."""
        return self._worker.pid

    def submit(self, handle: JobHandle) -> None:
        """Queue a job; those before it that give way are cancelled."""
        for other in self._polite:
            other.cancel()
        self._polite = [handle] if handle.gives_way else []
        self._queue.put(handle)

    def close(self) -> None:
        """Begin to end the child and the thread; a job under way is abandoned."""
        self._closing.set()
        self._queue.put(None)

    def wait(self) -> None:
        """Return once both have ended."""
        self._thread.join(timeout=8)

    def _drive(self) -> None:
        while (handle := self._queue.get()) is not None:
            if handle.done or handle.is_cancelling or self._closing.is_set():
                _send(handle, Cancelled())
                continue
            try:
                self._run(handle)
            except Exception as error:  # noqa: BLE001  else the lane would be dead for good
                self._worker.stop()
                _send(handle, Failed(f"{handle.title} could not start: {error}", repr(error)))
        self._worker.stop()

    def _run(self, handle: JobHandle) -> None:
        handle.started_at = time.monotonic()
        self._worker.start(handle.call, *handle.args)
        asked_at: float | None = None
        told = False
        while self._worker.busy:
            for message in self._worker.poll(_LISTEN_S):
                if handle.is_cancelling and not isinstance(message, Progress):
                    handle.after_cancel()
                handle.wait_for_room(message, self._closing)
                _send(handle, message)
            if handle.is_ending and not told:
                told = True
                self._worker.end_early()
            if not (handle.is_cancelling or self._closing.is_set()):
                continue
            patience_s = CLOSE_PATIENCE_S if self._closing.is_set() else handle.patience_s
            if asked_at is None:
                asked_at = time.monotonic()
                if handle.is_cancelling:
                    self._worker.cancel()
                else:
                    self._worker.abandon()
            elif time.monotonic() - asked_at > patience_s and self._worker.busy:
                self._worker.stop(timeout_s=0.1)
                if handle.is_cancelling:
                    handle.after_cancel()
                _send(handle, Cancelled())


class Foreman:
    """A thread of the window's process that drives one job: one that itself only waits."""

    def __init__(self, handle: JobHandle) -> None:
        self._handle = handle
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="cellal-foreman", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Begin to end the job."""
        self._closing.set()

    def wait(self) -> None:
        """Return once it has ended."""
        self._thread.join(timeout=8)

    def _drive(self) -> None:
        handle = self._handle
        handle.started_at = time.monotonic()
        outcome = run_told(lambda: handle.call(*handle.args), self._tell)
        _send(handle, outcome)

    def _tell(self, step: Progress) -> Wish | None:
        self._handle.wait_for_room(step, self._closing)
        _send(self._handle, step)
        if self._closing.is_set():
            return Wish.ABANDON
        return Wish.CANCEL if self._handle.is_cancelling else None


def _send(handle: JobHandle, message: object) -> None:
    try:
        handle._message.emit(message)
    except RuntimeError:  # the window closed and Qt deleted the handle
        log.debug("%s ended after its window", handle.title)


def _known(value: Any) -> Job[Any]:
    yield from ()
    return value


class Jobs(QObject):
    """The window's jobs, each lane with its child process.

    ``heavy`` is for torch, ``classical`` for that detector, ``quick`` for the rest.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lanes: dict[str, Lane] = {}
        self._foremen: list[Foreman] = []
        self._closed = False
        self.running: list[JobHandle] = []

    def run(
        self,
        title: str,
        call: Callable[..., Job[Any]],
        *args: Any,
        lane: str = "heavy",
        gives_way: bool = False,
        after_cancel: Callable[[], None] = lambda: None,
        patience_s: float | None = None,
        most_ahead: int = 0,
    ) -> JobHandle:
        """Queue ``call(*args)`` in a child process and return its handle.

        After `close` nothing is begun, and nothing heard of it.
        """
        handle = JobHandle(title, call, args, self, gives_way, after_cancel, patience_s, most_ahead)
        if self._closed:
            return handle
        self._keep(handle)
        if lane not in self._lanes:
            self._lanes[lane] = Lane(lane)
        self._lanes[lane].submit(handle)
        return handle

    def run_here(
        self, title: str, call: Callable[..., Job[Any]], *args: Any, most_ahead: int = 0
    ) -> JobHandle:
        """Begin ``call(*args)`` in a thread of this process: a job that waits for processes."""
        handle = JobHandle(title, call, args, self, most_ahead=most_ahead)
        if self._closed:
            return handle
        self._keep(handle)
        foreman = Foreman(handle)
        self._foremen.append(foreman)
        handle.ended.connect(lambda: self._foremen.remove(foreman))
        return handle

    def known(self, title: str, value: object) -> JobHandle:
        """Return the handle of a job whose value is there already; it is told in a later turn."""
        handle = JobHandle(title, _known, (value,), self)
        self._keep(handle)
        QTimer.singleShot(0, lambda: handle._deliver(Finished(value)))
        return handle

    def _keep(self, handle: JobHandle) -> None:
        self.running.append(handle)
        handle.ended.connect(lambda: self._let_go(handle))

    def _let_go(self, handle: JobHandle) -> None:
        self.running.remove(handle)
        handle.setParent(None)

    def worker_pid(self, lane: str) -> int | None:
        """Return the process id of a lane's child, None while it is down."""
        return self._lanes[lane].worker_pid if lane in self._lanes else None

    def close(self) -> None:
        """End every job and child process. What is being written may still lead to another one."""
        self._closed = True
        workers = [*self._lanes.values(), *self._foremen]
        for worker in workers:  # all at once: each may take its time
            worker.close()
        for worker in workers:
            worker.wait()
        self._lanes.clear()
