"""Masks: what goes in comes out, follows its box, is stored, undone, and goes through files."""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_cellal.core.gestures import move
from napari_cellal.core.history import edit_of
from napari_cellal.core.masks import Mask, mask_iou, mask_of, pack_runs, unpack_runs
from napari_cellal.core.progress import run_job
from napari_cellal.core.reconcile import merge_detections
from napari_cellal.core.records import Cell, Detections, ImageRecord, Origin, Review
from napari_cellal.io.exchange.outlines import mask_of_rings, rings_of_mask
from napari_cellal.io.store import Project
from napari_cellal.io.store.rows import pack_cell
from napari_cellal.workflows.annotating import import_annotations, read_annotations
from napari_cellal.workflows.exporting import write_annotations

if TYPE_CHECKING:
    from pathlib import Path


def random_bits(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(rng.integers(1, 14, 2)) < rng.uniform(0.1, 1.1)


def disc(y0: int = 10, x0: int = 20, side: int = 15) -> Mask:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    mask = mask_of(y**2 + x**2 <= (side / 2) ** 2, y0, x0)
    assert mask is not None
    return mask


@pytest.mark.parametrize("seed", range(25))
def test_pixels_come_back(seed: int) -> None:
    bits = random_bits(seed)
    mask = mask_of(bits, 3, -5)
    if mask is None:
        assert not bits.any()
        return
    height, width = bits.shape
    assert np.array_equal(mask.within((3, -5, 3 + height, -5 + width)), bits)
    assert mask.area == bits.sum()
    assert mask.is_rectangle == mask.bits().all()
    cut = mask.cut((4, -4, 10, 2))
    expected = mask_of(bits[1:7, 1:7], 4, -4)
    assert cut == expected


@pytest.mark.parametrize("seed", range(25))
def test_outlines_come_back_as_the_mask_piece_by_piece(seed: int) -> None:
    bits = random_bits(seed)
    mask = mask_of(bits, 2, 7)
    if mask is None:
        return
    pieces = rings_of_mask(mask)
    assert mask_of_rings([ring for piece in pieces for ring in piece]) == mask
    total = np.zeros(bits.shape, int)
    for piece in pieces:
        part = mask_of_rings(piece)
        assert part is not None
        total += part.within((2, 7, 2 + bits.shape[0], 7 + bits.shape[1]))
    assert np.array_equal(total, bits)


def test_polygons_are_filled_as_another_program_fills_them() -> None:
    from skimage.draw import polygon2mask

    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(1, 29, (6, 2))  # off the pixels' middles, where opinions differ
        mask = mask_of_rings([corners.tolist()])
        theirs = polygon2mask((30, 30), corners[:, ::-1] - 0.5)
        ours = np.zeros((30, 30), bool) if mask is None else mask.within((0, 0, 30, 30))
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("text", ["o", "~", "\u00ff", "0" * 3 + "P" * 40 + "0"])
def test_damaged_runs_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mask"):
        unpack_runs(text)


def test_large_and_falling_runs_come_back() -> None:
    runs = [0, 10**9, 5, 1, 10**12, 0, 31, 32, 33]
    assert unpack_runs(pack_runs(runs)).tolist() == runs


def test_overlap() -> None:
    square = mask_of(np.ones((10, 10), bool))
    half = mask_of(np.ones((10, 5), bool), 0, 5)
    assert square is not None
    assert half is not None
    assert mask_iou(square, half) == 0.5
    assert mask_iou(square, half.moved(0, 50)) == 0


def cell(mask: Mask | None, key: str = "c", **more: object) -> Cell:
    box = mask.box if mask else (0.0, 0.0, 5.0, 5.0)
    return replace(Cell(key, "i", box, 1, mask=mask), **more)  # type: ignore[arg-type]


def test_a_mask_goes_with_its_box_and_is_dropped_with_another_size() -> None:
    row = cell(disc())
    for _ in range(30):  # many small moves add up
        y0, x0, y1, x1 = row.box
        row = move([(row, (y0 + 0.3, x0 - 0.4, y1 + 0.3, x1 - 0.4))], "ann").after["c"]
    assert row.mask == disc().moved(9, -12)
    y0, x0, y1, x1 = row.box
    assert move([(row, (y0, x0, y1 + 2, x1))], "ann").after["c"].mask is None


def test_a_run_brings_masks_and_leaves_those_of_reviewed_cells() -> None:
    old, kept = cell(None, "old", origin=Origin.MODEL), cell(disc(0, 40), "kept")
    kept = replace(kept, review=Review.CONFIRMED)
    masks = (disc(0, 40, 14), disc(1, 1, 5), None)
    boxes = (masks[0].box, (0.0, 0.0, 5.0, 5.0), (50.0, 50.0, 60.0, 60.0))
    found = Detections("i", boxes, (0.9, 0.8, 0.7), (1, 1, 1), "m", (), masks)
    edit, _ = merge_detections([old, kept], found)
    assert "kept" not in edit.after
    assert edit.after["old"].mask == masks[1]
    (fresh,) = (c for key, c in edit.after.items() if key != "old")
    assert fresh.mask is None
    assert found.take([2, 0]).masks == (None, masks[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "p", ["RBC", "WBC"]) as project:
        project.add_images([ImageRecord("i", "a.png", (1, 60, 80), "uint8", ("gray",))])
    return tmp_path / "p.cellal"


def test_masks_are_stored_and_undone_after_a_restart(folder: Path) -> None:
    first, other = cell(disc()), cell(None, "plain")
    with Project.open(folder) as project:
        project.history.do(edit_of("put", [(None, first), (None, other)]))
        moved = move([(first, (0.0, 0.0, 30.0, 30.0))], "ann")
        project.history.do(moved)
    with Project.open(folder) as project:
        assert project.cells.get("c").mask is None
        project.history.undo()
        assert project.cells.get("c") == first
        project.history.undo()
        project.history.redo()
        assert project.cells.of_image("i") == [first, other]
        assert project.cells.in_view("i", (0, 0, 60, 80)) == [first, other]


def test_a_project_from_before_masks_opens_with_its_history(folder: Path) -> None:
    with Project.open(folder) as project:
        project.history.do(edit_of("put", [(None, cell(None))]))
    with sqlite3.connect(folder / "project.sqlite") as database:
        row = list(pack_cell(cell(None)))[:-1]  # as it was written then
        body = json.dumps({"before": {"c": None}, "after": {"c": row}, "finished": {}})
        database.execute("UPDATE edits SET body = ?", (zlib.compress(body.encode()),))
        database.execute("ALTER TABLE cells DROP COLUMN mask")
        for table in ("scan_parts", "scan_images", "scans"):
            database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version = 3")
    database.close()
    with Project.open(folder) as project:
        assert project.cells.of_image("i") == [cell(None)]
        project.history.undo()
        project.history.redo()
        project.history.do(edit_of("mask", [(cell(None), replace(cell(None), mask=disc()))]))
        assert project.cells.get("c").mask == disc()


@pytest.mark.parametrize("format", ["labels", "coco", "geojson"])
def test_masks_go_out_and_come_back(tmp_path: Path, folder: Path, format: str) -> None:
    ring = disc(30, 30, 20).bits()
    ring[8:12, 8:12] = False
    ring[:, 3] = False  # and in two pieces
    rows = [cell(disc()), cell(mask_of(ring, 30, 30), "ring"), cell(None, "plain")]
    with Project.open(folder) as project:
        project.history.do(edit_of("put", [(None, row) for row in rows]))
        report = run_job(write_annotations(project, tmp_path / "out", format))
        assert not any("Masks" in line for line in report.lost)
        project.history.undo()
        images, read = run_job(read_annotations([tmp_path / "out"], format))
        import_annotations(project, images, read)
        found = project.cells.of_image("i")
        assert {(c.box, c.mask) for c in found} == {(c.box, c.mask) for c in rows}
        # A second time brings nothing; boxes that lost their mask gain it again.
        again = import_annotations(project, images, read)
        assert (again.boxes, again.repeated, again.masked) == (0, 3, 0)
        bare = [(c, replace(c, mask=None)) for c in found if c.mask]
        project.history.do(edit_of("bare", bare))
        again = import_annotations(project, images, read)
        assert (again.boxes, again.masked, again.confirmed) == (0, 2, 0)
        assert {c.mask for c in project.cells.of_image("i")} == {c.mask for c in rows}


@pytest.mark.parametrize("format", ["voc", "yolo", "csv"])
def test_that_masks_are_lost_is_said(tmp_path: Path, folder: Path, format: str) -> None:
    with Project.open(folder) as project:
        project.history.do(edit_of("put", [(None, cell(disc())), (None, cell(None, "plain"))]))
        lost = run_job(write_annotations(project, tmp_path / "out", format)).lost
    assert sum("Masks of 1 box" in line for line in lost) == 1


def test_smaller_cells_are_drawn_over_larger_ones(tmp_path: Path, folder: Path) -> None:
    rows = [cell(disc(20, 20, 5), "small"), cell(disc(10, 10, 25), "large")]
    with Project.open(folder) as project:
        project.history.do(edit_of("put", [(None, row) for row in rows]))
        run_job(write_annotations(project, tmp_path, "labels"))
    labels = tifffile.imread(tmp_path / "labels" / "a.tif")
    assert labels[22, 22] == 1
    assert labels[12, 22] == 2
    assert labels.max() == 2


def test_cocos_polygons_become_masks(tmp_path: Path) -> None:
    ring = [30, 10, 50, 10, 50, 30]
    items = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [ring]},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": "x", "bbox": [1, 1, 5, 5]},
        {
            "id": 3,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 1, 9, 9],
            "segmentation": {"size": [60, 80], "counts": [10]},
        },
    ]
    content = {"images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}]}
    (tmp_path / "a.json").write_text(json.dumps(content | {"annotations": items}))
    (image,), report = run_job(read_annotations([tmp_path / "a.json"], "coco"))
    assert [b.box for b in image.boxes] == [(10, 30, 30, 50), (1, 1, 6, 6), (1, 1, 10, 10)]
    first, *others = (b.mask for b in image.boxes)
    assert first is not None
    assert 180 <= first.area <= 220  # half of 20 x 20
    assert others == [None, None]
    assert report.counts()["bad-mask"] == 1


def test_cocos_pieces_may_overlap_or_stand_twice(tmp_path: Path) -> None:
    """As COCO's own program reads them: what lies in any of them is the cell."""
    from faster_coco_eval.core import mask as other

    rng = np.random.default_rng(0)
    for k in range(10):
        parts = [rng.integers(0, 40, 8).tolist() for _ in range(3)]
        parts.append(parts[0])
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 50, "width": 60}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": parts}],
            "categories": [{"id": 1, "name": "RBC"}],
        }
        file = tmp_path / f"{k}.json"
        file.write_text(json.dumps(content))
        (image,), _ = run_job(read_annotations([file], "coco"))
        (box,) = image.boxes
        theirs = other.decode(other.merge(other.frPyObjects(parts, 50, 60))) > 0
        ours = np.zeros(theirs.shape, bool) if box.mask is None else box.mask.within((0, 0, 50, 60))
        one = mask_of_rings([list(zip(parts[0][::2], parts[0][1::2], strict=True))])
        assert one is not None
        assert ours[one.y0 :, one.x0 :][: one.height, : one.width][one.bits()].all()
        assert (ours ^ theirs).sum() < 0.1 * theirs.sum() + 20  # it counts edges otherwise


def test_precision_of_masks_is_that_of_their_pixels() -> None:
    from napari_cellal.evaluate.mask_precision import evaluate_masks

    right, half, other = disc(), disc(60, 60, 20), disc(90, 20, 9)
    wide = mask_of(np.ones((20, 11), bool), 60, 60)  # IoU with half's disc below 0.6
    truth = {"i": ([right, half, other], [1, 1, 2])}
    boxes = tuple(m.box for m in (right, half, other))

    def found(*masks: Mask | None) -> Detections:
        return Detections("i", boxes, (0.9, 0.8, 0.7), (1, 1, 2), "m", (), masks)

    best = evaluate_masks([found(right, half, other)], truth, [1, 2, 3])
    assert (best.map50, best.map5095, best.images, best.cells) == (1.0, 1.0, 1, 3)
    # the boxes are right all the same
    worse = evaluate_masks([found(right, wide, None)], truth, [1, 2, 3])
    assert worse.map50 < 0.8
    assert evaluate_masks([found()], truth, [1, 2]) is None
    assert evaluate_masks([found(right, half, other)], {}, [1, 2]) is None
