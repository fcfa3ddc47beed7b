"""The mask branch of Mask R-CNN (He et al., arXiv:1703.06870), with partial labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .cell_masks import masks_in
from .heads import CellHeads, Target

_AT_ONCE = 128  # cells whose maps are in memory together


class MaskHeads(CellHeads):
    """The box head, and a mask of each cell that it finds.

    One mask a cell, not one a class as in COCO: the paper finds hardly a difference (29.7
    against 30.3 AP), and a class that is new has its masks at once.
    """

    def has_mask(self) -> bool:
        """Return False, so that torchvision leaves masks to this class."""
        return False

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return sampled proposals, their matches, labels and box targets; keep them too."""
        self._samples = super().select_training_samples(proposals, targets)
        return self._samples

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        """Return detections and losses; ``cell_masks`` are float32[M, s, s], 0..1 over a box."""
        found, losses = super().forward(features, proposals, image_shapes, targets)
        if targets is not None and self.training:
            losses["loss_mask"] = self._mask_loss(features, image_shapes, targets)
            return found, losses
        for k, (cells, shape) in enumerate(zip(found, image_shapes, strict=True)):
            own = {name: maps[k : k + 1] for name, maps in features.items()}
            parts = [
                self._logits(own, [boxes], [shape]).float().sigmoid()
                for boxes in torch.split(cells["boxes"], _AT_ONCE)
            ]
            cells["cell_masks"] = torch.cat(parts)
        return found, losses

    def _logits(
        self, features: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Return float[P, s, s] for the boxes of all images together."""
        pooled = self.mask_roi_pool(features, boxes, shapes)  # [P, width, 14, 14]
        logits: Tensor = self.mask_predictor(self.mask_head(pooled))[:, 0]  # [P, 28, 28]
        return logits

    def _mask_loss(
        self, features: dict[str, Tensor], shapes: list[tuple[int, int]], targets: list[Target]
    ) -> Tensor:
        """Return the mean over the cells whose mask is known; 0 where none is."""
        proposals, matches, labels, _ = self._samples
        boxes, wanted = [], []
        side = 2 * self.mask_roi_pool.output_size[0]
        for proposal, match, label, target in zip(proposals, matches, labels, targets, strict=True):
            cells = torch.where(label > 0)[0]
            if len(cells):
                cells = cells[target["mask_known"][match[cells]]]
            boxes.append(proposal[cells])
            wanted.append(
                masks_in(
                    proposal[cells],
                    target["mask_frames"],
                    target["mask_bits"],
                    match[cells],
                    side,
                )
            )
        if not any(map(len, boxes)):
            return next(iter(features.values())).sum() * 0
        logits = self._logits(features, boxes, shapes)
        return binary_cross_entropy_with_logits(logits.float(), torch.cat(wanted))

    _samples: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
