"""Masks of training pictures follow every change; a network learns them; tiles keep them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cellal.core.errors import ModelError
from napari_cellal.core.masks import mask_iou, mask_of
from napari_cellal.core.progress import run_job
from napari_cellal.detect import start
from napari_cellal.detect.architectures import ARCHITECTURES, architecture
from napari_cellal.detect.augment import Sample, flipped, turned, zoomed_crop
from napari_cellal.detect.cell_masks import cell_masks, joined, masks_in
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.large import detect_in_parts
from napari_cellal.detect.mixing import mosaic, with_pasted
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.requests import ImageRequest, TrainImage, TrainRequest
from napari_cellal.detect.settings import NetworkSettings, PredictSettings, TrainSettings
from napari_cellal.detect.tiles import full_mask
from napari_cellal.detect.train import train_detector

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64


def corner(y: int, x: int, side: int):
    """Return the upper left half of a square: a shape that shows how it was turned."""
    rows, cols = np.mgrid[:side, :side]
    return mask_of(rows + cols < side, y, x)


def sample_of(*masks, shape=(60, 80)) -> Sample:
    """Return a picture that is bright where the cells are."""
    pixels = np.zeros((1, *shape), np.float32)
    for mask in masks:
        y0, x0, y1, x1 = mask.window
        pixels[0, y0:y1, x0:x1][mask.bits()] = 1
    boxes = torch.tensor([[m.x0, m.y0, m.x0 + m.width, m.y0 + m.height] for m in masks]).float()
    found = cell_masks(boxes, masks, (1.0, 1.0), boxes_count=False)
    labels = torch.ones(len(masks), dtype=torch.int64)
    return Sample(torch.from_numpy(pixels), boxes, labels, torch.zeros(0, 4), True, masks=found)


CHANGES = {
    "flip": flipped,
    "quarter": lambda s: turned(s, 1),
    "three quarters and a flip": lambda s: flipped(turned(s, 3)),
    "larger": lambda s: zoomed_crop(s, 1.7, 60, np.random.default_rng(3)),
    "cut": lambda s: zoomed_crop(s, 1.0, 38, np.random.default_rng(0)),
    "smaller": lambda s: zoomed_crop(s, 0.8, 100, np.random.default_rng(0)),
    "mosaic": lambda s: mosaic([s, flipped(s), turned(s, 2), s], np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_masks_stay_on_their_cells(name: str) -> None:
    before = sample_of(corner(5, 8, 24), corner(30, 20, 18), corner(12, 50, 28))
    after = CHANGES[name](before)
    masks = after.masks
    assert masks is not None
    assert len(masks.frames) == len(after.boxes) == len(after.labels)
    assert len(after.boxes)
    side = 28
    filled = masks_in(after.boxes, masks.frames, masks.bits, torch.arange(len(after.boxes)), side)
    for box, mask in zip(after.boxes, filled, strict=True):
        x0, y0, x1, y1 = (round(v) for v in box.tolist())
        seen = after.pixels[0, y0:y1, x0:x1] > 0.5
        ours = full_mask(
            (mask * 255).round().to(torch.uint8).numpy(), np.array([y0, x0, y1, x1], float)
        )
        assert ours is not None
        theirs = mask_of(seen.numpy(), y0, x0)
        assert theirs is not None
        assert mask_iou(ours, theirs) > 0.85


def test_a_pasted_cell_brings_its_mask() -> None:
    empty = sample_of(corner(2, 2, 12), shape=(90, 90))
    pasted = with_pasted(empty, sample_of(corner(20, 30, 24)), np.random.default_rng(0))
    assert pasted.masks is not None
    assert len(pasted.boxes) == len(pasted.masks.frames) > 1
    for box, frame in zip(pasted.boxes, pasted.masks.frames, strict=True):
        rim = (box - frame).abs()
        assert float(rim.max()) <= 1  # the frame reaches one pixel over the cell


def test_boxes_count_as_masks_only_on_request() -> None:
    boxes = torch.tensor([[10.0, 10.0, 30.0, 40.0]])
    for wanted in (False, True):
        masks = cell_masks(boxes, [None], (1.0, 1.0), boxes_count=wanted)
        assert masks.known.tolist() == [wanted]
        # half of a box twice as wide is the cell
        wide = torch.tensor([[0.0, 10.0, 40.0, 40.0]])
        filled = masks_in(wide, masks.frames, masks.bits, torch.zeros(1, dtype=torch.int64), 28)
        assert float(filled.mean()) == pytest.approx(0.5 * wanted, abs=0.03)
    both = joined([masks, masks.take(torch.tensor([False]))])
    assert len(both.frames) == 1


def test_a_full_mask_is_where_its_shares_are() -> None:
    shares = np.zeros((28, 28), np.uint8)
    shares[:14] = 255
    mask = full_mask(shares, np.array([10.2, 5.0, 50.2, 25.0]))
    assert mask is not None
    assert (mask.y0, mask.x0, mask.width) == (10, 5, 20)
    assert abs(mask.height - 20) <= 1
    assert full_mask(np.zeros((28, 28), np.uint8), np.array([0.0, 0.0, 9.0, 9.0])) is None


def test_a_full_mask_is_as_large_as_its_box_and_never_beyond_it() -> None:
    whole = np.full((28, 28), 255, np.uint8)
    beyond = full_mask(whole, np.array([-1e-5, 3.0, 100.00001, 9.0]))  # rounded on the way
    assert beyond is not None
    assert beyond.window == (0, 3, 100, 9)
    rng = np.random.default_rng(0)
    excess = []
    for y0, x0, side in rng.uniform((5, 5, 8), (20, 20, 14), (200, 3)):
        mask = full_mask(whole, np.array([y0, x0, y0 + side, x0 + side]))
        assert mask is not None
        excess.append(mask.area - side**2)
    assert abs(np.mean(excess)) < 1.5  # px, of some 120; half a pixel a side would be 11
    assert full_mask(whole, np.array([3.6, 3.6, 4.4, 4.4])) is None  # holds no pixel's middle


SHAPE = NetworkSettings(anchor_sizes=((16.0,), (32.0,)), aspect_ratios=(1.0,), norm="group")


def loss_of(network, *samples: Sample) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network.train()
    return network([s.pixels for s in samples], [s.target() for s in samples])


def test_cells_without_mask_are_left_out_of_the_loss() -> None:
    torch.manual_seed(0)
    network = build_detector("mobilenet_v2_masks", 1, 1, SHAPE, [0.5], [0.3])
    told = sample_of(corner(5, 8, 24), corner(12, 50, 28), shape=(64, 96))
    assert told.masks is not None
    untold = replace(told, masks=replace(told.masks, known=torch.tensor([False, False])))
    assert float(loss_of(network, told)["loss_mask"]) > 0
    losses = loss_of(network, untold)
    assert float(losses["loss_mask"]) == 0
    sum(losses.values()).backward()
    # what the first cell's mask says does not matter while only the second is told
    half = replace(told.masks, known=torch.tensor([False, True]))
    other = replace(half, bits=torch.cat([1 - half.bits[:1], half.bits[1:]]))
    with torch.no_grad():
        one, two = (loss_of(network, replace(told, masks=m)) for m in (half, other))
    assert float(one["loss_mask"]) == float(two["loss_mask"])


def picture(seed: int):
    """Return bright triangles on dark ground and their masks."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(0.2, 0.03, (1, SIDE, SIDE))
    masks = []
    for y in (2, 34):
        for x in (2, 34):
            side = int(rng.integers(20, 28))
            mask = corner(y + int(rng.integers(3)), x, side)
            assert mask is not None
            plane[0, mask.y0 : mask.y0 + side, x : x + side][mask.bits()] += 0.5
            masks.append(mask)
    return (plane.clip(0, 1) * 255).astype(np.uint8), masks


def request_of(folder, *, masked: bool = True, **more) -> tuple[TrainRequest, dict]:
    pool, images = {}, []
    for seed in range(3):
        pixels, masks = picture(seed)
        pool[str(seed)] = pixels
        boxes = tuple(m.box for m in masks)
        shown = tuple(masks) if masked else ()
        images.append(TrainImage(str(seed), boxes, (7,) * len(boxes), masks=shown))
    settings = TrainSettings(
        steps=70, batch_size=1, learning_rate=2e-3, scale=1.0, crop_px=96, scale_jitter=1.0,
        turns=False, stain_jitter=0, average=0.5, validate_every=1000,
    )  # fmt: skip
    request = TrainRequest(
        tuple(images), (7,), ("half",), str(folder), architecture="mobilenet_v2_masks",
        start="shipped", device="cpu", settings=settings.model_copy(update=more),
    )  # fmt: skip
    return request, pool


def test_outlines_are_learned_and_come_back_from_tiles(tmp_path) -> None:
    request, pool = request_of(tmp_path)
    model = run_job(train_detector(request, reader=lambda path, _: pool[path]))
    assert model.record.trained_on["masks"] == 12

    def found_in(pixels, **settings):
        answer = run_job(
            detect_images(
                [ImageRequest("i", "x")],
                model.folder,
                "cpu",
                PredictSettings(**settings),
                reader=lambda *_: pixels,
            )
        )
        return answer["i"]

    def check(found, masks) -> None:
        assert len(found.masks) == len(found)
        good = [max((mask_iou(m, o) for o in found.masks if o), default=0) for m in masks]
        boxes = [m.area / (m.height * m.width) for m in masks]
        assert np.median(good) > np.median(boxes) + 0.08

    pixels, masks = picture(50)
    check(found_in(pixels), masks)
    # An image of several tiles: masks are those of the whole image's pixels.
    wide = np.tile(pixels, (1, 3, 3))
    shifted = [m.moved(SIDE * r, SIDE * c) for m in masks for r in range(3) for c in range(3)]
    check(found_in(wide, keep_score=0.3), shifted)

    from napari_cellal.core.progress import Progress
    from napari_cellal.detect.registry import load_detector

    parts = detect_in_parts(
        load_detector(model.folder, "cpu"),
        lambda w: wide[:, w[0] : w[2], w[1] : w[3]],
        (3 * SIDE, 3 * SIDE),
        image_id="i",
        rgb=False,
        progress=Progress(0, 1, ""),
        side=100,
    )
    check(run_job(parts), shifted)


def test_without_masks_there_is_nothing_to_learn_them_from(tmp_path) -> None:
    request, pool = request_of(tmp_path, masked=False, steps=1)
    with pytest.raises(ModelError, match="mask"):
        run_job(train_detector(request, reader=lambda path, _: pool[path]))
    settings = request.settings.model_copy(update={"boxes_as_masks": True})
    request = replace(request, settings=settings)
    assert run_job(train_detector(request, reader=lambda path, _: pool[path])).folder


def test_published_weights_of_former_names_are_all_taken() -> None:
    """As torchvision's files of Mask R-CNN call them, made here with our sizes."""
    shape = SHAPE.model_copy(update={"norm": "frozen"})
    network = build_detector("resnet50_masks", 3, 2, shape, [0.5] * 3, [0.3] * 3)
    state = {}
    for key, value in network.state_dict().items():
        old = key
        for new_part, old_part in (
            ("rpn.head.conv.0.0.", "rpn.head.conv."),
            *((f"mask_head.{k}.0.", f"mask_head.mask_fcn{k + 1}.") for k in range(4)),
            *((f"_blocks.{k}.0.", f"_blocks.{k}.") for k in range(4)),
        ):
            old = old.replace(new_part, old_part)
        state[old] = torch.full_like(value, 0.5)
    fresh = build_detector("resnet50_masks", 3, 2, shape, [0.5] * 3, [0.3] * 3)
    renamed = start._renamed(state, architecture("resnet50_masks"))
    start.put_in(fresh, start.Start("coco", renamed), (1, 2))
    now = fresh.state_dict()
    kept = [key for key, value in now.items() if not bool((value == 0.5).all())]
    assert all(".box_predictor." in key for key in kept)


def test_every_kind_of_two_stages_has_one_with_masks() -> None:
    with_masks = {name.removesuffix("_masks") for name, a in ARCHITECTURES.items() if a.masks}
    assert with_masks == {"mobilenet_v2", "resnet50", "resnet50_v2"}
