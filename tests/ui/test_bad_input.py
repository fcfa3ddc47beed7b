"""What goes wrong is said in a sentence, nothing is lost, and the window goes on."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import psutil
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from napari_cellal.io.store import Project
from napari_cellal.ui import images as images_module


def is_sentence(text):
    """Return whether it is words for a person and no stack trace."""
    return bool(text.strip()) and "Traceback" not in text and "\n" not in text.strip()


def errors(person):
    found = [text for text, error in person.told if error]
    assert all(is_sentence(text) for text in found)
    return found


def drop(dock, *paths):
    """Drop files on a dock, as a file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    plain = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(20, 20), copy, data, left, plain)
    QApplication.sendEvent(dock.viewport(), enter)
    assert enter.isAccepted()
    QApplication.sendEvent(dock.viewport(), QDropEvent(QPointF(20, 20), copy, data, left, plain))


def test_a_project_that_is_open_elsewhere(sit_down, folder, detected):
    person = sit_down(folder, "Project")
    person.agree()
    with Project.open(detected) as held:
        rows = held.cells.counts()
        assert not person.workspace.open_project(detected)
        assert len(errors(person)) == 1
        assert person.session.project.folder == folder  # the one before stays
        person.draw((20, 20), (60, 60))
        person.agree()
        assert held.cells.counts() == rows
    person.told.clear()
    person.open(detected)
    person.agree()
    assert errors(person) == []


def test_what_is_no_project(sit_down, tmp_path, folder):
    person = sit_down(folder, "Project")
    empty = tmp_path / "empty.cellal"
    empty.mkdir()
    broken = tmp_path / "broken.cellal"
    broken.mkdir()
    (broken / "project.sqlite").write_bytes(b"no database" * 100)
    for place in (empty, broken, tmp_path / "nowhere.cellal"):
        person.told.clear()
        assert not person.workspace.open_project(place)
        assert len(errors(person)) == 1
    drop(person.workspace.dock("Project"), broken)
    assert len(errors(person)) == 2
    person.told.clear()
    person.workspace.dock("Project").make(str(folder))  # there already
    assert len(errors(person)) == 1
    person.agree()


def test_an_image_that_is_gone_or_another(sit_down, detected):
    with Project.open(detected) as project:
        paths = [project.image_path(key) for key in project.images]
    kept = paths[1].read_bytes()
    paths[1].unlink()
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(paths[2])
    person = sit_down(detected, "Review")
    before = person.state()
    for _ in range(2):
        told = len(errors(person))
        person.press("D")
        person.wait(lambda told=told: len(errors(person)) > told)
        assert len(errors(person)) == told + 1
        assert person.workspace.images.layers == []  # no picture that the boxes do not belong to
        person.agree()
    assert person.state() == before
    # The boxes can still be worked on, and the file comes back.
    person.press("Tab", "1")
    person.agree()
    paths[1].write_bytes(kept)
    person.press("A")
    person.wait_for_image()
    person.agree()
    person.press("A")
    person.wait_for_image()
    person.press("D")
    person.wait_for_image()
    person.agree()


def test_a_project_whose_cache_can_not_be_made(sit_down, detected):
    person = sit_down(detected, "Project")
    workspace, session = person.workspace, person.session
    session.close_project()
    cache = detected / "cache"
    shutil.rmtree(cache)
    cache.write_text("no folder")
    assert not workspace.open_project(detected)
    assert len(errors(person)) == 1
    assert session.project is None
    cache.unlink()
    assert workspace.open_project(detected)
    person.wait_for_image()
    person.agree()


def test_an_image_that_is_slow_to_open_is_told(sit_down, detected, monkeypatch):
    person = sit_down(detected, "Review")
    images = person.workspace.images
    person.wait(lambda: not images._reading)
    images._cache.clear()
    person.told.clear()
    free = threading.Event()
    read = images_module._read
    monkeypatch.setattr(images_module, "_read", lambda *a: free.wait() and read(*a))
    person.press("D")
    name = person.session.image.name
    person.wait(lambda: any(name in text for text, _ in person.told))
    assert errors(person) == []
    free.set()
    person.wait_for_image()
    person.agree()


def test_a_renamed_folder_is_added_again(sit_down, detected):
    person = sit_down(detected, "Project")
    person.wait(lambda: not person.workspace.images._reading)
    person.workspace.images._cache.clear()
    before = person.state()
    photos = person.session.project.image_path(person.session.image_id).parent
    photos = photos.rename(photos.with_name("renamed"))
    person.press("D")
    person.wait(lambda: errors(person))
    assert person.workspace.images.layers == []
    drop(person.workspace.dock("Project"), photos)
    person.wait_for_image()
    assert person.session.image_id in person.workspace.images._cache
    person.press("D")
    person.wait_for_image()
    assert len(errors(person)) == 1
    person.agree()
    assert person.state() == before


def test_a_reader_that_breaks_down(sit_down, detected, monkeypatch):
    """As where memory is short: it is told, and the images behind it are read."""
    person = sit_down(detected, "Review")
    person.wait_for_image()
    images = person.workspace.images
    person.wait(lambda: not images._reading)
    images._cache.clear()
    read = "napari_cellal.ui.images._read"
    with monkeypatch.context() as broken:
        broken.setattr(read, lambda *_: np.zeros(2**60))
        person.press("D")
        person.wait(lambda: errors(person))
        person.wait(lambda: not images._reading)
    person.press("D")
    person.wait_for_image()
    person.agree()


def test_broken_files_among_those_dropped(sit_down, folder, tmp_path):
    person = sit_down(folder, "Project")
    dock, project = person.workspace.dock("Project"), person.session.project
    rng = np.random.default_rng(0)
    good = tmp_path / "more" / "good.png"
    good.parent.mkdir()
    Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)).save(good)
    broken = good.with_name("broken.png")
    broken.write_bytes(good.read_bytes()[:60])
    noise = good.with_name("notes.txt")
    noise.write_text("no image")
    drop(dock, good, broken)
    person.wait(lambda: len(project.images) == 4, 60_000)
    person.wait(lambda: "broken.png" in dock._report.text())
    assert [r.name for r in project.images.values()][3] == "good.png"
    person.agree()

    # A second time, and nothing but bad ones.
    drop(dock, good)
    person.wait(lambda: "broken.png" not in dock._report.text())
    assert len(project.images) == 4
    person.told.clear()
    drop(dock, noise)
    person.wait(lambda: "notes.txt" in dock._report.text() or errors(person))
    assert len(project.images) == 4
    person.told.clear()
    drop(dock, tmp_path / "nowhere.png")
    person.wait(lambda: errors(person))
    assert len(project.images) == 4
    person.agree()


def test_a_file_that_breaks_during_a_run(sit_down, folder):
    person = sit_down(folder, "Detect")
    dock, project = person.workspace.dock("Detect"), person.session.project
    ids = list(project.images)
    project.image_path(ids[1]).write_bytes(b"gone")
    person.push(dock._scopes.button(2))
    person.push(dock.run)
    person.wait(lambda: ids[2] in project.cells.counts_by_image(), 60_000)
    assert set(project.cells.counts_by_image()) == {ids[0], ids[2]}
    name = project.images[ids[1]].name
    person.wait(lambda: name in dock._result.text() or any(name in t for t, _ in person.told))
    person.agree()


def test_a_worker_that_is_killed(sit_down, folder):
    person = sit_down(folder, "Detect")
    dock, jobs = person.workspace.dock("Detect"), person.workspace.jobs
    drawn = person.draw((20, 20), (70, 70))
    before = person.state()

    def pids():
        found = {jobs.worker_pid(lane) for lane in list(jobs._lanes)}
        return {pid for pid in found if pid is not None}

    person.wait(lambda: not jobs.running, 60_000)  # the look for a GPU is over
    others = pids()
    person.push(dock._scopes.button(2))
    person.push(dock.run)
    person.wait(lambda: pids() - others)
    (victim,) = pids() - others
    psutil.Process(victim).kill()
    person.wait(lambda: errors(person), 60_000)
    person.wait(lambda: not jobs.running)
    person.agree()
    assert len(errors(person)) == 1
    if person.session.project.cells.counts_by_image().keys() == {drawn.image_id}:
        assert person.state() == before
    assert person.cell(drawn.cell_id) == drawn
    assert not dock.bar.busy

    # Everything goes on: keys, and the next run.
    person.press("2")
    person.agree()
    assert person.cell(drawn.cell_id).class_id == 2
    person.push(dock.run)
    counts = person.session.project.cells.counts_by_image
    person.wait(lambda: len(counts()) == 3, 60_000)
    person.agree()
    assert len(errors(person)) == 1
    assert person.cell(drawn.cell_id).class_id == 2  # what was said is left as it is


def test_a_killed_worker_of_learn(sit_down, detected):
    person = sit_down(detected, "Learn")
    learn, jobs = person.workspace.learn, person.workspace.jobs
    dock = person.workspace.dock("Learn")
    person.push(dock.start)
    person.wait(lambda: learn.question is not None, 60_000)
    person.canvas.setFocus()
    psutil.Process(jobs.worker_pid("quick")).kill()
    asked = learn.question
    person.press("1")
    person.wait(lambda: errors(person) or learn.question not in (None, asked), 60_000)
    assert person.cell(asked.cell_id).class_id == 1  # the answer is kept whatever happens
    person.agree()
    if errors(person):
        person.press("N")
        person.wait(lambda: learn.question not in (None, asked), 60_000)
    asked = learn.question
    person.press("2")
    person.wait(lambda: learn.question not in (None, asked), 60_000)
    assert person.cell(asked.cell_id).class_id == 2
    person.agree()


def test_closing_in_the_middle_of_a_run(sit_down, folder):
    person = sit_down(folder, "Detect")
    dock, jobs = person.workspace.dock("Detect"), person.workspace.jobs
    person.draw((20, 20), (70, 70))
    rows = person.rows()
    person.push(dock._scopes.button(2))
    person.push(dock.run)
    person.wait(lambda: jobs.running)
    person.close()
    with Project.open(folder) as project:  # free at once, and what was drawn is there
        now = {c.cell_id: c for key in project.images for c in project.cells.of_image(key)}
        assert rows.items() <= now.items()
