"""Boxes cut out of a pyramid: as torchvision does it, also at borders, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from napari_cellal.detect.regions import RegionPool

STRIDES = (4, 8, 16)
SHAPES = [(96, 128), (80, 112)]


def pyramid(dtype=torch.float32):
    torch.manual_seed(0)
    return {
        str(k): torch.randn(2, 6, 96 // s, 128 // s, dtype=dtype) for k, s in enumerate(STRIDES)
    }


def boxes():
    torch.manual_seed(1)
    corner = torch.rand(40, 2) * 90
    some = torch.cat([corner, corner + torch.rand(40, 2) * 80], dim=1)
    odd = torch.tensor(
        [
            [0.0, 0.0, 128.0, 96.0],
            [5.0, 5.0, 5.5, 5.2],
            [127.0, 95.0, 128.0, 96.0],
            [-30.0, -30.0, 8.0, 8.0],
            [100.0, 80.0, 180.0, 150.0],
        ]
    )
    return [torch.cat([some, odd]), some[:7]]


@pytest.mark.parametrize("side", [7, 14])
def test_it_is_torchvisions_way(side):
    ours = RegionPool(STRIDES, side, 56)
    theirs = MultiScaleRoIAlign(list("012"), side, 2, canonical_scale=56)
    maps = {key: value.requires_grad_() for key, value in pyramid().items()}
    mine = ours(maps, boxes(), SHAPES)
    other = theirs(maps, boxes(), SHAPES)
    assert mine.shape == (52, 6, side, side)
    assert {int(k) for k in ours._level_of(boxes())} == {0, 1, 2}
    assert torch.allclose(mine, other, atol=1e-4)
    weight = torch.randn_like(mine)
    gradients = [torch.autograd.grad((cut * weight).sum(), maps.values()) for cut in (mine, other)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_no_box_at_all():
    empty = [torch.zeros(0, 4), torch.zeros(0, 4)]
    assert RegionPool(STRIDES, 7, 56)(pyramid(), empty).shape == (0, 6, 7, 7)


def test_maps_of_half_precision_are_summed_in_single():
    low = pyramid(torch.bfloat16)
    pool = RegionPool(STRIDES, 7, 56)
    exact = pool({key: value.float() for key, value in low.items()}, boxes())
    assert torch.equal(pool(low, boxes()), exact)
