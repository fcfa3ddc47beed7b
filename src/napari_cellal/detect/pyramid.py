"""What the networks share: a body for N channels, and the feature pyramid over it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from napari_cellal.networks.layers import group_norm, set_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from .architectures import Architecture
    from .heads import Target
    from .settings import NetworkSettings


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


def norm_of(settings: NetworkSettings) -> Callable[[int], nn.Module]:
    """Return the norm layer by its number of channels."""
    return group_norm if settings.norm == "group" else partial(FrozenBatchNorm2d, eps=1e-5)


def pyramid_of(arch: Architecture, n_channels: int, settings: NetworkSettings) -> FinePyramid:
    """Return an untrained body for ``n_channels`` with its pyramid, one map a level of anchors."""
    norm = norm_of(settings)
    body = arch.body(norm)
    set_input(body, n_channels)
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
