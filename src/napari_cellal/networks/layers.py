"""Layers that let a published network see any number of channels, and any microscope."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm with at most 32 groups of at least 8 channels (arXiv:1803.08494)."""
    most = max(1, min(32, channels // 8))
    groups = next(g for g in range(most, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


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


def set_input(body: nn.Module, n_channels: int) -> None:
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
