"""Classifiers learn planted signs, are kept on disk without pickles, and meet bad data well."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import get_weight

from napari_cellal.classify import start as start_module
from napari_cellal.classify import train as training
from napari_cellal.classify.architectures import ARCHITECTURES
from napari_cellal.classify.augment import augmented, mixed
from napari_cellal.classify.heads import as_probabilities, fit_head, head_scores, tempered
from napari_cellal.classify.network import Classifier, put_in
from napari_cellal.classify.pace import measure_classifier_pace
from napari_cellal.classify.pictures import Cutter, foreground, seen
from napari_cellal.classify.predict import load, predict
from napari_cellal.classify.presets import PRESETS
from napari_cellal.classify.requests import (
    ClassifierRequest,
    Patch,
    PatchFailure,
)
from napari_cellal.classify.settings import ClassifySettings, NetworkSettings, ViewSettings
from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Abandoned, EndEarly, run_job
from napari_cellal.networks.checkpoints import Checkpoint
from napari_cellal.networks.download import kept_file
from napari_cellal.networks.normalization import Normalization
from napari_cellal.networks.points import RatePoint, TrainPoint
from napari_cellal.workflows import classifying

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 32
IDS = (3, 7)
QUICK = ClassifySettings(
    steps=20,
    batch_size=8,
    learning_rate=1e-3,
    validate_every=10,
    average=0.8,
    frozen_share=0.1,
    shift=0,
)


class Pool:
    """Pictures in memory: a disc in the first channel or in the last one says the class."""

    def __init__(self, channels=2, dtype="uint8", side=SIDE):
        self.pixels = {}
        self.channels, self.dtype, self.side = channels, dtype, side

    def read(self, path, plane):
        if path not in self.pixels:
            raise OSError("no such file")
        return self.pixels[path]

    def add(self, n, split, seed=0):
        """Return n patches, both classes in turn."""
        rng = np.random.default_rng([seed, len(self.pixels)])
        yy, xx = np.mgrid[: self.side, : self.side] - self.side / 2
        made = []
        for k in range(n):
            image = rng.normal(0.3, 0.05, (self.channels, self.side, self.side))
            y, x = rng.uniform(-4, 4, 2)
            disc = (yy - y) ** 2 + (xx - x) ** 2 < (self.side / 5) ** 2
            image[0 if k % 2 else -1][disc] += 0.5
            image = image.clip(0, 1) * 255 if self.dtype == "uint8" else image * 3000
            path = f"{split}{k}"
            self.pixels[path] = image.astype(self.dtype)
            made.append(Patch(path, path, (IDS[k % 2],), split=split))
        return made


def request_of(patches, folder, **more):
    more = {
        "architecture": "resnet18",
        "start": "scratch",
        "device": "cpu",
        "settings": QUICK,
        "view": ViewSettings(size_px=SIDE),
        **more,
    }
    return ClassifierRequest(tuple(patches), IDS, ("first", "last"), str(folder), **more)


def trained(pool, patches, folder, **more):
    return run_job(training.train_classifier(request_of(patches, folder, **more), reader=pool.read))


def accuracy(pool, folder, patches, **more):
    model = load(Path(folder), "cpu", **more)
    found = run_job(predict(model, patches, pool.read))
    said = [model.record.class_ids[int(found[p.key].argmax())] for p in patches]
    return np.mean([s == p.class_ids[0] for s, p in zip(said, patches, strict=True)])


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_each_network_takes_any_channels_and_learns_all_of_itself(name):
    network = Classifier(name, 5, 3, 64, NetworkSettings(), [0.5] * 5, [0.2] * 5)
    taught = [p for part in network.parts() for p in part]
    assert len({id(p) for p in taught}) == len(taught)
    assert {id(p) for p in taught} == {id(p) for p in network.parameters()}
    with torch.inference_mode():
        assert network(torch.rand(2, 5, 64, 64)).shape == (2, 3)
    frozen = Classifier(name, 5, 3, 64, NetworkSettings(norm="frozen"), [0.5] * 5, [0.2] * 5)
    kinds = {type(m).__name__ for m in frozen.modules()}
    assert "BatchNorm2d" not in kinds
    assert network.body.state_dict().keys() != frozen.body.state_dict().keys() or name in (
        "vgg16", "vgg19", "vit_b_16", "convnext_tiny",
    )  # fmt: skip


def test_published_weights_fit_as_torchvision_names_them():
    from torchvision.models import resnet18

    published = resnet18(weights=None)
    shape = NetworkSettings(norm="frozen")
    network = Classifier("resnet18", 3, 2, 64, shape, [0.0] * 3, [1.0] * 3).eval()
    put_in(network, dict(published.state_dict()), "test")
    published.fc = torch.nn.Identity()
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network.features(picture), published.eval()(picture), atol=1e-4)
    with pytest.raises(ModelError, match="another architecture"):
        put_in(network, {"features.0.weight": torch.zeros(1)}, "test")


@pytest.mark.parametrize(("channels", "dtype"), [(2, "uint8"), (6, "uint16")])
def test_a_network_learns_which_channel_holds_the_sign(tmp_path, channels, dtype):
    pool = Pool(channels, dtype)
    patches = pool.add(32, "train") + pool.add(8, "val")
    points = []
    job = training.train_classifier(request_of(patches, tmp_path), reader=pool.read)
    done = run_job(job, lambda s: points.append(s.item) if isinstance(s.item, TrainPoint) else None)
    assert [p.step for p in points] == list(range(1, 21))
    assert [p.step for p in points if p.score is not None] == [10, 20]
    assert accuracy(pool, done.folder, pool.add(40, "test")) >= 0.95
    assert done.record.metrics["accuracy"] >= 0.9
    assert done.record.kind == "classifier"
    assert done.record.trained_on["cells_by_class"] == {"first": 16, "last": 16}
    files = sorted(p.name for p in Path(done.folder).iterdir())
    assert files == ["card.json", "pictures.json", "weights.safetensors"]


@pytest.mark.parametrize("head", ["logistic", "svm", "random_forest"])
def test_features_of_a_network_and_a_head(tmp_path, head):
    pool = Pool()
    patches = pool.add(40, "train") + pool.add(10, "val")
    settings = QUICK.model_copy(update={"head": head})
    done = trained(pool, patches, tmp_path, settings=settings)
    assert accuracy(pool, done.folder, pool.add(40, "test")) >= 0.9
    kept = load_file(Path(done.folder, "weights.safetensors"))
    assert any(key.startswith("shallow.") for key in kept)
    assert not any(key.startswith("head.") for key in kept)


@pytest.mark.parametrize("head", ["logistic", "svm", "random_forest"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_heads_as_plain_numbers_answer_as_they_were_fitted(head, multi_label):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 6)).astype(np.float32)
    if multi_label:
        y = np.stack([x[:, 0] > 0, x[:, 1] > 0.5, x[:, 2] > 0], 1).astype(np.float32)
    else:
        y = np.eye(3, dtype=np.float32)[np.argmax(x[:, :3], 1)]
    fitted = fit_head(head, x[:200], y[:200])
    said = as_probabilities(head_scores(fitted, x[200:]), multi_label=multi_label)
    if multi_label:
        assert ((said > 0.5) == (y[200:] > 0.5)).mean() > 0.8
    else:
        assert (said.argmax(1) == y[200:].argmax(1)).mean() > 0.8
        assert np.allclose(said.sum(1), 1, atol=1e-5)
    calm = tempered(fitted, x[200:], y[200:], multi_label=multi_label)

    def surprise(arrays):
        p = as_probabilities(head_scores(arrays, x[200:]), multi_label=multi_label)
        p = p.astype(float).clip(1e-9, 1 - 1e-9)
        return -np.mean(y[200:] * np.log(p) + (1 - y[200:]) * np.log(1 - p) * multi_label)

    assert surprise(calm) <= surprise(fitted) + 1e-9
    assert all(isinstance(v, np.ndarray) and v.dtype != object for v in fitted.values())


def test_a_forest_of_plain_numbers_is_scikit_learns():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 5)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    fitted = fit_head("random_forest", x, np.eye(3, dtype=np.float32)[y], seed=5)
    same = (x - fitted["mean"]) / fitted["std"]
    forest = RandomForestClassifier(300, class_weight="balanced_subsample", random_state=5)
    expected = forest.fit(same, y).predict_proba(same).clip(1e-3, 1 - 1e-3)
    odds = np.log(expected) - np.log1p(-expected)
    assert np.allclose(head_scores(fitted, x), odds, atol=1e-3)


def test_several_classes_at_once(tmp_path):
    pool = Pool()
    patches = pool.add(48, "train") + pool.add(8, "val")
    for k, patch in enumerate(patches):
        if k % 4 == 0:  # both
            pool.pixels[patch.path][:] = np.maximum(
                pool.pixels[patch.path], pool.pixels[patch.path][::-1]
            )
            patches[k] = replace(patch, class_ids=IDS)
    settings = QUICK.model_copy(update={"multi_label": True, "steps": 40})
    done = trained(pool, patches, tmp_path, settings=settings)
    model = load(Path(done.folder), "cpu")
    found = run_job(predict(model, patches, pool.read))
    right = [
        {IDS[k] for k in np.flatnonzero(found[p.key] > 0.5)} == set(p.class_ids) for p in patches
    ]
    assert np.mean(right) >= 0.9


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    pool = Pool()
    patches = pool.add(12, "train") + pool.add(4, "val")
    settings = QUICK.model_copy(update={"steps": 6, "validate_every": 3, "mixup": 0.2})
    whole = trained(pool, patches, tmp_path / "a", settings=settings)
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))
    request = request_of(patches, tmp_path / "b", settings=settings)
    with monkeypatch.context() as killed:
        killed.setattr(Checkpoint, "remove", lambda self: None)  # as SIGKILL would
        job = training.train_classifier(request, reader=pool.read)
        for step in job:
            if isinstance(step.item, TrainPoint) and step.item.step == 4:
                break
        job.close()
    steps = []
    job = training.train_classifier(request, reader=pool.read)
    done = run_job(
        job, lambda s: steps.append(s.item.step) if isinstance(s.item, TrainPoint) else None
    )
    assert steps == [4, 5, 6]  # 4 was taken, but not kept any more
    assert done.record.weights_sha256 == whole.record.weights_sha256
    assert not Path(request.models_folder, "unfinished").exists()


def test_a_training_whose_window_closes_while_it_is_measured_has_not_learned_in_vain(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))
    pool = Pool()
    patches = pool.add(12, "train") + pool.add(4, "val")
    settings = QUICK.model_copy(update={"steps": 3, "validate_every": 3})
    request = request_of(patches, tmp_path, settings=settings)
    job = training.train_classifier(request, reader=pool.read)
    while not next(job).message.startswith("Measuring"):
        pass
    with pytest.raises(Abandoned):
        job.throw(Abandoned())
    points = []
    done = run_job(training.train_classifier(request, reader=pool.read), lambda s: points.append(s))
    assert done.record.trained_on["steps"] == 3
    learned = [s.item.step for s in points if isinstance(s.item, TrainPoint)]
    assert 1 not in learned
    assert not Path(request.models_folder, "unfinished").exists()


def test_a_training_that_is_asked_to_end_keeps_a_model(tmp_path):
    pool = Pool()
    job = training.train_classifier(request_of(pool.add(12, "train"), tmp_path), reader=pool.read)
    for step in job:
        if isinstance(step.item, TrainPoint) and step.item.step == 2:
            break
    job.throw(EndEarly())
    assert run_job(job).record.trained_on["steps"] == 2


@pytest.mark.parametrize("late", ["Measuring", "The model is trained"])
def test_a_training_that_has_ended_by_itself_loses_nothing_when_it_is_asked_to_end(late, tmp_path):
    pool = Pool()
    patches = [*pool.add(12, "train"), *pool.add(6, "val")]
    whole = run_job(training.train_classifier(request_of(patches, tmp_path), reader=pool.read))
    request = replace(request_of(patches, tmp_path), model_id="ended")
    job = training.train_classifier(request, reader=pool.read)
    taught, step = False, next(job)
    while not (taught and step.message.startswith(late)):
        taught |= isinstance(step.item, TrainPoint) and step.item.step == QUICK.steps
        step = next(job)
    try:
        job.throw(EndEarly())
        kept = run_job(job).record
    except StopIteration as end:
        kept = end.value.record
    assert kept.weights_sha256 == whole.record.weights_sha256
    assert kept.metrics == whole.record.metrics
    assert not kept.trained_on["stopped"]


def test_a_learning_rate_is_found_and_nothing_stays(tmp_path):
    pool = Pool()
    request = request_of(pool.add(12, "train"), tmp_path)
    items = []
    job = training.find_classifier_rate(request, reader=pool.read, steps=6)
    found = run_job(job, lambda p: items.append(p.item))
    assert [p for p in items if isinstance(p, RatePoint)] == list(found.points)
    assert [p.rate for p in found.points] == sorted(p.rate for p in found.points)
    assert found.suggested > 0
    assert list(tmp_path.iterdir()) == []
    forest = replace(request, settings=QUICK.model_copy(update={"head": "random_forest"}))
    with pytest.raises(ModelError, match="without a learning rate"):
        run_job(training.find_classifier_rate(forest, reader=pool.read))


@pytest.mark.parametrize("start", ["scratch", "auto", "imagenet"])
def test_the_speed_is_measured_without_leaving_anything(start, tmp_path, monkeypatch):
    def no_download(_url):
        raise AssertionError("a measurement downloads nothing")

    monkeypatch.setattr(start_module, "fetch", no_download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    pool = Pool()
    patches = [*pool.add(90, "train"), *pool.add(40, "val")]
    patches.sort(key=lambda p: p.class_ids)  # the second class comes after the first 64
    steps = []
    request = request_of(patches, tmp_path / "models", start=start)
    assert run_job(measure_classifier_pace(request, reader=pool.read), steps.append) > 0
    assert steps[-1].done == steps[-1].total
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").iterdir())


def test_weights_that_were_downloaded_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert run_job(classifying.find_imagenet()) == frozenset()
    name = ARCHITECTURES[PRESETS["simple"].architecture].imagenet
    file = kept_file(get_weight(name).url)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert run_job(classifying.find_imagenet()) == {"simple"}


def test_bad_pictures_are_told_and_the_rest_is_learned(tmp_path):
    pool = Pool()
    patches = pool.add(24, "train") + pool.add(6, "val")
    del pool.pixels["train3"]
    pool.pixels["train4"] = np.zeros((5, SIDE, SIDE), np.uint8)
    settings = QUICK.model_copy(update={"steps": 2})
    told = []
    job = training.train_classifier(
        request_of(patches, tmp_path, settings=settings), reader=pool.read
    )
    done = run_job(job, lambda s: told.append(s.item) if s.item else None)
    assert [f.key for f in done.failures] == ["train3", "train4"]
    assert "5 channels instead of 2" in done.failures[1].sentence
    assert [t.key for t in told if isinstance(t, PatchFailure)] == ["train3"]
    assert done.record.trained_on["cells"] == 22
    model = load(Path(done.folder), "cpu")
    told.clear()
    found = run_job(
        predict(model, [patches[3], patches[4], patches[5]], pool.read),
        lambda s: told.append(s.item) if s.item else None,
    )
    assert list(found) == ["train5"]
    assert [t.key for t in told] == ["train3", "train4"]


def test_what_cannot_be_learned_is_said(tmp_path):
    pool = Pool()
    patches = pool.add(8, "train")
    one = [p for p in patches if p.class_ids == (3,)]
    with pytest.raises(ModelError, match="one class"):
        trained(pool, one, tmp_path)
    request = replace(request_of(patches, tmp_path), class_ids=(3,), class_names=("a",))
    with pytest.raises(ModelError, match="one class"):
        run_job(training.train_classifier(request, reader=pool.read))
    with pytest.raises(ModelError, match="multiple of 16"):
        Classifier("vit_b_16", 1, 2, 40, NetworkSettings(), [0.5], [0.2])
    pool.pixels.clear()
    with pytest.raises(ModelError, match="no picture that can be used"):
        trained(pool, patches, tmp_path)
    assert not list(tmp_path.glob("*/card.json"))


def test_a_model_is_trained_further_in_its_own_view_with_its_classes(tmp_path):
    pool = Pool()
    patches = pool.add(24, "train") + pool.add(8, "val")
    first = trained(pool, patches, tmp_path)
    settings = QUICK.model_copy(update={"steps": 1, "learning_rate": 1e-6})
    again = trained(
        pool, patches, tmp_path, start=first.folder, settings=settings,
        view=ViewSettings(size_px=64),
    )  # fmt: skip
    assert again.record.parent_id == first.record.model_id
    assert load(Path(again.folder), "cpu").view.size_px == SIDE
    test = pool.add(20, "test")
    assert accuracy(pool, again.folder, test) >= 0.9


def test_damaged_models_are_refused(tmp_path):
    pool = Pool()
    settings = QUICK.model_copy(update={"steps": 1})
    done = trained(pool, pool.add(8, "train"), tmp_path, settings=settings)
    card = Path(done.folder, "card.json")
    good = json.loads(card.read_text())
    card.write_text(json.dumps({**good, "kind": "detector"}))
    with pytest.raises(ModelError, match="not a classifier"):
        load(Path(done.folder), "cpu")
    card.write_text(json.dumps({**good, "settings": {}}))
    with pytest.raises(ModelError, match="not a classifier of this program"):
        load(Path(done.folder), "cpu")
    card.write_text(json.dumps({**good, "architecture": "resnet50"}))
    with pytest.raises(ModelError, match="do not fit"):
        load(Path(done.folder), "cpu")


def test_views_are_of_the_same_size_and_depend_on_the_seed_alone():
    pixels = torch.rand(3, 24, 24)
    settings = ClassifySettings()
    a, b = (augmented(pixels, settings, np.random.default_rng(1)) for _ in range(2))
    assert a.shape == pixels.shape
    assert torch.equal(a, b)
    assert not torch.equal(a, augmented(pixels, settings, np.random.default_rng(2)))
    still = ClassifySettings(
        flips=False, turns=False, zoom_jitter=1, shift=0, shear=0, brightness_jitter=0,
        stain_jitter=0,
    )  # fmt: skip
    assert torch.allclose(augmented(pixels, still, np.random.default_rng(1)), pixels, atol=1e-5)


def test_mixed_targets_keep_the_larger_share():
    pictures, targets = torch.rand(6, 1, 4, 4), torch.eye(6)
    blended, soft = mixed(pictures, targets, 0.4, np.random.default_rng(0))
    assert blended.shape == pictures.shape
    assert torch.allclose(soft.sum(1), torch.ones(6))
    assert (soft.diagonal() >= 0.5).all()


def test_background_that_is_taken_out_becomes_the_mean():
    pixels = np.full((3, 40, 40), 200, np.uint8)
    yy, xx = np.mgrid[:40, :40] - 20
    cell = yy**2 + xx**2 < 100
    pixels[:, cell] = 90
    pixels[:, 2, 3] = 0  # dirt
    mask = foreground(pixels)
    assert (mask & cell).sum() / (mask | cell).sum() > 0.9
    normal = Normalization("uint8", (0,) * 3, (255,) * 3, (0.4, 0.5, 0.6), (0.2,) * 3)
    shown = seen(pixels, normal, ViewSettings(mask_background=True))
    assert np.allclose(shown[:, 0, 0], [0.4, 0.5, 0.6])
    assert shown[0, 2, 3] == pytest.approx(0.4)
    assert shown[0, 20, 20] == pytest.approx(90 / 255)


def test_another_range_of_intensities_is_met_by_the_switch(tmp_path):
    pool = Pool(dtype="uint16")
    done = trained(pool, pool.add(32, "train"), tmp_path)
    test = pool.add(40, "test", seed=4)
    dim = Pool(dtype="uint16")
    dim.pixels = {key: (pixels // 8).astype("uint16") for key, pixels in pool.pixels.items()}

    def said(of, **more):
        found = run_job(predict(load(Path(done.folder), "cpu", **more), test, of.read))
        return np.stack([found[p.key] for p in test])

    # by its own intensities a picture is the same, however dim the lamp was
    assert np.abs(said(pool, own_range=True) - said(dim, own_range=True)).mean() < 0.02
    assert accuracy(pool, done.folder, test) >= 0.9
    assert accuracy(dim, done.folder, test) <= 0.6


def test_a_field_shows_cells_at_their_size_and_a_box_shows_all_alike():
    image = np.zeros((1, 80, 160), np.uint8)
    image[0, 35:45, 35:45] = 255
    image[0, 20:60, 100:140] = 255
    boxes = [(35.0, 35.0, 45.0, 45.0), (20.0, 100.0, 60.0, 140.0)]

    def bright(**view):
        cutter = Cutter(ViewSettings(size_px=32, **view), lambda path, plane: image)
        return [float((cutter.cut(Patch("", "", box=b)) > 127).mean()) for b in boxes]

    by_box, by_field = bright(context=0.5), bright(field_px=60)
    assert by_box[0] == pytest.approx(by_box[1], abs=0.05)
    assert by_field[1] > 8 * by_field[0] > 0
