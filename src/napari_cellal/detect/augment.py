"""Random crops, flips, turns, sizes and light of training pictures and their boxes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from napari_cellal.networks.appearance import rechannelled, relit, restained

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cell_masks import CellMasks
    from .settings import TrainSettings

_VISIBLE = 0.3  # a cell of which a crop shows less is not asked for


@dataclass(frozen=True)
class Sample:
    """A picture with its labels, network px.

    ``pixels`` float32[C, h, w] in 0..1; ``boxes`` and ``rejected`` float32[N, 4]
    (x0, y0, x1, y1); ``labels`` int64[N] from 1; ``unreviewed`` float32[M, 4], what may be
    cells but teaches nothing; ``rgb`` whether it is a colour picture; ``masks`` one a box,
    where a network learns them.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    rejected: Tensor
    complete: bool
    unreviewed: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    rgb: bool = True
    masks: CellMasks | None = None

    def with_boxes(self, move: Callable[[Tensor], Tensor]) -> Sample:
        """Return the sample with all its boxes moved, float32[N, 4] to float32[N, 4]."""
        return replace(
            self,
            boxes=move(self.boxes),
            rejected=move(self.rejected),
            unreviewed=move(self.unreviewed),
            masks=None if self.masks is None else self.masks.placed(move),
        )

    def target(self) -> dict[str, Tensor]:
        """Return what `heads.Target` describes."""
        return {
            "boxes": self.boxes,
            "labels": self.labels,
            "rejected": self.rejected,
            "complete": torch.tensor(self.complete),
            **(self.masks.target() if self.masks is not None else {}),
        }


def augmented(sample: Sample, settings: TrainSettings, rng: np.random.Generator) -> Sample:
    """Return a random view of the sample, at most ``settings.crop_px`` large."""
    zoom = random_zoom(settings.scale_jitter, rng)
    sample = zoomed_crop(sample, zoom, settings.crop_px, rng, even=settings.even_crops)
    if settings.flips and rng.random() < 0.5:
        sample = flipped(sample)
    if settings.turns:
        sample = turned(sample, int(rng.integers(4)))
    pixels = sample.pixels
    if settings.stain_jitter and sample.rgb:
        pixels = restained(pixels, settings.stain_jitter, rng)
    if settings.channel_jitter and not sample.rgb:
        pixels = rechannelled(pixels, settings.channel_jitter, rng)
    if settings.brightness_jitter:
        pixels = relit(pixels, settings.brightness_jitter, rng)
    return replace(sample, pixels=pixels)


def random_zoom(jitter: float, rng: np.random.Generator) -> float:
    """Return a number between 1 / jitter and jitter."""
    return float(np.exp(rng.uniform(-1, 1) * np.log(jitter)))


def zoomed_crop(
    sample: Sample, zoom: float, crop_px: int, rng: np.random.Generator, *, even: bool = False
) -> Sample:
    """Return the sample ``zoom`` times as large, cut to ``crop_px`` where it is larger.

    Parameters
    ----------
    even : bool
        Whether a crop around a cell is as often around one of a rare class.
    """
    side = max(1, int(crop_px / zoom))
    return cropped(sample, (side, side), rng, zoom=zoom, even=even)


def cropped(
    sample: Sample,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    zoom: float = 1.0,
    even: bool = False,
) -> Sample:
    """Return a random window of at most (height, width), then ``zoom`` times as large."""
    height, width = sample.pixels.shape[1:]
    h, w = min(height, size[0]), min(width, size[1])
    y, x = _corner(sample, (height - h, width - w), (h, w), rng, even=even)
    pixels = sample.pixels[:, y : y + h, x : x + w]
    shown = (max(1, round(h * zoom)), max(1, round(w * zoom)))
    if shown != (h, w):
        pixels = interpolate(pixels[None], shown, mode="bilinear", antialias=zoom < 1)[0]
    ratio = torch.tensor([shown[1] / w, shown[0] / h] * 2)
    shift = torch.tensor([x, y, x, y])
    window = torch.tensor([w, h, w, h]).float()

    def moved(boxes: Tensor, least: float) -> tuple[Tensor, Tensor]:
        inside = (boxes - shift).clamp(min=0).minimum(window)  # [N, 4]
        visible = _area(inside) / _area(boxes).clamp(min=1e-6)  # [N]
        inside = inside * ratio
        keep = (visible >= least) & ((inside[:, 2:] - inside[:, :2]) >= 1).all(1)
        return inside[keep], keep

    boxes, keep = moved(sample.boxes, _VISIBLE)
    masks = sample.masks
    if masks is not None:  # a frame may reach out of the picture, so it is not cut
        masks = masks.take(keep).placed(lambda frames: (frames - shift) * ratio)
    return replace(
        sample,
        pixels=pixels,
        boxes=boxes,
        labels=sample.labels[keep],
        rejected=moved(sample.rejected, _VISIBLE)[0],
        unreviewed=moved(sample.unreviewed, 0)[0],
        masks=masks,
    )


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _corner(
    sample: Sample,
    room: tuple[int, int],
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    even: bool,
) -> tuple[int, int]:
    """Return where a crop begins: around a label where only labels teach, else half the time."""
    y, x = (int(rng.integers(r + 1)) for r in room)
    labelled = torch.cat([sample.boxes, sample.rejected])
    if (room[0] or room[1]) and len(labelled) and (not sample.complete or rng.random() < 0.5):
        if even:
            kinds = np.append(sample.labels.numpy(), [0] * len(sample.rejected))
            labelled = labelled[kinds == rng.choice(np.unique(kinds))]
        x0, y0, x1, y1 = labelled[int(rng.integers(len(labelled)))].tolist()
        y = int((y0 + y1) / 2 - size[0] * rng.uniform(0.3, 0.7))
        x = int((x0 + x1) / 2 - size[1] * rng.uniform(0.3, 0.7))
    return min(max(y, 0), room[0]), min(max(x, 0), room[1])


def flipped(sample: Sample) -> Sample:
    """Return the sample mirrored left to right."""
    width = sample.pixels.shape[2]

    def mirror(boxes: Tensor) -> Tensor:
        x0, y0, x1, y1 = boxes.unbind(1)
        return torch.stack([width - x1, y0, width - x0, y1], 1)

    sample = sample.with_boxes(mirror)
    masks = None if sample.masks is None else sample.masks.flipped()
    return replace(sample, pixels=sample.pixels.flip(2), masks=masks)


def turned(sample: Sample, quarters: int) -> Sample:
    """Return the sample turned counter-clockwise by ``quarters`` times 90 degrees."""
    for _ in range(quarters % 4):
        width = sample.pixels.shape[2]

        def turn(boxes: Tensor, width: int = width) -> Tensor:
            x0, y0, x1, y1 = boxes.unbind(1)
            return torch.stack([y0, width - x1, y1, width - x0], 1)

        sample = sample.with_boxes(turn)
        masks = None if sample.masks is None else sample.masks.turned()
        sample = replace(sample, pixels=sample.pixels.rot90(1, (1, 2)), masks=masks)
    return sample
