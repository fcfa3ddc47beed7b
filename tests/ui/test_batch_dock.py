"""The Batch dock: a scan begun, paused, gone on with, and what it leaves alone."""

from __future__ import annotations

import json
import time
from functools import partial

from qtpy.QtWidgets import QApplication, QPushButton
from test_docks import clipped, pale

from napari_cellal.core import gestures
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Status
from napari_cellal.io.store import Project
from napari_cellal.ui.widgets import scan
from napari_cellal.workflows import detecting
from napari_cellal.workflows.scanning import plan
from napari_cellal.workflows.scanning.tasks import ScanSpec


def open_batch(person):
    person.workspace.raise_dock("Batch")
    dock = person.workspace.dock("Batch")
    person.wait(lambda: dock.is_on_screen)
    QApplication.processEvents()
    return dock


def choose(box, data):
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def scan_to_the_end(person, dock):
    person.push(dock.run)
    person.wait(lambda: dock._result.text() != "")


def all_cells(project):
    return [c for key in project.images for c in project.cells.of_image(key)]


def test_a_scan_from_the_window(sit_down, folder):
    person = sit_down(folder, "Batch")
    dock = open_batch(person)
    assert clipped(dock) == []
    assert pale(dock) == []
    assert dock.detector.currentData() == detecting.CLASSICAL
    dock.measure.setChecked(True)
    scan_to_the_end(person, dock)
    project = person.session.project
    cells = all_cells(project)
    assert cells
    assert {c.status for c in cells} == {Status.PROPOSED}
    (scan,) = project.scans.all()
    assert scan.ended_at
    assert len(list((project.cache_folder / "measurements").glob("*.npz"))) == 3
    assert not dock.go_on.isVisible()
    assert not dock.plate.isVisible()  # no image has a well
    person.push(dock._leads_on.findChildren(QPushButton)[0])
    person.wait(lambda: person.workspace.dock("Gallery").is_on_screen)
    person.session.undo()
    person.wait(lambda: not all_cells(project))


def test_the_first_images_say_which_detector_suits(sit_down, fields):
    person = sit_down(None, "Project")
    workspace = person.workspace
    project = workspace.dock("Project")
    project.make(str(fields.parent / "new.cellal"))
    docks = {workspace.dock("Detect"): "model", open_batch(person): "detector"}
    workspace.raise_dock("Project")
    project.adding.add([str(fields.parent / "fields")])
    person.wait(lambda: len(person.session.project.images) == 3)
    for dock, name in docks.items():  # five channels, which the shipped one does not know
        assert getattr(dock, name).currentData() == detecting.CLASSICAL


def test_a_scan_that_was_paused_goes_on(sit_down, folder):
    person = sit_down(folder, "Batch")
    dock = open_batch(person)
    person.push(dock.run)
    person.wait(lambda: dock.bar.busy)
    dock.bar.cancel.click()
    person.wait(dock.go_on.isVisible)
    assert "Paused" in dock._result.text()
    person.push(dock.go_on)
    person.wait(lambda: not dock.go_on.isVisible() and dock._result.text())
    person.wait(lambda: dock._writer is None)
    project = person.session.project
    assert {i.state.value for i in project.scans.images(project.scans.all()[0].scan_id)} == {"done"}
    assert "3 of 3" in dock._result.text()  # those before the pause, too
    assert all_cells(project)


def endless(*_):
    """Search on and on."""
    while True:
        time.sleep(0.02)
        yield Progress(0, 1)


def test_a_scan_ends_with_its_project(sit_down, folder, monkeypatch):
    monkeypatch.setattr(scan, "usable_cores", lambda: 2)
    monkeypatch.setattr(scan, "work_beside", endless)
    person = sit_down(folder, "Batch")
    dock = open_batch(person)
    person.push(dock.run)
    person.wait(lambda: dock.bar.busy)
    person.session.close_project()
    person.wait(lambda: not any("Scanning" in h.title for h in person.workspace.jobs.running))
    person.open(folder)
    assert dock.go_on.isVisible()


def test_a_large_image_asks_for_the_computer_once(sit_down, folder, monkeypatch):
    monkeypatch.setattr(ScanSpec, "uses_torch", True)
    monkeypatch.setattr(plan, "is_in_parts", lambda project, image_id: True)
    person = sit_down(folder, "Batch")
    dock = open_batch(person)
    titles = []
    dock.workspace.jobs.run = partial(_noting, dock.workspace.jobs.run, titles)
    dock.workspace.jobs.run_here = partial(_noting, dock.workspace.jobs.run_here, titles)
    scan_to_the_end(person, dock)
    assert titles.count("Looking at the computer") == 1
    assert all_cells(person.session.project)


def _noting(run, titles, title, *args, **options):
    titles.append(title)
    return run(title, *args, **options)


def test_what_the_person_reviewed_and_a_bad_file(sit_down, detected):
    with Project.open(detected) as project:
        good, _, bad = project.images
        mine = project.cells.of_image(good)[0]
        project.history.do(gestures.accept([mine], "me"))
        project.image_path(bad).write_bytes(b"no picture any more")
        name = project.images[bad].name
    person = sit_down(detected, "Batch")
    dock = open_batch(person)
    scan_to_the_end(person, dock)
    assert name in dock._result.text()
    project = person.session.project
    assert project.cells.get(mine.cell_id).box == mine.box
    assert project.cells.get(mine.cell_id).status is Status.CONFIRMED
    states = {
        i.image_id: i.state.value for i in project.scans.images(project.scans.all()[0].scan_id)
    }
    assert states[bad] == "failed"
    assert states[good] == "done"


def test_the_command_goes_on_with_the_windows_scan(sit_down, folder, capsys):
    from napari_cellal.cli import main

    person = sit_down(folder, "Batch")
    dock = open_batch(person)
    person.push(dock.run)
    person.wait(lambda: dock.bar.busy)
    dock.bar.cancel.click()
    person.wait(dock.go_on.isVisible)
    person.close()
    capsys.readouterr()
    assert main(["scan", str(folder), "--resume", "--workers", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["done"], said["failed"]) == (3, 3, [])
