"""What a network sees in a cell, as figures that the learner can use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_cellal.core.geometry import as_boxes
from napari_cellal.features.crops import crop

from .folding import quicken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellal.core.masks import Mask
    from napari_cellal.features.view import Levels

_VERSION = "1"
_SIDE_PX = 128
_MARGIN = 0.1  # around the box, a share of its longer side
_FINEST, _COARSEST = 4, 16  # px per map px: finer maps hold edges, coarser ones whole things
_SMALL = 128  # channels; of maps with more only the mean is taken
_LEAST_SPAN = 16  # of 256 grey levels: the noise of an empty image is not stretched further
_COUNT = 24  # crops in one pass: 0.2 s


@dataclass(frozen=True)
class Eye:
    """A network's body and how it wants its pictures.

    Attributes
    ----------
    words : str
        The network's name, for people and columns.
    body : modules, in the order in which they follow each other
        An `Embedder` makes them ready for answers alone.
    channels : tuple of str or None
        Those that it was trained on; None for one of colour pictures.
    mean, std : one number a channel, of intensities in 0..1
    """

    words: str
    body: Sequence[nn.Module]
    channels: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Embedder:
    """Describes cells by what a network's maps hold of them; a `features.describer.Describer`.

    The box and its margin, a square, are scaled to 128 px. Of the last map of every
    resolution (strides 4 to 16) the mean is taken, of those with few channels also the
    spread, and the mean of the middle half, where the cell is.

    Colour pictures, and images of the channels that the network was trained on, are seen
    as they are. Of other images every channel is looked at by itself, as a grey picture:
    which channel shows what is the biology, and a sum of channels would lose it.
    """

    name = "deep"
    sees_masks = False  # what lies around a cell tells of it too

    def __init__(self, eye: Eye, device: torch.device | None = None) -> None:
        self.words = eye.words
        self._eye = eye
        self._device = device or torch.device("cpu")
        n = len(eye.mean)
        network = nn.Sequential(*eye.body).to(self._device).eval()
        quicken(network, self._device)
        body = list(network.children())
        self._taken = _last_of_each_scale(body, n, self._device)
        self._body = body[: len(self._taken)]
        self._mean = torch.tensor(eye.mean, dtype=torch.float32, device=self._device).view(n, 1, 1)
        self._std = torch.tensor(eye.std, dtype=torch.float32, device=self._device).view(n, 1, 1)
        with torch.inference_mode():
            blank = torch.zeros(1, n, _SIDE_PX, _SIDE_PX, device=self._device)
            self._width = self._figures(blank).shape[1]
        self.key = f"{_VERSION} {_SIDE_PX} {_checksum(self._body)} {eye.mean} {eye.std}"
        self.chunk = 256 if self._device.type == "cuda" else _COUNT

    def names(self, channels: Sequence[str], *, rgb: bool) -> tuple[str, ...]:
        """Return the columns' names: network, channel, number."""
        each = ("",) if self._together(channels, rgb) else tuple(f"{c}_" for c in channels)
        return tuple(f"Deep_{self.words}_{c}{k}" for c in each for k in range(self._width))

    def rows(
        self,
        pixels: NDArray[Any],
        boxes: NDArray[Any],
        *,
        rgb: bool,
        channels: Sequence[str],
        levels: Levels,
        masks: Sequence[Mask | None] = (),
    ) -> NDArray[np.float32]:
        """Return float32[N, F] of boxes [N, 4] (y0, x0, y1, x1) in pixels [C, Y, X].

        Intensities are scaled between the 0.1st and 99.9th percentile of the whole image.
        """
        low = levels.darkest.astype(np.float32)[:, None, None]
        span = (levels.brightest - levels.darkest).astype(np.float32)[:, None, None]
        span = np.maximum(span, _LEAST_SPAN) if pixels.dtype == np.uint8 else span
        span = np.where(span > 0, span, 1)
        boxes = _in_image(boxes, pixels.shape[1:])
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(boxes), self.chunk):
            part = boxes[start : start + self.chunk].tolist()
            crops = [crop(pixels, box, context=_MARGIN, size_px=_SIDE_PX) for box in part]
            unit = ((np.stack(crops) - low) / span).clip(0, 1).astype(np.float32)
            n, c = unit.shape[:2]
            if not self._together(channels, rgb):
                unit = np.repeat(unit.reshape(n * c, 1, _SIDE_PX, _SIDE_PX), len(self._mean), 1)
            with torch.inference_mode():
                seen = (torch.from_numpy(unit).to(self._device) - self._mean) / self._std
                found.append(self._figures(seen).float().cpu().numpy().reshape(n, -1))
        width = len(self.names(channels, rgb=rgb))
        table = np.concatenate(found) if found else np.zeros((0, width), np.float32)
        return np.nan_to_num(table, posinf=0, neginf=0)

    def _together(self, channels: Sequence[str], rgb: bool) -> bool:
        """Return whether the network looks at all channels at once."""
        return rgb if self._eye.channels is None else tuple(channels) == self._eye.channels

    def _figures(self, seen: Tensor) -> Tensor:
        """Return float[N, D] of pictures [N, C, h, w]."""
        figures = []
        for module, is_taken in zip(self._body, self._taken, strict=True):
            seen = module(seen)
            if is_taken:
                figures.append(seen.mean((2, 3)))
                if seen.shape[1] <= _SMALL:
                    side = seen.shape[-1]
                    half = slice(side // 4, side - side // 4)
                    middle = seen[:, :, half, half].mean((2, 3))
                    figures += [seen.std((2, 3), correction=0), middle]
        return torch.cat(figures, 1)


def _in_image(boxes: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the boxes cut to an image of ``size`` (height, width), at least a pixel each."""
    clean = np.nan_to_num(as_boxes(boxes), nan=0.0, posinf=1e6, neginf=-1e6)
    ends = np.array(size, float)
    low = np.clip(np.minimum(clean[:, :2], clean[:, 2:]), 0, ends - 1)
    high = np.clip(np.maximum(clean[:, :2], clean[:, 2:]), low + 1, ends)
    return np.hstack([low, high])


def _last_of_each_scale(
    body: Sequence[nn.Module], n_channels: int, device: torch.device
) -> list[bool]:
    """Return of each module whether its map is the last of its resolution.

    It ends with the coarsest map that is taken; what comes after need not be computed.
    """
    seen = torch.zeros(1, n_channels, _SIDE_PX, _SIDE_PX, device=device)
    strides = []
    with torch.inference_mode():
        for module in body:
            seen = module(seen)
            strides.append(_SIDE_PX // seen.shape[-1])
    after = [*strides[1:], 0]
    taken = [a != b and _FINEST <= a <= _COARSEST for a, b in zip(strides, after, strict=True)]
    return taken[: len(taken) - taken[::-1].index(True)]


def _checksum(body: Sequence[nn.Module]) -> str:
    """Return what tells these weights from all others."""
    digest = hashlib.sha256()
    for module in body:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
