"""Intensities: from whatever a camera writes to float32 in 0..1, then to mean 0 and width 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Pixels: TypeAlias = NDArray[Any]
"""[C, Y, X], any real type."""
Limits: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
"""What becomes 0, and what becomes 1: one number a channel."""

_SAMPLE = 65_536  # pixels an image that are looked at; percentiles need no more
_LOW, _HIGH = 0.1, 99.9  # percent; hot pixels lie above, cells do not
_LEAST_SPAN = 16  # of 256 grey levels: the noise of an empty image is not stretched further
EACH = "each image"
""":attr:`Normalization.dtype` of a model that scales every image by its own percentiles."""


def _sample(pixels: Pixels) -> NDArray[np.float32]:
    """Return float32[C, <= about 65,536], evenly spread over the image."""
    step = max(1, int(np.sqrt(pixels[0].size / _SAMPLE)))
    values = pixels[:, ::step, ::step].reshape(len(pixels), -1).astype(np.float32)
    return np.nan_to_num(values, posinf=0, neginf=0)


def _limits(sample: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    low, high = np.percentile(sample, [_LOW, _HIGH], axis=1)
    return low, np.where(high > low, high, low + 1)


@dataclass(frozen=True, slots=True)
class Normalization:
    """Per channel: the intensities that become 0 and 1, then mean and width of the result.

    8-bit images keep 0..255. Others are scaled between the 0.1st and 99.9th percentile of
    all training images together, so that a dim image stays dim. An image of another type
    than the training images is scaled by its own percentiles, never cast. So is every image
    where ``dtype`` is `EACH`, as in a model for images of any microscope; such a model sees an
    image of one channel as grey.
    """

    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_each(cls, n_channels: int) -> Normalization:
        """Return the normalization of images of any microscope, each by itself."""
        one = (1.0,) * n_channels
        return cls(EACH, (0.0,) * n_channels, one, (0.5,) * n_channels, (0.25,) * n_channels)

    @property
    def eight_bit(self) -> bool:
        """Whether 256 levels hold what a network learns from."""
        return self.dtype in ("uint8", EACH)

    @property
    def n_channels(self) -> int:
        """How many channels an image must have."""
        return len(self.low)

    def own_limits(self, pixels: Pixels) -> Limits | None:
        """Return what becomes 0 and 1 in an image that is scaled by itself; None in others.

        Give it to `to_unit` with each part of an image that is read in parts.
        """
        if str(pixels.dtype) == self.dtype:
            return None
        low, high = _limits(_sample(self._shown(pixels)))
        if pixels.dtype == np.uint8:
            high = np.maximum(high, low + _LEAST_SPAN)
        return low, high

    def to_unit(self, pixels: Pixels, limits: Limits | None = None) -> NDArray[np.float32]:
        """Return float32[C, Y, X] in 0..1.

        Parameters
        ----------
        limits : see `own_limits`
            Those of the whole image, if ``pixels`` is a part of it.

        Raises
        ------
        ModelError
            If the image has another number of channels, or is no image plane.
        """
        limits = limits or self.own_limits(pixels)
        pixels = self._shown(pixels)
        low, high = limits or (np.asarray(self.low), np.asarray(self.high))
        low = low.astype(np.float32)[:, None, None]
        span = high.astype(np.float32)[:, None, None] - low
        unit = (pixels.astype(np.float32) - low) / span
        clean: NDArray[np.float32] = np.nan_to_num(unit, posinf=1, neginf=0)
        return clean.clip(0, 1)

    def _shown(self, pixels: Pixels) -> Pixels:
        """Return the channels as the model sees them, once they are known to fit."""
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise ModelError(
                f"An image plane has channels, rows and columns; this one is {pixels.shape}."
            )
        if self.dtype == EACH and len(pixels) == 1:
            pixels = np.repeat(pixels, self.n_channels, axis=0)
        if len(pixels) != self.n_channels:
            raise ModelError(
                f"The model was trained on {_channels(self.n_channels)}, this image has "
                f"{_channels(len(pixels))}. Choose another model, or train one on such images."
            )
        return pixels

    def as_dict(self) -> dict[str, Any]:
        """Return what a card keeps."""
        return {key: getattr(self, key) for key in ("dtype", "low", "high", "mean", "std")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalization:
        """Return the normalization written on a card.

        Raises
        ------
        ModelError
            If the card holds none.
        """
        try:
            lists = (tuple(float(v) for v in values[k]) for k in ("low", "high", "mean", "std"))
            return cls(str(values["dtype"]), *lists)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The model's card has no usable normalization: {error!r}.") from error


def _channels(n: int) -> str:
    return f"{n} channel" if n == 1 else f"{n} channels"


class NormalizationFit:
    """Collects samples of images, one after the other, and gives their `Normalization`."""

    def __init__(self) -> None:
        self._samples: list[NDArray[np.float32]] = []
        self._dtypes: list[str] = []

    def add(self, pixels: Pixels) -> None:
        """Take note of one image, [C, Y, X]."""
        self._samples.append(_sample(pixels))
        self._dtypes.append(str(pixels.dtype))

    def result(self) -> Normalization:
        """Return the normalization of the commonest pixel type's images.

        Raises
        ------
        ModelError
            If the images differ in their number of channels.
        """
        counts = {len(s) for s in self._samples}
        if len(counts) != 1:
            raise ModelError(
                f"The training images have {sorted(counts)} channels; one model needs images "
                "that all have the same number."
            )
        dtype = max(sorted(set(self._dtypes)), key=self._dtypes.count)
        pairs = zip(self._samples, self._dtypes, strict=True)
        sample = np.concatenate(_thin([s for s, d in pairs if d == dtype]), axis=1)
        if dtype == "uint8":
            low, high = np.zeros(len(sample)), np.full(len(sample), 255.0)
        else:
            low, high = _limits(sample)
        unit = np.clip((sample - low[:, None]) / (high - low)[:, None], 0, 1)
        std = np.maximum(unit.std(axis=1), 1e-3)  # an empty channel must not divide by 0
        return Normalization(
            dtype,
            tuple(low.tolist()),
            tuple(high.tolist()),
            tuple(unit.mean(axis=1).tolist()),
            tuple(std.tolist()),
        )


def _thin(samples: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return the samples thinned to about 4 million pixels in all."""
    step = max(1, len(samples) // 64)
    return [s[:, ::step] for s in samples]
