"""Jobs of a window: messages reach the main thread, and nobody once the window has gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent, QObject
from qtpy.QtWidgets import QLabel

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Abandoned, Progress
from napari_cellal.detect.requests import TrainRequest
from napari_cellal.networks.unfinished import file_of, partial_of
from napari_cellal.ui.jobs import JobHandle, Jobs, _send
from napari_cellal.workflows import training
from napari_cellal.workflows.worker import Cancelled, Finished


def count(n):
    """A job for the worker process."""
    for k in range(n):
        yield Progress(k, n)
    return n


def endless():
    """A job that only a cancel ends."""
    while True:
        yield Progress(0, 0)


def deaf(started):
    """A job that hears no cancel: it never yields again."""
    yield Progress(0, 0)
    Path(started).touch()
    time.sleep(600)
    yield Progress(1, 0)


def keeping(draft, kept):
    """A job with a draft, which goes in any case, and what it goes on from, unless cancelled."""
    Path(draft).touch()
    Path(kept).touch()
    try:
        while True:
            time.sleep(0.01)
            yield Progress(0, 0)
    except Abandoned:
        raise
    except GeneratorExit:
        Path(kept).unlink()
        raise
    finally:
        Path(draft).unlink()


def unfinished(models):
    """What a training keeps on disk, as a killed one leaves it; and its request."""
    request = TrainRequest((), (1,), ("cell",), str(models))
    file = file_of(request)
    file.parent.mkdir(parents=True)
    for left in (file, partial_of(file)):
        left.write_bytes(b"weights")
    return request, file


def delete(parent):
    parent.deleteLater()
    QCoreApplication.sendPostedEvents(parent, QEvent.Type.DeferredDelete)


def test_late_messages_reach_no_widget_that_has_gone(qtbot):
    window = QObject()
    handle = JobHandle("x", count, (), window)
    label, heard = QLabel(), []
    for told in (handle.progressed, handle.finished, handle.cancelled):
        told.connect(lambda *value: (heard.append(value), label.setText("here")))
    handle._deliver(Progress(1, 2))
    assert len(heard) == 1
    sender = threading.Thread(target=lambda: _send(handle, Finished(1)))
    sender.start()
    sender.join()  # the message waits in the main thread's queue
    delete(label)
    delete(window)
    QCoreApplication.processEvents()
    for message in (Progress(2, 2), Finished(2), Cancelled()):
        handle._deliver(message)
        _send(handle, message)
    QCoreApplication.processEvents()
    assert len(heard) == 1
    assert not handle.done


def test_a_job_outlives_its_window_in_silence(qtbot):
    window, heard = QObject(), []
    jobs = Jobs(window)
    handle = jobs.run("endless", endless, lane="quick")
    with qtbot.waitSignal(handle.progressed, timeout=60_000):
        pass
    handle.progressed.connect(heard.append)
    handle.cancelled.connect(lambda: heard.append("cancelled"))
    heard.clear()
    delete(window)
    assert not isalive(handle)
    jobs.close()
    QCoreApplication.processEvents()
    assert heard == []


def test_a_finished_job_is_let_go(qtbot):
    jobs = Jobs()
    try:
        handle = jobs.run("counting", count, 3, lane="quick")
        with qtbot.waitSignal(handle.ended, timeout=60_000):
            pass
        assert handle.done
        assert jobs.running == []
        assert handle.parent() is None
    finally:
        jobs.close()


def test_a_job_that_gives_way_is_cancelled_for_the_next(qtbot):
    window, heard = QObject(), []
    jobs = Jobs(window)
    polite = jobs.run("endless", endless, lane="quick", gives_way=True)
    polite.cancelled.connect(lambda: heard.append("cancelled"))
    with qtbot.waitSignal(polite.progressed, timeout=60_000):
        pass
    other = jobs.run("count", count, 2, lane="classical")  # of another lane
    with qtbot.waitSignal(other.finished, timeout=60_000):
        pass
    assert heard == []
    wanted = jobs.run("count", count, 3, lane="quick")
    with qtbot.waitSignal(wanted.finished, timeout=60_000) as end:
        pass
    assert end.args == [3]
    assert heard == ["cancelled"]
    jobs.close()


def careful(here):
    """A job that tidies up after itself."""
    here.touch()
    try:
        while True:
            time.sleep(0.01)
            yield Progress(1, 2, item="part")
    finally:
        here.unlink()


def broken():
    yield Progress(0, 1)
    raise CellalError("The disk is full.")


def test_a_job_in_a_thread_of_the_window(qtbot, tmp_path):
    window, here = QObject(), tmp_path / "here"
    jobs = Jobs(window)
    for ask, end in (("cancel", "cancelled"), ("close", None)):
        handle = jobs.run_here("careful", careful, here)
        with qtbot.waitSignal(handle.progressed, timeout=60_000):
            pass
        assert here.exists()
        assert handle.items[0] == "part"
        if end is None:
            jobs.close()  # as a window that closes
        else:
            with qtbot.waitSignal(getattr(handle, end), timeout=60_000):
                getattr(handle, ask)()
            assert jobs.running == []
        assert not here.exists()


def parts(n):
    """A job whose result comes in parts, as fast as they are taken."""
    for k in range(n):
        yield Progress(k + 1, n, item=k)


@pytest.mark.parametrize("here", [False, True])
def test_a_job_waits_until_its_parts_are_taken(qtbot, here):
    """Else what waits for the window would fill the memory."""
    window, n, most, told = QObject(), 60, 4, []
    jobs = Jobs(window)

    def run(n):
        if here:
            return jobs.run_here("parts", parts, n, most_ahead=most)
        return jobs.run("parts", parts, n, lane="quick", most_ahead=most)

    try:
        handle = run(n)
        handle.progressed.connect(told.append)
        for taken in range(n):
            qtbot.waitUntil(lambda taken=taken: len(told) > taken, timeout=60_000)
            assert len(told) <= taken + most
            handle.taken()
        qtbot.waitUntil(lambda: handle.done, timeout=60_000)
        assert [step.item for step in told] == list(range(n))
        handle = run(10**9)
        qtbot.waitUntil(lambda: len(handle.items) == most, timeout=60_000)
        with qtbot.waitSignal(handle.cancelled, timeout=60_000):
            handle.cancel()  # it is heard while the job waits
    finally:
        jobs.close()


def test_a_job_that_is_wanted_after_the_window_closed_never_begins(qtbot, tmp_path):
    window, here = QObject(), tmp_path / "here"
    jobs = Jobs(window)
    jobs.close()
    for handle in (jobs.run("careful", careful, here), jobs.run_here("careful", careful, here)):
        qtbot.wait(200)
        assert handle.started_at is None
    assert jobs.worker_pid("heavy") is None
    assert not here.exists()


def test_a_job_in_a_thread_ends_and_fails_in_words(qtbot):
    window = QObject()
    jobs = Jobs(window)
    with qtbot.waitSignal(jobs.run_here("count", count, 3).finished, timeout=60_000) as end:
        pass
    assert end.args == [3]
    with qtbot.waitSignal(jobs.run_here("broken", broken).failed, timeout=60_000) as end:
        pass
    assert end.args[0].message == "The disk is full."
    assert end.args[0].foreseen
    assert jobs.running == []
    jobs.close()


def test_a_job_that_waits_and_is_asked_to_end_never_runs(qtbot):
    window, heard = QObject(), []
    jobs = Jobs(window)
    first = jobs.run("endless", endless, lane="quick")
    with qtbot.waitSignal(first.progressed, timeout=60_000):
        pass
    second = jobs.run("count", count, 3, lane="quick")
    second.finished.connect(heard.append)
    second.cancelled.connect(lambda: heard.append("cancelled"))
    second.end_early()
    with qtbot.waitSignal(first.cancelled, timeout=60_000):
        first.end_early()  # it cannot end early
    third = jobs.run("count", count, 2, lane="quick")
    with qtbot.waitSignal(third.finished, timeout=60_000):
        pass
    assert heard == ["cancelled"]
    jobs.close()


def start_deaf(jobs, qtbot, request, folder):
    mark = folder / "started"
    handle = jobs.run(
        "deaf", deaf, str(mark), after_cancel=lambda: training.forget_unfinished(request)
    )
    qtbot.waitUntil(mark.exists, timeout=60_000)
    return handle


def test_a_cancelled_training_leaves_nothing_to_go_on_from_though_it_was_killed(qtbot, tmp_path):
    jobs = Jobs()
    request, file = unfinished(tmp_path / "models")
    try:
        handle = start_deaf(jobs, qtbot, request, tmp_path)
        assert file.exists()
        with qtbot.waitSignal(handle.cancelled, timeout=60_000):
            handle.cancel()
    finally:
        jobs.close()
    assert not file.parent.exists()


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_training_can_be_gone_on_with_after_the_window_was_closed_unless_cancelled(
    qtbot, tmp_path, cancelled
):
    jobs = Jobs()
    request, file = unfinished(tmp_path / "models")
    handle = start_deaf(jobs, qtbot, request, tmp_path)
    if cancelled:
        handle.cancel()
    jobs.close()
    assert file.exists() is not cancelled


def test_what_runs_when_the_window_closes_tidies_up_and_leaves_what_it_goes_on_from(
    qtbot, tmp_path
):
    jobs = Jobs()
    handles = []
    for lane in ("quick", "classical"):
        draft, kept = tmp_path / f"{lane}.draft", tmp_path / f"{lane}.kept"
        handles.append(jobs.run("keeping", keeping, str(draft), str(kept), lane=lane))
        with qtbot.waitSignal(handles[-1].progressed, timeout=60_000):
            pass
    jobs.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["classical.kept", "quick.kept"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_training_that_was_killed_can_be_gone_on_with(qtbot, tmp_path):
    jobs = Jobs()
    request, file = unfinished(tmp_path / "models")
    try:
        handle = start_deaf(jobs, qtbot, request, tmp_path)
        with qtbot.waitSignal(handle.failed, timeout=60_000):
            os.kill(jobs.worker_pid("heavy"), signal.SIGKILL)
    finally:
        jobs.close()
    assert file.exists()
