"""Size, stain and light of pictures as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def resized(pixels: Tensor, scale: float) -> Tensor:
    """Return float32[C, Y, X] at ``scale``, smoothed before it is made smaller."""
    size = [max(1, round(side * scale)) for side in pixels.shape[1:]]
    if size == list(pixels.shape[1:]):
        return pixels
    return interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]


def restained(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Return the picture as if more or less stain were in it, a little apart by channel.

    By Beer's law twice the stain is twice the optical density, -log of the intensity: a power
    of the intensity.
    """
    change = rng.uniform(-1, 1) + rng.uniform(-1, 1, len(pixels)) / 3  # [C]
    power = torch.from_numpy(np.exp(change * np.log1p(strength)).astype(np.float32))
    return pixels.clamp(0, 1) ** power.view(-1, 1, 1)


def rechannelled(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Return the picture with another gain, background and gamma of each channel.

    In fluorescence each channel has its own dye, lamp and exposure.
    """
    n = len(pixels)

    def each(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1)

    gain, gamma = (each(np.exp(rng.uniform(-1, 1, n) * np.log1p(strength))) for _ in range(2))
    background = each(rng.uniform(-1, 1, n) * strength / 8)
    return (pixels.clamp(0, 1) ** gamma * gain + background).clamp(0, 1)


def relit(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Return the picture with another brightness and contrast, a little apart by channel.

    Stain and lamp differ from day to day; jitter teaches that better than stain
    normalisation does (see the field notes).
    """
    n = len(pixels)
    gain = 1 + rng.uniform(-1, 1) * strength + rng.uniform(-1, 1, n) * strength / 3  # [C]
    shift = (rng.uniform(-1, 1) * strength + rng.uniform(-1, 1, n) * strength / 3) / 2  # [C]
    mean = pixels.mean((1, 2), keepdim=True)  # [C, 1, 1]
    scale = torch.from_numpy(np.asarray(gain, np.float32)).view(-1, 1, 1)
    offset = torch.from_numpy(np.asarray(shift, np.float32)).view(-1, 1, 1)
    return ((pixels - mean) * scale + mean + offset).clamp(0, 1)
