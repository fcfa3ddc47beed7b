"""The single-stage detector: which places stand for which cells, and that it learns them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, fcos_resnet50_fpn

from napari_cellal.core.progress import run_job
from napari_cellal.detect.architectures import architecture
from napari_cellal.detect.average_precision import ap50
from napari_cellal.detect.fcos import centredness, places_of
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.presets import find_preset
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import TrainImage, TrainRequest
from napari_cellal.detect.settings import NetworkSettings, PredictSettings, TrainSettings
from napari_cellal.detect.shipped import FOLDER, shipped_record
from napari_cellal.detect.start import Start, find_start, put_in
from napari_cellal.detect.train import train_detector
from napari_cellal.detect.weights import load_model
from napari_cellal.networks.model_files import load_state

pytestmark = pytest.mark.usefixtures("one_torch_thread")

NAME = find_preset("dense").architecture
SIZES = ((14.0, 20.0), (40.0, 60.0))
CELL, BAD, LARGE = [10.0, 10, 26, 26], [50.0, 50, 66, 66], [0.0, 0, 60, 60]


def network_of(channels=1, classes=1, norm="group", name=NAME):
    torch.manual_seed(0)
    shape = NetworkSettings(anchor_sizes=SIZES, norm=norm)
    return build_detector(name, channels, classes, shape, [0.5] * channels, [0.2] * channels)


def target(boxes=(), rejected=(), *, labels=None, complete=True):
    def tensor(rows):
        return torch.tensor(list(rows), dtype=torch.float32).reshape(-1, 4)

    return {
        "boxes": tensor(boxes),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "rejected": tensor(rejected),
        "complete": torch.tensor(complete),
    }


def grid(side, stride):
    """Return squares of one map px around the places of a map, and where these are."""
    at = torch.arange(0, side, stride).float()
    places = torch.cartesian_prod(at, at)
    return torch.cat([places - stride / 2, places + stride / 2], 1), places


def levels(side=96):
    """Return squares and ranges of two maps, strides 8 and 16, that part at 28 px."""
    fine, coarse = grid(side, 8)[0], grid(side, 16)[0]
    low = torch.cat([torch.zeros(len(fine)), torch.full((len(coarse),), 28.0)])
    high = torch.cat([torch.full((len(fine),), 28.0), torch.full((len(coarse),), torch.inf)])
    return torch.cat([fine, coarse]), torch.stack([low, high], 1), len(fine)


@pytest.mark.parametrize("complete", [True, False])
def test_places_of_a_cell_are_on_the_level_of_its_size(complete):
    squares, ranges, n_fine = levels()
    matched = places_of(squares, ranges, target([CELL, LARGE], complete=complete))
    fine, coarse = matched[:n_fine], matched[n_fine:]
    assert set(fine.tolist()) == ({-1, 0} if complete else {-2, -1, 0})
    assert set(coarse.tolist()) == ({-1, 1} if complete else {-2, -1, 1})
    at = (squares[:n_fine, :2] + squares[:n_fine, 2:]) / 2
    assert ((at[fine == 0] - 18).abs() <= 8).all()


def test_the_smaller_of_two_cells_in_one_place_is_learned():
    squares, _ = grid(96, 8)
    ranges = torch.tensor([0.0, torch.inf]).expand(len(squares), 2)
    matched = places_of(squares, ranges, target([LARGE, [22.0, 22, 38, 38]]))
    at = (squares[:, :2] + squares[:, 2:]) / 2
    assert (matched[((at - 30).abs() <= 8).all(1)] == 1).all()
    assert (matched == 0).any()


@pytest.mark.parametrize("seed", range(5))
def test_every_cell_has_a_place_however_small_it_is(seed):
    rng = np.random.default_rng(seed)
    squares, ranges, _ = levels(160)
    for _ in range(50):
        side = rng.uniform(1, 100, 2)
        corner = rng.uniform(0, 1, 2) * (152 - side)  # the last place of the fine map
        box = [*corner, *(corner + side)]
        assert (places_of(squares, ranges, target([box])) == 0).any()


def test_in_an_unfinished_image_only_what_is_known_is_background():
    squares, ranges, n_fine = levels()
    matched = places_of(squares, ranges, target([CELL], [BAD], complete=False))
    at = (squares[:n_fine, :2] + squares[:n_fine, 2:]) / 2
    known = at[matched[:n_fine] == -1]
    in_bad = ((known > 48) & (known < 68)).all(1)
    in_cell = ((known >= 10) & (known <= 26)).all(1)
    assert in_bad.any()
    assert (in_bad | in_cell).all()
    nothing = places_of(squares, ranges, target(complete=False))
    assert (nothing == -2).all()


def test_the_middle_counts_most():
    squares = torch.tensor([[16.0, 16, 20, 20], [12, 16, 16, 20], [8, 8, 12, 12]])
    middle, side, corner = centredness(squares, torch.tensor([CELL] * 3)).tolist()
    assert middle == 1
    assert middle > side > corner == 0


@pytest.mark.parametrize(
    "rows",
    [
        [target(complete=False)],
        [target(complete=True)],
        [target([], [BAD], complete=False)],
        [target([CELL, [40.0, 40, 41, 41]], complete=True)],
        [target([CELL], complete=False), target(complete=False)],
    ],
)
def test_losses_and_gradients_are_numbers_whatever_is_known(rows):
    network = network_of().train()
    losses = network([torch.rand(1, 96, 128) for _ in rows], rows)
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    if not any(bool(r["complete"]) or len(r["boxes"]) or len(r["rejected"]) for r in rows):
        assert float(total.detach()) == 0


def test_a_rejected_box_of_an_unfinished_image_teaches():
    network = network_of().train()
    picture = torch.full((1, 96, 96), 0.2)
    losses = []
    for rejected in ((), [BAD]):
        row = target([CELL], rejected, complete=False)
        loss = network([picture.clone()], [row])["classification"]
        losses.append(float(loss.detach()))
    assert losses[1] > losses[0] > 0


def test_dense_fields_are_not_cut_short():
    shape = NetworkSettings(anchor_sizes=SIZES, detections=1500)
    network = build_detector(NAME, 1, 2, shape, [0.5], [0.2]).eval()
    network.limit(PredictSettings(keep_score=0.0, same_class_iou=1.0, any_class_iou=1.0))
    with torch.inference_mode():
        (found,) = network([torch.rand(1, 320, 320)])
    assert len(found["boxes"]) == 1500
    assert found["probabilities"].shape == (1500, 2)
    torch.testing.assert_close(found["probabilities"].sum(1), torch.ones(1500))
    assert (found["scores"].diff() <= 0).all()
    assert (found["probabilities"].argmax(1) + 1 == found["labels"]).all()


def test_known_classes_keep_their_rows():
    old, new = network_of(classes=2), network_of(classes=3)
    with torch.no_grad():
        old.head.classification_head.cls_logits.weight.normal_()
    put_in(new, Start("model m", old.state_dict()), (5, 2, 1), (1, 2))
    mine, theirs = (n.head.classification_head.cls_logits for n in (new, old))
    assert torch.equal(mine.weight[1], theirs.weight[1])
    assert torch.equal(mine.weight[2], theirs.weight[0])
    assert not torch.equal(mine.weight[0], theirs.weight[0])


def test_it_starts_from_the_body_of_the_shipped_detector():
    begun = run_job(find_start("auto", architecture(NAME)))
    assert begun.shipped
    network = network_of(3, 2, "frozen")
    put_in(network, begun, (1, 2), (1, 2, -1, -1))
    shipped = load_state(FOLDER, shipped_record())
    own = network.state_dict()
    taken = [k for k in own if k.startswith("backbone.")]
    assert len(taken) > 200
    assert all(torch.equal(own[k], shipped[k].float()) for k in taken)


@pytest.mark.parametrize(
    ("name", "stock"),
    [("fcos_resnet50", fcos_resnet50_fpn), ("resnet50_v2", fasterrcnn_resnet50_fpn_v2)],
)
def test_published_weights_fit_by_name(name, stock):
    shape = NetworkSettings(anchor_sizes=((16.0, 24.0),) * 4, norm="frozen")
    network = build_detector(name, 3, 2, shape, [0.5] * 3, [0.2] * 3)
    theirs = stock(weights=None, weights_backbone=None).state_dict()
    theirs = {k: torch.full_like(v, 0.5) for k, v in theirs.items()}
    put_in(network, Start("coco", theirs), (1, 2))
    fresh = {k.rsplit(".", 1)[0] for k, v in network.state_dict().items() if (v != 0.5).any()}
    # their anchors are others, and their classes are other things
    assert fresh <= {"rpn.head.cls_logits", "rpn.head.bbox_pred"} | {
        rows.layer for rows in network.class_rows
    }


class Squares:
    """Pictures of bright squares of two sizes, in memory."""

    def __init__(self):
        self.pixels = {}

    def read(self, path, plane):
        return self.pixels[path]

    def add(self, path, seed, channels=1):
        rng = np.random.default_rng(seed)
        plane = rng.normal(0.2, 0.03, (channels, 64, 64))
        boxes, ids = [], []
        for k, (y, x) in enumerate(((0, 0), (0, 32), (32, 0), (32, 32))):
            side = int(rng.integers(10, 14) if k % 2 else rng.integers(20, 26))
            y0, x0 = (v + int(rng.integers(1, 31 - side)) for v in (y, x))
            plane[:, y0 : y0 + side, x0 : x0 + side] += 0.5
            boxes.append((float(y0), float(x0), float(y0 + side), float(x0 + side)))
            ids.append(5 if k % 2 else 8)
        self.pixels[path] = (plane.clip(0, 1) * 255).astype(np.uint8)
        return TrainImage(path, tuple(boxes), tuple(ids))


def request_of(images, folder, steps, **more):
    settings = TrainSettings(
        steps=steps,
        learning_rate=1.5e-3,
        scale=1.0,
        crop_px=64,
        turns=False,
        scale_jitter=1.0,
        stain_jitter=0.0,
        brightness_jitter=0.05,
        average=0.95,
    )
    settings = settings.model_copy(update=more.pop("settings", {}))
    request = TrainRequest(tuple(images), (5, 8), ("small", "large"), str(folder))
    same = {"architecture": NAME, "start": "scratch", "device": "cpu", "settings": settings}
    return replace(request, **{**same, **more})


def test_it_learns_is_kept_and_learns_further(tmp_path):
    pool = Squares()
    images = [pool.add(f"train{k}", k) for k in range(12)]
    held = [pool.add(f"held{k}", 100 + k) for k in range(4)]
    # one class of one image is not labelled, and that image is not finished
    images[0] = replace(images[0], boxes=images[0].boxes[:1], class_ids=(8,), complete=False)
    trained = run_job(train_detector(request_of(images, tmp_path, 150), reader=pool.read))

    def score(folder):
        detector = load_detector(folder, "cpu")
        found = [detector.detect(pool.pixels[i.path], image_id=i.path) for i in held]
        for one in found:
            assert all(sum(p for _, p in row) == pytest.approx(1) for row in one.probabilities)
        return ap50(found, [i.boxes for i in held], [i.class_ids for i in held], (5, 8))

    first = score(trained.folder)
    assert min(first.values()) > 0.8
    further = request_of(
        held[:1],
        tmp_path,
        1,
        start=trained.folder,
        model_id="second",
        class_ids=(9, 8, 5),
        class_names=("new", "large", "small"),
        settings={"learning_rate": 1e-6},
    )
    second = run_job(train_detector(further, reader=pool.read))
    assert second.record.parent_id == trained.record.model_id
    assert min(score(second.folder).values()) > 0.7


def test_five_channels_one_class_and_images_without_cells(tmp_path):
    pool = Squares()
    images = [pool.add(f"train{k}", k, channels=5) for k in range(3)]
    empty = replace(images[2], boxes=(), class_ids=())
    one = replace(images[0], class_ids=(5,) * 4)
    request = request_of([one, empty], tmp_path, 2, class_ids=(5,), class_names=("cell",))
    trained = run_job(train_detector(request, reader=pool.read))
    record, network = load_model(Path(trained.folder))
    assert network.backbone.body["0"][0].in_channels == 5
    assert record.architecture == NAME
    detector = load_detector(trained.folder, "cpu", PredictSettings(keep_score=0.01))
    found = detector.detect(pool.pixels["train0"], image_id="a")
    assert set(found.class_ids) <= {5}
