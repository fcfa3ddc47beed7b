"""FCOS (Tian et al., arXiv:2006.09214): one stage, for fields where cells stand close.

Every place of every map says whether it is the middle of a cell, of which class, and how far
the cell goes to each side. Of torchvision's two single stages this one needs no anchors: a
ninth of RetinaNet's candidates to sort in a dense field, and cells of another size than the
first ones can be learned later.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import (
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from napari_cellal.networks.layers import group_norm

from .family import CellNetwork, ClassRows
from .heads import Target, nms_two_ways
from .pyramid import FinePyramid, FixedScale, pyramid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchvision.models.detection._utils import BoxLinearCoder

    from .architectures import Architecture
    from .settings import NetworkSettings, PredictSettings

_RADIUS = 1.5  # places as near as this to a cell's middle, map px, stand for it
_FIRST_SIDE = 1.5  # map px from a place to each side of its box before anything is learned
_CANDIDATES = 4  # times the most cells: so many boxes are compared with each other


class DenseHead(nn.Module):
    """What the maps say at each place: classes, sides of a box, nearness to its middle."""

    def __init__(self, width: int, n_classes: int, n_convs: int) -> None:
        super().__init__()
        self.classification_head = FCOSClassificationHead(
            width, 1, n_classes, n_convs, norm_layer=group_norm
        )
        self.regression_head = FCOSRegressionHead(width, 1, n_convs, norm_layer=group_norm)
        # torchvision begins at 0, where half the places have no gradient
        nn.init.constant_(self.regression_head.bbox_reg.bias, _FIRST_SIDE)

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Return logits [B, L, K], sides [B, L, 4] in map px, and middle logits [B, L, 1]."""
        sides, middle = self.regression_head(maps)
        return {
            "cls_logits": self.classification_head(maps),
            "bbox_regression": sides,
            "bbox_ctrness": middle,
        }


class CellFCOS(FCOS, CellNetwork):  # type: ignore[misc]
    """FCOS with partial labels, levels fitted to the cells, and probabilities of all classes.

    Parameters
    ----------
    edges : sequence of float
        Sizes at which the next coarser map takes over, network px; one less than the levels.
    """

    box_coder: BoxLinearCoder
    transform: FixedScale
    anchor_generator: AnchorGenerator
    head: DenseHead
    class_rows = (ClassRows("head.classification_head.cls_logits", 1, 0),)

    def __init__(
        self,
        backbone: FinePyramid,
        n_classes: int,
        head: DenseHead,
        transform: FixedScale,
        strides: Sequence[int],
        edges: Sequence[float],
        detections: int,
    ) -> None:
        places = AnchorGenerator(tuple((s,) for s in strides), ((1.0,),) * len(strides))
        super().__init__(backbone, n_classes, anchor_generator=places, head=head)
        self.transform = transform
        self.detections_per_img = detections
        self.any_class_thresh = 0.7
        self._edges = tuple(edges)

    def classes_in(self, picture: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and probabilities of the classes of one box; see `CellNetwork`.

        Of the place whose own box is most like it.
        """
        images, _ = self.transform([picture])
        maps = list(self.backbone(images.tensors).values())
        said = self.head(maps)
        squares = self.anchor_generator(images, maps)[0]
        boxes = self.box_coder.decode(said["bbox_regression"][0].detach().float(), squares)
        boxes = clip_boxes_to_image(boxes, images.image_sizes[0])
        logits = said["cls_logits"][0, int(box_iou(box[None], boxes)[0].argmax())]
        return logits, logits.float().sigmoid()

    def limit(self, settings: PredictSettings) -> None:
        """Have the network drop what the settings drop."""
        self.score_thresh = settings.keep_score
        self.nms_thresh = settings.same_class_iou
        self.any_class_thresh = settings.any_class_iou

    def compute_loss(
        self,
        targets: list[Target],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        """Return the three losses; places of which nothing is known have no part in them.

        Parameters
        ----------
        anchors : one float32[L, 4] an image
            Squares of one map px around the places.
        """
        logits = head_outputs["cls_logits"].float()  # [B, L, K]
        ranges = self._ranges(num_anchors_per_level, logits.device)
        pairs = zip(anchors, targets, strict=True)
        matched = torch.stack([places_of(a, ranges, t) for a, t in pairs])  # [B, L]
        cell = matched >= 0
        n_cells = max(1, int(cell.sum()))
        wanted = torch.zeros_like(logits)
        boxes = torch.zeros(*matched.shape, 4, device=logits.device)
        for k, target in enumerate(targets):
            mine = matched[k][cell[k]]
            wanted[k, cell[k], target["labels"][mine] - 1] = 1
            boxes[k, cell[k]] = target["boxes"][mine]
        known = matched > _UNKNOWN
        classes = sigmoid_focal_loss(logits[known], wanted[known], reduction="sum")
        squares = torch.stack(anchors)[cell]  # [P, 4]
        found = self.box_coder.decode(head_outputs["bbox_regression"].float()[cell], squares)
        fit = generalized_box_iou_loss(found, boxes[cell], reduction="sum")
        middle = binary_cross_entropy_with_logits(
            head_outputs["bbox_ctrness"].float()[cell][:, 0],
            centredness(squares, boxes[cell]),
            reduction="sum",
        )
        return {
            "classification": classes / n_cells,
            "bbox_regression": fit / n_cells,
            "bbox_ctrness": middle / n_cells,
        }

    def _ranges(self, counts: list[int], device: torch.device) -> Tensor:
        """Return float32[L, 2]: the sizes of cells that each place looks for."""
        low = torch.tensor([0.0, *self._edges], device=device)
        high = torch.tensor([*self._edges, torch.inf], device=device)
        repeats = torch.tensor(counts, device=device)
        return torch.stack([low, high], 1).repeat_interleave(repeats, 0)

    def postprocess_detections(
        self,
        head_outputs: dict[str, list[Tensor]],
        anchors: list[list[Tensor]],
        image_shapes: list[tuple[int, int]],
    ) -> list[Target]:
        """Return each image's detections, described in `heads.CellHeads`."""
        whole = {key: torch.cat(parts, 1).float() for key, parts in head_outputs.items()}
        return [
            self._cells({k: v[n] for k, v in whole.items()}, torch.cat(anchors[n]), shape)
            for n, shape in enumerate(image_shapes)
        ]

    def _cells(self, outputs: dict[str, Tensor], squares: Tensor, shape: tuple[int, int]) -> Target:
        classes = outputs["cls_logits"].sigmoid()  # [L, K]
        best, labels = classes.max(1)  # [L]
        scores = (best * outputs["bbox_ctrness"][:, 0].sigmoid()).sqrt()
        keep = torch.where(scores >= self.score_thresh)[0]
        most = _CANDIDATES * self.detections_per_img
        keep = keep[scores[keep].topk(min(most, len(keep))).indices]
        boxes = self.box_coder.decode(outputs["bbox_regression"][keep], squares[keep])
        boxes = clip_boxes_to_image(boxes, shape)
        real = ((boxes[:, 2:] - boxes[:, :2]) > 0.5).all(1)
        boxes, keep = boxes[real], keep[real]
        first = nms_two_ways(
            boxes, scores[keep], labels[keep], self.nms_thresh, self.any_class_thresh
        )[: self.detections_per_img]
        keep = keep[first]
        share = classes[keep] / classes[keep].sum(1, keepdim=True).clamp(min=1e-9)
        return {
            "boxes": boxes[first],
            "scores": scores[keep],
            "labels": labels[keep] + 1,
            "probabilities": share,
        }


_BACKGROUND, _UNKNOWN = -1, -2


def places_of(squares: Tensor, ranges: Tensor, target: Target) -> Tensor:
    """Return int64[L]: the cell that each place stands for, -1 background, -2 unknown.

    A place stands for the smallest cell of its level's sizes whose middle is near; the nearest
    place does so even for a cell smaller than a map px. In an image that is not complete,
    background is only what lies in a labelled box, and the places of rejected ones.

    Parameters
    ----------
    squares : float32[L, 4]
        (x0, y0, x1, y1) of one map px around each place, network px.
    ranges : float32[L, 2]
        Least and most size of a place's cells, network px.
    """
    boxes = target["boxes"]
    matched = torch.full((len(squares),), _BACKGROUND, device=squares.device)
    if not bool(target["complete"]):
        known = _near(squares, ranges, target["rejected"]).any(1)
        at = (squares[:, :2] + squares[:, 2:])[:, None] / 2  # [L, 1, 2]
        known |= ((at >= boxes[:, :2]) & (at <= boxes[:, 2:])).all(2).any(1)
        matched[~known] = _UNKNOWN
    if len(boxes):
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)  # [M]
        smallest, cell = torch.where(_near(squares, ranges, boxes), area, torch.inf).min(1)
        matched = torch.where(smallest.isfinite(), cell, matched)
    return matched


def _near(squares: Tensor, ranges: Tensor, boxes: Tensor) -> Tensor:
    """Return bool[L, M]: which places could stand for which boxes."""
    sides = boxes[:, 2:] - boxes[:, :2]  # [M, 2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = ((squares[:, :2] + squares[:, 2:])[:, None] / 2 - middle).abs()  # [L, M, 2]
    pitch = (squares[:, 2] - squares[:, 0])[:, None, None]  # [L, 1, 1]
    reach = torch.minimum(_RADIUS * pitch, sides / 2).maximum(pitch / 2)  # [L, M, 2]
    size = sides.prod(1).sqrt()  # [M]
    right = (size >= ranges[:, :1]) & (size < ranges[:, 1:])  # [L, M]
    return (away <= reach).all(2) & right


def centredness(squares: Tensor, boxes: Tensor) -> Tensor:
    """Return float32[P], 0..1: how near each place is to the middle of its box."""
    at = (squares[:, :2] + squares[:, 2:]) / 2  # [P, 2]
    before, after = (at - boxes[:, :2]).clamp(min=0), (boxes[:, 2:] - at).clamp(min=0)
    ratio = torch.minimum(before, after) / torch.maximum(before, after).clamp(min=1e-6)
    return ratio.prod(1).sqrt()


def build(
    arch: Architecture,
    n_channels: int,
    n_classes: int,
    settings: NetworkSettings,
    mean: Sequence[float],
    std: Sequence[float],
) -> CellFCOS:
    """Return an untrained network; see `network.build_detector`.

    The anchors of the settings only say which sizes belong to which level.
    """
    sizes = settings.anchor_sizes
    edges = [(max(a) * min(b)) ** 0.5 for a, b in pairwise(sizes)]
    return CellFCOS(
        pyramid_of(arch, n_channels, settings),
        n_classes,
        DenseHead(arch.width, n_classes, arch.head_convs),
        FixedScale(1, 1, list(mean), list(std), size_divisible=32),
        arch.strides[: len(sizes)],
        edges,
        settings.detections,
    )
