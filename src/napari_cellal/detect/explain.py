"""On what a detector's class of a box rests: where in the picture, and in which channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_cellal.networks.appearance import resized
from napari_cellal.networks.explanation import (
    Explanation,
    differentiable,
    heat_of,
    without_each,
)

from .architectures import architecture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box

    from .family import CellNetwork
    from .predict import TorchDetector

_AROUND = 1.5  # sides of the box that are shown on each side of its middle
_LEAST_PX = 48  # network px shown on each side of the middle: a cell wants its surroundings
_STRIDE = 16  # of the map that is asked


@dataclass(frozen=True, slots=True)
class Shown:
    """What a detector was shown around a box.

    Attributes
    ----------
    picture : float32[C, h, w], 0..1
        At the scale at which the network sees the image.
    window : (y0, x0, y1, x1)
        Which part of the plane it is, px, half-open.
    box : float32[4]
        (x0, y0, x1, y1) of the box in the picture, its px.
    """

    picture: Tensor
    window: tuple[int, int, int, int]
    box: Tensor


def explain(
    detector: TorchDetector, pixels: NDArray[Any], box: Box, class_index: int | None = None
) -> tuple[Explanation, Shown]:
    """Return what speaks for a class of a box, and what the network was shown.

    Parameters
    ----------
    pixels : [C, Y, X]
        The plane, or so much of it as one tile shows.
    box : (y0, x0, y1, x1)
        In ``pixels``, px.
    class_index : int or None
        In the order of the record's classes; None is the most probable one.
    """
    shown = show(detector, pixels, box)
    ask = _Classes(detector.network, shown.box.to(detector.device))
    mean = torch.tensor(detector.mean)
    with torch.inference_mode():
        variants = without_each(shown.picture, mean).to(detector.device)
        found = np.stack([ask.probabilities(one).cpu().numpy() for one in variants])
    k = int(found[0].argmax()) if class_index is None else class_index
    heat = gradient_activation(detector, ask, shown, k)
    channels = np.asarray(found[0, k] - found[1:, k], np.float32)
    return Explanation(k, found[0], heat, channels, "gradient-activation"), shown


def show(detector: TorchDetector, pixels: NDArray[Any], box: Box) -> Shown:
    """Return what the network sees of the cell in a box and of what is around it."""
    unit, scale = detector.prepared(pixels)
    y0, x0, y1, x1 = box
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    reach = max(_AROUND * max(y1 - y0, x1 - x0), _LEAST_PX / scale)
    height, width = unit.shape[1:]
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(height, int(y + reach) + 1), min(width, int(x + reach) + 1)
    part = torch.from_numpy(np.ascontiguousarray(unit[:, top:bottom, left:right]))
    picture = resized(part, scale)
    # rounding the size makes the true scale differ a little from the one asked for
    down, across = picture.shape[1] / (bottom - top), picture.shape[2] / (right - left)
    there = [(x0 - left) * across, (y0 - top) * down, (x1 - left) * across, (y1 - top) * down]
    return Shown(picture, (top, left, bottom, right), torch.tensor(there, dtype=torch.float32))


class _Classes(nn.Module):
    """A detector asked about one box: pictures, [1, C, h, w], to scores, [1, K]."""

    def __init__(self, network: CellNetwork, box: Tensor) -> None:
        super().__init__()
        self.network = network
        self._box = box

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network.classes_in(pictures[0], self._box)[0][None]

    def probabilities(self, picture: Tensor) -> Tensor:
        return self.network.classes_in(picture, self._box)[1].float()


def gradient_activation(
    detector: TorchDetector, ask: nn.Module, shown: Shown, class_index: int
) -> NDArray[np.float32]:
    """Return float32[h, w], 0..1: where the body's map of stride 16 speaks for a class of a box.

    Activations, each times its own gradient (Draelos and Carin, arXiv:2011.08891), by captum.
    Grad-CAM itself takes the mean of the gradients over the picture, as if it did not matter
    where a feature is; to a detector it does, for it asks about one box among others. Of 42 cells
    of BCCD the hottest place then lay in the box in 4, and so in 42.
    """
    from captum.attr import LayerGradientXActivation

    arch = architecture(detector.record.architecture)
    layer = detector.network.backbone.body[list(arch.layers)[arch.strides.index(_STRIDE)]]
    with differentiable(detector.network):
        picture = shown.picture[None].to(detector.device).requires_grad_()
        found: Tensor = LayerGradientXActivation(ask, layer).attribute(picture, target=class_index)
    height, width = shown.picture.shape[1:]
    return heat_of(found[0].sum(0).detach().float().cpu(), (height, width))
