"""What napari itself opens and saves through the manifest: projects, folders, samples, boxes."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import npe2
import numpy as np
import pytest
from napari.plugins import _npe2
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Review
from napari_cellal.io.samples.write import write_samples
from napari_cellal.workflows.annotating import read_annotations
from napari_cellal.workflows.sampling import SAMPLES

PLUGIN = "napari-cellal"


@pytest.fixture
def voc(tmp_path):
    """A folder of two smears with their VOC files."""
    write_samples(tmp_path / "mine", "smear", 2, 5, shape=(120, 160), cell_px=40)
    shutil.rmtree(tmp_path / "mine" / "ImageSets")
    first = tmp_path / "mine" / "smear_001.xml"
    first.write_text(first.read_text().replace(' verified="yes"', ""))
    return tmp_path / "mine"


def test_the_manifest_is_valid():
    npe2.PluginManifest.from_distribution(PLUGIN).validate_imports()


def test_a_project_opens_in_the_workspace(sit_down, detected):
    person = sit_down()
    assert PLUGIN in _npe2.get_readers(str(detected))
    assert person.viewer.open(str(detected), plugin=PLUGIN) == []
    person.wait_for_image()
    assert person.session.project.folder == detected
    person.agree()


def test_a_project_dropped_on_the_image_opens(sit_down, folder, detected):
    person = sit_down(folder)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(detected))])
    how = (
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    drop = QDropEvent(QPointF(50, 50), *how)
    for event in (QDragEnterEvent(QPoint(50, 50), *how), drop):
        QApplication.sendEvent(person.viewer.window._qt_viewer, event)
    assert drop.isAccepted()
    person.wait_for_image()
    assert person.session.project.folder == detected


def test_a_folder_with_voc_files_becomes_a_project_when_asked(sit_down, voc):
    person = sit_down()
    before = {p: p.read_bytes() for p in voc.iterdir()}
    assert person.viewer.open(str(voc), plugin=PLUGIN) == []
    asking = person.workspace.dock("Project").founding
    person.wait(asking.isVisible)
    assert person.session.project is None  # nothing is made without a yes
    assert not voc.with_name("mine.cellal").exists()
    person.push(asking.no)
    assert not asking.isVisible()

    person.viewer.open(str(voc), plugin=PLUGIN)
    person.push(asking.make)
    person.wait(lambda: person.session.project is not None)
    person.wait_for_image()
    project = person.session.project
    assert project.folder == voc.with_name("mine.cellal")
    rows = person.rows().values()
    images, _ = run_job(read_annotations([voc], "voc"))
    assert sorted(c.box for c in rows) == sorted(b.box for i in images for b in i.boxes)
    assert {c.review for c in rows} == {Review.CONFIRMED}
    # Only the file that says so boxes every cell.
    assert [r.finished for r in project.images.values()] == [False, True]
    assert {p: p.read_bytes() for p in voc.iterdir()} == before

    person.session.close_project()
    person.viewer.open(str(voc), plugin=PLUGIN)  # the second time it is there
    person.wait_for_image()
    assert person.session.project.folder == project.folder


def test_other_folders_are_left_to_napari(sit_down, tmp_path):
    sit_down()
    write_samples(tmp_path / "x", "smear", 1, 0, shape=(64, 64), cell_px=20)
    for file in (tmp_path / "x").glob("*.xml"):
        file.write_text("<other/>")
    with pytest.raises(ValueError, match=PLUGIN):
        npe2.read([str(tmp_path / "x")], plugin_name=PLUGIN, stack=False)


def test_samples_are_listed():
    manifest = npe2.PluginManifest.from_distribution(PLUGIN)
    assert [s.key for s in manifest.contributions.sample_data] == list(SAMPLES)


@pytest.mark.parametrize("kind", list(SAMPLES))
def test_a_sample_opens_as_a_project(sit_down, voc, tmp_path, monkeypatch, kind):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("JPEGImages", "Annotations"):  # in the place of 364 smears
        (tmp_path / "data" / "bccd" / "BCCD" / name).mkdir(parents=True)
    for file in voc.iterdir():
        name = "Annotations" if file.suffix == ".xml" else "JPEGImages"
        shutil.copy(file, tmp_path / "data" / "bccd" / "BCCD" / name)
    monkeypatch.setenv("NAPARI_CELLAL_DATA", str(tmp_path / "data"))
    person = sit_down()
    assert person.viewer.open_sample(PLUGIN, kind) == []
    person.wait(lambda: person.session.project is not None, 60_000)
    person.wait_for_image()
    project = person.session.project
    assert Path.home() in project.folder.parents
    images = list(project.images.values())
    assert len(images) == (2 if kind == "bccd" else 12)
    assert images[0].shape[0] == (5 if kind == "fields" else 3)
    assert bool(person.rows()) == (kind == "bccd")
    assert project.active_classes


@pytest.mark.parametrize("ending", [".xml", ".json"])
def test_the_box_layer_is_saved_with_its_classes(sit_down, detected, tmp_path, ending):
    person = sit_down(detected)
    person.press("Tab", "2")
    person.viewer.layers.selection = {person.layer}
    file = tmp_path / f"boxes{ending}"
    assert person.viewer.layers.save(str(file), selected=True, plugin=PLUGIN) == [str(file)]
    ((image,), _) = run_job(read_annotations([file]))
    cells = person.session.cells()
    assert image.image_name == person.session.image.name
    saved = sorted(b.box for b in image.boxes)
    assert np.allclose(saved, sorted(c.box for c in cells), atol=1.01)
    assert sum(b.class_name == "WBC" for b in image.boxes) == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "boxes"))) == [
        file.name
    ]
    assert len(saved) > 1
    assert all(a <= b for a, b in pairwise(saved))


def test_a_persons_own_shapes_are_not_saved_as_ours(sit_down, detected, tmp_path):
    person = sit_down(detected)
    own = person.viewer.add_shapes([[[5, 5], [5, 20], [20, 20], [20, 5]]])
    person.viewer.layers.selection = {own}
    with pytest.raises(Exception, match="box layer"):
        person.viewer.layers.save(str(tmp_path / "x.xml"), selected=True, plugin=PLUGIN)
    assert not (tmp_path / "x.xml").exists()
