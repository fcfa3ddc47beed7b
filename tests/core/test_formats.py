"""What all annotation formats have in common: out and in again, and bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.formats import FORMATS, guess_format
from napari_cellal.io.exchange.names import Outlets, class_name_of, distinct_paths, image_name_of
from napari_cellal.io.exchange.report import (
    ExportBox,
    ExportClass,
    ExportImage,
    ImportedImage,
    ImportReport,
    ReadOptions,
)

CLASSES = [ExportClass("RBC", "#E69F00"), ExportClass("WBC ä", "#56B4E9")]
BOXES = (
    ExportBox((0, 0, 20, 30), "RBC", status="confirmed", reviewed_by="ann", cell_id="1"),
    ExportBox(
        (12.0, 40.0, 33.0, 61.0), "WBC ä", 0.75, status="corrected", model="m1", model_class="RBC"
    ),
    ExportBox((30, 5, 50, 80), "RBC", status="unsure", reviewed_by="bob", note="two, or one?"),
)
IMAGES = [
    ExportImage("ä 1.jpg", (3, 50, 80), BOXES, finished=True),
    ExportImage("b.tif", (1, 1000, 700), (ExportBox((998, 0, 1000, 700), "RBC"),)),
    ExportImage("empty.png", (3, 50, 80)),
]
EXACT = {"voc", "coco", "geojson", "csv", "labels"}
"""Formats that keep sides of whole pixels exactly."""
KEEP_REVIEW = {"coco", "geojson", "csv"}
KEEP_NO_CLASS = {"coco", "geojson", "csv", "labels"}


def read(name: str, *paths: Path, **options: Any) -> tuple[list[ImportedImage], ImportReport]:
    return run_job(FORMATS[name].read(paths, ReadOptions(**options)))


def write(name: str, out: Path, images: list[ExportImage] = IMAGES) -> Any:
    return run_job(FORMATS[name].write(out, images, CLASSES))


def by_name(images: list[ImportedImage]) -> dict[str, ImportedImage]:
    return {Path(i.image_name).stem: i for i in images}


def in_px(image: ImportedImage, shape: tuple[int, int, int]) -> list[tuple[float, ...]]:
    if not image.relative:
        return [b.box for b in image.boxes]
    scale = (shape[1], shape[2]) * 2
    return [tuple(v * k for v, k in zip(b.box, scale, strict=True)) for b in image.boxes]


@pytest.mark.parametrize("name", FORMATS)
def test_out_and_in_again(tmp_path: Path, name: str) -> None:
    out = write(name, tmp_path / "out")
    assert out.boxes == 4
    assert all(file.is_file() for file in out.files)
    images, report = read(name, tmp_path / "out")
    assert not report.problems
    found = by_name(images)
    for image in IMAGES[:2]:
        again = found[Path(image.name).stem]
        assert again.size in (None, image.shape[1:])
        got = sorted(zip(in_px(again, image.shape), again.boxes, strict=True), key=lambda p: p[0])
        want = sorted(image.boxes, key=lambda b: b.box)
        for (box, item), cell in zip(got, want, strict=True):
            assert box == pytest.approx(cell.box, abs=0 if name in EXACT else 1e-3)
            assert item.class_name == cell.class_name
            if name in KEEP_REVIEW:
                assert (item.status, item.reviewed_by) == (cell.status, cell.reviewed_by)
                assert (item.note, item.score, item.model) == (cell.note, cell.score, cell.model)
                assert item.model_class == (cell.model_class or "")
        if name in KEEP_REVIEW:
            assert again.verified == image.finished
    if name in KEEP_REVIEW:
        assert out.lost == ()
        assert found["1" if "1" in found else "ä 1"].reviews
    else:
        assert out.lost


@pytest.mark.parametrize("name", FORMATS)
def test_cells_without_a_class(tmp_path: Path, name: str) -> None:
    image = ExportImage("a.png", (3, 50, 80), (ExportBox((0, 0, 20, 30)),))
    report = write(name, tmp_path, [image])
    (again,), _ = read(name, tmp_path)
    expected = "" if name in KEEP_NO_CLASS else "cell"
    assert [b.class_name for b in again.boxes] == [expected]
    assert bool(report.lost) is (name not in KEEP_NO_CLASS)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\0",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b'{"images": [{"id": 1, "file_name"',
        "\ud800".encode("utf-16", "surrogatepass"),
        b"\xff\xff\xff\xff",
    ],
    ids=range(9),
)
def test_a_bad_file_is_said_and_the_rest_goes_on(tmp_path: Path, name: str, content: bytes) -> None:
    (good, *_) = write(name, tmp_path / "out").files
    bad = good.with_name(f"bad{good.suffix}")
    bad.write_bytes(content)
    images, report = read(name, good, bad)
    assert any(image.boxes for image in images)
    problems = [p for p in report.problems if p.file == bad.name]
    assert problems or not any(i.boxes for i in images if i.file == bad)
    for problem in problems:
        assert problem.sentence.startswith(bad.name)
        assert "\n" not in problem.sentence


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_guessed(tmp_path: Path, name: str) -> None:
    report = write(name, tmp_path / "out")
    assert guess_format([tmp_path / "out"]) == name
    if FORMATS[name].one_file:
        assert guess_format(report.files) == name


def test_a_folder_of_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(AnnotationError, match=tmp_path.name):
        guess_format([tmp_path])


@pytest.mark.parametrize("name", FORMATS)
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(AnnotationError, match="out"):
        write(name, tmp_path / "out" / "below")


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_one_name_stay_apart(tmp_path: Path, name: str) -> None:
    paths = [Path(f"/data/plate/{well}/001.tif") for well in ("A01", "A02")]
    images = [
        ExportImage(p.name, (1, 50, 80), (ExportBox((0, 0, 20, 30 + k), "RBC"),), path=p)
        for k, p in enumerate(paths)
    ]
    write(name, tmp_path, images)
    again, _ = read(name, tmp_path)
    assert len(again) == 2
    if name != "voc":  # LabelImg wants its files in one folder
        assert {i.parents[-1] for i in again} == {"A01", "A02"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_job_is_left_early_without_a_trace(tmp_path: Path, name: str) -> None:
    job = FORMATS[name].write(tmp_path / "out", IMAGES, CLASSES)
    next(job)
    job.close()
    left = [p for p in (tmp_path / "out").rglob("*") if p.suffix == ".tmp"]
    assert not left


def test_names_are_cleaned_and_lead_nowhere() -> None:
    assert image_name_of("../../etc/passwd") == ("passwd", ("etc",))
    assert image_name_of("C:\\a\\..\\b c.png") == ("b c.png", ("C:", "a"))
    assert image_name_of("..") == ("", ())
    assert image_name_of(["x"]) == ("", ())
    assert image_name_of(12) == ("12", ())
    assert len(image_name_of("x" * 10_000)[0]) == 200
    assert class_name_of(" a,\x00b\ud800\n") == "a; b"


def test_paths_are_as_long_as_it_takes() -> None:
    paths = ["/d/A01/001.tif", "/d/A02/001.tif", "/d/A02/002.tif"]
    images = [ExportImage(Path(p).name, (1, 2, 2), path=Path(p)) for p in (*paths, paths[2])]
    assert distinct_paths(images) == ["A01/001.tif", "A02/001.tif", "002.tif", "002.tif"]
    outlets = Outlets(".txt")
    names = [outlets.of(p) for p in ("a.png", "A.jpg", "a.png", "b/a.png")]
    assert names == ["a.txt", "A.jpg.txt", "a.png.txt", "b/a.txt"]
