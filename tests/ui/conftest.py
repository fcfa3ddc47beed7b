"""A small project, a window on it, and a look at what is left when it has closed."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from person import Person

if TYPE_CHECKING:
    from pathlib import Path

from napari_cellal.core.progress import run_job
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.ui import recent
from napari_cellal.workflows import adding, detecting, pacing
from napari_cellal.workflows.training import use_detector

CLASSES = ("RBC", "WBC", "Platelets")


def _children() -> list[psutil.Process]:
    """Return our worker processes; multiprocessing's own helper stays up and is not ours."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _threads() -> list[str]:
    return [
        t.name
        for t in threading.enumerate()
        if t.name in ("heavy", "quick", "classical") or t.name.startswith("cellal")
    ]


@pytest.fixture(autouse=True)
def nothing_left():
    """Check that closing the windows ended every process and thread of ours."""
    yield
    end = time.monotonic() + 15
    while (_children() or _threads()) and time.monotonic() < end:
        time.sleep(0.02)
    assert _children() == []
    assert _threads() == []


@pytest.fixture(autouse=True)
def _no_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test read or write what is kept of this computer's person: times, projects."""
    monkeypatch.setattr(recent, "recent_file", lambda: tmp_path / "cache" / "recent.json")
    monkeypatch.setattr(recent, "_last_folder", [])
    monkeypatch.setattr(recent, "_TEMPORARY", tmp_path / "temporary")
    monkeypatch.setattr(pacing, "times_file", lambda: tmp_path / "cache" / "times.json")


@pytest.fixture(scope="session")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("window")
    write_samples(place / "smears", "smear", 3, 0, shape=(240, 320), cell_px=60)
    with Project.create(place / "smears.cellal", CLASSES) as project:
        adding.add_looked(project, run_job(adding.look_at_images([place / "smears"])))
        use_detector(project, detecting.CLASSICAL)  # the quick lane, and boxes without classes
    return place


@pytest.fixture(scope="session")
def _detected(_plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("detected") / "here"
    shutil.copytree(_plain, place)
    with Project.open(place / "smears.cellal") as project:
        job = detecting.detect(detecting.request_detection(project, project.images))
        detecting.apply_detections(project, [s.item for s in job if s.item is not None])
    return place


@pytest.fixture
def folder(_plain: Path, tmp_path: Path) -> Path:
    """A project of three smears and three classes, without boxes."""
    return shutil.copytree(_plain, tmp_path / "p") / "smears.cellal"


@pytest.fixture
def detected(_detected: Path, tmp_path: Path) -> Path:
    """The same after a detection run on all images."""
    return shutil.copytree(_detected, tmp_path / "d") / "smears.cellal"


@pytest.fixture
def sit_down(make_napari_viewer, qtbot):
    """Return a function that opens a napari window and gives the person in front of it."""
    people: list[Person] = []

    def open_window(folder: Path | None = None, *docks: str) -> Person:
        person = Person(qtbot, make_napari_viewer(show=True, strict_qt="raise"))
        people.append(person)
        if docks:
            person.workspace.dock_all(docks[0])
        if folder is not None:
            person.open(folder)
        return person

    yield open_window
    for person in people:
        if person.viewer is not None:
            person.close()


@pytest.fixture(scope="session")
def _channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("channels") / "here"
    write_samples(place / "fields", "fluorescence", 3, 0, shape=(200, 260), cell_px=60)
    with Project.create(place / "fields.cellal", CLASSES) as project:
        adding.add_looked(project, run_job(adding.look_at_images([place / "fields"])))
        job = detecting.detect(detecting.request_detection(project, project.images))
        detecting.apply_detections(project, [s.item for s in job if s.item is not None])
    return place


@pytest.fixture
def fields(_channels: Path, tmp_path: Path) -> Path:
    """A project of three fields in five channels, with detected boxes."""
    return shutil.copytree(_channels, tmp_path / "f") / "fields.cellal"
