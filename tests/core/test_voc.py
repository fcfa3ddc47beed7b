"""Pascal VOC in and out: exact both ways, and every fault reported without stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.report import (
    ExportBox,
    ExportImage,
    ExportReport,
    ImportedImage,
    ImportReport,
)
from napari_cellal.io.exchange.voc import read_image_sets, read_voc, write_voc

if TYPE_CHECKING:
    from pathlib import Path

Sides = tuple[object, object, object, object]  # xmin, ymin, xmax, ymax


def item(sides: Sides, name: str = "RBC", more: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
    box = "".join(f"<{t}>{v}</{t}>" for t, v in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def voc(
    folder: Path,
    *items: str,
    name: str = "a",
    filename: str | None = "a.jpg",
    size: tuple[int, int] | None = (640, 480),
    attributes: str = "",
) -> Path:
    parts = [f"<filename>{filename}</filename>"] if filename is not None else []
    if size:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height></size>")
    file = folder / f"{name}.xml"
    file.write_text(
        f"<annotation {attributes}>{''.join(parts)}{''.join(items)}</annotation>", "utf-8"
    )
    return file


def read(
    *paths: Path, classes: list[str] | None = None
) -> tuple[list[ImportedImage], ImportReport]:
    return run_job(read_voc(paths, classes=classes))


def write(folder: Path, *images: ExportImage) -> ExportReport:
    return run_job(write_voc(folder, images))


GOOD = item((10, 20, 30, 60))


def test_counts_from_one_become_half_open_from_zero(tmp_path: Path) -> None:
    more = "<truncated>1</truncated><difficult>0</difficult>"
    items = (item((1, 1, 640, 480), "WBC", more), item((68.5, 315, 286, 480)))
    images, report = read(voc(tmp_path, *items, attributes='verified="yes"'))
    (image,) = images
    assert [b.box for b in image.boxes] == [(0, 0, 480, 640), (314, 67.5, 480, 286)]
    assert [b.class_name for b in image.boxes] == ["WBC", "RBC"]
    assert image.boxes[0].truncated
    assert not image.boxes[0].difficult
    assert (image.image_name, image.size, image.verified) == ("a.jpg", (480, 640), True)
    assert (report.files, report.images, report.boxes, report.problems) == (1, 1, 2, ())


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (item((9, 20, 9, 60)), "zero-area"),
        (item((9, 20, 30, 20)), "zero-area"),
        (item((900, 20, 950, 60)), "outside"),
        (item((-90, 20, -50, 60)), "outside"),
        (item(("nan", 20, 30, 60)), "bad-number"),
        (item((10, "inf", 30, 60)), "bad-number"),
        (item(("ten", 20, 30, 60)), "bad-number"),
        (item((10, 20, "1e300", 60)), "bad-number"),
        (item(("", 20, 30, 60)), "bad-number"),
        (item((10, 20, 30, 60), name=" "), "no-class"),
        ("<object><name>RBC</name></object>", "no-box"),
        (item((200, 200, 260, 260), name="Alien"), "unknown-class"),
    ],
)
def test_a_bad_box_is_left_out_and_the_others_stay(tmp_path: Path, bad: str, kind: str) -> None:
    other = item((300, 300, 350, 350))
    images, report = read(voc(tmp_path, GOOD, bad, other), classes=["RBC"])
    assert [b.box for b in images[0].boxes] == [(19, 9, 60, 30), (299, 299, 350, 350)]
    assert report.counts() == {kind: 1}
    assert report.boxes == 2
    assert "a.xml" in report.problems[0].sentence
    assert report.problems[0].sentence in report.lines()


def test_sides_are_repaired_and_reported(tmp_path: Path) -> None:
    items = (item((30, 60, 10, 20)), item((600, 400, 700, 500), "WBC"))
    images, report = read(voc(tmp_path, *items))
    assert [b.box for b in images[0].boxes] == [(19, 9, 60, 30), (399, 599, 480, 640)]
    assert report.counts() == {"reversed": 1, "outside": 1}


def test_files_that_count_from_zero_are_told_of(tmp_path: Path) -> None:
    images, report = read(voc(tmp_path, item((0, 0, 30, 60)), item((0, 90, 30, 120))))
    assert [b.box for b in images[0].boxes] == [(0, 0, 60, 30), (89, 0, 120, 30)]
    assert report.counts() == {"zero-based": 1}


def test_doubled_boxes_stay_and_are_flagged(tmp_path: Path) -> None:
    again, other_class = item((11, 21, 31, 61)), item((10, 20, 30, 60), "WBC")
    images, report = read(voc(tmp_path, GOOD, again, other_class))
    assert len(images[0].boxes) == 3
    assert report.counts() == {"doubled": 1}


def test_without_size_nothing_is_cut(tmp_path: Path) -> None:
    images, report = read(voc(tmp_path, item((10, 20, 3000, 6000)), size=None))
    assert images[0].size is None
    assert images[0].boxes[0].box == (19, 9, 6000, 3000)
    assert report.counts() == {"no-size": 1}
    assert read(voc(tmp_path, GOOD, size=(0, 0)))[0][0].size is None


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("../../etc/passwd.jpg", "passwd.jpg"),
        (r"C:\Users\x\a b.jpg", "a b.jpg"),
        ("", "from_stem"),
        ("..", "from_stem"),
        (None, "from_stem"),
    ],
)
def test_names_never_lead_anywhere(tmp_path: Path, filename: str | None, name: str) -> None:
    images, _ = read(voc(tmp_path, GOOD, name="from_stem", filename=filename))
    assert images[0].image_name == name


BOMB = (
    '<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)
FILE_READ = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<annotation><object>",
        b"hello",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"<coco/>",
        b"<?xml version='1.0' encoding='no-such'?><annotation/>",
        "<?xml version='1.0'?><annotation>ä</annotation>".encode("latin-1"),
        BOMB.encode(),
        FILE_READ.encode(),
    ],
)
def test_a_bad_file_is_one_problem_and_the_rest_goes_on(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.xml").write_bytes(content)
    voc(tmp_path, GOOD, name="good")
    images, report = read(tmp_path)
    assert [image.file.name for image in images] == ["good.xml"]
    assert report.counts() == {"malformed": 1}
    assert report.problems[0].file == "bad.xml"
    assert (report.files, report.images) == (2, 1)


def test_missing_and_huge_files_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_cellal.io.exchange import voc as module

    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    images, report = read(tmp_path / "gone.xml", voc(tmp_path, GOOD))
    assert not images
    assert report.counts() == {"malformed": 1, "too-large": 1}


def test_folders_are_searched_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    for name in ("c10", "c2"):
        voc(tmp_path / "Annotations", GOOD, name=name, filename=f"{name}.jpg")
    voc(tmp_path, GOOD, name="elsewhere")
    images, _ = run_job(read_voc(tmp_path))
    assert [image.image_name for image in images] == ["c2.jpg", "c10.jpg"]


def test_reading_yields_for_every_file(tmp_path: Path) -> None:
    files = [voc(tmp_path, GOOD, name=f"n{k}") for k in range(5)]
    steps = list(read_voc(files))
    assert [s.done for s in steps] == [0, 1, 2, 3, 4, 5]
    assert {s.total for s in steps} == {5}


# --- out --------------------------------------------------------------------------------


def test_in_out_in_is_exact(tmp_path: Path) -> None:
    more = "<truncated>1</truncated><difficult>1</difficult>"
    items = (item((1, 1, 640, 480), "WBC &amp; &lt;co&gt;", more), GOOD, item((2, 2, 3, 3)))
    voc(tmp_path, *items, filename="ä 1.jpg", attributes='verified="yes"')
    (first,), _ = read(tmp_path)
    boxes = tuple(
        ExportBox(b.box, b.class_name, difficult=b.difficult, truncated=b.truncated)
        for b in first.boxes
    )
    report = write(tmp_path / "out", ExportImage("ä 1.jpg", (3, 480, 640), boxes, finished=True))
    (second,), problems = read(tmp_path / "out")
    assert second.boxes == first.boxes
    assert (second.image_name, second.size, second.verified) == ("ä 1.jpg", (480, 640), True)
    assert report.lost == ()
    assert not problems.problems
    assert (report.images, report.boxes, len(report.files)) == (1, 3, 1)


def test_files_have_what_labelimg_reads(tmp_path: Path) -> None:
    write(tmp_path, ExportImage("a.png", (3, 50, 80), (ExportBox((0, 4, 20, 30), "RBC"),)))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.findtext("filename") == "a.png"
    assert [root.findtext(f"size/{k}") for k in ("width", "height", "depth")] == ["80", "50", "3"]
    sides = [root.findtext(f"object/bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")]
    assert sides == ["5", "1", "30", "20"]
    for tag in ("name", "pose", "truncated", "difficult"):
        assert root.findtext(f"object/{tag}")


def test_what_voc_cannot_hold_is_told(tmp_path: Path) -> None:
    boxes = (
        ExportBox((0, 0, 20, 30), "RBC"),
        ExportBox((1.3, 2.6, 20, 30), "RBC", score=0.7, status="confirmed", note="ring"),
        ExportBox((3, 3, 9, 9)),
        ExportBox((5, 5, 5.6, 20), "RBC"),
    )
    report = write(tmp_path, ExportImage("a.png", (1, 50, 80), boxes))
    assert report.boxes == 3
    assert len(report.lost) == 5  # rounding, no class, score, review, note
    assert [p.kind for p in report.problems] == ["too-thin"]
    (image,), _ = read(tmp_path)
    assert [b.box for b in image.boxes] == [(0, 0, 20, 30), (1, 3, 20, 30), (3, 3, 9, 9)]


def test_boxes_are_cut_to_the_image_on_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, ExportImage("a.png", (1, 50, 80), (ExportBox((-3, -2, 60, 90), "RBC"),)))
    (image,), report = read(tmp_path)
    assert image.boxes[0].box == (0, 0, 50, 80)
    assert not report.problems


def test_same_stems_do_not_overwrite_each_other(tmp_path: Path) -> None:
    box = (ExportBox((0, 0, 20, 30), "RBC"),)
    names = ["a.png", "A.jpg", "x/a.png", "y\\a.png"]
    report = write(tmp_path, *(ExportImage(name, (1, 50, 80), box) for name in names))
    assert len(set(report.files)) == len(list(tmp_path.glob("*.xml"))) == 4
    images, _ = read(tmp_path)
    assert sorted(image.image_name for image in images) == ["A.jpg", "a.png", "x_a.png", "y_a.png"]


def test_odd_names_make_readable_xml(tmp_path: Path) -> None:
    box = (ExportBox((0, 0, 20, 30), "bell\x07<&>\udcff"),)
    write(tmp_path, ExportImage("a.png", (1, 50, 80), box))
    (image,), report = read(tmp_path)
    assert image.boxes[0].class_name.startswith("bell")
    assert not report.problems


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_cellal.io import atomic

    image = ExportImage("a.png", (1, 50, 80), (ExportBox((0, 0, 20, 30), "RBC"),))
    write(tmp_path, image)
    before = (tmp_path / "a.xml").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(AnnotationError):
        write(tmp_path, ExportImage("a.png", (1, 50, 80)))
    assert (tmp_path / "a.xml").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.xml"]


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(AnnotationError, match="out"):
        write(tmp_path / "out", ExportImage("a.png", (1, 50, 80)))


def test_image_sets(tmp_path: Path) -> None:
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "train.txt").write_text("a 1\r\nb\r\n\r\n")
    (main / "test.txt").write_text("field one  -1\nc  1\nd 0\n")
    (main / "dog_train.txt").write_text("z 1\n")
    assert read_image_sets(tmp_path) == {
        "train": ["a", "b"],
        "test": ["field one", "c", "d"],
    }
    assert read_image_sets(tmp_path / "nowhere") == {}
