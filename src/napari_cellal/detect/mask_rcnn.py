"""Mask R-CNN (He et al., arXiv:1703.06870): Faster R-CNN with a mask of each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from . import faster_rcnn
from .mask_heads import MaskHeads
from .pyramid import norm_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .architectures import Architecture
    from .settings import NetworkSettings

_SIDE = 14  # of the maps that a mask is made from; the mask has twice that


def build(
    arch: Architecture,
    n_channels: int,
    n_classes: int,
    settings: NetworkSettings,
    mean: Sequence[float],
    std: Sequence[float],
) -> faster_rcnn.FasterRCNN:
    """Return an untrained network; see `network.build_detector`."""
    norm = norm_of(settings) if arch.second else None
    return faster_rcnn.build(
        arch,
        n_channels,
        n_classes,
        settings,
        mean,
        std,
        heads=MaskHeads,
        mask_roi_pool=faster_rcnn.cell_pool(arch, settings, _SIDE),
        mask_head=MaskRCNNHeads(arch.width, [arch.width] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(arch.width, arch.width, 1),
    )
