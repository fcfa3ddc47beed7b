"""The same scan on a dask.distributed cluster of two processes, one of them killed in its midst."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from scan_things import begin, cells_of, make_plate, make_slide, new_project, scan, small_is_large

from napari_cellal.cli import main
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.workflows.scanning import running

distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cluster() -> Iterator[object]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_lost_worker_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: object
) -> None:
    small_is_large(monkeypatch)
    paths = [make_plate(tmp_path / "P1", 6), make_slide(tmp_path / "slide.tif")]
    with new_project(tmp_path / "here") as project:
        scan(project, paths, features="quick")
        expected = cells_of(project)
    with new_project(tmp_path / "there") as project:
        todo = begin(project, paths, features="quick")
        a_path = str(project.image_path(next(iter(project.images))))
        address = cluster.scheduler_address  # type: ignore[attr-defined]
        crew = run_job(running.hire(todo.spec, "cpu", scheduler=address, a_path=a_path))
        assert crew.size == 2
        with distributed.Client(address) as client:
            victim = next(iter(client.run(os.getpid).values()))
        job = running.scan(project, todo, crew)
        killed = False
        try:
            while True:
                step = next(job)
                if step.done >= 2 and not killed:
                    os.kill(victim, signal.SIGKILL)
                    killed = True
        except StopIteration as stop:
            report = stop.value
        assert killed
        assert (report.failed, report.ended) == ({}, True)
        assert cells_of(project) == expected


def test_a_model_travels_to_the_workers(tmp_path: Path, cluster: object, smears: Path) -> None:
    with new_project(tmp_path) as project:
        scan(project, [smears], model="shipped")
        expected = cells_of(project)
        todo = begin(project, [smears], model="shipped", restart=True)
        address = cluster.scheduler_address  # type: ignore[attr-defined]
        a_path = str(project.image_path(next(iter(project.images))))
        crew = run_job(running.hire(todo.spec, "cpu", scheduler=address, a_path=a_path))
        report = run_job(running.scan(project, todo, crew))
        assert report.failed == {}
        assert cells_of(project) == expected
        with pytest.raises(CellalError, match="do not see"):
            run_job(running.hire(todo.spec, "cpu", scheduler=address, a_path="/no/such/place"))


def test_no_scheduler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cellal.workflows.scanning.cluster._ANSWER_S", 0.5)
    plate = make_plate(tmp_path / "P1", 1)
    with new_project(tmp_path):
        pass
    argv = ["scan", str(tmp_path / "p"), str(plate), "--model", "classical", "--scheduler"]
    assert main([*argv, "tcp://127.0.0.1:9"]) == 1
    assert "No dask scheduler answers" in capsys.readouterr().err
