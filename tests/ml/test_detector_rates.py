"""The learning-rate finder: a curve, a suggestion, and nothing that stays."""

from __future__ import annotations

import math

import pytest
import torch
from test_detector_train import Pool, request_of, states

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.detect import lessons
from napari_cellal.detect.train import find_detector_rate, train_detector
from napari_cellal.networks import rates
from napari_cellal.networks.points import RatePoint
from napari_cellal.networks.rates import suggested_rate
from napari_cellal.networks.stepping import Stepper


def curve(losses):
    return [RatePoint(10.0 ** (k / 4 - 6), loss) for k, loss in enumerate(losses)]


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_suggested():
    points = curve([2.0, 2, 2, 2, 1.9, 1.8, 1.5, 1.1, 0.9, 1.0, 4])
    assert suggested_rate(points) == pytest.approx(10 ** (8 / 4 - 6) / 10, rel=0.05)
    # the first means are of few steps
    assert suggested_rate(curve([0.1, 2, 2, 2, 2, 1.9, 1.5, 2])) == pytest.approx(
        10 ** (6 / 4 - 6) / 10, rel=0.05
    )
    assert suggested_rate(curve([2.0])) == pytest.approx(1e-7)


def test_rates_rise_until_the_loss_explodes(tmp_path, monkeypatch):
    pool = Pool()
    request = request_of([pool.add("a", 3, 0)], tmp_path)
    real = Stepper.step
    taken = []

    def rising(self, batch, rate, number):
        assert math.isfinite(real(self, batch, rate, number))
        taken.append(self.optimizer.param_groups[0]["lr"])
        return 1.0 if taken[-1] < 1e-3 else 100.0

    monkeypatch.setattr(Stepper, "step", rising)
    items = []
    found = run_job(
        find_detector_rate(request, reader=pool.read, steps=20), lambda p: items.append(p.item)
    )
    assert [p for p in items if isinstance(p, RatePoint)] == list(found.points)
    assert [p.rate for p in found.points] == pytest.approx(taken)
    assert taken == sorted(taken)
    assert 1e-3 < taken[-1] < rates.HIGHEST / 5
    assert found.suggested < 1e-3


def test_it_leaves_nothing_and_changes_no_weights(tmp_path):
    pool = Pool()
    images = [pool.add(str(k), 3, k) for k in range(2)]
    base = run_job(train_detector(request_of(images, tmp_path), reader=pool.read))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    request = request_of(images, tmp_path, start=base.folder, model_id="next")
    found = run_job(find_detector_rate(request, reader=pool.read, steps=8))
    assert len(found.points) <= 8
    assert all(math.isfinite(p.loss) for p in found.points)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    job = find_detector_rate(request, reader=pool.read)
    while not isinstance(next(job).item, RatePoint):
        pass
    job.close()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    # nor does it change what a training comes to
    one = run_job(train_detector(request, reader=pool.read))
    again = request_of(images, tmp_path / "b", start=base.folder)
    other = run_job(train_detector(again, reader=pool.read))
    new = states(other.folder)
    assert all(torch.equal(v, new[k]) for k, v in states(one.folder).items())


def test_the_same_seed_gives_the_same_curve(tmp_path):
    pool = Pool()
    request = request_of([pool.add("a", 3, 0)], tmp_path)
    first, second = (
        run_job(find_detector_rate(request, reader=pool.read, steps=6)) for _ in range(2)
    )
    assert first == second


def test_no_loss_at_all_is_an_error(tmp_path, monkeypatch):
    pool = Pool()
    monkeypatch.setattr(lessons, "loss_of", lambda *_: torch.tensor(math.nan))
    with pytest.raises(ModelError, match="learning rate"):
        run_job(find_detector_rate(request_of([pool.add("a", 3, 0)], tmp_path), reader=pool.read))
