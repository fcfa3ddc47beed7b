"""Crops and measurements out: names, tables, all kinds of images, and jobs left early."""

from __future__ import annotations

import csv
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, Origin, Proposal, new_id
from napari_cellal.features.table import FeatureTable
from napari_cellal.io import tables
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, cropping, measuring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_cellal.io.exchange.report import ExportReport

RNG = np.random.default_rng(0)
BOXES = [(0.0, 0.0, 20.0, 10.0), (30.0, 40.0, 50.0, 80.0), (10.5, 10.0, 20.0, 20.25)]


@pytest.fixture
def images(tmp_path: Path) -> dict[str, np.ndarray[Any, Any]]:
    folder = tmp_path / "images"
    (folder / "B").mkdir(parents=True)
    made = {
        "color.png": RNG.integers(0, 255, (50, 80, 3), np.uint8),
        "B/color.png": RNG.integers(0, 255, (50, 80, 3), np.uint8),
        "gray16.tif": RNG.integers(100, 3000, (50, 80)).astype(np.uint16),
        "five.tif": RNG.integers(0, 4000, (5, 50, 80)).astype(np.uint16),
    }
    for name, pixels in made.items():
        if name.endswith("png"):
            Image.fromarray(pixels).save(folder / name)
        else:
            about = {"axes": "CYX"} if pixels.ndim == 3 else {"axes": "YX"}
            tifffile.imwrite(folder / name, pixels, metadata=about, photometric="minisblack")
    return made


@pytest.fixture
def project(tmp_path: Path, images: dict[str, Any]) -> Iterator[Project]:
    with Project.create(tmp_path / "p", ["RBC", "WBC"]) as opened:
        adding.add_looked(opened, run_job(adding.look_at_images([tmp_path / "images"])))
        for key in opened.images:
            opened.history.do(gestures.draw(key, BOXES, 1, "ann"))
        yield opened


def export(project: Project, out: Path, **options: Any) -> ExportReport:
    request = run_job(cropping.request_crops(project, out, **options))
    return run_job(cropping.cut_crops(request))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "crops.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_file_a_cell_and_a_table(
    project: Project, tmp_path: Path, images: dict[str, np.ndarray[Any, Any]]
) -> None:
    report = export(project, tmp_path / "out")
    assert (report.images, report.boxes, len(report.files)) == (4, 12, 13)
    rows = table(tmp_path / "out")
    assert {r["file"] for r in rows} == {p.name for p in report.files} - {"crops.csv"}
    names = sorted(r["file"] for r in rows if "color" in r["file"])
    assert names == sorted(
        f"{stem}_{k:02}.jpg" for stem in ("images_color", "B_color") for k in (1, 2, 3)
    )
    first = next(r for r in rows if r["file"] == "five_02.tif")
    assert (first["class"], first["status"], first["image"]) == ("RBC", "drawn", "five.tif")
    assert [float(first[k]) for k in ("ymin", "xmin", "ymax", "xmax")] == list(BOXES[1])
    cut = tifffile.imread(tmp_path / "out" / "five_02.tif")
    np.testing.assert_array_equal(cut, images["five.tif"][:, 30:50, 40:80])
    cut = tifffile.imread(tmp_path / "out" / "gray16_01.tif").squeeze()
    np.testing.assert_array_equal(cut, images["gray16.tif"][:20, :10])
    with Image.open(tmp_path / "out" / "B_color_03.jpg") as picture:
        assert (picture.mode, picture.size) == ("RGB", (11, 10))  # whole pixels around the box


def test_crops_come_back_as_they_are_without_loss(
    project: Project, tmp_path: Path, images: dict[str, np.ndarray[Any, Any]]
) -> None:
    export(project, tmp_path / "png", picture="png")
    with Image.open(tmp_path / "png" / "B_color_02.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), images["B/color.png"][30:50, 40:80])
    with Image.open(tmp_path / "png" / "five_02.png") as picture:
        assert picture.mode == "RGB"
    with Image.open(tmp_path / "png" / "gray16_02.png") as picture:
        assert picture.mode == "L"
        spread = np.asarray(picture)
    assert spread.min() < 20
    assert spread.max() > 235
    export(project, tmp_path / "tiff", picture="tiff")
    cut = tifffile.imread(tmp_path / "tiff" / "B_color_02.tif")
    np.testing.assert_array_equal(cut, images["B/color.png"][30:50, 40:80])


def test_padding_and_size(
    project: Project, tmp_path: Path, images: dict[str, np.ndarray[Any, Any]]
) -> None:
    export(project, tmp_path / "a", padding=0.5, picture="png")
    with Image.open(tmp_path / "a" / "images_color_01.png") as picture:
        assert picture.size == (20, 40)
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[10:, 5:], images["color.png"][:30, :15])
    np.testing.assert_array_equal(pixels[:10], pixels[11:21][::-1])  # mirrored at the border
    export(project, tmp_path / "b", size_px=32)
    shapes = {tifffile.imread(f).squeeze().shape[-2:] for f in (tmp_path / "b").glob("*.tif")}
    assert shapes == {(32, 32)}


@pytest.mark.parametrize(
    "options",
    [{"picture": "gif"}, {"padding": -1}, {"padding": float("nan")}, {"size_px": 0}],
)
def test_odd_wishes_are_refused(project: Project, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(CellalError):
        export(project, tmp_path / "out", **options)


@pytest.mark.parametrize("picture", ["tiff", "png"])
def test_large_images_are_cut_in_parts(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: str
) -> None:
    """Which changes nothing: crops in 8 bit share one scale, so that cells compare."""
    export(project, tmp_path / "whole", padding=0.3, picture=picture)
    monkeypatch.setattr(cropping, "is_large", lambda *_: True)
    monkeypatch.setattr(cropping, "read_plane", None)
    export(project, tmp_path / "parts", padding=0.3, picture=picture)
    whole = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    parts = {file.name: file.read_bytes() for file in (tmp_path / "parts").iterdir()}
    assert len(whole) == 13
    assert [name for name in whole if parts.get(name) != whole[name]] == []


def test_an_image_that_is_gone_is_said_and_the_rest_goes_on(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "images" / "five.tif").unlink()
    report = export(project, tmp_path / "out")
    assert (report.images, report.boxes, len(report.problems)) == (3, 9, 1)
    assert len(table(tmp_path / "out")) == 9


def test_left_early_the_table_is_that_of_the_crops(project: Project, tmp_path: Path) -> None:
    job = cropping.cut_crops(run_job(cropping.request_crops(project, tmp_path / "out")))
    for step in job:
        if step.done >= 3:
            job.close()
    rows = table(tmp_path / "out")
    files = {p.name for p in (tmp_path / "out").iterdir()} - {"crops.csv"}
    assert {r["file"] for r in rows} == files
    assert 3 <= len(files) < 12


def test_no_cells_and_no_folder(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CellalError, match="file"):
        export(project, tmp_path / "file")
    key = next(iter(project.images))
    for each in project.images:
        project.history.do(gestures.remove(project.cells.of_image(each), "ann"))
    assert not project.cells.of_image(key)
    with pytest.raises(CellalError):
        export(project, tmp_path / "out")


def test_odd_and_long_names_make_files(project: Project, tmp_path: Path) -> None:
    request = run_job(cropping.request_crops(project, tmp_path / "out"))
    stems = [i.stem for i in request.images]
    assert len(set(stems)) == 4
    assert all(os.sep not in s for s in stems)


# -- measurements --------------------------------------------------------------------------


def measured(project: Project) -> FeatureTable:
    ids = [c.cell_id for key in project.images for c in project.cells.of_image(key)]
    values = RNG.random((len(ids), 2)).astype(np.float32)
    return FeatureTable((*ids, "gone")[: len(ids)], ("a", "b"), values)


def test_measurements_as_csv_and_parquet(project: Project, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    values = measured(project)
    measuring.write_measurements(project, values, tmp_path / "t.csv")
    measuring.write_measurements(project, values, tmp_path / "new" / "t.parquet")
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = parquet.read_table(tmp_path / "new" / "t.parquet").to_pydict()
    assert list(columns) == list(rows[0])
    assert columns["cell_id"] == [r["cell_id"] for r in rows] == list(values.cell_ids)
    assert set(columns["class"]) == {"RBC"}
    assert columns["score"] == [None] * 12
    assert columns["y0"][:3] == [b[0] for b in BOXES]
    np.testing.assert_array_equal(np.float32(columns["b"]), values.values[:, 1])
    assert [float(r["a"]) for r in rows] == pytest.approx(columns["a"])


def test_measurements_keep_people_and_models_apart(project: Project, tmp_path: Path) -> None:
    key = next(iter(project.images))
    box = (1.0, 2.0, 11.0, 12.0)
    said = Proposal(box, 1, 0.75, "m1", ((1, 0.625), (2, 0.375)))
    cell = Cell(new_id(), key, box, 1, Origin.MODEL, proposed=said)
    project.history.do(edit_of("detected", [(None, cell)]))
    project.history.do(gestures.give_class([cell], 2, "WBC", "me"))
    bare = Cell(new_id(), key, box, origin=Origin.MODEL, proposed=Proposal(box, None, 0.5, "m2"))
    project.history.do(edit_of("detected", [(None, bare)]))
    measuring.write_measurements(project, measured(project), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        lines = {row["cell_id"]: row for row in csv.DictReader(file)}
    told = ("class", "status", "model", "model_class", "score", "probability")
    assert [lines[cell.cell_id][k] for k in told] == [
        "WBC", "corrected", "m1", "RBC", "0.75", "0.625",
    ]  # fmt: skip
    assert [lines[bare.cell_id][k] for k in told] == ["", "proposed", "m2", "", "0.5", ""]
    (drawn,) = {
        tuple(row[k] for k in told[1:]) for row in lines.values() if row["status"] == "drawn"
    }
    assert drawn == ("drawn", "", "", "", "")


def test_a_cell_that_is_gone_keeps_its_line(project: Project, tmp_path: Path) -> None:
    values = replace(measured(project), cell_ids=(*measured(project).cell_ids[:-1], "gone"))
    measuring.write_measurements(project, values, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[-1].startswith("gone,,,")


def test_tables_that_cannot_be_written(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = measured(project)
    with pytest.raises(CellalError, match=r"t\.xls"):
        tables.check_output("t.xls")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CellalError, match="file"):
        measuring.write_measurements(project, values, tmp_path / "file" / "t.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CellalError, match="pyarrow"):
        tables.check_output("t.parquet")
