"""A classifier: a published body for any number of channels, and a new last layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from napari_cellal.core.errors import ModelError
from napari_cellal.networks.layers import first_conv, group_norm, set_input, widened

from .architectures import architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import NetworkSettings


class Classifier(nn.Module):
    """Gives class scores of pictures.

    Parameters
    ----------
    mean, std : one number a channel
        Of the intensities in 0..1.

    Notes
    -----
    State: the body as torchvision initialises it, with a first layer for the channels; the
    head's weights normal with width 0.01, its bias 0. ``mean`` and ``std`` are no part of it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture_name: str,
        n_channels: int,
        n_classes: int,
        size_px: int,
        settings: NetworkSettings,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        arch = architecture(architecture_name)
        if size_px % arch.multiple_px:
            raise ModelError(
                f"The network {architecture_name} takes pictures whose side is a multiple of "
                f"{arch.multiple_px} px; {size_px} is none."
            )
        norms: dict[str, Callable[[int], nn.Module]] = {
            "group": group_norm,
            "frozen": partial(FrozenBatchNorm2d, eps=arch.eps),
            "batch": partial(nn.BatchNorm2d, eps=arch.eps),
        }
        self.architecture = arch
        self.body = arch.body(norms[settings.norm], size_px)
        set_input(self.body, n_channels)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(arch.features, n_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def features(self, pictures: Tensor) -> Tensor:
        """Return float[B, F] of float[B, C, h, w] in 0..1."""
        found: Tensor = self.body((pictures - self.mean) / self.std)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Return float[B, K], the scores before softmax or sigmoid."""
        scores: Tensor = self.head(self.dropout(self.features(pictures)))
        return scores

    def parts(self) -> list[list[nn.Parameter]]:
        """Return the weights from the pixels to the answer, for rates that differ."""
        named = [
            [p for name in names for p in self.body.get_submodule(name).parameters()]
            for names in self.architecture.parts
        ]
        taken = {id(p) for part in named for p in part}
        named[0] += [p for p in self.body.parameters() if id(p) not in taken]  # a ViT's positions
        return [*named, list(self.head.parameters())]


def probabilities(scores: Tensor, *, multi_label: bool) -> Tensor:
    """Return float32[B, K] of class scores; rows sum to 1 unless ``multi_label``."""
    scores = scores.float()
    return scores.sigmoid() if multi_label else scores.softmax(1)


def put_in(network: Classifier, state: dict[str, Tensor], words: str) -> None:
    """Copy starting weights into the body, which is changed; the first layer is fitted.

    Parameters
    ----------
    state : {name: tensor}
        Named as torchvision names them, or as in a model of ours (``body.`` before).

    Raises
    ------
    ModelError
        If they belong to another architecture.
    """
    own = network.body.state_dict()
    source = {key.removeprefix("body."): value for key, value in state.items()}
    conv = f"{first_conv(network.body)[0]}.weight"
    if conv in source and source[conv].shape[2:] == own[conv].shape[2:]:
        source[conv] = widened(source[conv], own[conv].shape[1])
    fitting = {k: v for k, v in source.items() if k in own and v.shape == own[k].shape}
    if sum(key in fitting for key in own) < 0.95 * len(own):
        raise ModelError(
            f"The starting weights ({words}) belong to another architecture or to another size "
            "of pictures. Choose the architecture that they were made for."
        )
    network.body.load_state_dict(fitting, strict=False)
