"""What a network sees in a cell: the same whatever the batch, on any channels, any box."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2

from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.detect import eyes
from napari_cellal.detect.embed import Embedder, Eye
from napari_cellal.features.view import image_levels
from napari_cellal.workflows import describing

RGB = ("red", "green", "blue")


def tiny_eye(n_channels=3, channels=None, seed=0):
    torch.manual_seed(seed)
    body = [
        nn.Sequential(nn.Conv2d(n_channels, 4, 3, 4, 1), nn.ReLU()),
        nn.Conv2d(4, 4, 3, 1, 1),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(6, 200, 3, 2, 1),
        nn.Conv2d(200, 8, 3, 2, 1),
    ]
    return Eye("tiny", body, channels, (0.5,) * n_channels, (0.25,) * n_channels)


def cells_image(n_channels=3, dtype=np.uint8):
    rng = np.random.default_rng(0)
    top = 200 if dtype == np.uint8 else 3000
    image = rng.integers(top // 4, top // 2, (n_channels, 120, 150))
    for y, x, side in ((0, 0, 12), (40, 60, 30), (95, 120, 25), (10, 100, 20)):
        image[:, y : y + side, x : x + side] += rng.integers(10, top // 2, (n_channels, 1, 1))
    return image.astype(dtype)


BOXES = np.array(
    [
        (0, 0, 12, 12),
        (40, 60, 70, 90),
        (95, 120, 130, 160),  # over the border
        (10, 100, 30, 120),
        (119, 149, 120, 150),  # one pixel, in the corner
        (50, 50, 50, 50),  # no area
        (-40, -40, -20, -20),  # outside
        (0, 0, 120, 150),
    ],
    float,
)


def rows(embedder, image, boxes=BOXES, *, rgb=True, channels=RGB):
    return embedder.rows(image, boxes, rgb=rgb, channels=channels, levels=image_levels(image))


def test_a_row_does_not_depend_on_its_batch():
    embedder = Embedder(eyes_of_the_package())
    image = cells_image()
    together = rows(embedder, image)
    alone = np.concatenate([rows(embedder, image, box[None]) for box in BOXES])
    assert together.shape == (len(BOXES), len(embedder.names(RGB, rgb=True)))
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(together, rows(embedder, image))
    assert len(np.unique(together.round(4), axis=0)) >= 6  # it tells the boxes apart


def eyes_of_the_package():
    return eyes._detector(eyes.FOLDER, eyes.SHIPPED)


def test_channels_of_a_colour_network_are_seen_one_by_one():
    embedder = Embedder(tiny_eye())
    image = cells_image(5, np.uint16)
    names = tuple("abcde")
    table = rows(embedder, image, rgb=False, channels=names)
    columns = embedder.names(names, rgb=False)
    assert table.shape == (len(BOXES), len(columns))
    assert len(columns) == len(set(columns)) == 5 * len(embedder.names(RGB, rgb=True))
    # A channel's columns are its own: another order of channels is another order of columns.
    turned = rows(embedder, image[::-1], rgb=False, channels=names[::-1])
    at = [embedder.names(names[::-1], rgb=False).index(name) for name in columns]
    np.testing.assert_allclose(turned[:, at], table, rtol=1e-5, atol=1e-5)


def test_a_network_of_these_channels_sees_them_together():
    names = ("dapi", "gfp")
    embedder = Embedder(tiny_eye(2, names))
    image = cells_image(2, np.uint16)
    width = len(embedder.names(names, rgb=False))
    assert rows(embedder, image, rgb=False, channels=names).shape == (len(BOXES), width)
    assert len(embedder.names(("x", "y", "z"), rgb=False)) == 3 * width


def test_brightness_and_depth_of_the_image_do_not_matter():
    embedder = Embedder(tiny_eye())
    image = cells_image()
    deeper = image.astype(np.uint16) * 16 + 50
    np.testing.assert_allclose(rows(embedder, deeper), rows(embedder, image), atol=0.05)
    nothing = np.full((3, 40, 40), 7.0)
    assert np.isfinite(rows(embedder, nothing, BOXES[:2])).all()


def test_maps_of_every_scale_are_taken_once():
    # 4 + 6 channels with mean, spread and middle, the means of 200, none of stride 32
    assert len(Embedder(tiny_eye()).names(RGB, rgb=True)) == 3 * 4 + 3 * 6 + 200


def test_other_weights_have_another_key():
    assert Embedder(tiny_eye()).key == Embedder(tiny_eye()).key
    assert Embedder(tiny_eye(seed=1)).key != Embedder(tiny_eye()).key


def test_what_cannot_be_had_is_said(monkeypatch, tmp_path):
    def offline(url):
        yield from ()
        raise ModelError("No connection.")

    monkeypatch.setattr(eyes, "fetch", offline)
    told = []
    assert run_job(eyes.load_embedder("auto", "cpu"), told.append).words == "shipped"
    assert any("No connection." in step.message for step in told)
    with pytest.raises(ModelError, match=r"No connection\."):
        run_job(eyes.load_embedder("imagenet", "cpu"))
    with pytest.raises(ModelError, match="nothing"):
        run_job(eyes.load_embedder("nothing", "cpu"))
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError):
        run_job(eyes.load_embedder(str(tmp_path / "other.safetensors"), "cpu"))


def test_weights_of_a_file_are_used(monkeypatch, tmp_path):
    torch.manual_seed(0)
    body = mobilenet_v2(weights=None)
    state = {k: v.contiguous() for k, v in body.state_dict().items() if k.startswith("features.")}
    save_file(state, tmp_path / "imagenet.safetensors")

    def cached(url):
        yield from ()
        return body.state_dict()

    monkeypatch.setattr(eyes, "fetch", cached)
    of_file = run_job(eyes.load_embedder(str(tmp_path / "imagenet.safetensors"), "cpu"))
    assert of_file.key == run_job(eyes.load_embedder("imagenet", "cpu")).key
    assert of_file.key != run_job(eyes.load_embedder("shipped", "cpu")).key


def test_features_are_chosen_by_name():
    assert describing.sets_of("quick+deep:shipped") == ("quick", "deep:shipped")
    assert describing.sets_of("quick+quick") == ("quick",)
    assert describing.sets_of("automatic") == ("quick", "deep")
    assert describing.sets_of("automatic", in_colour=False) == ("quick",)
    for wrong in ("", "deap", "quick:shipped", "quick+"):
        with pytest.raises(CellalError):
            describing.sets_of(wrong)
