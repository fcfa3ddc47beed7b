"""Faster R-CNN (Ren et al., arXiv:1506.01497) for N channels and cells of any size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from .architectures import architecture
from .heads import CellHeads, PartialRPN, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import NetworkSettings

# A cell of this size is pooled from the map of stride 16 (224 in COCO): cells are smaller
# than COCO's things, and the finer maps hold their inside.
_ROI_CANONICAL_PX = 112


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


def build_detector(
    architecture_name: str,
    n_channels: int,
    n_classes: int,
    settings: NetworkSettings,
    mean: Sequence[float],
    std: Sequence[float],
) -> GeneralizedRCNN:
    """Return an untrained network.

    It takes a list of float32[C, h, w] in 0..1, already at ``settings.scale``. Training:
    with `heads.Target` dicts it returns the losses. Evaluation: one dict an image with
    ``boxes`` (x0, y0, x1, y1), ``scores``, ``labels`` from 1 and ``probabilities`` [M, K].

    Parameters
    ----------
    n_classes : int
        Without the background.
    mean, std : one number a channel
        Of the intensities in 0..1.

    Notes
    -----
    State: the layers as torchvision initialises them; the first convolution is widened or
    narrowed to ``n_channels`` by `widened`. Weights are put in by `weights` and `start`.
    """
    arch = architecture(architecture_name)
    norm: Callable[[int], nn.Module] = (
        group_norm if settings.norm == "group" else partial(FrozenBatchNorm2d, eps=1e-5)
    )
    body = arch.body(norm)
    _set_input(body, n_channels)
    backbone = FinePyramid(
        body,
        return_layers={name: str(k) for k, name in enumerate(arch.layers)},
        in_channels_list=list(arch.layers.values()),
        out_channels=arch.width,
        norm_layer=group_norm if settings.norm == "group" else None,
    )
    sizes = settings.anchor_sizes
    backbone.n_levels = len(sizes)
    anchors = AnchorGenerator(sizes, (settings.aspect_ratios,) * len(sizes))
    most = settings.detections
    rpn = PartialRPN(
        anchors,
        RPNHead(arch.width, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": max(1000, most), "testing": max(600, most)},
        post_nms_top_n={"training": max(600, most), "testing": most},
        nms_thresh=0.7,
    )
    levels = [str(k) for k in range(min(len(sizes), len(arch.layers)))]
    heads = CellHeads(
        MultiScaleRoIAlign(levels, 7, 2, canonical_scale=_ROI_CANONICAL_PX),
        TwoMLPHead(arch.width * 7 * 7, arch.head_width),
        FastRCNNPredictor(arch.head_width, n_classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=128,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=most,
    )
    transform = FixedScale(1, 1, list(mean), list(std), size_divisible=32)
    return GeneralizedRCNN(backbone, rpn, heads, transform)
