"""A scan that is killed and goes on, again and again, ends with what an undisturbed one finds.

Run as a script it is the child: it scans a plate and a slide, in processes of its own.
``NAPARI_CELLAL_KILLS=20`` asks for more than the usual moments.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from scan_things import begin, cells_of, make_plate, make_slide, new_project, small_is_large

from napari_cellal.core.progress import run_job
from napari_cellal.io.store import Project
from napari_cellal.workflows.scanning import running, streams

if TYPE_CHECKING:
    from pathlib import Path

MOMENTS = int(os.environ.get("NAPARI_CELLAL_KILLS", "4"))


def child(folder: str, *paths: str) -> None:
    with pytest.MonkeyPatch.context() as patch, Project.open(folder) as project:
        small_is_large(patch)
        todo = begin(project, paths, features="quick")
        crew = streams.Streams(todo.spec, ("cpu",) * 2)
        job = running.scan(project, todo, crew)
        try:
            while True:
                step = next(job)
                sys.stdout.write(f"{step.done}\n")
                sys.stdout.flush()
        except StopIteration:
            sys.stdout.write("ended\n")


def killed_or_ended(folder: Path, paths: list[Path], rng: random.Random, *, wait: bool) -> bool:
    """Run a child and kill it at some moment; return whether it had come to its end by itself."""
    command = [sys.executable, __file__, str(folder), *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first
        before = int(first) if first != "ended\n" else 0
        line = first
        # every second child is let live to its next image, however slow the computer is
        while wait and line not in ("", "ended\n") and int(line) == before:
            line = process.stdout.readline()
        time.sleep(rng.uniform(0, 0.6) if wait else rng.uniform(0, 2.0))
        process.kill()
        return "ended" in line + process.stdout.read()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_scan_killed_at_any_moment_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [make_plate(tmp_path / "P1", 20), make_slide(tmp_path / "slide.tif")]
    with new_project(tmp_path / "whole") as project, monkeypatch.context() as patch:
        small_is_large(patch)
        todo = begin(project, paths, features="quick")
        run_job(running.scan(project, todo, streams.Streams(todo.spec, ("cpu",) * 2)))
        expected = cells_of(project)
    rng = random.Random(0)
    kills = scans = 0
    while kills < MOMENTS:
        scans += 1
        with new_project(tmp_path / f"killed {scans}") as project:
            folder = project.folder
        while kills < MOMENTS and not killed_or_ended(folder, paths, rng, wait=kills % 2 == 0):
            kills += 1
            with closing(sqlite3.connect(folder / "project.sqlite")) as database:
                assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
                assert database.execute("SELECT rtreecheck('boxes')").fetchone() == ("ok",)
        with Project.open(folder) as project, monkeypatch.context() as patch:
            small_is_large(patch)
            todo = begin(project, paths, features="quick")
            if todo.waiting:
                run_job(running.scan(project, todo, streams.Streams(todo.spec, ("cpu",) * 2)))
            assert cells_of(project) == expected
            states = {image.state.value for image in project.scans.images(todo.spec.scan_id)}
            assert states == {"done"}
            assert len(project.scans.all()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
@pytest.mark.parametrize("model", ["classical", "shipped"])
def test_ctrl_c_pauses_and_says_how_to_go_on(tmp_path: Path, model: str) -> None:
    """A terminal sends it to every process of the command."""
    plate = make_plate(tmp_path / "P1", 30)
    with new_project(tmp_path) as project:
        folder = str(project.folder)
    command = [sys.executable, "-m", "napari_cellal", "scan", folder, str(plate), "--model", model]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a run of tests that was begun with & ignores it, and would have its children do so
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        said = ""
        while "Starting" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "--resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    with Project.open(folder) as project:
        assert begin(project, [plate], model=model).resumed


if __name__ == "__main__":
    child(*sys.argv[1:])
