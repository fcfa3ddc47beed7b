"""Measurements as CellProfiler makes and names them, through the package cp_measure."""

from __future__ import annotations

import importlib.metadata
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.geometry import as_boxes

from .measure import cell_view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Mask

    from .view import CellView, Levels

    Figures = dict[str, NDArray[np.floating]]

_VERSION = "1"
_SIDE_PX = 400
"""Larger cells are shrunk to this before they are measured; it bounds time and memory."""
_GRANULARITY = "granularity"
_SAMPLE = 0.5  # of the picture; the spectrum's sixteen sizes are then 2 to 32 px
_LEAST_PX = 48  # see `_granularity`
_SHAPE = ("sizeshape", "feret", "zernike")
_OF_CHANNEL = (
    "intensity", "texture", "radial_distribution", "radial_zernikes", _GRANULARITY,
)  # fmt: skip
_WHERE = ("Center_", "BoundingBoxMinimum_", "BoundingBoxMaximum_", "Location_", "SpatialMoment_")
"""Where a cell lies says nothing of what it is."""
_LENGTHS = ("Radius", "Diameter", "AxisLength", "Perimeter", "PerimeterCrofton")
_LARGEST = 1e6


class CellProfiler:
    """A describer: shape; per channel intensity, texture, radial distribution, granularity.

    All are measured on the cell's mask.

    Stirling et al., BMC Bioinformatics 22, 2021 (CellProfiler 4); cp_measure:
    arXiv:2507.01163. Differences: intensities of 8-bit images are 0..1 as in CellProfiler,
    others lie between the image's 0.1st and 99.9th percentile, as its module RescaleIntensity
    would make them; granularity is that of the cell's own picture, not of the whole image, at
    half its size;
    figures that tell where a cell lies are left out, and what cannot be computed is 0.

    Raises
    ------
    CellalError
        If cp_measure is not installed.
    """

    name = "cellprofiler"
    chunk = 5
    sees_masks = True

    def __init__(self) -> None:
        try:
            version = importlib.metadata.version("cp_measure")
        except importlib.metadata.PackageNotFoundError as error:
            raise CellalError(
                "Measurements as CellProfiler makes them need the package cp_measure: install "
                "napari-cellal[cellprofiler], or choose other features."
            ) from error
        self.key = f"{_VERSION} {version}"

    def names(self, channels: Sequence[str], *, rgb: bool) -> tuple[str, ...]:
        """Return CellProfiler's names, shape first, then channel by channel."""
        shape, of_channel = _figure_names()
        return (
            *(_name(kind, figure, "") for kind, figure in shape),
            *(_name(kind, figure, c) for c in channels for kind, figure in of_channel),
        )

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
        """Return float32[N, F] of boxes [N, 4] (y0, x0, y1, x1) in pixels [C, Y, X]."""
        boxes = np.nan_to_num(as_boxes(boxes), nan=0.0, posinf=1e6, neginf=-1e6)
        names = self.names(channels, rgb=rgb)
        if not len(boxes):
            return np.zeros((0, len(names)), np.float32)
        if pixels.dtype == np.uint8:
            low, span = np.zeros(len(pixels)), np.full(len(pixels), 255.0)
        else:
            low, span = levels.darkest, levels.brightest - levels.darkest
        span = np.where(span > 0, span, 1.0)
        table = np.zeros((len(boxes), len(names)))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of cells of a few pixels, which have no texture
            for row, box, mask in zip(table, boxes, masks or [None] * len(boxes), strict=True):
                view = cell_view(pixels, box, levels, rgb=rgb, side_px=_SIDE_PX, mask=mask)
                row[:] = _figures(view, low[:, None, None], span[:, None, None])
        table = np.nan_to_num(table, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
        return table.astype(np.float32)


def _figures(view: CellView, low: NDArray[Any], span: NDArray[Any]) -> list[float]:
    """Return one cell's figures: several cells in one call change the Zernike moments."""
    shape, of_channel = _figure_names()
    mask = view.mask.astype(np.int32)
    found = []
    for (_, figure), value in zip(shape, _measured(shape, mask, None), strict=True):
        # px of the image, where the view was shrunk
        power = 2 if figure.endswith("Area") else 1 if figure.endswith(_LENGTHS) else 0
        found.append(value * view.px**power)
    for unit in ((view.pixels - low) / span).clip(0, 1).astype(np.float64):
        found += _measured(of_channel, mask, unit)
    return found


def _measured(
    wanted: Sequence[tuple[str, str]], mask: NDArray[np.int32], unit: NDArray[np.float64] | None
) -> list[float]:
    """Return the wanted (kind, figure)s of what the mask holds."""
    kinds = dict.fromkeys(kind for kind, _ in wanted)
    found = {
        kind: _functions()[kind](mask, unit)
        if unit is None or kind != _GRANULARITY
        else _granularity(mask, unit)
        for kind in kinds
    }
    return [float(found[kind][figure][0]) for kind, figure in wanted]


def _granularity(mask: NDArray[np.int32], unit: NDArray[np.float64]) -> Figures:
    """Return the spectrum of one cell's picture, made larger where it is small.

    The background is found by an opening with a disc of 21 pixels, at half the size here.
    Where the picture is smaller than the disc, scipy's filters read beyond their memory:
    with cp_measure's own sampling (1/16) that happens below 336 px, and gives other
    figures each time (scipy 1.17, scikit-image 0.26).
    """
    more = [(0, max(0, _LEAST_PX - side)) for side in mask.shape]
    return _functions()[_GRANULARITY](
        np.pad(mask, more),
        np.pad(unit, more, mode="edge"),
        subsample_size=_SAMPLE,
        image_sample_size=1,
    )


@cache
def _functions() -> dict[str, Callable[..., Figures]]:
    from cp_measure.bulk import get_core_measurements

    found: dict[str, Callable[..., Figures]] = get_core_measurements(sanitize=False)
    return found


@cache
def _figure_names() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Return the (kind, figure) of the shape and of one channel, as cp_measure gives them."""
    y, x = np.mgrid[:24, :24]
    labels = ((y - 12) ** 2 + (x - 12) ** 2 < 64).astype(np.int32)
    sheet = (y * 7 + x * 5) % 24 / 24.0
    functions = _functions()

    def of(kinds: Sequence[str]) -> tuple[tuple[str, str], ...]:
        return tuple(
            (kind, figure)
            for kind in kinds
            for figure in functions[kind](labels, sheet)
            if not figure.startswith(_WHERE)
        )

    return of(_SHAPE), of(_OF_CHANNEL)


def _name(kind: str, figure: str, channel: str) -> str:
    """Return CellProfiler's name: category, figure, channel, then scale, ring or order."""
    if not channel:
        return f"AreaShape_{figure}"
    if kind == "texture":
        figure, _, rest = figure.partition("_")
        return f"Texture_{figure}_{channel}_{rest}"
    parts = figure.split("_")  # category, figure, then ring or order
    return "_".join([*parts[:2], channel, *parts[2:]])
