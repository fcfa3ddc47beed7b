"""Several looks at one image give each cell once, where it really is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cellal.detect.fusion import MIRRORED, fused, mirrored
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import FOLDER
from napari_cellal.detect.tiles import Found
from napari_cellal.detect.weights import load_model


def look(boxes, scores, shares, masks=None):
    shares = np.array(shares, np.float32).reshape(len(scores), np.shape(shares)[1])
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        shares.argmax(1) if len(scores) else np.zeros(0, np.int64),
        shares,
        masks,
    )


def test_the_mean_of_what_two_looks_saw():
    one = look([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8], [[0.6, 0.4], [0, 1]])
    two = look([[2, 0, 12, 10]], [0.3], [[0.2, 0.8]])
    found = fused([one, two])
    np.testing.assert_allclose(found.boxes, [[0.5, 0, 10.5, 10], [50, 50, 60, 60]], rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([0.6, 0.4])
    assert found.probabilities[0].tolist() == pytest.approx([0.5, 0.5])
    assert found.classes.tolist()[1] == 1


def test_two_cells_of_one_look_stay_two():
    near = look([[0, 0, 10, 10], [0, 1, 10, 11]], [0.9, 0.8], [[1], [1]])
    assert len(fused([near, near]).boxes) == 2


def test_the_mask_is_the_mean_of_all_looks():
    left, whole = np.zeros((2, 4, 4), np.uint8), np.full((1, 4, 4), 255, np.uint8)
    left[0, :, :2] = 255
    left[1] = 100
    one = look([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.2], [[1], [1]], left)
    two = look([[0, 0, 10, 10]], [0.3], [[1]], whole)
    found = fused([one, two, look([], [], np.zeros((0, 1)))])
    assert found.masks.dtype == np.uint8
    np.testing.assert_array_equal(found.masks[0, 0], [255, 255, 64, 64])
    assert (found.masks[1] == 100).all()


def test_nothing_found_is_nothing():
    empty = look([], [], np.zeros((0, 2)))
    assert len(fused([empty, empty]).boxes) == 0


@pytest.mark.parametrize("axes", MIRRORED)
def test_mirrored_boxes_go_with_the_pixels(axes):
    picture = np.zeros((1, 30, 50))
    picture[:, 3:9, 10:30] = 1
    y0, x0, y1, x1 = mirrored(np.array([[3, 10, 9, 30]], np.float32), axes, (30, 50))[0].astype(int)
    turned = np.flip(picture, axes)
    assert turned[0, y0:y1, x0:x1].all()
    assert turned.sum() == (y1 - y0) * (x1 - x0)


def test_a_mirrored_image_gives_mirrored_cells():
    """Four looks are the same four looks, whichever way round the image lies."""
    rng = np.random.default_rng(0)
    picture = np.full((3, 160, 200), 225.0)
    y, x = np.mgrid[:160, :200]
    for cy, cx, radius in ((40, 50, 22), (100, 140, 24), (50, 150, 20)):
        picture[1:, np.hypot(y - cy, x - cx) < radius] = 140
    picture = (picture + rng.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)
    record, network = load_model(FOLDER)
    settings = PredictSettings(flips=True, keep_score=0.3)
    detector = TorchDetector(record, network, torch.device("cpu"), settings)
    plain = detector.detect(picture, image_id="a")
    turned = detector.detect(picture[:, :, ::-1].copy(), image_id="b")
    assert len(plain) >= 3
    assert len(plain) == len(turned)
    back = mirrored(np.array(turned.boxes, np.float32), (2,), (160, 200))
    order = [int(np.abs(back - np.array(b)).sum(1).argmin()) for b in plain.boxes]
    np.testing.assert_allclose(back[order], np.array(plain.boxes), atol=0.5)


def test_a_mirrored_image_gives_mirrored_masks(monkeypatch):
    """A network that sees a bright triangle finds it whichever way round, and so its outline."""
    picture = np.zeros((3, 64, 80), np.uint8)
    picture[:, 10:30, 20:40] = 255 * np.tri(20, dtype=np.uint8)

    def find(self, unit, scale):
        bright = unit[0] > 0.5
        (y0, y1), (x0, x1) = ((v.min(), v.max() + 1) for v in np.nonzero(bright))
        shares = (bright[y0:y1, x0:x1] * 255).astype(np.uint8)
        return look([[y0, x0, y1, x1]], [0.9], np.ones((1, 4)) / 4, shares[None])

    monkeypatch.setattr(TorchDetector, "_search", find)
    record, network = load_model(FOLDER)
    detector = TorchDetector(record, network, torch.device("cpu"), PredictSettings(flips=True))
    (mask,) = detector.detect(picture, image_id="a").masks
    np.testing.assert_array_equal(mask.within((0, 0, 64, 80)), picture[0] > 0)
