"""YOLO: lists of classes, lines of several kinds, and values that are no shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.report import ExportBox, ExportClass, ExportImage
from napari_cellal.io.exchange.yolo import read_yolo, write_yolo, yolo_files

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.io.exchange.report import ImportedImage, ImportReport


def read(folder: Path, text: str) -> tuple[list[ImportedImage], ImportReport]:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text(text, "utf-8")
    return run_job(read_yolo(folder))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "RBC\nWBC ä\n\n"),
        ("labels/classes.txt", "RBC\nWBC ä"),
        ("obj.names", "RBC\r\nWBC ä\r\n"),
        ("data.yaml", "nc: 2\nnames: [RBC, WBC ä]"),
        ("set.yml", "path: /etc\nnames:\n  0: RBC\n  1: WBC ä\n"),
    ],
)
def test_names_of_classes(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / file).write_text(text, "utf-8")
    images, report = read(tmp_path, "0 0.5 0.5 0.5 0.25\n1 0.5 0.5 1 1\n")
    assert [i.image_name for i in images] == ["a"]
    assert [b.class_name for b in images[0].boxes] == ["RBC", "WBC ä"]
    assert images[0].boxes[0].box == (0.375, 0.25, 0.625, 0.75)
    assert images[0].relative
    assert not report.problems


def test_without_names_classes_have_numbers(tmp_path: Path) -> None:
    images, report = read(tmp_path, "0 0.5 0.5 0.5 0.25\n7 0.5 0.5 1 1\n")
    assert [b.class_name for b in images[0].boxes] == ["class 0", "class 7"]
    assert report.counts() == {"no-names": 1}
    (tmp_path / "classes.txt").write_text("RBC")
    images, report = read(tmp_path, "0 0.5 0.5 0.5 0.25\n7 0.5 0.5 1 1\n")
    assert [b.class_name for b in images[0].boxes] == ["RBC", "class 7"]
    assert report.counts() == {"unknown-class": 1}


@pytest.mark.parametrize("text", ["names: [" * 5000, "names: &a [*a]", "a: &x [1]\nb: *x", "\t:"])
def test_odd_lists_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    images, _ = read(tmp_path, "0 0.5 0.5 0.5 0.25\n")
    assert len(images[0].boxes) == 1


def test_scores_and_outlines(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("RBC")
    images, report = read(tmp_path, "0 .5 .5 .5 .25 0.75\n0 .1 .2 .3 .2 .3 .4 .1 .35\n\n# x\n")
    assert [b.score for b in images[0].boxes] == [0.75, None]
    assert images[0].boxes[1].box == pytest.approx((0.2, 0.1, 0.4, 0.3))
    assert not report.problems


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 320 240 50 60", "out-of-range"),
        ("0 0.5 1.2 0.1 0.1", "out-of-range"),
        ("0 -0.5 0.2 0.1 0.1", "out-of-range"),
        ("0 nan 0.2 0.1 0.1", "bad-number"),
        ("0 inf 0.2 0.1 0.1", "out-of-range"),
        ("0 0.5 0.5 0 0.1", "zero-area"),
        ("0 0.5 0.5", "malformed"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "malformed"),
        ("RBC 0.5 0.5 0.1 0.1", "malformed"),
        ("1.5 0.5 0.5 0.1 0.1", "malformed"),
        ("-1 0.5 0.5 0.1 0.1", "malformed"),
        ("1e400 0.5 0.5 0.1 0.1", "malformed"),
    ],
)
def test_a_bad_line_is_left_out(tmp_path: Path, line: str, kind: str) -> None:
    (tmp_path / "classes.txt").write_text("RBC")
    images, report = read(tmp_path, f"0 .2 .2 .1 .1\n{line}\n0 .7 .7 .1 .1\n")
    assert len(images[0].boxes) == 2
    assert report.counts() == {kind: 1}


def test_boxes_over_the_edge_are_cut(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("RBC")
    images, report = read(tmp_path, "0 .999 .5 .1 .1\n0 0.05 0.05 0.1001 0.1\n")
    assert [b.box[3] for b in images[0].boxes] == pytest.approx([1.0, 0.10005])
    assert report.counts() == {"outside": 1}


def test_an_empty_file_is_an_image_without_cells(tmp_path: Path) -> None:
    images, report = read(tmp_path, "")
    assert [i.boxes for i in images] == [()]
    assert not report.problems


def test_only_labels_are_read(tmp_path: Path) -> None:
    for name in ("train/labels/a.txt", "valid/labels/b.txt", "readme.txt", "images/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [f.name for f in yolo_files(tmp_path)] == ["a.txt", "b.txt"]
    for name in ("c.txt", "classes.txt", "train.txt", "LICENSE.txt", "README.roboflow.txt"):
        (tmp_path / "images" / name).write_text("")
    assert [f.name for f in yolo_files(tmp_path / "images")] == ["c.txt", "note.txt"]


def test_roboflow_names_are_known(tmp_path: Path) -> None:
    (tmp_path / "Blood_1_jpg.rf.0a1b2c.txt").write_text("")
    images, _ = run_job(read_yolo(tmp_path))
    assert images[0].other_names == ("Blood_1.jpg",)


def test_what_is_written_reads_elsewhere(tmp_path: Path) -> None:
    import yaml

    box = ExportBox((10, 20, 20, 60), "WBC: 2", 0.5)
    image = ExportImage("a.b.tif", (3, 100, 200), (box,))
    classes = [ExportClass("RBC", "#000000"), ExportClass("WBC: 2", "#000000")]
    run_job(write_yolo(tmp_path, [image], classes))
    text = (tmp_path / "labels" / "a.b.txt").read_text()
    assert text == "1 0.20000000 0.15000000 0.20000000 0.10000000\n"
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["names"] == {0: "RBC", 1: "WBC: 2"}
