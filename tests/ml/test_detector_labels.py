"""What a detector is taught as cell, as background, and not at all; and how views move boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cellal.detect.architectures import ARCHITECTURES
from napari_cellal.detect.augment import (
    Sample,
    augmented,
    flipped,
    random_zoom,
    turned,
    zoomed_crop,
)
from napari_cellal.detect.fitting import fit_anchors, fit_network, fit_scale
from napari_cellal.detect.heads import known_background, nms_two_ways
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.settings import NetworkSettings, TrainSettings
from napari_cellal.networks.appearance import restained
from napari_cellal.networks.layers import widened

SETTINGS = NetworkSettings(anchor_sizes=((16.0,), (32.0,)), aspect_ratios=(1.0,), detections=50)


def target(boxes=(), rejected=(), complete=True):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "rejected": torch.tensor(rejected, dtype=torch.float32).reshape(-1, 4),
        "complete": torch.tensor(complete),
    }


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_detector("mobilenet_v3", 1, 1, SETTINGS, [0.5], [0.2]).train()


CELL, BAD, AWAY = [10.0, 10, 26, 26], [60.0, 60, 76, 76], [100.0, 10, 116, 26]
PART = [12.0, 12, 18, 18]


def test_in_a_complete_image_all_else_is_background():
    boxes = torch.tensor([CELL, BAD, AWAY])
    assert known_background(boxes, target([CELL])).all()


def test_in_an_incomplete_image_only_what_is_known_is_background():
    boxes = torch.tensor([BAD, AWAY, PART])
    assert known_background(boxes, target([CELL], [BAD], complete=False)).tolist() == [
        True,
        False,
        True,
    ]
    assert not known_background(boxes, target(complete=False)).any()


@pytest.mark.parametrize("complete", [True, False])
def test_labels_of_anchors(network, complete):
    anchors = torch.tensor([CELL, BAD, AWAY, PART])
    labels, _ = network.rpn.assign_targets_to_anchors(
        [anchors], [target([CELL], [BAD], complete=complete)]
    )
    unknown = 0.0 if complete else -1.0
    assert labels[0].tolist() == [1.0, 0.0, unknown, 0.0]


def test_a_rejected_box_without_an_anchor_of_its_size_is_taught_by_the_nearest(network):
    rejected = [60.0, 60, 66, 66]
    anchors = torch.tensor([CELL, [56.0, 56, 72, 72], AWAY])
    labels, _ = network.rpn.assign_targets_to_anchors(
        [anchors], [target([CELL], [rejected], complete=False)]
    )
    assert labels[0].tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("complete", [True, False])
def test_labels_of_proposals(network, complete):
    heads = network.roi_heads
    proposals = torch.tensor([AWAY, [11.0, 11, 26, 26], PART])
    row = target([CELL], [BAD], complete=complete)
    kept, _, labels, _ = heads.select_training_samples([proposals], [row])
    taught = {
        tuple(box.tolist()): int(label) for box, label in zip(kept[0], labels[0], strict=True)
    }
    assert taught[tuple(CELL)] == 1
    assert taught[tuple(BAD)] == 0  # rejected boxes are shown although nothing proposed them
    assert taught[tuple(PART)] == 0
    assert (tuple(AWAY) in taught) == complete
    assert -1 not in taught.values()


@pytest.mark.parametrize(
    "rows",
    [
        [target(complete=False)],
        [target(complete=True)],
        [target([], [BAD], complete=False)],
        [target([CELL], complete=False), target(complete=False)],
    ],
)
def test_losses_and_gradients_are_numbers_whatever_is_known(network, rows):
    losses = network([torch.rand(1, 96, 128) for _ in rows], rows)
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_unlabelled_area_of_an_incomplete_image_teaches_nothing(network):
    losses = network([torch.rand(1, 96, 128)], [target(complete=False)])
    assert all(float(loss.detach()) == 0 for loss in losses.values())


def test_the_loss_of_an_unfinished_image_leaves_its_unlabelled_cells_alone(network):
    torch.manual_seed(1)
    picture = torch.zeros(1, 96, 160)
    picture[:, 10:26, 10:26] = 1
    losses = {}
    for complete in (True, False):
        torch.manual_seed(2)
        rows = [target([CELL], complete=complete)]
        losses[complete] = network([picture.clone()], rows)
    masked, whole = (losses[c]["loss_objectness"] for c in (False, True))
    assert masked > 0  # the labelled cell still teaches
    assert not torch.isclose(masked, whole)


def test_one_box_a_cell_also_across_classes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    classes = torch.tensor([0, 1, 1, 0])
    assert nms_two_ways(boxes, scores, classes, 0.5, 0.7).tolist() == [0, 3]
    assert nms_two_ways(boxes, scores, torch.tensor([0, 1, 2, 0]), 0.5, 0.7).tolist() == [0, 2, 3]
    assert len(nms_two_ways(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5, 0.7)) == 0


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_widened_filters_answer_a_grey_picture_as_before(n):
    torch.manual_seed(0)
    weight = torch.rand(4, 3, 3, 3)
    other = widened(weight, n)
    assert other.shape == (4, n, 3, 3)
    if n == 1:
        torch.testing.assert_close(other.sum(1), weight.sum(1))
    else:
        assert (other.sum(1) / weight.sum(1)).mean() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_strides_are_those_of_the_maps(name):
    arch = ARCHITECTURES[name]
    sizes = tuple((16.0 * 2**k,) for k in range(len(arch.strides)))
    network = build_detector(name, 3, 2, NetworkSettings(anchor_sizes=sizes), [0.5] * 3, [0.2] * 3)
    with torch.inference_mode():
        maps = network.eval().backbone(torch.zeros(1, 3, 128, 128))
    assert [128 // m.shape[2] for m in maps.values()] == list(arch.strides)


def test_small_cells_stay_findable():
    """Platelets of 15 to 40 px beside cells of 100 px in pictures of 640x480."""
    arch = ARCHITECTURES["mobilenet_v3"]
    rng = np.random.default_rng(0)
    for small in (15, 25, 40):
        sizes = np.concatenate([rng.uniform(0.9, 1.1, 20) * small, rng.uniform(80, 120, 80)])
        corner = rng.uniform(0, 300, (100, 2))
        boxes = np.concatenate([corner, corner + sizes[:, None]], axis=1)
        shape = fit_network(arch, [boxes], [(480, 640)], TrainSettings())
        assert small * shape.scale >= 11
        anchors = np.array(shape.anchor_sizes).ravel() / shape.scale
        ratio = np.maximum(sizes[:, None] / anchors, anchors / sizes[:, None]).min(axis=1)
        assert np.quantile(ratio, 0.95) < 1.6  # so that IoU with the best anchor is above 0.4


def test_anchors_grow_with_the_level():
    for low, high in ((5, 6), (10, 300), (40, 60), (200, 220)):
        anchors = fit_anchors(np.repeat([low, high], 100), (8, 16, 32, 64))
        flat = [size for level in anchors for size in level]
        assert flat == sorted(flat)
        assert len({len(level) for level in anchors}) == 1
        assert flat[0] <= low * 1.6
        assert flat[-1] >= high / 1.6


def test_scales_stay_in_range():
    arch = ARCHITECTURES["mobilenet_v3"]
    for size in (0.5, 3, 30, 3000):
        assert 0.05 <= fit_scale(arch, np.array([size]), [(512, 512)]) <= 4


def marked(rng, shape=(90, 120), n=6):
    """Return a sample whose boxes are the only bright places."""
    pixels = torch.zeros(1, *shape)
    boxes = []
    for k in range(n):
        h, w = (int(v) for v in rng.integers(8, 20, 2))
        y, x = 15 * k % (shape[0] - 20), int(rng.integers(0, shape[1] - 20))
        pixels[0, y : y + h, x : x + w] = 1
        boxes.append((x, y, x + w, y + h))
    return Sample(
        pixels,
        torch.tensor(boxes, dtype=torch.float32),
        torch.ones(n, dtype=torch.int64),
        torch.tensor(boxes[:1], dtype=torch.float32),
        True,
    )


def brightness(sample):
    """Return the mean of the pixels in each box."""
    return [
        float(sample.pixels[0, round(y0) : round(y1), round(x0) : round(x1)].mean())
        for x0, y0, x1, y1 in sample.boxes.tolist()
    ]


@pytest.mark.parametrize("seed", range(8))
def test_boxes_go_with_their_cells_in_every_view(seed):
    rng = np.random.default_rng(seed)
    settings = TrainSettings(crop_px=64, brightness_jitter=0, scale_jitter=1.25)
    sample = augmented(marked(rng), settings, rng)
    assert max(sample.pixels.shape) <= 65
    assert len(sample.boxes) == len(sample.labels)
    height, width = sample.pixels.shape[1:]
    assert (sample.boxes >= 0).all()
    assert (sample.boxes <= torch.tensor([width, height, width, height])).all()
    assert all(value > 0.75 for value in brightness(sample))


def test_stain_changes_density_and_neither_black_nor_white():
    pixels = torch.rand(3, 8, 8) * 0.8 + 0.1
    pixels[:, 0] = 0
    pixels[:, 1] = 1
    seen = [restained(pixels, 0.2, np.random.default_rng(seed)) for seed in range(20)]
    for one in seen:
        assert torch.equal(one[:, :2], pixels[:, :2])
        share = one[:, 2:].log() / pixels[:, 2:].log()  # [3, 6, 8], one number a channel
        torch.testing.assert_close(share, share[:, :1, :1].expand_as(share), rtol=1e-3, atol=1e-3)
        assert ((share > 1 / 1.2**1.34) & (share < 1.2**1.34)).all()
    assert not torch.equal(seen[0], seen[1])


def test_flips_and_turns_come_back():
    sample = marked(np.random.default_rng(0))
    for other in (flipped(flipped(sample)), turned(turned(sample, 3), 1)):
        torch.testing.assert_close(other.pixels, sample.pixels)
        torch.testing.assert_close(other.boxes, sample.boxes)
        torch.testing.assert_close(other.rejected, sample.rejected)


def test_crops_of_incomplete_images_hold_a_label():
    rng = np.random.default_rng(0)
    pixels = torch.zeros(1, 400, 400)
    box = torch.tensor([[300.0, 310, 320, 330]])
    sample = Sample(pixels, box, torch.ones(1, dtype=torch.int64), torch.zeros(0, 4), False)
    for _ in range(20):
        assert len(zoomed_crop(sample, random_zoom(1.25, rng), 64, rng).boxes) == 1
