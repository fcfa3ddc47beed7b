"""Faster R-CNN (Ren et al., arXiv:1506.01497) for N channels and cells of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from .family import CellNetwork, ClassRows
from .heads import BoxHead, CellHeads, PartialRPN, SingleRPNHead
from .pyramid import FixedScale, norm_of, pyramid_of
from .regions import RegionPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from .architectures import Architecture
    from .settings import NetworkSettings, PredictSettings

# A cell of this size is pooled from the map of stride 16 (224 in COCO): cells are smaller
# than COCO's things, and the finer maps hold their inside.
_ROI_CANONICAL_PX = 112


class FasterRCNN(GeneralizedRCNN, CellNetwork):  # type: ignore[misc]
    """Two stages: regions that may hold a cell, then a class and a better box for each."""

    roi_heads: CellHeads
    transform: FixedScale
    # row 0 is the background
    class_rows = (
        ClassRows("roi_heads.box_predictor.cls_score", 1, 1),
        ClassRows("roi_heads.box_predictor.bbox_pred", 4, 1),
    )

    def classes_in(self, picture: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and probabilities of the classes of one box; see `CellNetwork`."""
        images, _ = self.transform([picture])
        maps = self.backbone(images.tensors)
        heads = self.roi_heads
        pooled = heads.box_roi_pool(maps, [box[None]], images.image_sizes)
        logits = heads.box_predictor(heads.box_head(pooled))[0][0]  # [K+1]
        return logits[1:], logits.float().softmax(0)[1:]

    def limit(self, settings: PredictSettings) -> None:
        """Have the network drop what the settings drop."""
        self.roi_heads.score_thresh = settings.keep_score
        self.roi_heads.nms_thresh = settings.same_class_iou
        self.roi_heads.any_class_thresh = settings.any_class_iou


def build(
    arch: Architecture,
    n_channels: int,
    n_classes: int,
    settings: NetworkSettings,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    heads: type[CellHeads] = CellHeads,
    **more: nn.Module,
) -> FasterRCNN:
    """Return an untrained network; see `network.build_detector`.

    Parameters
    ----------
    heads : type
        Of the second stage, made with ``more`` besides.
    """
    backbone = pyramid_of(arch, n_channels, settings)
    sizes = settings.anchor_sizes
    anchors = AnchorGenerator(sizes, (settings.aspect_ratios,) * len(sizes))
    most = settings.detections
    rpn = PartialRPN(
        anchors,
        SingleRPNHead(arch.width, anchors.num_anchors_per_location()[0], 2 if arch.second else 1),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": max(1000, most), "testing": max(600, most)},
        post_nms_top_n={"training": max(600, most), "testing": most},
        nms_thresh=0.7,
    )
    box_head: nn.Module = BoxHead(arch.width, 7, arch.head_width)
    if arch.second:
        box_head = FastRCNNConvFCHead(
            (arch.width, 7, 7), [arch.width] * 4, [arch.head_width], norm_layer=norm_of(settings)
        )
    second_stage = heads(
        cell_pool(arch, settings, 7),
        box_head,
        FastRCNNPredictor(arch.head_width, n_classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=128,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=most,
        **more,
    )
    transform = FixedScale(1, 1, list(mean), list(std), size_divisible=32)
    return FasterRCNN(backbone, rpn, second_stage, transform)


def cell_pool(arch: Architecture, settings: NetworkSettings, side: int) -> RegionPool:
    """Return what cuts boxes out of the pyramid, ``side`` px large."""
    n_levels = min(len(settings.anchor_sizes), len(arch.layers))
    return RegionPool(arch.strides[:n_levels], side, _ROI_CANONICAL_PX)
