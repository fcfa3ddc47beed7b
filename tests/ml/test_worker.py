"""The child process that runs jobs: results, cancelling, crashes, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import EndEarly, Progress
from napari_cellal.workflows.worker import (
    Cancelled,
    Failed,
    Finished,
    WorkerProcess,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_cellal.core.progress import Job

PATIENCE_S = 60  # only ends a test that hangs


# -- jobs; the child imports this module by name --------------------------------------------


def count_to(n: int, *, word: str = "step") -> Job[list[int]]:
    for k in range(n):
        yield Progress(k + 1, n, f"{word} {k}", item=k)
    return list(range(n))


def who() -> Job[int]:
    yield Progress(0, 1)
    return os.getpid()


def until_closed(mark: str) -> Job[None]:
    try:
        while True:
            yield Progress(0, 0, "Going on")
            time.sleep(0.02)
    finally:
        Path(mark).write_text("closed", encoding="utf-8")


def gather() -> Job[list[int]]:
    """A job that can be asked for what it has; it tidies up for two steps then."""
    seen: list[int] = []
    try:
        while True:
            seen.append(len(seen))
            yield Progress(len(seen), 0)
            time.sleep(0.02)
    except EndEarly:
        yield Progress(0, 2, "tidying")
        yield Progress(1, 2, "tidying")
    return seen


def fail(kind: str) -> Job[None]:
    yield Progress(0, 1)
    if kind == "cellal":
        raise ImageError("a.png is broken: save it again.")
    if kind == "memory":
        raise MemoryError
    raise ValueError(f"odd {kind}")


def fail_at_once() -> Job[None]:
    raise ImageError("nothing is there")


def exit_hard() -> Job[None]:
    yield Progress(0, 1)
    os._exit(7)


# -- tests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[WorkerProcess]:
    """One child for all tests that leave it alive."""
    worker = WorkerProcess("test worker")
    yield worker
    worker.stop()


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess("test worker")
    yield worker
    worker.stop()


def wait(worker: WorkerProcess) -> list[Any]:
    """Return all that the job sends, the outcome last."""
    messages: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    while worker.busy and time.monotonic() < deadline:
        messages += worker.poll(0.1)
    assert not worker.busy
    return messages


def wait_for_progress(worker: WorkerProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(isinstance(m, Progress) for m in worker.poll(0.1)):
            return
    raise AssertionError("the job never said anything")


def is_alive(pid: int) -> bool:
    return pid in [p.pid for p in multiprocessing.active_children()]


def test_a_job_tells_of_its_progress_and_returns(shared: WorkerProcess) -> None:
    shared.start(count_to, 3, word="cell")
    assert shared.busy
    *steps, last = wait(shared)
    assert [s.item for s in steps] == [0, 1, 2]
    assert [(s.done, s.total) for s in steps] == [(1, 3), (2, 3), (3, 3)]
    assert last == Finished([0, 1, 2])
    assert shared.poll() == []


def test_jobs_run_in_one_child_that_is_not_this_process(shared: WorkerProcess) -> None:
    pids = []
    for _ in range(2):
        shared.start(who)
        pids.append(wait(shared)[-1].value)
    assert pids[0] == pids[1] == shared.pid
    assert pids[0] != os.getpid()


def test_a_second_job_is_refused_while_one_runs(shared: WorkerProcess, tmp_path: Path) -> None:
    shared.start(until_closed, str(tmp_path / "mark"))
    with pytest.raises(RuntimeError):
        shared.start(who)
    shared.cancel()
    assert wait(shared)[-1] == Cancelled()


def test_cancelling_closes_the_job_and_its_finally_runs(
    shared: WorkerProcess, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    shared.start(until_closed, str(mark))
    wait_for_progress(shared)
    shared.cancel()
    assert wait(shared)[-1] == Cancelled()
    assert mark.read_text(encoding="utf-8") == "closed"
    shared.start(who)
    assert isinstance(wait(shared)[-1], Finished)


def test_a_cancel_that_comes_too_late_does_not_hit_the_next_job(shared: WorkerProcess) -> None:
    for _ in range(20):
        shared.start(count_to, 1)
        shared.cancel()
        assert isinstance(wait(shared)[-1], Finished | Cancelled)
        shared.start(count_to, 2)
        assert wait(shared)[-1] == Finished([0, 1])


def test_a_job_asked_for_what_it_has_finishes(shared: WorkerProcess) -> None:
    shared.start(gather)
    wait_for_progress(shared)
    shared.end_early()
    *steps, last = wait(shared)
    assert isinstance(last, Finished)
    assert last.value == list(range(len(last.value))) != []
    assert [s.message for s in steps[-2:]] == ["tidying", "tidying"]


def test_a_job_that_cannot_end_early_is_closed(shared: WorkerProcess, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    shared.start(until_closed, str(mark))
    wait_for_progress(shared)
    shared.end_early()
    assert wait(shared)[-1] == Cancelled()
    assert mark.read_text(encoding="utf-8") == "closed"
    shared.start(who)
    assert isinstance(wait(shared)[-1], Finished)


def test_a_cancel_holds_also_while_a_job_ends_early(shared: WorkerProcess) -> None:
    shared.start(gather)
    wait_for_progress(shared)
    shared.end_early()
    shared.cancel()
    assert wait(shared)[-1] == Cancelled()


def test_cancelling_nothing_does_nothing(shared: WorkerProcess) -> None:
    shared.cancel()
    shared.start(who)
    assert isinstance(wait(shared)[-1], Finished)


def test_our_errors_keep_their_sentence(shared: WorkerProcess) -> None:
    shared.start(fail, "cellal")
    outcome = wait(shared)[-1]
    assert isinstance(outcome, Failed)
    assert outcome.message == "a.png is broken: save it again."
    assert "ImageError" in outcome.trace
    assert outcome.foreseen
    assert not outcome.died


def test_an_error_before_the_first_step_is_told_too(shared: WorkerProcess) -> None:
    shared.start(fail_at_once)
    outcome = wait(shared)[-1]
    assert isinstance(outcome, Failed)
    assert outcome.message == "nothing is there"


@pytest.mark.parametrize("kind", ["memory", "value"])
def test_other_errors_become_a_sentence_with_a_trace_for_the_log(
    shared: WorkerProcess, kind: str
) -> None:
    shared.start(fail, kind)
    outcome = wait(shared)[-1]
    assert isinstance(outcome, Failed)
    assert "Traceback" in outcome.trace
    assert "Traceback" not in outcome.message
    assert "\n" not in outcome.message
    assert not outcome.foreseen
    assert not outcome.died
    shared.start(who)
    assert isinstance(wait(shared)[-1], Finished)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_child_is_told_and_the_next_job_works(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.start(until_closed, str(tmp_path / "mark"))
    wait_for_progress(worker)
    first = worker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    outcome = wait(worker)[-1]
    assert isinstance(outcome, Failed)
    assert outcome.died
    assert "\n" not in outcome.message
    assert worker.pid is None
    worker.start(who)
    last = wait(worker)[-1]
    assert isinstance(last, Finished)
    assert last.value not in (first, os.getpid())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_child_killed_while_idle_is_replaced(worker: WorkerProcess) -> None:
    worker.start(who)
    first = wait(worker)[-1].value
    os.kill(first, signal.SIGKILL)
    while is_alive(first):
        time.sleep(0.01)
    worker.start(who)
    last = wait(worker)[-1]
    assert isinstance(last, Finished)
    assert last.value != first


def test_a_child_that_ends_itself_is_told(worker: WorkerProcess) -> None:
    worker.start(exit_hard)
    outcome = wait(worker)[-1]
    assert isinstance(outcome, Failed)
    assert outcome.died


def test_stopping_ends_the_child_even_in_mid_job(worker: WorkerProcess, tmp_path: Path) -> None:
    worker.start(until_closed, str(tmp_path / "mark"))
    wait_for_progress(worker)
    pid = worker.pid
    assert pid is not None
    assert is_alive(pid)
    worker.stop()
    assert not is_alive(pid)
    assert worker.pid is None
    assert not worker.busy
    assert worker.poll() == []
    worker.stop()


def test_launching_ahead_gives_the_child_that_is_used(worker: WorkerProcess) -> None:
    worker.launch()
    pid = worker.pid
    worker.launch()
    worker.start(who)
    assert wait(worker)[-1] == Finished(pid)


def test_a_child_whose_parent_dies_closes_its_job_and_goes(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_worker as t\n"
        "worker = t.WorkerProcess('orphan')\n"
        f"worker.start(t.until_closed, {str(mark)!r})\n"
        "t.wait_for_progress(worker)\n"
        "os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_S, check=False)
    deadline = time.monotonic() + PATIENCE_S
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mark.exists()
