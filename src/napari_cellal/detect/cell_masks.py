"""The masks of a training picture's cells, each small and in a frame of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import roi_align

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.core.masks import Mask

SIDE = 56
"""Pixels of a frame; twice what the network says of a cell."""


@dataclass(frozen=True)
class CellMasks:
    """One mask a cell, all of one size: a picture of many cells is no stack of pictures.

    Attributes
    ----------
    frames : float32[N, 4]
        (x0, y0, x1, y1), network px: where the bits lie, beyond the picture too. They reach a
        little over the cell on all sides.
    bits : float16[N, SIDE, SIDE]
        The share of each pixel of the frame that belongs to the cell, 0..1.
    known : bool[N]
        False for cells whose mask nobody has told: it is left out of the loss.
    """

    frames: Tensor
    bits: Tensor
    known: Tensor

    def take(self, keep: Tensor) -> CellMasks:
        """Return the cells chosen by an index or by bool[N]."""
        return CellMasks(self.frames[keep], self.bits[keep], self.known[keep])

    def placed(self, move: Callable[[Tensor], Tensor]) -> CellMasks:
        """Return the masks with frames moved as the boxes are."""
        return replace(self, frames=move(self.frames))

    def flipped(self) -> CellMasks:
        """Return the masks mirrored left to right, each in its frame."""
        return replace(self, bits=self.bits.flip(2))

    def turned(self) -> CellMasks:
        """Return the masks turned counter-clockwise by 90 degrees, each in its frame."""
        return replace(self, bits=self.bits.rot90(1, (1, 2)))

    def target(self) -> dict[str, Tensor]:
        """Return what `mask_heads.MaskHeads` learns from."""
        return {"mask_frames": self.frames, "mask_bits": self.bits, "mask_known": self.known}


def joined(parts: Sequence[CellMasks]) -> CellMasks:
    """Return the masks of several pictures' cells, one after the other."""
    return CellMasks(
        torch.cat([p.frames for p in parts]),
        torch.cat([p.bits for p in parts]),
        torch.cat([p.known for p in parts]),
    )


def cell_masks(
    boxes: Tensor, masks: Sequence[Mask | None], ratio: tuple[float, float], *, boxes_count: bool
) -> CellMasks:
    """Return the masks of a picture's cells.

    Parameters
    ----------
    boxes : float32[N, 4]
        (x0, y0, x1, y1), network px.
    masks : sequence of Mask or None
        One a box, image px.
    ratio : (float, float)
        Network px per image px, across and down.
    boxes_count : bool
        Whether the box is the mask of a cell that has none.
    """
    frames = boxes.clone()
    bits = torch.zeros((len(boxes), SIDE, SIDE), dtype=torch.float16)
    known = torch.zeros(len(boxes), dtype=torch.bool)
    scale = torch.tensor([*ratio, *ratio])
    for k, mask in enumerate(masks):
        if mask is not None:
            inside = torch.from_numpy(np.pad(mask.bits(), 1)).float()  # the frame has a rim
            y0, x0, y1, x1 = mask.window
            frames[k] = torch.tensor([x0 - 1, y0 - 1, x1 + 1, y1 + 1]) * scale
            shown = interpolate(inside[None, None], (SIDE, SIDE), mode="bilinear", antialias=True)
            bits[k] = shown[0, 0].half()
        elif boxes_count:
            rim = (boxes[k, 2:] - boxes[k, :2]) / (SIDE - 2)
            frames[k] = torch.cat([boxes[k, :2] - rim, boxes[k, 2:] + rim])
            bits[k, 1:-1, 1:-1] = 1
        known[k] = mask is not None or boxes_count
    return CellMasks(frames, bits, known)


def masks_in(boxes: Tensor, frames: Tensor, bits: Tensor, cells: Tensor, side: int) -> Tensor:
    """Return float32[P, side, side]: what of a cell lies in each part of a box, 0..1.

    Parameters
    ----------
    boxes : float32[P, 4]
        (x0, y0, x1, y1), network px.
    cells : int64[P]
        Which cell's mask each box is filled with.
    """
    frame = frames[cells]
    size = (frame[:, 2:] - frame[:, :2]).clamp(min=1e-3)
    local = (boxes - frame[:, :2].repeat(1, 2)) / size.repeat(1, 2) * bits.shape[-1]
    rois = torch.cat([cells[:, None].to(local), local], dim=1)
    filled: Tensor = roi_align(bits[:, None].float(), rois.float(), side, aligned=True)
    return filled[:, 0]
