"""Random crops, flips, turns, shear, light and stain of training pictures, and mixup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from napari_cellal.networks.appearance import relit, restained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .settings import ClassifySettings


def placed(rng: np.random.Generator, settings: ClassifySettings) -> NDArray[np.float32]:
    """Return float32[2, 3], where a random view of a picture looks; see torch's affine_grid."""
    angle = rng.uniform(-np.pi, np.pi) if settings.turns else 0.0
    zoom = np.exp(rng.uniform(-1, 1) * np.log(settings.zoom_jitter))
    shear = rng.uniform(-1, 1) * settings.shear
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    look = turn @ np.array([[1, shear], [0, 1]]) / zoom
    if settings.flips:
        look[:, 0] *= 1 - 2 * rng.integers(2)
        look[:, 1] *= 1 - 2 * rng.integers(2)
    shift = 2 * rng.uniform(-1, 1, (2, 1)) * settings.shift
    return np.concatenate([look, shift], axis=1).astype(np.float32)


def augmented(pixels: Tensor, settings: ClassifySettings, rng: np.random.Generator) -> Tensor:
    """Return a random view of a picture, float32[C, h, w] in 0..1, of the same size.

    What lies outside is the picture's mirror image.
    """
    grid = affine_grid(torch.from_numpy(placed(rng, settings))[None], [1, *pixels.shape], False)
    pixels = grid_sample(pixels[None], grid, padding_mode="reflection", align_corners=False)[0]
    if settings.stain_jitter:
        pixels = restained(pixels, settings.stain_jitter, rng)
    if settings.brightness_jitter:
        pixels = relit(pixels, settings.brightness_jitter, rng)
    return pixels


def mixed(
    pictures: Tensor, targets: Tensor, strength: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return pictures and targets blended with each other's (Zhang et al., arXiv:1710.09412).

    float32[B, C, h, w] and float32[B, K]. Each keeps the larger share of itself.
    """
    share = rng.beta(strength, strength, len(pictures))
    own = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32))
    other = torch.from_numpy(rng.permutation(len(pictures)))
    a = own.view(-1, 1, 1, 1)
    b = own.view(-1, 1)
    return a * pictures + (1 - a) * pictures[other], b * targets + (1 - b) * targets[other]
