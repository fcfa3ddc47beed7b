"""A child process that runs jobs, so that a crash or a full memory leaves the window alive.

The child is spawned, never forked: torch, CUDA and Qt do not survive a fork. It stays up
between jobs, so torch is imported once and models stay warm; ending it is what gives the
GPU's memory back.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
import traceback
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Abandoned, EndEarly, Progress

from .in_words import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.progress import Job


@dataclass(frozen=True, slots=True)
class Finished:
    """A job ended and returned a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A job was closed because the person asked for it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A job raised, or its process died.

    ``message`` is one sentence for the person, ``trace`` the stack trace for the log.
    ``foreseen`` means that the sentence says it all.
    """

    message: str
    trace: str = ""
    died: bool = False
    foreseen: bool = False


Outcome = Finished | Cancelled | Failed


class Wish(Enum):
    """What becomes of a running job: its end, with or without what it has, or to go on later."""

    CANCEL = "cancel"
    END_EARLY = "end early"
    ABANDON = "abandon"


@dataclass(frozen=True, slots=True)
class _Word:
    number: int
    wish: Wish


class _WindowGone(Exception):
    """There is no other end of the pipe any more."""


@dataclass(frozen=True, slots=True)
class _Task:
    number: int
    function: Callable[..., Job[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


def _serve(pipe: multiprocessing.connection.Connection, niceness: int = 0) -> None:
    """Run tasks from the pipe until it closes. The child's main function."""
    if niceness and hasattr(os, "nice"):  # Windows has none
        os.nice(niceness)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        if not isinstance(task, _Task):  # a cancel that came after its job had ended
            continue
        try:
            outcome = _run_one(pipe, task)
        except _WindowGone:
            return
        with contextlib.suppress(BrokenPipeError):
            try:
                pipe.send((task.number, outcome))
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                failed = Failed(f"The result could not be handed over ({error}).", repr(error))
                pipe.send((task.number, failed))


def _run_one(pipe: multiprocessing.connection.Connection, task: _Task) -> Outcome:
    return run_told(
        lambda: task.function(*task.args, **task.kwargs),
        lambda step: _tell(pipe, task.number, step),
    )


def run_told(start: Callable[[], Job[Any]], tell: Callable[[Progress], Wish | None]) -> Outcome:
    """Run a job to its end, whatever that is.

    Parameters
    ----------
    start : callable
        Returns the job.
    tell : callable
        Hears of each step and returns what is wanted of the job since.
    """
    try:
        job = start()
        try:
            step = next(job)
            while True:
                wish = tell(step)
                if wish is Wish.CANCEL:
                    return Cancelled()
                if wish is Wish.ABANDON:
                    job.throw(Abandoned())
                step = job.throw(EndEarly()) if wish is Wish.END_EARLY else next(job)
        except StopIteration as stop:
            return Finished(stop.value)
        except _WindowGone:
            with contextlib.suppress(Abandoned):
                job.throw(Abandoned())
            raise
        finally:
            job.close()
    except (EndEarly, Abandoned):  # there was nothing to keep yet; the window closes
        return Cancelled()
    except CellalError as error:
        return Failed(str(error), traceback.format_exc(), foreseen=True)
    except _WindowGone:
        raise
    except Exception as error:  # noqa: BLE001  the process boundary: told to the person, logged
        if words := in_words(error):
            return Failed(words, traceback.format_exc())
        return Failed(
            f"Something unexpected went wrong ({type(error).__name__}: {error}). "
            "Nothing was changed; the log has the details.",
            traceback.format_exc(),
        )


def _tell(pipe: multiprocessing.connection.Connection, number: int, step: Progress) -> Wish | None:
    """Send a step, and return what the window wants of the job since."""
    try:
        pipe.send((number, step))
        word = pipe.recv() if pipe.poll() else None
    except (ConnectionError, EOFError) as error:
        raise _WindowGone from error
    return word.wish if isinstance(word, _Word) and word.number == number else None


_STARTING = threading.Lock()  # `_plain_main` changes what all threads see


class WorkerProcess:
    """One spawned child that runs one job at a time.

    `start` begins a job, `poll` returns what has come since, `cancel` asks the job to stop,
    `end_early` to finish with what it has, `abandon` to leave it for later, `stop` ends the
    child. Not thread-safe: one thread drives it.

    Parameters
    ----------
    name : str
        Shown in the operating system's list of processes' names.
    niceness : int, 0..19
        How far the child stands back for the window where both want the processor.
    """

    def __init__(self, name: str, niceness: int = 0) -> None:
        self.name = name
        self._niceness = niceness
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: multiprocessing.connection.Connection | None = None
        self._numbers = count(1)
        self._running: int | None = None

    @property
    def busy(self) -> bool:
        """True while a job is under way."""
        return self._running is not None

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while it is down."""
        return self._process.pid if self._process is not None else None

    def launch(self) -> None:
        """Start the child if it is not up, so that the first job need not wait for it."""
        if self._process is not None and self._process.is_alive():
            return
        self.stop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._niceness), name=self.name, daemon=True
        )
        with _STARTING, _plain_main():
            process.start()
        theirs.close()
        self._process, self._pipe = process, ours

    def start(self, function: Callable[..., Job[Any]], *args: Any, **kwargs: Any) -> None:
        """Begin ``function(*args, **kwargs)``, a job, in the child.

        Raises
        ------
        RuntimeError
            If a job is under way.
        """
        if self.busy:
            raise RuntimeError(f"{self.name} is busy")
        self.launch()
        assert self._pipe is not None
        task = _Task(next(self._numbers), function, args, kwargs)
        self._running = task.number
        try:
            self._pipe.send(task)
        except (BrokenPipeError, OSError):
            # It died while idle (killed, out of memory): once more with a fresh one.
            self.stop()
            self.launch()
            self._running = task.number
            self._pipe.send(task)

    def cancel(self) -> None:
        """Ask the running job to stop; it does so at its next yield."""
        self._say(Wish.CANCEL)

    def end_early(self) -> None:
        """Ask the running job to finish at its next yield, with what it has by then."""
        self._say(Wish.END_EARLY)

    def abandon(self) -> None:
        """Have the running job stop at its next yield and leave what it can go on from later."""
        self._say(Wish.ABANDON)

    def _say(self, wish: Wish) -> None:
        if self._pipe is not None and self._running is not None:
            with contextlib.suppress(BrokenPipeError, OSError):
                self._pipe.send(_Word(self._running, wish))

    def poll(self, timeout_s: float = 0.0) -> list[Progress | Outcome]:
        """Return what the job has sent; an `Outcome` is the last thing that it sends."""
        if self._pipe is None or self._running is None:
            return []
        messages: list[Progress | Outcome] = []
        try:
            while self._running is not None and self._pipe.poll(0 if messages else timeout_s):
                number, message = self._pipe.recv()
                if number != self._running:
                    continue
                messages.append(message)
                if not isinstance(message, Progress):
                    self._running = None
        except (EOFError, OSError):
            code = self._process.exitcode if self._process is not None else None
            self.stop()
            messages.append(
                Failed(
                    "The background process ended unexpectedly, most often because memory ran "
                    "out. Your labels are safe; try again with a smaller model or fewer images.",
                    f"{self.name}: exit code {code}",
                    died=True,
                )
            )
        return messages

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the child; a job under way is lost. Gives the GPU's memory back."""
        self._running = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.join(timeout_s if self._process.is_alive() else 0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join(timeout_s)
            self._process = None


@contextlib.contextmanager
def _plain_main() -> Any:
    """Hide ``__main__``'s file while the child starts.

    Spawn imports the parent's main script again in the child. The window's main script may
    be anything (napari, a notebook, a user's own script), none of which the jobs need.
    """
    import sys

    main = sys.modules["__main__"]
    kept = {key: main.__dict__.pop(key) for key in ("__file__",) if key in main.__dict__}
    spec, main.__spec__ = main.__spec__, None
    try:
        yield
    finally:
        main.__spec__ = spec
        main.__dict__.update(kept)
