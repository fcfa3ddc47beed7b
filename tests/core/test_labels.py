"""Label images: every value a cell, parts split on request, pictures refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.labels import label_files, label_masks, read_labels, write_labels
from napari_cellal.io.exchange.report import ExportBox, ExportImage, ReadOptions

if TYPE_CHECKING:
    from pathlib import Path


def example(dtype: Any = np.uint16) -> np.ndarray[Any, Any]:
    labels = np.zeros((40, 60), dtype)
    labels[2:8, 3:10] = 7
    labels[20:25, 3:10] = 7  # a part that does not touch the other
    labels[10:15, 30:35] = 200
    labels[15:18, 35:40] = 200  # touches at a corner
    return labels


def label_boxes(labels: Any, **options: Any) -> list[tuple[int, Any]]:
    return [(value, mask.box) for value, mask in label_masks(labels, **options)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32"])
def test_number_types(tmp_path: Path, dtype: str) -> None:
    labels = example(dtype)
    if dtype not in ("uint8",):
        labels[labels == 200] = 60_000
    tifffile.imwrite(tmp_path / "a_masks.tif", labels)
    (image,), report = run_job(read_labels(tmp_path))
    assert [b.box for b in image.boxes] == [(2, 3, 25, 10), (10, 30, 18, 40)]
    assert (image.size, image.other_names) == ((40, 60), ("a",))
    assert not report.problems


def test_parts_are_split_on_request(tmp_path: Path) -> None:
    Image.fromarray(example().astype(np.uint8)).save(tmp_path / "x.png")
    (image,), _ = run_job(read_labels(tmp_path, ReadOptions(split_parts=True)))
    assert [b.box for b in image.boxes] == [(2, 3, 8, 10), (20, 3, 25, 10), (10, 30, 18, 40)]


@pytest.mark.parametrize("split", [False, True])
def test_boxes_are_those_of_a_slow_account(split: bool) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 4, (12, 14))
    expected = []
    for value in range(1, 4):
        ys, xs = np.nonzero(small == value)
        expected.append((value, (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)))
    if not split:
        assert label_boxes(small) == expected
        assert [b for _, b in label_boxes(small * 10**9)] == [b for _, b in expected]
        assert label_boxes(small - 1) == [(v - 1, b) for v, b in expected[1:]]
    else:
        from skimage.measure import label, regionprops

        parts = label(small, connectivity=2)
        slow = sorted((int(small[tuple(p.coords[0])]), p.bbox) for p in regionprops(parts))
        assert sorted(label_boxes(small, split_parts=True)) == slow


def test_values_without_background() -> None:
    assert label_boxes(np.full((3, 4), 9)) == [(9, (0, 0, 3, 4))]
    assert label_boxes(np.full((3, 4), 10**9)) == [(10**9, (0, 0, 3, 4))]
    assert label_boxes(np.zeros((3, 4), int)) == []
    assert label_boxes(np.zeros((0, 4), int)) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8),
        np.random.default_rng(0).random((30, 40)).astype(np.float32),
        np.full((30, 40), np.nan, np.float32),
        np.arange(600 * 700, dtype=np.uint32).reshape(600, 700),
    ],
    ids=["colours", "fractions", "nan", "values"],
)
def test_pictures_are_refused(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    tifffile.imwrite(tmp_path / "good.tif", example())
    tifffile.imwrite(tmp_path / "picture.tif", pixels)
    images, report = run_job(read_labels(tmp_path))
    assert [i.image_name for i in images] == ["good"]
    assert [p.file for p in report.problems] == ["picture.tif"]


def test_too_many_regions_are_an_error_of_a_sentence() -> None:
    with pytest.raises(CellalError, match="picture"):
        label_boxes(np.arange(10**6).reshape(1000, 1000))


def test_which_files_are_labels(tmp_path: Path) -> None:
    for name in ("images/a.png", "labels/a.png", "b.tif", "b_cp_masks.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert label_files(tmp_path) == [tmp_path / "labels" / "a.png"]
    (tmp_path / "labels" / "a.png").unlink()
    assert label_files(tmp_path) == [tmp_path / "b_cp_masks.tif"]
    assert label_files(tmp_path / "images") == []


def test_classes_come_back_by_the_table(tmp_path: Path) -> None:
    boxes = (
        ExportBox((0, 0, 20, 30), "RBC"),
        ExportBox((5, 5, 10, 10), "WBC"),  # lies in the first
        ExportBox((5, 5, 10, 10), "hidden"),
        ExportBox((30, 30, 31.4, 40), ""),
    )
    report = run_job(write_labels(tmp_path, [ExportImage("a.b.png", (3, 40, 60), boxes)]))
    assert report.boxes == 3
    assert len(report.lost) == 2  # rounded; covered
    (image,), _ = run_job(read_labels(tmp_path))
    assert {b.box: b.class_name for b in image.boxes} == {
        (0, 0, 20, 30): "RBC",
        (5, 5, 10, 10): "hidden",
        (30, 30, 31, 40): "",
    }
    (tmp_path / "labels.csv").write_text("file,label,class\na.b.tif,x,RBC\n")
    (image,), problems = run_job(read_labels(tmp_path))
    assert {b.class_name for b in image.boxes} == {""}
    assert problems.counts() == {"malformed": 1}
