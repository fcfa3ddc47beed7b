"""torchvision's two stages of Faster R-CNN, with partial labels and class probabilities.

In an image that is not completely labelled, what lies outside the labels is unknown, not
background. Anchors and proposals there get the label -1, which torchvision's samplers
leave out of every loss. Known background remains: boxes that a person rejected, and boxes
that are well inside one labelled box but too small to be its cell.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import box_iou, clip_boxes_to_image, nms

Target: TypeAlias = dict[str, Tensor]
"""``boxes`` float32[N, 4] (x0, y0, x1, y1), ``labels`` int64[N] from 1, ``rejected``
float32[R, 4], ``complete`` bool[]; all in network px."""

_REJECTED_IOU = 0.5
_COVERED = 0.7  # share of a box that must lie inside a labelled one to be known background


def known_background(boxes: Tensor, target: Target) -> Tensor:
    """Return bool[N]: which boxes, matched to no cell, are surely background.

    All of them in a complete image.
    """
    if bool(target["complete"]):
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    known = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    rejected, labelled = target["rejected"], target["boxes"]
    if len(rejected):
        overlap = box_iou(rejected, boxes)  # [R, N]
        known |= overlap.amax(0) >= _REJECTED_IOU
        best = overlap.argmax(1)  # [R]: no anchor may fit; its nearest is taught all the same
        known[best[overlap.amax(1) > 0]] = True
    if len(labelled):
        low = torch.maximum(boxes[:, None, :2], labelled[None, :, :2])  # [N, M, 2]
        high = torch.minimum(boxes[:, None, 2:], labelled[None, :, 2:])  # [N, M, 2]
        inside = (high - low).clamp(min=0).prod(2)  # [N, M]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)  # [N]
        known |= inside.amax(1) / area >= _COVERED
    return known


class SingleRPNHead(RPNHead):  # type: ignore[misc]
    """Gives its answers in float32: in bfloat16 a place beyond 256 px is known to 2 px only."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness and box deltas, one float32[B, A or 4A, h, w] a map each."""
        objectness, deltas = super().forward(x)
        return [map_.float() for map_ in objectness], [map_.float() for map_ in deltas]


class PartialRPN(RegionProposalNetwork):  # type: ignore[misc]
    """A region proposal network that does not learn from unlabelled area."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels (1 cell, 0 background, -1 unknown) and boxes, one tensor an image."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, boxes, target in zip(labels, anchors, targets, strict=True):
            if not bool(target["complete"]):
                label[(label == 0) & ~known_background(boxes, target)] = -1
        return labels, matched

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return objectness and box loss; 0, not NaN, where nothing is known."""
        if not any(bool((label >= 0).any()) for label in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        loss: tuple[Tensor, Tensor] = super().compute_loss(
            objectness, pred_bbox_deltas, labels, regression_targets
        )
        return loss


class BoxHead(TwoMLPHead):  # type: ignore[misc]
    """Two linear layers on a region, float[N, width, side, side]."""

    def __init__(self, width: int, side: int, out: int) -> None:
        super().__init__(width * side * side, out)
        self._width = width
        self._channels_last = False

    def read_channels_last(self) -> None:
        """Read regions with the channels of a pixel beside each other, as they come on a CPU.

        The answers stay the same; to put each region in order took a fifth of a detection.
        """
        weight = self.fc6.weight.detach()
        each = weight.reshape(len(weight), self._width, -1).transpose(1, 2)
        self.fc6.weight = nn.Parameter(each.reshape(weight.shape).contiguous())
        self._channels_last = True

    def forward(self, x: Tensor) -> Tensor:
        """Return float[N, out]."""
        if self._channels_last:
            x = x.permute(0, 2, 3, 1)
        answer: Tensor = super().forward(x)
        return answer


class CellHeads(RoIHeads):  # type: ignore[misc]
    """The box head: partial labels in training, one box a proposal with all probabilities."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return sampled proposals, their matches, labels and box targets."""
        self._targets = targets
        with_rejected = [
            torch.cat([boxes, target["rejected"].to(boxes.dtype)])
            for boxes, target in zip(proposals, targets, strict=True)
        ]
        samples: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
        samples = super().select_training_samples(with_rejected, targets)
        return samples

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return matches and labels (0 background, -1 unknown), one tensor an image."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        for label, boxes, target in zip(labels, proposals, self._targets, strict=True):
            if not bool(target["complete"]):
                label[(label == 0) & ~known_background(boxes, target)] = -1
        self._nothing_known = not any(bool((label >= 0).any()) for label in labels)
        return matched, labels

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        """Return detections (empty in training) and losses (empty otherwise)."""
        if self.training:
            found, losses = super().forward(features, proposals, image_shapes, targets)
            if self._nothing_known:  # then torchvision's means are over nothing: NaN
                losses = {key: torch.nan_to_num(loss) for key, loss in losses.items()}
            return found, losses
        pooled = self.box_roi_pool(features, proposals, image_shapes)  # [P, width, 7, 7]
        logits, regression = self.box_predictor(self.box_head(pooled))  # [P, K+1], [P, 4(K+1)]
        probabilities = logits.float().softmax(1)  # [P, K+1]
        decoded = self.box_coder.decode(regression.float(), proposals)
        # torchvision leaves [0, 4(K+1)] where nothing was proposed
        decoded = decoded.reshape(*probabilities.shape, 4)  # [P, K+1, 4]
        counts = [len(p) for p in proposals]
        parts = zip(decoded.split(counts), probabilities.split(counts), image_shapes, strict=True)
        return [self._cells(*part) for part in parts], {}

    def _cells(self, decoded: Tensor, probabilities: Tensor, shape: tuple[int, int]) -> Target:
        """Return one image's detections.

        A proposal gives one box, that of its likeliest class, scored by this class's share
        of the softmax over classes and background. ``probabilities`` are the softmax
        without the background, so they sum to 1 for every box.
        """
        foreground = probabilities[:, 1:]  # [P, K]
        scores, best = foreground.max(1)  # [P]
        boxes = decoded[torch.arange(len(decoded), device=decoded.device), best + 1]  # [P, 4]
        boxes = clip_boxes_to_image(boxes, shape)
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = torch.where((scores >= self.score_thresh) & (sides > 0.5).all(1))[0]
        boxes, scores, best, foreground = boxes[keep], scores[keep], best[keep], foreground[keep]
        keep = nms_two_ways(boxes, scores, best, self.nms_thresh, self.any_class_thresh)
        keep = keep[: self.detections_per_img]
        share = foreground[keep] / foreground[keep].sum(1, keepdim=True).clamp(min=1e-9)
        return {
            "boxes": boxes[keep],
            "scores": scores[keep],
            "labels": best[keep] + 1,
            "probabilities": share,
        }

    any_class_thresh = 0.7
    _targets: list[Target]
    _nothing_known = False


def nms_two_ways(
    boxes: Tensor, scores: Tensor, classes: Tensor, same_class_iou: float, any_class_iou: float
) -> Tensor:
    """Return int64[M], the boxes kept, best first: once a class, then over all classes."""
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    # far apart by class, as torchvision.ops.batched_nms does it
    offset = classes.to(boxes.dtype) * (boxes.max() + 1)
    first = nms(boxes + offset[:, None], scores, same_class_iou)
    second = nms(boxes[first], scores[first], any_class_iou)
    kept: Tensor = first[second]
    return kept
