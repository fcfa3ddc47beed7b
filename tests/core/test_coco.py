"""COCO: masks to boxes, ids that lead nowhere, and odd values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_cellal.core.masks import mask_of, pack_runs, unpack_runs
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.coco import read_coco
from napari_cellal.io.exchange.rle import counts_of_mask, mask_of_counts

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.io.exchange.report import ImportedImage, ImportReport


def read(
    folder: Path, *annotations: dict[str, Any], **more: Any
) -> tuple[list[ImportedImage], ImportReport]:
    content = {
        "images": [{"id": 1, "file_name": "p/a.png", "height": 50, "width": 80}],
        "categories": [{"id": 3, "name": "RBC", "color": [255, 0, 16]}],
        "annotations": [{"image_id": 1, "category_id": 3} | a for a in annotations],
    }
    file = folder / "c.json"
    file.write_text(json.dumps(content | more), "utf-8")
    return run_job(read_coco(file))


def boxes(found: tuple[list[ImportedImage], ImportReport]) -> list[tuple[float, ...]]:
    return [b.box for image in found[0] for b in image.boxes]


def rle(mask: np.ndarray[Any, Any]) -> list[int]:
    """Return plain run lengths; an independent, slow account of the format."""
    runs, last = [0], 0
    for value in mask.T.ravel().tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def test_sides_are_kept_and_the_name_loses_its_folder(tmp_path: Path) -> None:
    found = read(tmp_path, {"bbox": [5.25, 2, 10.5, 30]}, {"bbox": ["45", "2", "10", "30"]})
    assert boxes(found) == [(2, 5.25, 32, 15.75), (2, 45, 32, 55)]
    (image,), report = found
    assert (image.image_name, image.parents, image.size) == ("a.png", ("p",), (50, 80))
    assert image.boxes[0].class_name == "RBC"
    assert report.colors == {"RBC": "#FF0010"}
    assert not report.problems


@pytest.mark.parametrize("seed", range(20))
def test_runs_give_the_box_of_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = 1
    ys, xs = np.nonzero(mask)
    expected = (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) if len(ys) else None
    found = mask_of_counts(rle(mask), int(height), int(width))
    assert found == mask_of(mask > 0)
    assert (found and found.box) == expected


@pytest.mark.parametrize("seed", range(10))
def test_compressed_runs_are_those_of_another_program(seed: int) -> None:
    from faster_coco_eval.core import mask as other

    rng = np.random.default_rng(seed)
    mask = np.asfortranarray((rng.random((300, 200)) < (0.5, 0.001)[seed % 2]).astype(np.uint8))
    packed = other.encode(mask)["counts"].decode()
    assert unpack_runs(packed).tolist() == rle(mask)
    assert pack_runs(rle(mask)) == packed
    there = mask_of_counts(packed, 300, 200)
    assert there is not None
    assert counts_of_mask(there, 300, 200) == packed


def test_masks_become_their_boxes(tmp_path: Path) -> None:
    mask = np.zeros((50, 80), np.uint8)
    mask[10:20, 30:33] = 1
    runs = {"size": [50, 80], "counts": rle(mask)}
    found = read(
        tmp_path,
        {"segmentation": [[5, 6, 20, 6, 20, 30], [40, 7, 41, 8, 42, 9]]},
        {"segmentation": runs, "iscrowd": 1},
        {"segmentation": [1, 2, 30, 4, 5, 40], "bbox": []},
    )
    assert boxes(found) == [(6, 5, 30, 42), (10, 30, 20, 33), (2, 1, 40, 30)]
    assert not found[1].problems


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"bbox": [1, 2, 3]}, "bad-number"),
        ({"bbox": [1, 2, "x", 4]}, "bad-number"),
        ({"bbox": [1, float("nan"), 3, 4]}, "bad-number"),
        ({"bbox": [1, 10**400, 3, 4]}, "bad-number"),
        ({"bbox": [True, 1, 3, 4]}, "bad-number"),
        ({"bbox": [1, 2, 0, 4]}, "zero-area"),
        ({"bbox": [100, 2, 10, 4]}, "outside"),
        ({"bbox": {"x": 1}}, "no-box"),
        ({}, "no-box"),
        ({"segmentation": []}, "no-box"),
        ({"segmentation": [[1, "x", 2, 3]]}, "bad-mask"),
        ({"segmentation": {"counts": "abc"}}, "bad-mask"),
        ({"segmentation": {"size": [50, 80], "counts": [1, -1, 4000]}}, "bad-mask"),
        ({"segmentation": {"size": [50, 80], "counts": [10]}}, "bad-mask"),
        ({"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}, "bad-mask"),
        ({"segmentation": {"size": [50, 80], "counts": "\u00ff~~"}}, "bad-mask"),
        ({"image_id": 7, "bbox": [1, 2, 3, 4]}, "dangling"),
        ({"image_id": [1], "bbox": [1, 2, 3, 4]}, "dangling"),
    ],
)
def test_a_bad_box_is_left_out(tmp_path: Path, bad: dict[str, Any], kind: str) -> None:
    found = read(tmp_path, {"bbox": [5, 2, 10, 30]}, bad, {"bbox": [50, 2, 10, 30]})
    assert boxes(found) == [(2, 5, 32, 15), (2, 50, 32, 60)]
    assert found[1].counts() == {kind: 1}


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"bbox": [5, 2, 10, 30], "category_id": 99},
        {"bbox": [70, 2, 30, 30]},
        {"bbox": [20, 30, -10, -8]},
        {"bbox": [40, 2, 9, 9], "iscrowd": 1},
    )
    assert boxes(found)[1:3] == [(2, 70, 32, 80), (22, 10, 30, 20)]
    assert found[0][0].boxes[0].class_name == ""
    assert found[1].counts() == {"unknown-class": 1, "outside": 1, "reversed": 1, "crowd": 1}


def test_many_problems_of_a_kind_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, {"bbox": [5, 2, 10, 30]}, *[{"bbox": [1, 2, 0, 4]}] * 500)
    assert len(found[0][0].boxes) == 1
    assert len(found[1].problems) < 30
    assert "480" in found[1].problems[-1].sentence


@pytest.mark.parametrize(
    "content",
    [[], {}, {"images": 3}, [{"image_id": 1, "bbox": [1, 2, 3, 4]}], "x", None, 3.5],
)
def test_json_of_another_kind(tmp_path: Path, content: Any) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    images, report = run_job(read_coco(tmp_path))
    assert not images
    assert report.counts() == {"malformed": 1}


def test_ids_that_stand_twice_or_are_odd(tmp_path: Path) -> None:
    listed = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}, {}, 5]
    images, report = read(tmp_path, {"bbox": [5, 2, 10, 30]}, images=listed)
    assert [i.image_name for i in images] == ["b.png", ""]
    assert report.counts()["same-id"] == 1


def test_values_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_cellal.io.exchange import source

    monkeypatch.setattr(source, "MAX_JSON_MEMORY", 100_000)
    (tmp_path / "c.json").write_text('{"images": [' + "[]," * 5000 + "[]]}")
    images, report = run_job(read_coco(tmp_path))
    assert not images
    assert report.counts() == {"too-large": 1}
