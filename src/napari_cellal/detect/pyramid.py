"""What the networks share: a body for N channels, and the feature pyramid over it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

if TYPE_CHECKING:
    from collections.abc import Callable

    from .architectures import Architecture
    from .heads import Target
    from .settings import NetworkSettings


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm with at most 32 groups of at least 8 channels (arXiv:1803.08494)."""
    most = max(1, min(32, channels // 8))
    groups = next(g for g in range(most, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class FinePyramid(BackboneWithFPN):  # type: ignore[misc]
    """A feature pyramid of which only the ``n_levels`` finest maps are handed on."""

    n_levels: int

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return {level: float[B, width, h, w]}, finest first."""
        maps: dict[str, Tensor] = super().forward(x)
        return dict(list(maps.items())[: self.n_levels])


class FixedScale(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalizes and stacks images; their scale was chosen before."""

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        """Return both as they are."""
        return image, target


def first_conv(body: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the convolution that sees the channels, and its name in the body."""
    for name, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError("a body without convolution")


def widened(weight: Tensor, n_channels: int) -> Tensor:
    """Return first-layer weights for ``n_channels``, made from those for another number.

    One channel gets the sum of the filters, so that a grey picture answers as it did in
    colour. More channels repeat the filters in turn, times old/new, so that the sum keeps
    its size (as timm's ``adapt_input_conv`` does). float[O, C, k, k] -> float[O, N, k, k].
    """
    old = weight.shape[1]
    if n_channels == old:
        return weight
    if n_channels == 1:
        return weight.sum(1, keepdim=True)
    index = torch.arange(n_channels) % old
    return weight[:, index] * (old / n_channels)


def _set_input(body: nn.Module, n_channels: int) -> None:
    """Give the body a first convolution for ``n_channels``."""
    name, conv = first_conv(body)
    if n_channels == conv.in_channels:
        return
    fresh = nn.Conv2d(
        n_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    fresh.weight = nn.Parameter(widened(conv.weight.detach(), n_channels))
    parent, _, leaf = name.rpartition(".")
    setattr(body.get_submodule(parent), leaf, fresh)


def norm_of(settings: NetworkSettings) -> Callable[[int], nn.Module]:
    """Return the norm layer by its number of channels."""
    return group_norm if settings.norm == "group" else partial(FrozenBatchNorm2d, eps=1e-5)


def pyramid_of(arch: Architecture, n_channels: int, settings: NetworkSettings) -> FinePyramid:
    """Return an untrained body for ``n_channels`` with its pyramid, one map a level of anchors."""
    norm = norm_of(settings)
    body = arch.body(norm)
    _set_input(body, n_channels)
    in_pyramid = norm if settings.norm == "group" or arch.second else None
    pyramid = FinePyramid(
        body,
        return_layers={name: str(k) for k, name in enumerate(arch.layers)},
        in_channels_list=list(arch.layers.values()),
        out_channels=arch.width,
        norm_layer=in_pyramid,
    )
    pyramid.n_levels = len(settings.anchor_sizes)
    return pyramid
