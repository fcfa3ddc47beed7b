"""Large images are cut so that every cell lies whole in a tile, and put together again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from napari_cellal.core.geometry import iou_matrix
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import FOLDER
from napari_cellal.detect.tiles import Found, Tile, cut_boxes, drop_nested, merge_tiles, tiles_of
from napari_cellal.detect.weights import load_model


def seen_through(boxes, classes, tiles, shape, rng, jitter=0.5, least=0.15):
    """Return what a perfect but unsteady network would find: each tile shows the cell's part."""
    rows, scores, kinds, index, cut = [], [], [], [], []
    for k, t in enumerate(tiles):
        low = np.maximum(boxes[:, :2], [t.y0, t.x0])
        high = np.minimum(boxes[:, 2:], [t.y1, t.x1])
        part = np.concatenate([low, high], axis=1)
        sides = high - low
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        shown = np.where((sides > 2).all(1), sides.prod(1) / whole, 0) >= least
        part = part[shown]
        is_cut = cut_boxes(part, t, shape)
        part = part + rng.uniform(-jitter, jitter, part.shape)
        part[:, 0::2] = part[:, 0::2].clip(t.y0, t.y1)
        part[:, 1::2] = part[:, 1::2].clip(t.x0, t.x1)
        rows.append(part)
        scores.append(rng.uniform(0.3, 1, len(part)))  # a piece may score more than the whole
        kinds.append(classes[shown])
        index.append(np.full(len(part), k))
        cut.append(is_cut)
    found = Found(
        np.concatenate(rows).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
        np.concatenate(kinds),
        np.ones((sum(map(len, rows)), 2), np.float32) / 2,
    )
    return found, np.concatenate(cut), np.concatenate(index)


def cells(rng, shape, n, size):
    """Return cells that do not overlap."""
    boxes = np.zeros((0, 4))
    for _ in range(20 * n):
        side = rng.uniform(0.5, 1, 2) * size
        corner = rng.uniform(0, 1, 2) * (np.asarray(shape) - side)
        box = np.concatenate([corner, corner + side])[None]
        if not len(boxes) or iou_matrix(box, boxes).max() == 0:
            boxes = np.concatenate([boxes, box])
        if len(boxes) == n:
            break
    return boxes


@pytest.mark.parametrize("seed", range(25))
def test_every_cell_comes_out_once_and_whole(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(60, 400, 2))
    size = float(rng.uniform(12, 40))
    side = int(rng.integers(int(2.2 * size), 180))
    boxes = cells(rng, shape, int(rng.integers(1, 40)), size)
    classes = rng.integers(0, 2, len(boxes))
    tiles = tiles_of(shape, side, int(np.ceil(size + 4)))
    found, cut, index = seen_through(boxes, classes, tiles, shape, rng)
    merged = merge_tiles(found, cut, index)
    overlap = iou_matrix(merged.boxes, boxes)
    assert len(merged.boxes) == len(boxes)
    assert ((overlap > 0.6).sum(axis=0) == 1).all()
    assert (merged.classes == classes[overlap.argmax(axis=1)]).all()
    assert (np.diff(merged.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(25))
def test_tiles_cover_the_image_and_show_every_cell_whole(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(1, 900, 2))
    side, overlap = int(rng.integers(64, 300)), int(rng.integers(1, 32))
    tiles = tiles_of(shape, side, overlap)
    seen = np.zeros(shape, bool)
    for t in tiles:
        assert 0 <= t.y0 < t.y1 <= shape[0]
        assert 0 <= t.x0 < t.x1 <= shape[1]
        assert max(t.y1 - t.y0, t.x1 - t.x0) <= side
        seen[t.y0 : t.y1, t.x0 : t.x1] = True
    assert seen.all()
    for _ in range(20):
        wide = min(overlap, *shape)
        y, x = (int(rng.integers(0, length - wide + 1)) for length in shape)
        assert any(t.y0 <= y and t.x0 <= x and t.y1 >= y + wide and t.x1 >= x + wide for t in tiles)


def test_an_image_that_fits_is_one_tile():
    assert tiles_of((100, 90), 100, 30) == [Tile(0, 0, 100, 90)]


def test_only_edges_at_which_the_image_goes_on_cut():
    boxes = np.array([[0.0, 20, 10, 30], [20, 49, 30, 60], [20, 20, 30, 30]])
    shape = (50, 100)
    assert cut_boxes(boxes, Tile(0, 0, 50, 50), shape).tolist() == [False, True, False]
    assert cut_boxes(boxes, Tile(0, 50, 50, 100), shape).tolist()[1]


def found_of(boxes, scores, classes):
    n = len(boxes)
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        np.ones((n, 1), np.float32),
    )


def test_a_platelet_upon_a_red_cell_stays():
    found = found_of([[0, 0, 60, 60], [20, 20, 35, 35]], [0.9, 0.8], [0, 1])
    merged = merge_tiles(found, np.array([False, False]), np.array([0, 1]))
    assert len(merged.boxes) == 2


def test_of_two_boxes_of_one_class_in_each_other_the_better_stays():
    for better in (0, 1):
        scores = [0.9, 0.8] if better == 0 else [0.8, 0.9]
        found = found_of([[0, 0, 60, 60], [20, 20, 35, 35]], scores, [0, 0])
        merged = merge_tiles(found, np.array([False, False]), np.array([0, 0]))
        assert merged.boxes.tolist() == [found.boxes[better].tolist()]


@pytest.mark.parametrize("seed", range(20))
def test_nested_boxes_go_as_they_do_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n, share = 150, float(rng.uniform(0.5, 0.95))
    low = rng.uniform(0, 100, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(3, 40, (n, 2))], axis=1)
    classes, order = rng.integers(0, 2, n), rng.permutation(n)[:120]
    kept: list[int] = []
    for i in order.tolist():
        common = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(
            boxes[i, :2], boxes[kept, :2]
        )
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        part = np.clip(common, 0, None).prod(axis=1) / np.minimum(area[i], area[kept])
        if not (part[classes[kept] == classes[i]] >= share).any():
            kept.append(i)
    assert drop_nested(boxes, classes, order, share).tolist() == kept
    assert 0 < len(kept) < len(order)


def test_a_piece_goes_even_if_it_scores_more():
    found = found_of([[0, 0, 60, 60], [0, 0, 20, 60]], [0.4, 0.99], [0, 0])
    merged = merge_tiles(found, np.array([False, True]), np.array([0, 1]))
    assert merged.boxes.tolist() == [[0, 0, 60, 60]]


def test_a_cell_larger_than_the_overlap_is_not_lost():
    found = found_of([[0, 0, 60, 40], [0, 30, 60, 50]], [0.4, 0.9], [0, 0])
    merged = merge_tiles(found, np.array([True, True]), np.array([0, 1]))
    assert [0, 0, 60, 40] in merged.boxes.tolist()


def test_nothing_found_is_nothing():
    empty = found_of([], [], [])
    assert len(merge_tiles(empty, np.zeros(0, bool), np.zeros(0, int)).boxes) == 0


class Bright(torch.nn.Module):
    """In the place of a network: each bright patch of a tile, pieces too, by its pixels alone."""

    def limit(self, settings):
        pass

    def forward(self, images):
        return [self.answer(image[0].numpy()) for image in images]

    def answer(self, pixels):
        patches, _ = ndi.label(pixels > 0)
        places = ndi.find_objects(patches)
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in places]
        tone = np.array([pixels[place].max() for place in places], np.float32)
        # a piece scores more than the whole: only what it lies in can tell that it is one
        area = np.array([(pixels[place] > 0).sum() for place in places], np.float32)
        classes = torch.from_numpy((tone > 0.7).astype(np.int64))
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.from_numpy(1 / (1 + area / 100)),
            "labels": classes + 1,
            "probabilities": torch.nn.functional.one_hot(classes, 4).float(),
        }


SHIPPED, _ = load_model(FOLDER)


def bright_detector(tile_px, largest_px, batch=4):
    plain = {"scale": 1.0, "short_side_px": None, "cell_px": None}
    shape = SHIPPED.settings["network"] | plain | {"tile_px": tile_px, "largest_box_px": largest_px}
    record = replace(SHIPPED, settings=SHIPPED.settings | {"network": shape})
    device, settings = torch.device("cpu"), PredictSettings(tile_batch=batch)
    return TorchDetector(record, Bright(), device, settings)


@pytest.mark.parametrize("seed", range(30))
def test_tiles_find_exactly_what_the_whole_image_shows(seed):
    """No bounds: what depends on pixels alone is found once, at its place, in any tiles."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(50, 500, 2))
    largest = int(rng.integers(10, 40))
    image = np.zeros((3, *shape), np.uint8)
    for _ in range(60):
        high, wide = rng.integers(4, largest + 1, 2)
        y, x = rng.integers(0, shape[0] - high + 1), rng.integers(0, shape[1] - wide + 1)
        around = image[0, max(0, y - 2) : y + high + 2, max(0, x - 2) : x + wide + 2]
        if not around.any():  # one that touched another would be one with it
            image[:, y : y + high, x : x + wide] = rng.choice([130, 255])
    side = int(rng.integers(max(64, 2 * largest + 10), 160))
    tiled = bright_detector(side, largest, int(rng.integers(1, 6))).detect(image, image_id="a")
    whole = bright_detector(1000, largest).detect(image, image_id="a")

    def rows(found):
        return sorted(zip(found.boxes, found.class_ids, found.scores, strict=True))

    assert len(whole) == ndi.label(image[0])[1]
    assert rows(tiled) == rows(whole)
