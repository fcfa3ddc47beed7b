"""A scan on a dask.distributed cluster: the same tasks, done by its workers.

A task depends on nothing but itself, so dask may do it again where a worker is lost. Models
travel once to each worker, also to those that join later; images must lie where all workers
see them under the same path. Only the process that owns the project writes. To be imported only
where dask.distributed is there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client, WorkerPlugin, get_worker, wait

from napari_cellal.core.errors import CellalError
from napari_cellal.detect.registry import CLASSICAL
from napari_cellal.detect.requests import ImageFailure

from .tasks import Done

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .searching import Scanner
    from .tasks import ScanSpec, Task

_EACH = 3  # tasks that a worker's thread has in hand or waiting
_RETRIES = 2
_ANSWER_S = 20.0


class Hands(WorkerPlugin):  # type: ignore[misc]
    """What every worker is given once: a dask worker plugin with the models' files."""

    def __init__(self, spec: ScanSpec, device: str) -> None:
        self.name = f"napari-cellal-{uuid.uuid4().hex}"
        self._spec = spec
        self._device = device
        self._files = {
            folder: {f.name: f.read_bytes() for f in Path(folder).iterdir() if f.is_file()}
            for folder in (spec.run.model, spec.classifier)
            if folder and folder != CLASSICAL
        }

    def setup(self, worker: Any) -> None:
        """Write the models beside the worker; they are loaded with the first task."""
        self._folder = Path(worker.local_directory) / self.name
        self._lock = threading.Lock()
        self._scanner: Scanner | None = None
        places = {}
        for number, (folder, files) in enumerate(self._files.items()):
            there = self._folder / str(number)
            there.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (there / name).write_bytes(content)
            places[folder] = str(there)
        run = replace(self._spec.run, model=places.get(self._spec.run.model, self._spec.run.model))
        classifier = places.get(self._spec.classifier, self._spec.classifier)
        self._here = replace(self._spec, run=run, classifier=classifier)

    def teardown(self, worker: Any) -> None:
        """Do nothing: dask empties the worker's folder."""

    def do(self, task: Task) -> Done:
        """Return what comes of a task; one thread computes while others read."""
        with self._lock:
            if self._scanner is None:
                from .searching import Scanner

                self._scanner = Scanner(self._here, self._device)
        pixels = self._scanner.read(task)
        with self._lock:
            return self._scanner.do(task, pixels)


def do_on_worker(name: str, task: Task) -> Done:
    """Do a task with the hands that this worker was given."""
    hands: Hands = get_worker().plugins[name]
    return hands.do(task)


class Cluster:
    """The workers of a dask scheduler, as hands of a scan.

    Parameters
    ----------
    address : str
        The scheduler's, e.g. ``tcp://10.0.0.1:8786``.
    a_path : str
        An image of the scan, to see whether the workers see it too.

    Raises
    ------
    CellalError
        If the scheduler does not answer, or its workers cannot do the work.
    """

    def __init__(self, spec: ScanSpec, address: str, device: str, a_path: str) -> None:
        try:
            self._client = Client(address, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise CellalError(
                f"No dask scheduler answers at {address} ({error}). Start one there, or leave "
                "--scheduler out to scan on this computer."
            ) from error
        self._todo: deque[Task] = deque()
        self._running: dict[Any, Task] = {}
        try:
            self._check(a_path)
            self._hands = Hands(spec, device)
            self._client.register_plugin(self._hands)
        except BaseException:  # Ctrl+C too: the connection must not stay
            self._client.close()
            raise

    def _check(self, a_path: str) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_ANSWER_S)
        except TimeoutError as error:
            raise CellalError("The dask scheduler has no workers. Start some first.") from error
        try:
            seen = self._client.run(_sees, a_path)
        except Exception as error:  # whatever a worker's Python raises, told in words
            raise CellalError(
                f"The workers cannot run napari-cellal ({error}). Install the same version "
                "there as here."
            ) from error
        blind = [worker for worker, sees in seen.items() if not sees]
        if blind:
            raise CellalError(
                f"{len(blind)} of {len(seen)} workers do not see {a_path}. Put the images where "
                "all workers find them under the same path, and add them from there."
            )

    @property
    def size(self) -> int:
        """How many tasks are computed at once, as far as is known now."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def words(self) -> str:
        """What does the work, for a person."""
        return f"{self.size} dask worker{'s' * (self.size > 1)}"

    def put(self, tasks: Iterable[Task], *, soon: bool = False) -> None:
        """Add tasks; ``soon`` puts them before those that wait."""
        if soon:
            self._todo.extendleft(reversed(list(tasks)))
        else:
            self._todo.extend(tasks)
        self._hand_out()

    def _hand_out(self) -> None:
        threads = sum(self._client.nthreads().values())
        while self._todo and len(self._running) < _EACH * max(1, threads):
            task = self._todo.popleft()
            future = self._client.submit(
                do_on_worker,
                self._hands.name,
                task,
                key=f"{self._hands.name}-{task.key}",
                pure=False,
                retries=_RETRIES,
            )
            self._running[future] = task

    def take(self, timeout_s: float) -> list[Done]:
        """Return what is done by now, waiting for a first one as long as is given."""
        if not self._running:
            return []
        with self._client.as_current(), contextlib.suppress(TimeoutError):
            wait(list(self._running), timeout=timeout_s, return_when="FIRST_COMPLETED")
        found = []
        for future in [f for f in self._running if f.done()]:
            task = self._running.pop(future)
            try:
                found.append(future.result())
            except CellalError:  # a model that cannot be loaded, say
                raise
            except Exception as error:  # noqa: BLE001  the process boundary: told to the person
                why = f"It could not be searched ({type(error).__name__}: {error})."
                failures = tuple(ImageFailure(i.image_id, why) for i in task.images)
                found.append(Done(task.key, failures))
        self._hand_out()
        return found

    def close(self) -> None:
        """Let go of the cluster; what its workers are at is lost."""
        self._client.cancel(list(self._running))
        with contextlib.suppress(OSError, TimeoutError):
            self._client.unregister_worker_plugin(self._hands.name)
        self._client.close()


def _sees(path: str) -> bool:
    import napari_cellal.workflows.scanning.searching  # noqa: F401  must be there, too

    return os.path.exists(path)
