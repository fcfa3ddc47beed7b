"""A network made ready to answer answers as it did."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from napari_cellal.detect.architectures import ARCHITECTURES
from napari_cellal.detect.folding import fold_while_learning, quicken
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.settings import NetworkSettings, PredictSettings
from napari_cellal.detect.shipped import FOLDER
from napari_cellal.detect.weights import load_model


def lived_in(network):
    """Give every norm the statistics of a network that was trained."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.2)
            module.bias.normal_(0, 0.1)
    return network


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_the_maps_are_the_same(name):
    torch.manual_seed(0)
    shape = NetworkSettings(anchor_sizes=((16.0, 24.0),) * 3, norm="frozen")
    network = lived_in(build_detector(name, 3, 2, shape, [0.5] * 3, [0.2] * 3).eval())
    quick = copy.deepcopy(network)
    quicken(quick, torch.device("cpu"))
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in quick.modules())
    picture = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = network.backbone(picture), quick.backbone(picture)
    for key, values in before.items():
        size = float(values.abs().max())
        assert float((after[key] - values).abs().max()) <= 1e-4 * size


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_a_network_learns_the_same_with_its_norms_folded(name):
    torch.manual_seed(0)
    shape = NetworkSettings(anchor_sizes=((16.0, 24.0),) * 3, norm="frozen")
    network = lived_in(build_detector(name, 3, 2, shape, [0.5] * 3, [0.2] * 3))
    other = copy.deepcopy(network)
    fold_while_learning(other)
    assert other.state_dict().keys() == network.state_dict().keys()
    picture = torch.rand(1, 3, 64, 96)
    for one in (network, other):
        sum(m.square().mean() for m in one.backbone(picture).values()).backward()
    learned = dict(network.named_parameters())
    for key, mine in other.named_parameters():
        if (theirs := learned[key].grad) is None:
            assert mine.grad is None
            continue
        assert float((mine.grad - theirs).abs().max()) <= 1e-3 * float(theirs.abs().max()) + 1e-9


def test_the_shipped_detector_finds_the_same_boxes():
    torch.manual_seed(0)
    picture = torch.full((3, 200, 260), 0.9)
    at = torch.cartesian_prod(torch.arange(200.0), torch.arange(260.0)).reshape(200, 260, 2)
    for y, x, radius in ((60, 70, 22), (120, 180, 24), (60, 200, 20)):
        picture[1:, (at - torch.tensor([y, x])).norm(dim=2) < radius] = 0.55
    picture = (picture + torch.randn(3, 200, 260) * 0.01).clamp(0, 1)
    _, slow = load_model(FOLDER)
    quick = load_detector(FOLDER, "cpu").network
    found = []
    for network in (slow, quick):
        network.limit(PredictSettings())
        with torch.inference_mode():
            found += network([picture])
    assert len(found[0]["boxes"]) >= 3
    torch.testing.assert_close(found[0]["labels"], found[1]["labels"])
    for key, far in (("boxes", 1e-2), ("scores", 1e-4), ("probabilities", 1e-4)):
        torch.testing.assert_close(found[0][key], found[1][key], rtol=1e-4, atol=far)
