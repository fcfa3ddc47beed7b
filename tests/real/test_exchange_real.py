"""All of BCCD through every annotation format, and three data sets of other formats."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from napari_cellal.core.history import Edit
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.formats import FORMATS
from napari_cellal.io.exchange.report import ReadOptions
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, annotating, exporting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

Cells = dict[str, Counter[tuple[tuple[float, ...], str]]]


def with_images(folder: Path, images: Path) -> Path:
    with Project.create(folder) as project:
        adding.add_looked(project, run_job(adding.look_at_images([images])))
    return project.folder


def bring(project: Project, place: Path, format: str = "auto", **more: bool) -> annotating.Imported:
    found = run_job(annotating.read_annotations([place], format))
    return annotating.import_annotations(project, *found, **more)


def cells_of(project: Project) -> Cells:
    names = {c.class_id: c.name for c in project.classes.values()}
    return {
        r.name: Counter(
            (c.box, names[c.class_id] if c.class_id else "")
            for c in project.cells.of_image(key)
            if c.is_label
        )
        for key, r in project.images.items()
    }


def finished(project: Project) -> set[str]:
    return {r.name for r in project.images.values() if r.finished}


@pytest.fixture(scope="module")
def bccd(data_folder: Path) -> Path:
    return data_folder / "bccd" / "BCCD"


@pytest.fixture(scope="module")
def empty(bccd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with BCCD's images and nothing else."""
    return with_images(tmp_path_factory.mktemp("empty") / "p.cellal", bccd / "JPEGImages")


@pytest.fixture(scope="module")
def full(empty: Path, bccd: Path) -> Path:
    """The same with BCCD's boxes confirmed, and every image but each third one finished."""
    folder = empty.with_name("full.cellal")
    shutil.copytree(empty, folder)
    with Project.open(folder) as project:
        done = bring(project, bccd, confirm=True)
        assert (done.boxes, done.matched, done.unmatched) == (4886, 364, ())
        marks = {key: (False, True) for k, key in enumerate(project.images) if k % 3}
        project.history.do(Edit("finished", {}, {}, marks))
    return folder


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "labels"])
def test_bccd_out_and_into_a_new_project(
    full: Path, empty: Path, tmp_path: Path, name: str
) -> None:
    with Project.open(full) as project:
        before, done_before = cells_of(project), finished(project)
        report = run_job(exporting.write_annotations(project, tmp_path / "out", name))
    assert (report.images, report.boxes, report.problems) == (364, 4886, ())
    assert sum(sum(c.values()) for c in before.values()) == 4886
    assert len(done_before) == 242
    shutil.copytree(empty, tmp_path / "q.cellal")
    with Project.open(tmp_path / "q.cellal") as project:
        # Formats with a place for it say themselves what a person confirmed.
        told = name in ("coco", "csv", "geojson")
        imported = bring(project, tmp_path / "out", confirm=not told)
        assert imported.unmatched == ()
        assert imported.boxes == 4886
        assert cells_of(project) == before
        if name != "yolo":
            assert finished(project) == done_before
        else:
            assert any("242 images" in line for line in report.lost)


def test_bccd_relabelled_is_yolo(data_folder: Path, empty: Path, tmp_path: Path) -> None:
    place = data_folder / "bccd_relabelled"
    lines = [f.read_text().splitlines() for f in (place / "labels").glob("*.txt")]
    shutil.copytree(empty, tmp_path / "q.cellal")
    with Project.open(tmp_path / "q.cellal") as project:
        done = bring(project, place, confirm=True, finished=True)
        assert (done.matched, done.finished, done.problems) == (181, 181, ())
        assert done.boxes == sum(map(len, lines)) == 4601
        counts = Counter(name for c in cells_of(project).values() for _, name in c.elements())
    assert counts == {"RBC": 4204, "WBC": 188, "Platelets": 209}


def test_txl_pbc_smears_are_yolo(data_folder: Path, tmp_path: Path) -> None:
    place = data_folder / "txl_pbc_smears"
    with Project.open(with_images(tmp_path / "q.cellal", place / "images")) as project:
        done = bring(project, place, confirm=True)
        assert (done.matched, done.boxes, done.problems) == (200, 3627, ())
        assert done.unmatched == ()
        counts = Counter(name for c in cells_of(project).values() for _, name in c.elements())
    assert counts == {"WBC": 210, "RBC": 3277, "Platelets": 140}


@pytest.mark.parametrize("split_parts", [False, True])
def test_dsb2018_is_label_images(data_folder: Path, tmp_path: Path, split_parts: bool) -> None:
    place = data_folder / "dsb2018_subset"
    with (place / "index.csv").open() as file:
        counts = {r["name"] + ".png": int(r["instances_in_label"]) for r in csv.DictReader(file)}
    options = ReadOptions(split_parts=split_parts)
    images, report = run_job(annotating.read_annotations([place], "auto", options))
    with Project.open(with_images(tmp_path / "q.cellal", place / "images")) as project:
        done = annotating.import_annotations(
            project, images, report, classes={"": "nucleus"}, confirm=True
        )
        assert (done.matched, done.unmatched, done.clipped) == (58, (), 0)
        found = {name: sum(c.values()) for name, c in cells_of(project).items()}
    if split_parts:
        assert sum(found.values()) >= 2273
    else:
        assert done.problems == ()
        assert found == counts
        assert done.boxes == 2273
