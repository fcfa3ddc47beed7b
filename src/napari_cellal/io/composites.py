"""N channels as red, green and blue: for looking, exporting, and three-channel networks.

A composite is one linear map for all images of a project, so that the same brightness
always has the same colour: channels are scaled to 0..1 between fixed intensities,
multiplied by a 3 x C matrix, shifted, and cut to 0..1.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

COLORS, PCA = "colors", "pca"
KINDS = (COLORS, PCA)

NAMED = {
    "red": "#FF0000",
    "green": "#00FF00",
    "blue": "#0000FF",
    "cyan": "#00FFFF",
    "magenta": "#FF00FF",
    "yellow": "#FFFF00",
    "orange": "#FF8000",
    "white": "#FFFFFF",
    "gray": "#808080",
    "none": "#000000",
}
"""Colours by name; ``none`` leaves a channel out."""

PRESETS: dict[str, tuple[str, ...]] = {
    # microtubules, protein, nucleus, and the reticulum shared between red and green
    "hpa": ("#FF0000", "#00FF00", "#0000FF", "#808000"),
    # DNA, ER, RNA, AGP, Mito
    "cellpainting5": ("#0000FF", "#00FF00", "#FFFF00", "#FF0000", "#FF00FF"),
    # nuclei, ER, actin, nucleoli, mitochondria, Golgi, as in rxrx.ai's own composites
    "cellpainting6": ("#0000FF", "#00FF00", "#FF0000", "#00FFFF", "#FF00FF", "#FFFF00"),
}
"""One colour a channel, in the channels' order."""

_CYCLE = ("#0000FF", "#00FF00", "#FF0000", "#FFFF00", "#FF00FF", "#00FFFF", "#FFFFFF")
_SAMPLE_PX = 65_536  # of one image
_MOST_PX = 4_000_000  # of all together
_LOW, _HIGH = 0.1, 99.9  # percent; hot pixels lie above, cells do not


@dataclass(frozen=True, slots=True)
class Composite:
    """A map from a project's channels to colour.

    Attributes
    ----------
    kind : str
        ``colors`` or ``pca``.
    channels : tuple of str
        Whose map it is, in their order.
    dtype : str
        Of the images it was fitted to. One of another type is scaled by its own percentiles.
    low, high : tuple of float, one a channel
        The intensities that become 0 and 1.
    weights : 3 tuples of float, one a channel
        How much of a channel goes into red, green and blue.
    offset : 3 floats
    explained : tuple of float
        For ``pca``: the share of the variance that each component holds, all components.
    """

    kind: str
    channels: tuple[str, ...]
    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    explained: tuple[float, ...] = ()

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return uint8[3, Y, X] of [C, Y, X].

        Raises
        ------
        ModelError
            If the image has another number of channels.
        """
        if pixels.ndim != 3 or len(pixels) != len(self.channels):
            raise ModelError(
                f"The composite was made for {len(self.channels)} channels "
                f"({', '.join(self.channels)}), this image has {len(pixels)}."
            )
        low, high = np.asarray(self.low), np.asarray(self.high)
        if str(pixels.dtype) != self.dtype:
            low, high = _limits(_sample(pixels))
        out = np.empty((3, *pixels.shape[1:]), np.uint8)
        # In strips: a float copy of all channels of a large image would not fit the memory.
        rows = max(1, 4_000_000 // max(1, pixels.shape[2]))
        weights = np.asarray(self.weights, np.float32)
        offset = np.asarray(self.offset, np.float32)[:, None, None]
        for y in range(0, pixels.shape[1], rows):
            unit = _to_unit(pixels[:, y : y + rows], low, high)
            color = np.tensordot(weights, unit, axes=1) + offset
            out[:, y : y + rows] = np.rint(color.clip(0, 1) * 255)
        return out

    def as_dict(self) -> dict[str, Any]:
        """Return what a project or a model's card keeps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Composite:
        """Return the composite that was kept.

        Raises
        ------
        ModelError
            If the values make no sense.
        """
        try:
            made = cls(
                str(values["kind"]),
                tuple(map(str, values["channels"])),
                str(values["dtype"]),
                tuple(map(float, values["low"])),
                tuple(map(float, values["high"])),
                tuple(tuple(map(float, row)) for row in values["weights"]),
                tuple(map(float, values["offset"])),
                tuple(map(float, values["explained"])),
            )
            n = len(made.channels)
            sizes = {len(made.low), len(made.high), *map(len, made.weights)}
            if sizes != {n} or len(made.weights) != 3 or len(made.offset) != 3:
                raise ValueError("the numbers do not fit the channels")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"A composite was kept that makes no sense: {error!r}.") from error
        return made


def choose_colors(
    channels: Sequence[str], preset: str = "", given: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return a colour (#RRGGBB) for each channel.

    Parameters
    ----------
    preset : str
        A name of `PRESETS`; empty takes the one of as many channels, or a cycle of colours.
    given : {channel: colour}
        Chosen freely; they go before the preset.

    Raises
    ------
    CellalError
        If the preset, a channel or a colour is not known.
    """
    if preset and preset not in PRESETS:
        raise CellalError(f"There is no preset '{preset}'; use {', '.join(PRESETS)}.")
    chosen = PRESETS.get(preset, ())
    if preset and len(chosen) != len(channels):
        raise CellalError(
            f"The preset {preset} is for {len(chosen)} channels; these images have "
            f"{len(channels)} ({', '.join(channels)})."
        )
    if not preset:
        chosen = next(
            (colors for colors in PRESETS.values() if len(colors) == len(channels)),
            tuple(_CYCLE[k % len(_CYCLE)] for k in range(len(channels))),
        )
    colors = dict(zip(channels, chosen, strict=True))
    for channel, color in (given or {}).items():
        if channel not in colors:
            raise CellalError(
                f"There is no channel '{channel}'; the images have {', '.join(channels)}."
            )
        wanted = NAMED.get(color.lower(), color)
        if not re.fullmatch("#[0-9A-Fa-f]{6}", wanted):
            raise CellalError(f"'{color}' is no colour; use #RRGGBB or one of {', '.join(NAMED)}.")
        colors[channel] = wanted.upper()
    return tuple(colors.values())


class CompositeFit:
    """Collects samples of images, one after the other, and gives their `Composite`."""

    def __init__(self, channels: Sequence[str]) -> None:
        self._channels = tuple(channels)
        self._samples: list[NDArray[np.float32]] = []
        self._dtypes: list[str] = []

    def add(self, pixels: NDArray[Any]) -> None:
        """Take note of one image, [C, Y, X].

        Raises
        ------
        ModelError
            If it has another number of channels.
        """
        if len(pixels) != len(self._channels):
            raise ModelError(
                f"The composite is for {len(self._channels)} channels, this image has "
                f"{len(pixels)}."
            )
        self._samples.append(_sample(pixels))
        self._dtypes.append(str(pixels.dtype))

    def colors(self, colors: Sequence[str]) -> Composite:
        """Return the sum of the channels, each in its colour (#RRGGBB)."""
        dtype, _, low, high = self._scaled()
        rgb = [[int(c[k : k + 2], 16) / 255 for c in colors] for k in (1, 3, 5)]
        return Composite(COLORS, self._channels, dtype, low, high, tuple(map(tuple, rgb)))

    def pca(self) -> Composite:
        """Return the three principal components as red, green and blue.

        Each is stretched so that 0.1 % and 99.9 % of the pixels become black and full, and
        turned so that its largest weight is positive: the same pixels give the same map.
        """
        if len(self._channels) < 2:
            raise CellalError("Principal components need two channels or more.")
        dtype, unit, low, high = self._scaled()
        mean = unit.mean(axis=1, keepdims=True)
        shifted = unit - mean
        variance, vectors = np.linalg.eigh(shifted @ shifted.T / unit.shape[1])
        order = np.argsort(-variance, kind="stable")
        variance, parts = variance[order].clip(0), vectors[:, order].T[:3]
        largest = np.abs(parts).argmax(axis=1)
        parts = parts * np.sign(parts[np.arange(len(parts)), largest])[:, None]
        weights, offset = np.zeros((3, len(unit))), np.zeros(3)
        for k, part in enumerate(parts):
            dark, bright = np.percentile(part @ unit, [_LOW, _HIGH])
            span = bright - dark if bright > dark else 1.0
            weights[k], offset[k] = part / span, -dark / span
        total = variance.sum()
        return Composite(
            PCA,
            self._channels,
            dtype,
            low,
            high,
            tuple(tuple(row) for row in weights.tolist()),
            tuple(offset.tolist()),
            tuple((variance / total if total > 0 else variance).tolist()),
        )

    def _scaled(
        self,
    ) -> tuple[str, NDArray[np.float64], tuple[float, ...], tuple[float, ...]]:
        """Return the commonest type, its samples in 0..1 [C, N], and the limits."""
        if not self._samples:
            raise CellalError("There is no image to fit the colours to.")
        dtype = max(sorted(set(self._dtypes)), key=self._dtypes.count)
        mine = [s for s, d in zip(self._samples, self._dtypes, strict=True) if d == dtype]
        step = max(1, sum(s.shape[1] for s in mine) // _MOST_PX)
        sample = np.concatenate([s[:, ::step] for s in mine], axis=1)
        low, high = _limits(sample)
        unit = _to_unit(sample, low, high).astype(np.float64)
        return dtype, unit, tuple(low.tolist()), tuple(high.tolist())


def _sample(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32[C, <= about 65,536], evenly spread over the image."""
    step = max(1, int(np.sqrt(pixels[0].size / _SAMPLE_PX)))
    values = pixels[:, ::step, ::step].reshape(len(pixels), -1).astype(np.float32)
    return np.nan_to_num(values, posinf=0, neginf=0)


def _limits(sample: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    low, high = np.percentile(sample, [_LOW, _HIGH], axis=1)
    return low, np.where(high > low, high, low + 1)


def _to_unit(pixels: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 in 0..1; not-a-number is black."""
    at = (slice(None), *[None] * (pixels.ndim - 1))
    unit = (pixels.astype(np.float32) - low.astype(np.float32)[at]) / (
        (high - low).astype(np.float32)[at]
    )
    clean: NDArray[np.float32] = np.nan_to_num(unit, posinf=1, neginf=0)
    return clean.clip(0, 1)
