"""Whatever is done to training pictures, boxes stay on cells, in the picture, and finite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cellal.core.records import WHOLE
from napari_cellal.detect.augment import Sample, augmented, cropped
from napari_cellal.detect.dataset import Labelled, Pictures, batches
from napari_cellal.detect.heads import known_background
from napari_cellal.detect.mixing import mosaic, soft_ellipse, with_pasted
from napari_cellal.detect.requests import TrainImage
from napari_cellal.detect.sampling import Order, repeat_factors
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.networks.appearance import rechannelled
from napari_cellal.networks.normalization import NormalizationFit

ALL = TrainSettings(
    crop_px=80, mosaic=0.7, copy_paste=0.7, repeat_rare=0.5, even_crops=True, batch_size=3
)


def boxes_in(rng, n, height, width, least=1):
    sides = rng.uniform(least, max(least, min(height, width) / 2), (n, 2))
    low = rng.uniform(0, 1, (n, 2)) * (np.asarray([width, height]) - sides)
    return torch.from_numpy(np.concatenate([low, low + sides], 1).astype(np.float32))


def random_sample(rng, channels, *, complete=None):
    """Return a sample of any size, with any number of boxes of classes 1 to 3."""
    height, width = (int(v) for v in rng.integers(1, 200, 2))
    n, r, u = (int(rng.integers(k)) for k in (8, 3, 3))
    return Sample(
        torch.from_numpy(rng.random((channels, height, width), np.float32)),
        boxes_in(rng, n, height, width),
        torch.from_numpy(rng.integers(1, 4, n)),
        boxes_in(rng, r, height, width),
        bool(rng.random() < 0.5) if complete is None else complete,
        boxes_in(rng, u, height, width),
        channels == 3,
    )


def check(sample):
    channels, height, width = sample.pixels.shape
    assert min(channels, height, width) >= 1
    assert sample.pixels.isfinite().all()
    assert (sample.pixels >= 0).all()
    assert (sample.pixels <= 1).all()
    assert len(sample.boxes) == len(sample.labels)
    for boxes in (sample.boxes, sample.rejected, sample.unreviewed):
        assert boxes.dtype == torch.float32
        assert boxes.isfinite().all()
        assert (boxes >= -1e-3).all()
        assert (boxes <= torch.tensor([width, height] * 2) + 1e-3).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 1 - 1e-3).all()


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("seed", range(12))
def test_boxes_stay_in_any_picture(channels, seed):
    rng = np.random.default_rng(seed)
    samples = [random_sample(rng, channels, complete=bool(seed % 2)) for _ in range(4)]
    settings = ALL.model_copy(update={"crop_px": int(rng.integers(64, 160))})
    views = [augmented(sample, settings, rng) for sample in samples]
    for view in views:
        check(view)
        assert max(view.pixels.shape[1:]) <= settings.crop_px + 1
    mixed = mosaic(views, rng)
    check(mixed)
    assert mixed.pixels.shape == views[0].pixels.shape
    pasted = with_pasted(mixed, views[1], rng)
    check(pasted)
    assert torch.equal(pasted.boxes[: len(mixed.boxes)], mixed.boxes)
    assert set(pasted.labels[len(mixed.boxes) :].tolist()) <= set(views[1].labels.tolist())


def cells(rng, n=6, side=120, **more):
    """Return a dark sample with bright cells of 14 px, far from each other, on a grid."""
    places = rng.permutation(16)[:n]
    boxes = torch.tensor([[30.0 * (k % 4) + 5, 30.0 * (k // 4) + 5] * 2 for k in places])
    boxes = boxes.reshape(-1, 4) + torch.tensor([0.0, 0, 14, 14])
    pixels = torch.zeros(1, side, side)
    for x0, y0, x1, y1 in boxes.int().tolist():
        pixels[:, y0:y1, x0:x1] = 1
    empty = torch.zeros(0, 4)
    return replace(
        Sample(pixels, boxes, torch.ones(n, dtype=torch.int64), empty, True, rgb=False), **more
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_mosaic_shows_each_cell_where_its_box_is(seed):
    rng = np.random.default_rng(seed)
    mixed = mosaic([cells(rng) for _ in range(4)], rng)
    assert len(mixed.boxes) > 4
    for x0, y0, x1, y1 in mixed.boxes.int().tolist():
        assert float(mixed.pixels[0, y0:y1, x0:x1].mean()) > 0.9
    covered = torch.zeros_like(mixed.pixels[0], dtype=torch.bool)
    for x0, y0, x1, y1 in mixed.boxes.round().int().tolist():
        covered[y0:y1, x0:x1] = True
    # what is bright outside all boxes are slivers of less than a third of a cell
    assert int((mixed.pixels[0] > 0.9)[~covered].sum()) < 0.3 * 14 * 14 * 16


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("complete", [True, False])
def test_pasted_cells_hide_no_other(seed, complete):
    rng = np.random.default_rng(seed)
    target = cells(rng, 5, complete=complete)
    places = [
        k
        for k in range(16)
        if [30.0 * (k % 4) + 5, 30.0 * (k // 4) + 5] not in target.boxes[:, :2].tolist()
    ]
    spots = torch.tensor([[30.0 * (k % 4) + 5, 30.0 * (k // 4) + 5] * 2 for k in places[:3]])
    spots = spots + torch.tensor([0.0, 0, 14, 14])
    target = replace(target, rejected=spots[:1], unreviewed=spots[1:])
    source = replace(cells(rng, 3), labels=torch.tensor([1, 2, 2]))
    pasted = with_pasted(target, source, rng)
    new = pasted.boxes[5:]
    assert 1 <= len(new) <= 3
    assert pasted.complete is complete
    for boxes in (target.boxes, target.rejected, target.unreviewed):
        for x0, y0, x1, y1 in boxes.int().tolist():
            spot = (slice(None), slice(y0, y1), slice(x0, x1))
            assert torch.equal(pasted.pixels[spot], target.pixels[spot])
    for x0, y0, x1, y1 in new.int().tolist():
        assert float(pasted.pixels[0, y0:y1, x0:x1].mean()) > 0.8  # the corners are soft
    # in an incomplete picture the area around a pasted cell teaches nothing
    x0, y0, _, _ = new[0].tolist()
    anchors = torch.tensor([[x0 - 12, y0 - 12, x0 + 2, y0 + 2], [x0 + 3, y0 + 3, x0 + 8, y0 + 8]])
    assert known_background(anchors, pasted.target()).tolist() == [complete, True]


def test_no_cell_is_pasted_that_is_cut_or_crowded_or_finds_no_room():
    rng = np.random.default_rng(0)
    target = cells(rng, 2)
    edge = replace(
        target, boxes=torch.tensor([[0.0, 0, 14, 14]]), labels=torch.ones(1, dtype=torch.int64)
    )
    assert with_pasted(target, edge, rng) is target
    pair = torch.tensor([[40.0, 40, 60, 60], [42, 42, 58, 58]])
    assert with_pasted(target, replace(target, boxes=pair), rng) is target
    full = replace(target, unreviewed=torch.tensor([[0.0, 0, 120, 120]]))
    assert len(with_pasted(full, cells(rng, 3), rng).boxes) == 2


def test_the_soft_ellipse_ends_within_its_box():
    share = soft_ellipse(21, 31)
    assert share.shape == (21, 31)
    assert float(share[10, 15]) == 1
    assert float(share[0, 0]) == 0
    assert 0 <= float(share.min()) <= float(share.max()) <= 1
    assert torch.equal(share, share.flip(0))
    assert soft_ellipse(1, 1).isfinite().all()


def test_channels_change_apart_and_colour_pictures_do_not():
    pixels = torch.full((5, 8, 8), 0.4)
    changed = rechannelled(pixels, 0.2, np.random.default_rng(0))
    assert len({round(float(v), 4) for v in changed[:, 0, 0]}) == 5
    assert ((changed > 0.2) & (changed < 0.65)).all()
    still = {"stain_jitter": 0.0, "brightness_jitter": 0.0, "scale_jitter": 1.0}
    settings = TrainSettings(channel_jitter=0.3, flips=False, turns=False, **still)
    sample = cells(np.random.default_rng(0))
    same = augmented(replace(sample, rgb=True), settings, np.random.default_rng(1))
    assert torch.equal(same.pixels, sample.pixels)
    other = augmented(sample, settings, np.random.default_rng(1))
    assert not torch.equal(other.pixels, sample.pixels)


def test_images_of_rare_classes_come_more_often():
    rows = [np.asarray([1, 1, 2])] * 19 + [np.asarray([1, 3])]
    factors = repeat_factors(rows, 0.2)
    np.testing.assert_allclose(factors, [1.0] * 19 + [2.0])
    assert (repeat_factors(rows, 0.0) == 1).all()
    assert repeat_factors([np.asarray([], int)], 0.5).tolist() == [1.0]
    order = Order(factors, 3)
    assert order.length == 21
    seen = np.bincount([order[k] for k in range(10 * order.length)], minlength=20)
    assert seen[-1] in range(15, 26)
    assert (seen[:-1] >= 5).all()
    plain = Order(np.ones(7), 5)
    assert sorted(plain[k] for k in range(7, 14)) == list(range(7))
    assert [plain[k] for k in range(7)] != [plain[k] for k in range(7, 14)]


def test_crops_find_the_rare_class():
    empty = torch.zeros(0, 4)
    boxes = torch.cat([torch.full((50, 4), 20.0), torch.full((1, 4), 300.0)])
    boxes = boxes + torch.tensor([0.0, 0, 10, 10])
    labels = torch.tensor([1] * 50 + [2])
    sample = Sample(torch.zeros(1, 400, 400), boxes, labels, empty, False)
    shares = []
    for even in (False, True):
        rng = np.random.default_rng(0)
        crops = [cropped(sample, (64, 64), rng, even=even) for _ in range(40)]
        shares.append(sum(2 in crop.labels for crop in crops) / 40)
    assert shares[0] < 0.2
    assert 0.3 < shares[1] < 0.7


@pytest.mark.parametrize("channels", [1, 7])
def test_views_depend_on_the_step_alone(channels):
    rng = np.random.default_rng(0)
    pixels, rows, fit = {}, [], NormalizationFit()
    for k in range(5):
        image = rng.random((channels, 70, 90)).astype(np.float32)
        pixels[str(k)] = image
        fit.add(image)
        boxes = boxes_in(rng, k, 70, 90, least=6).numpy()[:, [1, 0, 3, 2]]
        labels = np.full(k, 1 + (k == 4), np.int64)  # a class that is in one image only
        rows.append(
            Labelled(
                TrainImage(str(k), (), (), plane=WHOLE),
                (70, 90),
                boxes,
                labels,
                boxes[:1],
                k != 3,
                boxes[1:2],
            )
        )
    pictures = Pictures(rows, fit.result(), 1.3, lambda path, plane: pixels[path], 100)
    whole = [batch for batch, _ in zip(batches(pictures, ALL), range(6), strict=False)]
    later = [batch for batch, _ in zip(batches(pictures, ALL, 4), range(2), strict=False)]
    for first, again in zip(whole[4:], later, strict=True):
        assert len(first) == 3
        for one, other in zip(first, again, strict=True):
            check(one)
            assert torch.equal(one.pixels, other.pixels)
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.labels, other.labels)
