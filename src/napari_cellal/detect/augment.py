"""Random crops, flips, turns, sizes and light of training pictures and their boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from napari_cellal.networks.appearance import relit, restained

if TYPE_CHECKING:
    from .settings import TrainSettings

_VISIBLE = 0.3  # a cell of which a crop shows less is not asked for


@dataclass(frozen=True)
class Sample:
    """A picture with its labels, network px.

    ``pixels`` float32[C, h, w] in 0..1; ``boxes`` and ``rejected`` float32[N, 4]
    (x0, y0, x1, y1); ``labels`` int64[N] from 1.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    rejected: Tensor
    complete: bool

    def target(self) -> dict[str, Tensor]:
        """Return what `heads.Target` describes."""
        return {
            "boxes": self.boxes,
            "labels": self.labels,
            "rejected": self.rejected,
            "complete": torch.tensor(self.complete),
        }


def augmented(sample: Sample, settings: TrainSettings, rng: np.random.Generator) -> Sample:
    """Return a random view of the sample, at most ``settings.crop_px`` large."""
    sample = scaled_crop(sample, settings.scale_jitter, settings.crop_px, rng)
    if settings.flips and rng.random() < 0.5:
        sample = flipped(sample)
    if settings.turns:
        sample = turned(sample, int(rng.integers(4)))
    if settings.stain_jitter:
        sample = replace(sample, pixels=restained(sample.pixels, settings.stain_jitter, rng))
    if settings.brightness_jitter:
        sample = replace(sample, pixels=relit(sample.pixels, settings.brightness_jitter, rng))
    return sample


def scaled_crop(sample: Sample, jitter: float, crop_px: int, rng: np.random.Generator) -> Sample:
    """Return the sample at a random size, cut to ``crop_px`` where it is larger."""
    return zoomed_crop(sample, float(np.exp(rng.uniform(-1, 1) * np.log(jitter))), crop_px, rng)


def zoomed_crop(sample: Sample, zoom: float, crop_px: int, rng: np.random.Generator) -> Sample:
    """Return the sample ``zoom`` times as large, cut to ``crop_px`` where it is larger."""
    height, width = sample.pixels.shape[1:]
    h, w = (min(side, max(1, int(crop_px / zoom))) for side in (height, width))
    y, x = _corner(sample, (height - h, width - w), (h, w), rng)
    pixels = sample.pixels[:, y : y + h, x : x + w]
    size = (max(1, round(h * zoom)), max(1, round(w * zoom)))
    if size != (h, w):
        pixels = interpolate(pixels[None], size, mode="bilinear", antialias=zoom < 1)[0]
    ratio = torch.tensor([size[1] / w, size[0] / h] * 2)
    shift = torch.tensor([x, y, x, y])
    window = torch.tensor([w, h, w, h]).float()

    def moved(boxes: Tensor) -> tuple[Tensor, Tensor]:
        inside = (boxes - shift).clamp(min=0).minimum(window)  # [N, 4]
        visible = _area(inside) / _area(boxes).clamp(min=1e-6)  # [N]
        inside = inside * ratio
        keep = (visible >= _VISIBLE) & ((inside[:, 2:] - inside[:, :2]) >= 1).all(1)
        return inside[keep], keep

    boxes, keep = moved(sample.boxes)
    return Sample(pixels, boxes, sample.labels[keep], moved(sample.rejected)[0], sample.complete)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _corner(
    sample: Sample, room: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Return where a crop begins: around a label where only labels teach, else half the time."""
    y, x = (int(rng.integers(r + 1)) for r in room)
    labelled = torch.cat([sample.boxes, sample.rejected])
    if (room[0] or room[1]) and len(labelled) and (not sample.complete or rng.random() < 0.5):
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

    return replace(
        sample,
        pixels=sample.pixels.flip(2),
        boxes=mirror(sample.boxes),
        rejected=mirror(sample.rejected),
    )


def turned(sample: Sample, quarters: int) -> Sample:
    """Return the sample turned counter-clockwise by ``quarters`` times 90 degrees."""
    for _ in range(quarters % 4):
        width = sample.pixels.shape[2]

        def turn(boxes: Tensor, width: int = width) -> Tensor:
            x0, y0, x1, y1 = boxes.unbind(1)
            return torch.stack([y0, width - x1, y1, width - x0], 1)

        sample = replace(
            sample,
            pixels=sample.pixels.rot90(1, (1, 2)),
            boxes=turn(sample.boxes),
            rejected=turn(sample.rejected),
        )
    return sample
