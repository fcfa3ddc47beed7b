"""The detector that comes with the package: where it is used, its classes, and starting from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cellal.core.errors import ModelError
from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Detections, ImageRecord
from napari_cellal.detect import shipped
from napari_cellal.detect.architectures import architecture
from napari_cellal.detect.predict import better_scale, first_scale
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import TrainImage, TrainRequest
from napari_cellal.detect.settings import NetworkSettings, TrainSettings
from napari_cellal.detect.start import find_start
from napari_cellal.detect.tiles import Found
from napari_cellal.detect.train import train_detector
from napari_cellal.detect.weights import load_model
from napari_cellal.io.store import Project
from napari_cellal.networks.normalization import EACH, Normalization
from napari_cellal.workflows import detecting

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RGB = ImageRecord("a", "a.png", (3, 100, 120), "uint8", ("red", "green", "blue"), True)


def nuclei(side=240, n=12, radius=11, seed=0, top=220, dtype=np.uint8):
    """Return bright discs on a dark ground, [1, Y, X], and their boxes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    picture = rng.normal(0.04, 0.01, (side, side))
    boxes = []
    while len(boxes) < n:
        cy, cx = rng.uniform(radius + 2, side - radius - 2, 2)
        if any(np.hypot(cy - (b[0] + radius), cx - (b[1] + radius)) < 3 * radius for b in boxes):
            continue
        away = np.hypot(y - cy, x - cx) / radius
        picture = np.maximum(picture, 0.9 * np.clip(4 * (1 - away), 0, 1) * (1 - 0.3 * away**2))
        boxes.append((cy - radius, cx - radius, cy + radius, cx + radius))
    return (picture.clip(0, 1) * top).astype(dtype)[None], boxes


def recall_of(found, boxes):
    return len(match_boxes(found, boxes, 0.5)) / len(boxes)


def test_it_is_whole_and_small():
    record, network = load_model(shipped.FOLDER)  # checks the weights against the card
    assert record.model_id == shipped.SHIPPED
    assert record.class_names == tuple(shipped._WORDS)
    assert sum(p.stat().st_size for p in shipped.FOLDER.iterdir()) <= 20 * 2**20
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    assert (shipped.FOLDER / "MODEL_CARD.md").is_file()


@pytest.mark.parametrize(("top", "dtype"), [(220, np.uint8), (40, np.uint8), (3000, np.uint16)])
def test_it_finds_nuclei_of_any_brightness(top, dtype):
    pixels, boxes = nuclei(top=top, dtype=dtype)
    detector = load_detector(shipped.FOLDER, "cpu")
    found = detector.detect(pixels, image_id="a")
    sure = found.boxes[: sum(s >= 0.5 for s in found.scores)]
    assert recall_of(sure, boxes) > 0.8
    assert len(sure) < 1.5 * len(boxes)
    nucleus = 1 + list(shipped._WORDS).index("nucleus")
    classes = [c for c, s in zip(found.class_ids, found.scores, strict=True) if s >= 0.5]
    assert classes.count(nucleus) > 0.8 * len(classes)
    assert not detector.notes


def test_small_cells_are_looked_at_again_larger():
    shape = NetworkSettings(scale=0.5, short_side_px=200, cell_px=(20.0, 100.0))
    assert first_scale(shape, (1000, 900)) == 0.5
    assert first_scale(shape, (250, 300)) == pytest.approx(0.8)
    assert first_scale(shape, (20, 20)) == 1.0  # never more than twice

    def found(side_px, n=5, score=0.9):
        boxes = np.tile([0.0, 0, side_px, side_px], (n, 1))
        return Found(boxes, np.full(n, score), np.zeros(n, int), np.ones((n, 1)))

    assert better_scale((20, 100), 0.5, found(80)) is None
    for side_px in (16, 20, 400):
        assert 20 < better_scale((20, 100), 0.5, found(side_px)) * side_px < 100
    assert better_scale((20, 100), 0.5, found(80, n=1)) == 1.0
    assert better_scale((20, 100), 0.5, found(80, score=0.2)) == 1.0


def test_each_image_by_itself_is_not_dim_nor_noise():
    norm = Normalization.of_each(3)
    rng = np.random.default_rng(0)
    dim = rng.integers(0, 40, (1, 50, 50)).astype(np.uint8)
    unit = norm.to_unit(dim)
    assert unit.shape == (3, 50, 50)
    assert unit.max() == 1
    np.testing.assert_array_equal(unit[0], unit[2])
    empty = np.full((1, 50, 50), 7, np.uint8) + (rng.random((1, 50, 50)) < 0.5).astype(np.uint8)
    assert norm.to_unit(empty).max() < 0.1
    with pytest.raises(ModelError):
        norm.to_unit(np.zeros((2, 5, 5), np.uint8))


def test_classes_are_known_by_many_names():
    names = enumerate(("Erythrocytes", "other", "white blood cell", "PLT", "Nuclei", "rbc"), 10)
    same = shipped.class_map(names)
    assert same == {1: 15, 2: 12, 3: 13, 4: 14}
    assert shipped.class_map([(1, "cell")]) == {}


def project_with(tmp_path, classes, *images):
    project = Project.create(tmp_path / "p", classes)
    project.add_images(list(images))
    return project


def test_it_is_used_where_it_suits(tmp_path):
    grey = replace(RGB, image_id="g", path="g.png", channels=("gray",), shape=(1, 9, 9), rgb=False)
    with project_with(tmp_path / "1", ["RBC"], RGB, grey) as project:
        assert detecting.choose_model(project) == shipped.SHIPPED
        request = detecting.request_detection(project, project.images)
        assert (request.model_id, request.warnings) == (shipped.SHIPPED, ())
    three = replace(RGB, channels=("DNA", "actin", "tubulin"), rgb=False)
    with project_with(tmp_path / "3", ["RBC"], three) as project:
        assert detecting.choose_model(project) == detecting.CLASSICAL
        request = detecting.request_detection(project, project.images, model="shipped")
        assert len(request.warnings) == 1
    five = replace(RGB, channels=tuple("abcde"), shape=(5, 9, 9), rgb=False)
    with project_with(tmp_path / "5", ["RBC"], RGB, replace(five, image_id="f")) as project:
        assert detecting.choose_model(project) == detecting.CLASSICAL
        assert detecting.choose_model(project, "auto", ["a"]) == shipped.SHIPPED
        with pytest.raises(ModelError, match=r"a\.png"):
            detecting.request_detection(project, ["f"], model="shipped")


def classes_given(tmp_path, classes):
    found = Detections(
        "a",
        ((0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)),
        (0.9, 0.8, 0.7),
        (1, 2, 4),
        shipped.SHIPPED,
        (((1, 0.8), (2, 0.2), (4, 0.0)), ((1, 0.1), (2, 0.6), (4, 0.3)), ((4, 1.0),)),
    )
    with project_with(tmp_path, classes, RGB) as project:
        request = detecting.request_detection(project, ["a"], model="shipped")
        detecting.apply_detections(project, [detecting.in_classes_of(request, found)])
        rows = project.cells.of_image("a")
        return {c.score: (c.class_id, dict(c.proposed.probabilities)) for c in rows}


def test_its_classes_become_the_projects(tmp_path):
    rows = classes_given(tmp_path, ["leukocyte", "debris", "red cells"])
    assert rows[0.9] == (3, pytest.approx({3: 0.8, 1: 0.2}))
    assert rows[0.8] == (1, pytest.approx({3: 1 / 7, 1: 6 / 7}))
    assert rows[0.7] == (None, {})


def test_a_project_of_one_class_gets_only_that_one(tmp_path):
    assert list(classes_given(tmp_path / "w", ["WBC"])) == [0.8]
    # a class that it does not know is whatever is found
    assert [c for c, _ in classes_given(tmp_path / "c", ["cell"]).values()] == [1, 1, 1]


def trained_from(tmp_path, pool, names, channels=1, steps=1, **settings):
    request = TrainRequest(
        tuple(
            TrainImage(path, tuple(boxes), tuple(k % len(names) + 1 for k in range(len(boxes))))
            for path, (_, boxes) in pool.items()
        ),
        tuple(range(1, len(names) + 1)),
        names,
        str(tmp_path / "models"),
        device="cpu",
        settings=TrainSettings(steps=steps, learning_rate=1e-6, **settings),
    )

    def reader(path, _plane):
        return np.repeat(pool[path][0], channels, axis=0)

    return run_job(train_detector(request, reader=reader))


@pytest.mark.parametrize("channels", [1, 3])
def test_training_starts_from_it_and_keeps_what_it_knows(tmp_path, channels):
    pool = {"a": nuclei(seed=1), "b": nuclei(seed=2)}
    trained = trained_from(tmp_path, pool, ("nucleus",), channels)
    assert shipped.SHIPPED in trained.record.start
    assert trained.record.parent_id is None
    assert trained.record.normalization["dtype"] == EACH
    detector = load_detector(trained.folder, "cpu")
    pixels, boxes = nuclei(seed=3)
    found = detector.detect(np.repeat(pixels, channels, axis=0), image_id="c")
    sure = found.boxes[: sum(s >= 0.3 for s in found.scores)]
    assert recall_of(sure, boxes) > 0.7


def test_other_classes_and_channels_keep_the_body(tmp_path):
    pool = {"a": nuclei(seed=1)}
    trained = trained_from(tmp_path, pool, ("yeast", "spore"), channels=5)
    state = load_model(shipped.FOLDER)[1].state_dict()
    fresh = load_model(Path(trained.folder))[1].state_dict()
    key = "backbone.body.5.conv.0.0.weight"
    torch.testing.assert_close(fresh[key], state[key], atol=1e-4, rtol=1e-3)
    key = "rpn.head.cls_logits.weight"
    torch.testing.assert_close(fresh[key], state[key], atol=1e-4, rtol=1e-3)
    assert len(fresh["roi_heads.box_predictor.cls_score.bias"]) == 3
    assert trained.record.normalization["dtype"] == "uint8"


def test_it_is_of_one_architecture():
    with pytest.raises(ModelError):
        run_job(find_start("shipped", architecture("resnet50")))
