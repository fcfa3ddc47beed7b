"""A detector learns bright squares, is kept on disk, and its training ends well in any case."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cellal.core.errors import ImageError, ModelError
from napari_cellal.core.geometry import iou_matrix
from napari_cellal.core.masks import mask_of
from napari_cellal.core.progress import Abandoned, EndEarly, run_job
from napari_cellal.core.records import Detections
from napari_cellal.detect import lessons
from napari_cellal.detect import start as start_module
from napari_cellal.detect.architectures import ARCHITECTURES
from napari_cellal.detect.average_precision import ap50
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.pace import measure_pace
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import (
    ImageFailure,
    ImageRequest,
    TrainImage,
    TrainRequest,
)
from napari_cellal.detect.settings import PredictSettings, TrainSettings
from napari_cellal.detect.train import prepare, train_detector
from napari_cellal.detect.weights import load_model, network_settings
from napari_cellal.networks import checkpoints, course, download, unfinished
from napari_cellal.networks.average import WeightAverage
from napari_cellal.networks.devices import choose_device
from napari_cellal.networks.points import TrainPoint
from napari_cellal.networks.schedules import learning_rate

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 96
SHORT = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 40000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    MemoryError(),
)
CLASS = 7  # an id that is not its own index


class Pool:
    """Images in memory under made-up paths, and the reader of them."""

    def __init__(self):
        self.pixels = {}

    def read(self, path, plane):
        if path not in self.pixels:
            raise OSError("no such file")
        return self.pixels[path]

    def add(self, path, n_squares, seed, *, channels=1, dtype="uint8", shape=(SIDE, SIDE), **more):
        """Draw bright squares of 14 to 24 px that do not touch; return the image's labels."""
        rng = np.random.default_rng(seed)
        plane = rng.normal(0.2, 0.03, (channels, *shape))
        taken = np.zeros(shape, bool)
        boxes = []
        for _ in range(500):
            if len(boxes) == n_squares:
                break
            side = int(rng.integers(14, 25))
            y, x = (int(rng.integers(1, length - side - 1)) for length in shape)
            if taken[max(0, y - 3) : y + side + 3, max(0, x - 3) : x + side + 3].any():
                continue
            taken[y : y + side, x : x + side] = True
            plane[:, y : y + side, x : x + side] += 0.5
            boxes.append((float(y), float(x), float(y + side), float(x + side)))
        plane = plane.clip(0, 1)
        if np.dtype(dtype).kind == "u":
            plane = plane * np.iinfo(dtype).max
        self.pixels[path] = plane.astype(dtype)
        return TrainImage(path, tuple(boxes), (CLASS,) * len(boxes), **more)


QUICK = TrainSettings(
    steps=2,
    batch_size=2,
    learning_rate=1e-3,
    scale=1.0,
    crop_px=96,
    turns=False,
    scale_jitter=1.0,
    brightness_jitter=0.05,
    stain_jitter=0.0,
    channel_jitter=0.0,
)


def request_of(images, folder, settings=QUICK, **more):
    request = TrainRequest(
        tuple(images),
        (CLASS,),
        ("square",),
        str(folder),
        architecture="mobilenet_v3",
        start="scratch",
        device="cpu",
    )
    return replace(request, settings=settings, **more)


def states(folder):
    return load_model(Path(folder))[1].state_dict()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A detector trained on twelve images, and six images that it has not seen."""
    pool = Pool()
    images = [pool.add(f"train{k}", 4, k) for k in range(12)]
    held = [pool.add(f"held{k}", 4, 100 + k) for k in range(6)]
    settings = QUICK.model_copy(update={"steps": 140, "seed": 1, "learning_rate": 1.5e-3})
    folder = tmp_path_factory.mktemp("models")
    trained = run_job(train_detector(request_of(images, folder, settings), reader=pool.read))
    return pool, held, trained


def score_of(detector, pool, held):
    found = [detector.detect(pool.pixels[i.path], image_id=i.path) for i in held]
    return ap50(found, [i.boxes for i in held], [i.class_ids for i in held], (CLASS,))[CLASS]


def test_it_finds_squares_that_it_has_not_seen(learned):
    pool, held, trained = learned
    assert score_of(load_detector(trained.folder, "cpu"), pool, held) > 0.8
    fresh = build_detector(
        "mobilenet_v3", 1, 1, network_settings(trained.record), *mean_and_std(trained.record)
    )
    untrained = TorchDetector(trained.record, fresh, torch.device("cpu"))
    assert score_of(untrained, pool, held) < 0.2


def mean_and_std(record):
    return record.normalization["mean"], record.normalization["std"]


def test_detections_are_whole_rows(learned):
    pool, held, trained = learned
    found = load_detector(trained.folder, "cpu").detect(pool.pixels[held[0].path], image_id="a")
    assert isinstance(found, Detections)
    assert found.image_id == "a"
    assert found.model_id == trained.record.model_id
    assert set(found.class_ids) == {CLASS}
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert all(type(v) is float for box in found.boxes for v in box)
    for row in found.probabilities:
        assert [c for c, _ in row] == [CLASS]
        assert sum(p for _, p in row) == pytest.approx(1)


def test_the_same_model_loaded_again_finds_the_same(learned):
    pool, held, trained = learned
    first, second = (load_detector(trained.folder, "cpu") for _ in range(2))
    pixels = pool.pixels[held[0].path]
    assert first.detect(pixels, image_id="a") == second.detect(pixels, image_id="a")


def test_a_large_image_gives_each_square_once(learned):
    """With a weak network; that tiles add and lose nothing, test_detector_tiles.py proves."""
    pool, _, trained = learned
    image = pool.add("large", 30, 77, shape=(230, 310))
    record, network = load_model(Path(trained.folder))
    shape = dict(record.settings["network"], tile_px=96)
    record = replace(record, settings={**record.settings, "network": shape})
    detector = TorchDetector(record, network, torch.device("cpu"), PredictSettings(keep_score=0.4))
    found = detector.detect(pool.pixels["large"], image_id="a")
    assert ap50([found], [image.boxes], [image.class_ids], (CLASS,))[CLASS] > 0.8
    hits = (iou_matrix(found.boxes, image.boxes) >= 0.5).sum(axis=0)
    assert hits.max() == 1
    assert (hits == 1).mean() > 0.95


def test_a_box_without_a_score_never_leaves_the_detector(learned, monkeypatch):
    pool, held, trained = learned
    detector = load_detector(trained.folder, "cpu")

    class Broken(torch.nn.Module):
        def limit(self, settings):
            pass

        def forward(self, images):
            boxes = torch.tensor([[1.0, 1, 9, 9], [20, 20, 30, 30], [40, 40, 50, 50]])
            boxes[2, 0] = math.inf
            return [
                {
                    "boxes": boxes,
                    "scores": torch.tensor([math.nan, 0.9, 0.8]),
                    "labels": torch.ones(3, dtype=torch.int64),
                    "probabilities": torch.ones(3, 1),
                }
                for _ in images
            ]

    monkeypatch.setattr(detector, "network", Broken())
    found = detector.detect(pool.pixels[held[0].path], image_id="a")
    assert found.boxes == ((20.0, 20.0, 30.0, 30.0),)


def test_weights_that_are_no_numbers_find_nothing(learned):
    pool, held, trained = learned
    detector = load_detector(trained.folder, "cpu")
    with torch.no_grad():
        for tensor in detector.network.parameters():
            tensor.fill_(math.nan)
    assert len(detector.detect(pool.pixels[held[0].path], image_id="a")) == 0


def test_another_number_of_channels_is_refused(learned):
    _, _, trained = learned
    with pytest.raises(ModelError, match="3 channels"):
        load_detector(trained.folder, "cpu").detect(np.zeros((3, 64, 64), np.uint8), image_id="a")


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (5, 7)])
def test_tiny_images_are_searched(learned, shape):
    _, _, trained = learned
    detector = load_detector(trained.folder, "cpu")
    found = detector.detect(np.zeros((1, *shape), np.uint8), image_id="a")
    boxes = np.array(found.boxes).reshape(-1, 4)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= shape).all()


def test_another_type_of_pixels_is_scaled_not_cast(learned):
    pool, held, trained = learned
    detector = load_detector(trained.folder, "cpu")
    wide = pool.pixels[held[0].path].astype(np.uint16) * 257
    assert len(detector.detect(wide, image_id="a")) >= 3
    assert any("uint16" in note for note in detector.notes)


def test_a_broken_image_does_not_end_the_run(learned):
    pool, held, trained = learned
    requests = [
        ImageRequest(str(k), path) for k, path in enumerate((held[0].path, "none", "held1"))
    ]
    items = []
    job = detect_images(requests, trained.folder, "cpu", reader=pool.read)
    found = run_job(job, lambda p: items.append(p.item))
    assert list(found) == ["0", "2"]
    failures = [i for i in items if isinstance(i, ImageFailure)]
    assert [f.image_id for f in failures] == ["1"]
    assert "none" in failures[0].sentence


@pytest.mark.parametrize("full", SHORT, ids=lambda e: type(e).__name__)
def test_short_memory_halves_the_tiles_and_says_so(full, learned, monkeypatch):
    pool, held, trained = learned
    detector = load_detector(trained.folder, "cpu", PredictSettings(tile_batch=4))
    plenty = detector.detect(pool.pixels[held[0].path], image_id="a")
    run, asked = detector._run, []

    def short(unit, tiles, scale):
        asked.append(detector._batch)
        if detector._batch > 1:
            raise full
        return run(unit, tiles, scale)

    monkeypatch.setattr(detector, "_run", short)
    assert detector.detect(pool.pixels[held[0].path], image_id="a") == plenty
    assert asked == [4, 2, 1]
    assert len(detector.notes) == 2

    def none(unit, tiles, scale):
        raise full

    monkeypatch.setattr(detector, "_run", none)
    with pytest.raises(ModelError, match="memory"):
        detector.detect(pool.pixels[held[0].path], image_id="a")


def test_a_fault_is_not_taken_for_short_memory(learned, monkeypatch):
    pool, held, trained = learned
    detector = load_detector(trained.folder, "cpu")

    def broken(unit, tiles, scale):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(detector, "_run", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        detector.detect(pool.pixels[held[0].path], image_id="a")


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "float32"), (3, "uint8"), (5, "uint16"), (7, "uint16")]
)
def test_any_number_of_channels_and_type(channels, dtype, tmp_path):
    pool = Pool()
    images = [pool.add(str(k), 3, k, channels=channels, dtype=dtype) for k in range(2)]
    trained = run_job(train_detector(request_of(images, tmp_path), reader=pool.read))
    assert trained.record.normalization["dtype"] == dtype
    found = load_detector(trained.folder, "cpu").detect(pool.pixels["0"], image_id="a")
    assert all(len(box) == 4 for box in found.boxes)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    pool = Pool()
    images = [pool.add(str(k), 3, k) for k in range(3)]
    results = []
    for seed in (1, 1, 2):
        torch.rand(1)  # what was drawn before does not matter
        settings = QUICK.model_copy(update={"seed": seed})
        job = train_detector(
            request_of(images, tmp_path / str(len(results)), settings), reader=pool.read
        )
        results.append(states(run_job(job).folder))
    assert all(torch.equal(v, results[1][k]) for k, v in results[0].items())
    assert not all(torch.equal(v, results[2][k]) for k, v in results[0].items())


def test_the_cache_does_not_change_results(tmp_path):
    pool = Pool()
    images = [pool.add(str(k), 3, k) for k in range(2)]
    results = []
    for room in (0, 100):
        settings = QUICK.model_copy(update={"cache_mb": room})
        job = train_detector(request_of(images, tmp_path / str(room), settings), reader=pool.read)
        results.append(states(run_job(job).folder))
    assert all(torch.equal(v, results[1][k]) for k, v in results[0].items())


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_cancelled_training_leaves_nothing(points, tmp_path):
    pool = Pool()
    job = train_detector(
        request_of([pool.add("a", 3, 0)], tmp_path, QUICK.model_copy(update={"steps": 50})),
        reader=pool.read,
    )
    next(job)
    seen = 0
    while seen < points:
        seen += isinstance(next(job).item, TrainPoint)
    job.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StopIteration):
        next(job)


def end_early(job, enough):
    """Ask a training for its end once ``enough(points, step)``; return the model and the points."""
    points, step = [], next(job)
    while not enough(points, step):
        step = next(job)
        points += [step.item] if isinstance(step.item, TrainPoint) else []
    try:
        job.throw(EndEarly())
        return run_job(job), points
    except StopIteration as end:
        return end.value, points


def test_a_training_that_is_stopped_keeps_what_it_has(tmp_path):
    pool = Pool()
    image = pool.add("a", 3, 0)
    request = request_of([image], tmp_path, QUICK.model_copy(update={"steps": 50}))
    job = train_detector(request, reader=pool.read)
    trained, points = end_early(job, lambda points, _step: len(points) == 2)
    assert len(points) == trained.record.trained_on["steps"] == 2
    assert trained.record.metrics == {}  # nothing is held out
    assert trained.record.trained_on["stopped"]
    assert [p.name for p in tmp_path.iterdir()] == [request.model_id]
    load_detector(trained.folder, "cpu").detect(pool.pixels["a"], image_id="a")


def test_a_training_that_is_stopped_is_not_measured_again(tmp_path):
    pool = Pool()
    held = pool.add("held", 3, 1)
    settings = QUICK.model_copy(update={"steps": 50, "validate_every": 2})
    request = request_of([pool.add("a", 3, 0)], tmp_path, settings, val_images=(held,))
    looked = []
    job = train_detector(
        request, reader=pool.read, metric=lambda *_: {CLASS: looked.append(1) or 0.25}
    )
    trained, points = end_early(job, lambda points, _step: len(points) == 3)
    assert [p.score for p in points] == [None, 0.25, None]
    assert len(looked) == 1
    assert trained.record.metrics["map50"] == 0.25
    assert trained.record.metrics["images"] == 1


def test_the_last_measuring_can_be_cut_short(tmp_path):
    pool = Pool()
    held = pool.add("held", 3, 1)
    request = request_of([pool.add("a", 3, 0)], tmp_path, val_images=(held,))
    job = train_detector(request, reader=pool.read, metric=lambda *_: {CLASS: 0.25})
    trained, points = end_early(
        job, lambda points, step: len(points) == QUICK.steps and step.item is None
    )
    assert trained.record.trained_on["steps"] == QUICK.steps
    assert trained.record.metrics["map50"] == points[-1].score == 0.25


def test_the_end_of_a_whole_training_loses_nothing_when_it_is_asked_to_end(tmp_path):
    pool = Pool()
    request = request_of([pool.add("a", 3, 0)], tmp_path)
    trained, points = end_early(
        train_detector(request, reader=pool.read),
        lambda _points, step: step.message == "The model is trained",
    )
    assert trained.record.trained_on["steps"] == len(points) == QUICK.steps
    assert not trained.record.trained_on["stopped"]


@pytest.mark.parametrize("start", ["scratch", "coco"])
def test_the_speed_is_measured_without_leaving_anything(start, tmp_path, monkeypatch):
    def no_download(_url):
        raise AssertionError("a measurement downloads nothing")

    monkeypatch.setattr(start_module, "fetch", no_download)
    pool = Pool()
    held = pool.add("held", 3, 1)
    settings = QUICK.model_copy(update={"steps": 100, "minutes": 1.0})
    request = request_of([pool.add("a", 3, 0)], tmp_path, settings, val_images=(held,), start=start)
    steps = []
    pace = run_job(measure_pace(request, reader=pool.read), steps.append)
    assert pace > 0
    assert steps[-1].done == steps[-1].total
    assert list(tmp_path.iterdir()) == []


def test_the_speed_is_measured_where_there_is_something_to_learn(tmp_path):
    """Whatever the order of the images: the first eight may be empty, or not finished."""
    pool = Pool()
    empty = [pool.add(f"empty{k}", 0, k) for k in range(9)]
    half = pool.add("half", 3, 20, complete=False)
    held = pool.add("held", 3, 21)
    request = request_of([*empty, pool.add("a", 3, 0)], tmp_path, val_images=(half, held))
    read = []

    def reader(path, plane):
        read.append(path)
        return pool.read(path, plane)

    assert run_job(measure_pace(request, reader=reader)) > 0
    assert {"a", "held"} <= set(read)


def test_stopped_before_the_first_step_there_is_nothing_to_keep(tmp_path):
    pool = Pool()
    job = train_detector(request_of([pool.add("a", 3, 0)], tmp_path), reader=pool.read)
    next(job)
    with pytest.raises(EndEarly):
        job.throw(EndEarly())
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_keeps_the_last_good_weights(tmp_path, monkeypatch):
    pool = Pool()
    monkeypatch.setattr(course, "_KEEP_EVERY", 1)
    request = request_of([pool.add("a", 3, 0)], tmp_path, QUICK.model_copy(update={"steps": 10}))
    real, calls = lessons.loss_of, []

    def broken(network, batch, device):
        calls.append(1)
        return real(network, batch, device) * (math.nan if len(calls) > 2 else 1)

    monkeypatch.setattr(lessons, "loss_of", broken)
    trained = run_job(train_detector(request, reader=pool.read))
    assert trained.record.trained_on["steps"] == 2
    assert "not a number" in trained.record.trained_on["stopped"]
    assert all(v.isfinite().all() for v in states(trained.folder).values())


def test_a_loss_that_never_was_a_number_is_an_error(tmp_path, monkeypatch):
    pool = Pool()
    monkeypatch.setattr(lessons, "loss_of", lambda *_: torch.tensor(math.nan))
    with pytest.raises(ModelError, match="learning rate"):
        run_job(train_detector(request_of([pool.add("a", 3, 0)], tmp_path), reader=pool.read))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("full", SHORT, ids=lambda e: type(e).__name__)
def test_short_memory_halves_the_batch_of_training(full, tmp_path, monkeypatch):
    pool = Pool()
    settings = QUICK.model_copy(update={"batch_size": 4, "steps": 2})
    request = request_of([pool.add("a", 3, 0)], tmp_path, settings)
    real, sizes = lessons.loss_of, []

    def short(network, batch, device):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise full
        return real(network, batch, device)

    monkeypatch.setattr(lessons, "loss_of", short)
    words = []
    trained = run_job(train_detector(request, reader=pool.read), lambda p: words.append(p.message))
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert trained.record.trained_on["steps"] == 2
    assert any("memory is short" in w for w in words)

    def none(network, batch, device):
        raise full

    monkeypatch.setattr(lessons, "loss_of", none)
    with pytest.raises(ModelError, match="memory"):
        run_job(train_detector(replace(request, model_id="other"), reader=pool.read))
    assert not (tmp_path / "other").exists()


def test_validation_steers_and_is_written_on_the_card(tmp_path):
    pool = Pool()
    settings = QUICK.model_copy(update={"steps": 6, "validate_every": 2, "patience": 2})
    scores = iter([0.5, 0.3, 0.2, 0.5])

    def metric(found, boxes, classes, ids):
        return {CLASS: next(scores)}

    request = request_of(
        [pool.add("a", 3, 0)],
        tmp_path,
        settings,
        val_images=(pool.add("b", 3, 1), pool.add("c", 3, 2, complete=False)),
    )
    points = []
    trained = run_job(
        train_detector(request, reader=pool.read, metric=metric), lambda p: points.append(p.item)
    )
    points = [p for p in points if isinstance(p, TrainPoint)]
    assert [(p.step, p.score) for p in points if p.score] == [(2, 0.5), (4, 0.3), (6, 0.2)]
    assert trained.record.metrics == {
        "map50": 0.5,
        "ap50": {"square": 0.5},
        "images": 1,
        "split": "val",
    }


def test_bad_boxes_are_dropped_and_counted(tmp_path):
    pool = Pool()
    image = pool.add("a", 2, 0)
    bad = ((5.0, 5.0, 5.0, 30.0), (200.0, 200.0, 220.0, 220.0), (math.nan, 0.0, 9.0, 9.0))
    image = replace(image, boxes=image.boxes + bad, class_ids=image.class_ids + (CLASS,) * 3)
    empty = pool.add("b", 0, 1)
    tiny = pool.add("c", 0, 2, shape=(9, 7))
    trained = run_job(train_detector(request_of([image, empty, tiny], tmp_path), reader=pool.read))
    said = trained.record.trained_on
    assert (said["images"], said["boxes"], said["dropped_boxes"]) == (3, 2, 3)


def test_what_cannot_be_trained_is_an_error(tmp_path):
    pool = Pool()
    image = pool.add("a", 2, 0)
    for request, words in (
        (request_of([pool.add("b", 0, 1)], tmp_path), "no box"),
        (request_of([], tmp_path), "no box"),
        (request_of([replace(image, class_ids=(CLASS,))], tmp_path), "2 boxes but 1"),
        (request_of([image], tmp_path, class_ids=(), class_names=()), "at least one class"),
        (request_of([image], tmp_path, architecture="huge"), "huge"),
        (request_of([image, pool.add("c", 2, 3, channels=2)], tmp_path), "channels"),
        (request_of([image], tmp_path, start="no_such_thing"), "cannot start"),
    ):
        with pytest.raises(ModelError, match=words):
            run_job(train_detector(request, reader=pool.read))
    assert list(tmp_path.iterdir()) == []


def test_unreadable_training_images_are_told_and_left_out(tmp_path):
    pool = Pool()
    image = pool.add("a", 3, 0)
    items = []
    request = request_of([image, replace(image, path="gone")], tmp_path)
    run_job(train_detector(request, reader=pool.read), lambda p: items.append(p.item))
    assert [i.image_id for i in items if isinstance(i, ImageFailure)] == ["gone"]


def test_training_goes_on_from_an_earlier_model(learned, tmp_path):
    pool, held, trained = learned
    settings = QUICK.model_copy(update={"steps": 1, "learning_rate": 1e-6})
    request = request_of([held[0]], tmp_path, settings, start=trained.folder)
    request = replace(
        request, class_ids=(9, CLASS), class_names=("new", "square"), model_id="second"
    )
    second = run_job(train_detector(request, reader=pool.read))
    assert second.record.parent_id == trained.record.model_id
    # the class that both know keeps its row although its place is another
    assert score_of(load_detector(second.folder, "cpu"), pool, held) > 0.6
    with pytest.raises(ModelError, match="architecture"):
        run_job(
            train_detector(
                replace(request, architecture="mobilenet_v2", model_id="third"), reader=pool.read
            )
        )


def test_auto_falls_back_to_random_weights_without_network(tmp_path, monkeypatch):
    pool = Pool()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(download.urllib.request, "urlopen", no_network)
    request = request_of([pool.add("a", 3, 0)], tmp_path / "models", start="auto")
    words = []
    trained = run_job(train_detector(request, reader=pool.read), lambda p: words.append(p.message))
    assert "scratch" in trained.record.start
    assert any("could not be downloaded" in w for w in words)
    for kind in ("coco", "imagenet"):
        with pytest.raises(ModelError, match="could not be downloaded"):
            run_job(train_detector(replace(request, start=kind, model_id=kind), reader=pool.read))
    assert not list((tmp_path / "hub").rglob("*.partial"))


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(k / 20, QUICK) for k in range(21)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(QUICK.learning_rate)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.01 * max(rates)


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(ModelError, match="cpu"):
            choose_device(name)
    with pytest.raises(ModelError, match="tpu"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


def test_a_reader_may_fail_with_its_own_words(tmp_path):
    def read(path, plane):
        raise ImageError("The disc is asleep.")

    with pytest.raises(ModelError, match="no box"):
        run_job(train_detector(request_of([TrainImage("a", (), ())], tmp_path), reader=read))


def test_every_architecture_is_complete():
    for arch in ARCHITECTURES.values():
        assert len(arch.strides) == len(arch.layers) + 1
        assert list(arch.strides) == sorted(arch.strides)


class Killed(BaseException):
    """The process ends."""


EVERYTHING = {
    "schedule": "plateau",
    "plateau_patience": 1,
    "layer_decay": 0.5,
    "mosaic": 0.5,
    "copy_paste": 0.5,
    "repeat_rare": 0.5,
    "even_crops": True,
    "channel_jitter": 0.2,
}


@pytest.mark.parametrize("more_settings", [{}, EVERYTHING], ids=["usual", "everything"])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(more_settings, tmp_path, monkeypatch):
    pool = Pool()
    images = [pool.add(str(k), 3, k) for k in range(3)]
    settings = QUICK.model_copy(update={"steps": 6, "validate_every": 2, **more_settings})
    more = {"val_images": (pool.add("v", 3, 9),)}
    whole = run_job(
        train_detector(request_of(images, tmp_path / "a", settings, **more), reader=pool.read)
    )
    monkeypatch.setattr(checkpoints, "_EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE", 1e9)
    monkeypatch.setattr(checkpoints.Checkpoint, "remove", lambda self: None)  # as SIGKILL would

    def killed(step):
        if isinstance(step.item, TrainPoint) and step.item.step == 4:
            raise Killed

    request = request_of(images, tmp_path / "b", settings, **more)
    with pytest.raises(Killed):
        run_job(train_detector(request, reader=pool.read), killed)
    monkeypatch.undo()
    points = []
    other = replace(request, model_id="other", settings=settings.model_copy(update={"steps": 7}))
    run_job(train_detector(other, reader=pool.read), lambda p: points.append(p.item))
    assert min(p.step for p in points if isinstance(p, TrainPoint)) == 1  # another request
    points.clear()
    again = replace(request, model_id="again")
    resumed = run_job(train_detector(again, reader=pool.read), lambda p: points.append(p.item))
    assert min(p.step for p in points if isinstance(p, TrainPoint)) == 4  # kept after step 3
    assert resumed.record.trained_on["steps"] == 6
    new, old = states(resumed.folder), states(whole.folder)
    assert all(torch.equal(v, old[k]) for k, v in new.items())
    assert not (tmp_path / "b" / "unfinished").exists()


@pytest.mark.parametrize("reached", ["training", "measuring"])
def test_an_abandoned_training_goes_on_from_its_own_request(reached, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.Checkpoint, "due", property(lambda self: True))
    pool = Pool()
    box = (3.0, 4.5, 20.0, 22.25)
    images = [
        replace(pool.add("a", 3, 0), masks=(mask_of(np.eye(4, dtype=bool), 2, 3), None, None))
    ]
    request = request_of(
        images, tmp_path, QUICK, val_images=(replace(pool.add("v", 3, 9), unreviewed=(box,)),)
    )
    job = train_detector(request, reader=pool.read)
    for step in job:
        steps = step.item.step if isinstance(step.item, TrainPoint) else 0
        if step.message.startswith("Measuring") if reached == "measuring" else steps == 2:
            break
    with pytest.raises(Abandoned):
        job.throw(Abandoned())
    (file,) = unfinished.find(tmp_path, TrainRequest)
    again = unfinished.read(file, TrainRequest)
    assert replace(again, model_id=request.model_id) == request
    points = []
    model = run_job(train_detector(again, reader=pool.read), lambda p: points.append(p.item))
    assert all(p.step > 1 for p in points if isinstance(p, TrainPoint))
    assert model.record.trained_on["steps"] == QUICK.steps
    assert not unfinished.find(tmp_path, TrainRequest)
    assert not file.parent.exists()


def test_what_another_version_or_a_full_disk_left_is_said_in_a_sentence(tmp_path, monkeypatch):
    request = request_of([Pool().add("a", 3, 0)], tmp_path)
    file = unfinished.file_of(request)
    file.parent.mkdir()
    file.touch()
    unfinished.describe(request)
    with monkeypatch.context() as other:
        other.setattr(unfinished, "__version__", "0.0")
        with pytest.raises(ModelError):
            unfinished.read(file, TrainRequest)
    unfinished.request_of(file, TrainRequest).write_bytes(b'{"images": [')
    with pytest.raises(ModelError):
        unfinished.read(file, TrainRequest)


def test_a_damaged_checkpoint_begins_anew(tmp_path):
    pool = Pool()
    request = request_of([pool.add("a", 3, 0)], tmp_path)
    path = checkpoints.Checkpoint(request).path
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 cut off")
    assert run_job(train_detector(request, reader=pool.read)).record.trained_on["steps"] == 2
    assert not path.exists()


def test_the_average_follows_slowly_and_steps_aside():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = WeightAverage(layer, 0.9)
    torch.nn.init.ones_(layer.weight)
    for step in range(1, 9):
        before = float(average.state["weight"])
        average.update(step)
        assert before < float(average.state["weight"]) < 1
    with average.put_in():
        assert float(layer.weight) == float(average.state["weight"])
    assert float(layer.weight) == 1
    last = WeightAverage(layer, 0.0)
    torch.nn.init.zeros_(layer.weight)
    last.update(1)
    assert float(last.state["weight"]) == 0


def test_a_share_of_the_starting_weights_stays():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    average = WeightAverage(layer, 0.0, keep_start=0.25)
    torch.nn.init.constant_(layer.weight, 5.0)
    average.update(1)
    assert float(average.result["weight"]) == 4
    with average.put_in():
        assert float(layer.weight) == 4
    assert float(layer.weight) == 5


@pytest.mark.parametrize(
    ("name", "architecture", "stays"),
    [
        ("RBC", "mobilenet_v2", True),
        ("fungus", "mobilenet_v2", False),
        ("RBC", "fcos_mobilenet_v2", False),  # of these two only the body is taken over, or
        ("RBC", "mobilenet_v2_masks", False),  # all but the mask branch
    ],
)
def test_the_start_stays_only_where_it_knows_all_classes(name, architecture, stays, tmp_path):
    pool = Pool()
    request = request_of(
        [pool.add("a", 3, 1)],
        tmp_path,
        QUICK.model_copy(update={"keep_start": 0.5, "boxes_as_masks": True}),
        class_names=(name,),
        architecture=architecture,
        start="shipped",
    )
    assert run_job(prepare(request, pool.read)).keep_start == (0.5 if stays else 0)
