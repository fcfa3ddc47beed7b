"""CSV: columns guessed and given, several ways to say a box, and damaged tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.report import ReadOptions
from napari_cellal.io.exchange.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.io.exchange.report import ImportedImage, ImportReport


def read(
    folder: Path, text: str | bytes, **options: Any
) -> tuple[list[ImportedImage], ImportReport]:
    content = text.encode() if isinstance(text, str) else text
    (folder / "t.csv").write_bytes(content)
    return run_job(read_table(folder, ReadOptions(**options)))


BCCD = "filename,cell_id,cell_type,xmin,xmax,ymin,ymax,image_id\n"


@pytest.mark.parametrize(
    "text",
    [
        BCCD + "a.jpg,7,RBC,10,30,20,60,3\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,640,480,RBC,10,20,30,60\n",
        "imgs/a.jpg,10,20,30,60,RBC\n",
        "Image Name;Label;X;Y;Width;Height\na.jpg;RBC;10,0;20;20;40\n",
        "image\tclass\tx_center\ty_center\tbox_width\tbox_height\na.jpg\tRBC\t20\t40\t20\t40\n",
        "\ufefffile,type,x1,y1,x2,y2\r\n\r\n'a.jpg',x,1,1,1,1\r\n\"a.jpg\",RBC,10,20,30,60\r\n",
        "file,class,left,top,right,bottom\na.jpg,RBC,10,20,30,60".encode("utf-16"),
    ],
    ids=["bccd", "tensorflow", "retinanet", "sizes", "centres", "quoted", "utf16"],
)
def test_layouts(tmp_path: Path, text: str | bytes) -> None:
    images, _ = read(tmp_path, text)
    image = next(i for i in images if i.image_name == "a.jpg")
    assert [(b.box, b.class_name) for b in image.boxes] == [((20, 10, 60, 30), "RBC")]
    assert image.size in (None, (480, 640))


def test_columns_can_be_given(tmp_path: Path) -> None:
    text = "pic,name,kind,a,b,c,d\np.png,n.png,WBC,1,2,3,4\n"
    images, report = read(tmp_path, text)
    assert not images
    assert report.counts() == {"no-column": 1}
    columns = {"image": "pic", "xmin": "a", "ymin": "b", "xmax": "c", "ymax": "d", "class": "kind"}
    images, report = read(tmp_path, text, columns=columns)
    assert images[0].image_name == "p.png"
    assert images[0].boxes[0].box == (2, 1, 4, 3)
    assert images[0].boxes[0].class_name == "WBC"
    assert report.columns == columns
    assert report.headings == ("pic", "name", "kind", "a", "b", "c", "d")
    _, report = read(tmp_path, BCCD + "a.jpg,7,RBC,10,30,20,60,3\n", columns={"class": ""})
    assert "class" not in report.columns


@pytest.mark.parametrize("columns", [{"nose": "a"}, {"image": "not there"}])
def test_columns_that_are_not_there(tmp_path: Path, columns: dict[str, str]) -> None:
    images, report = read(tmp_path, BCCD + "a.jpg,7,RBC,10,30,20,60,3\n", columns=columns)
    assert not images
    assert len(report.problems) == 1


def test_counting_from_one(tmp_path: Path) -> None:
    images, report = read(tmp_path, BCCD + "a.jpg,7,RBC,1,30,1,60,3\n", from_one=True)
    assert images[0].boxes[0].box == (0, 0, 60, 30)
    assert not report.problems


def test_shares_are_told(tmp_path: Path) -> None:
    images, report = read(tmp_path, BCCD + "a.jpg,7,RBC,0.1,0.3,0.25,0.5,3\n")
    assert images[0].relative
    assert images[0].boxes[0].box == (0.25, 0.1, 0.5, 0.3)
    assert report.counts() == {"shares": 1}


def test_a_line_without_a_box_names_an_image(tmp_path: Path) -> None:
    images, report = read(tmp_path, BCCD + "a.jpg,,,,,,,\n,1,RBC,1,2,3,4,\n")
    assert [(i.image_name, i.boxes) for i in images] == [("a.jpg", ())]
    assert report.counts() == {"no-name": 1}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("a.jpg,7,RBC,nan,30,20,60,3", "bad-number"),
        ("a.jpg,7,RBC,,30,20,60,3", "bad-number"),
        ("a.jpg,7,RBC,1e300,30,20,60,3", "bad-number"),
        ("a.jpg,7,RBC,10", "bad-number"),
        ("a.jpg,7,RBC,30,30,20,60,3", "zero-area"),
        ("a.jpg,7,RBC,50,30,60,20,3", "reversed"),
    ],
)
def test_a_bad_line_is_said(tmp_path: Path, line: str, kind: str) -> None:
    images, report = read(tmp_path, BCCD + f"a.jpg,7,RBC,100,130,20,60,3\n{line}\n")
    assert len(images[0].boxes) == 1 + (kind == "reversed")
    assert report.counts() == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        BCCD + 'a.jpg,7,"RBC,10,30,20,60,3\n' + "x" * 200_000,
        BCCD.encode() + b"a.jpg,7,\xe4\xff,10,30,20,60,3\n",
        "a\n",
        ",,,\n",
        BCCD,
    ],
    ids=["field", "latin", "one column", "empty cells", "headings only"],
)
def test_damaged_tables(tmp_path: Path, text: str | bytes) -> None:
    images, report = read(tmp_path, text)
    assert report.problems or sum(len(i.boxes) for i in images) == 1 or not images


def test_a_table_of_too_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_cellal.io.exchange import table

    monkeypatch.setattr(table, "MAX_ROWS", 100)
    lines = "".join(f"a.jpg,7,RBC,{k * 50},{k * 50 + 30},20,60,3\n" for k in range(500))
    images, report = read(tmp_path, BCCD + lines)
    assert len(images[0].boxes) == 99
    assert report.counts() == {"too-large": 1}
