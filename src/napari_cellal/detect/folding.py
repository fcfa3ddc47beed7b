"""A network made ready to answer: the same answers to 1e-4, sooner.

The shipped detector's body on one picture of 352x480 px, one thread: 94 ms as trained, 73 ms with
its norms folded, 45 ms with the channels of a pixel beside each other too.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from .heads import BoxHead

if TYPE_CHECKING:
    from collections.abc import Iterator


def quicken(network: nn.Module, device: torch.device) -> None:
    """Make a network ready for answers alone; it cannot be trained or saved any more."""
    fold_norms(network)
    if device.type == "cpu":
        network.to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, BoxHead):
                module.read_channels_last()


def fold_norms(network: nn.Module) -> None:
    """Multiply every frozen norm into its convolution and take it out of the network."""
    for parent, conv, name, norm in list(_pairs(network)):
        with torch.no_grad():
            gain, shift = _figures(conv, norm)
            conv.weight = nn.Parameter(conv.weight * gain[:, None, None, None])
            conv.bias = nn.Parameter(shift)
        setattr(parent, name, nn.Identity())


def fold_while_learning(network: nn.Module) -> None:
    """Have every frozen norm work on the weights of its convolution instead of on the picture.

    The network, its parameters and their gradients stay the same; a step of training takes a
    tenth less time, since pictures are large and weights are not.
    """
    for _, conv, _, norm in _pairs(network):
        # not to replace the modules keeps the names of their weights
        conv.__dict__["forward"] = partial(_convolve, conv, norm)
        norm.__dict__["forward"] = _as_it_is


def _convolve(conv: nn.Conv2d, norm: FrozenBatchNorm2d, pictures: Tensor) -> Tensor:
    gain, shift = _figures(conv, norm)
    weight = conv.weight * gain[:, None, None, None]
    out: Tensor = conv._conv_forward(pictures, weight, shift)
    return out


def _as_it_is(pictures: Tensor) -> Tensor:
    return pictures


def _pairs(
    network: nn.Module,
) -> Iterator[tuple[nn.Module, nn.Conv2d, str, FrozenBatchNorm2d]]:
    """Yield each convolution that a frozen norm follows: its parent, it, the norm's name, the norm.

    In the bodies used here what comes next to a convolution also runs next.
    """
    for parent in network.modules():
        for (_, conv), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
                yield parent, conv, name, norm


def _figures(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return by how much a norm multiplies what a convolution gives, and what it adds, [O]."""
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * gain
    return gain, shift if conv.bias is None else shift + conv.bias * gain
