"""How fast which part of a network learns, and when."""

from __future__ import annotations

import pytest
import torch
from test_detector_train import QUICK, Pool, request_of, states

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.detect.lessons import body_stages, stepper_of
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.settings import NetworkSettings
from napari_cellal.detect.train import train_detector
from napari_cellal.networks.schedules import Plateau, learning_rate

PLATEAU = QUICK.model_copy(update={"schedule": "plateau", "plateau_patience": 2})


def test_the_rate_stays_until_nothing_gets_better():
    plateau = Plateau()
    shares = []
    for score in (0.1, 0.3, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4):
        plateau.tell(score, patience=2)
        shares.append(plateau.share)
    assert shares == pytest.approx([1, 1, 1, 0.3, 0.3, 0.3, 0.09, 0.09, 0.027])
    assert learning_rate(0.9, PLATEAU, 0.3) == pytest.approx(0.3 * PLATEAU.learning_rate)
    # up as in one cycle
    assert learning_rate(0.05, PLATEAU, 0.3) == pytest.approx(learning_rate(0.05, QUICK))


def test_without_validation_images_the_mean_loss_says_it():
    plateau = Plateau()
    for loss in (2.0, 2.0, 1.0, 1.0, 3.0, 0.0, 1.0, 2.0):  # means of two: 2, 1, 1.5, 1.5
        plateau.tell_loss(loss, every=2, patience=2)
    assert plateau.share == pytest.approx(0.3)
    assert plateau.best == -1


@pytest.fixture(scope="module")
def network():
    return build_detector("mobilenet_v2", 1, 2, NetworkSettings(), [0.5], [0.2])


def test_stages_of_the_body_are_whole_and_in_order(network):
    stages = body_stages(network)
    every = [p for stage in stages for p in stage]
    assert {id(p) for p in every} == {id(p) for p in network.backbone.body.parameters()}
    assert len(every) == len({id(p) for p in every})
    assert len(stages) == 3
    assert stages[0][0] is next(network.backbone.body.parameters())
    for name in ("resnet50", "mobilenet_v3"):
        other = build_detector(name, 1, 2, NetworkSettings(), [0.5], [0.2])
        every = [id(p) for stage in body_stages(other) for p in stage]
        assert set(every) == {id(p) for p in other.backbone.body.parameters()}


def test_the_body_learns_more_slowly_stage_by_stage(network):
    settings = QUICK.model_copy(update={"layer_decay": 0.5})
    stepper = stepper_of(network, torch.device("cpu"), settings)
    share = {id(p): g["share"] for g in stepper.optimizer.param_groups for p in g["params"]}
    assert len(share) == len(list(network.parameters()))
    for k, stage in enumerate(body_stages(network)):
        assert {share[id(p)] for p in stage} == {0.5 ** (3 - k)}
    heads = {id(p) for p in network.parameters()} - {
        id(p) for p in network.backbone.body.parameters()
    }
    assert {share[p] for p in heads} == {1.0}
    for group in stepper.optimizer.param_groups:
        assert (group["weight_decay"] == 0) == all(p.ndim <= 1 for p in group["params"])


def test_frozen_stages_stay_as_they_were_and_learn_later(tmp_path):
    pool = Pool()
    images = [pool.add(str(k), 3, k) for k in range(2)]
    base = run_job(train_detector(request_of(images, tmp_path), reader=pool.read))
    before = states(base.folder)

    def moved(share):
        settings = QUICK.model_copy(
            update={"steps": 4, "frozen_stages": 1, "frozen_share": share, "average": 0.0}
        )
        request = request_of(images, tmp_path, settings, start=base.folder, model_id=str(share))
        after = states(run_job(train_detector(request, reader=pool.read)).folder)
        return {key for key, value in after.items() if not torch.equal(value, before[key])}

    first = {k for k in before if k.startswith(("backbone.body.0.", "backbone.body.6."))}
    always, half = moved(1.0), moved(0.5)
    assert not first & always
    assert any(k.startswith("backbone.body.12.") for k in always)
    assert first & half


def test_random_weights_are_not_held(tmp_path):
    pool = Pool()
    settings = QUICK.model_copy(update={"frozen_stages": 1, "frozen_share": 0.5})
    with pytest.raises(ModelError, match="Random weights"):
        run_job(
            train_detector(request_of([pool.add("a", 3, 0)], tmp_path, settings), reader=pool.read)
        )
