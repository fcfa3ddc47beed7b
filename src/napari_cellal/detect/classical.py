"""Cells found without a trained network: many thresholds, then a choice among regions.

`find_cells` proposes regions at many thresholds of one to three signals (`segment`), gives
each the chance that it is a cell from its shape, rim and size, and keeps the best that do
not overlap. Size and polarity come from the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy import ndimage as ndi

from napari_cellal.detect.segment import (
    SMALLEST_REGION_PX,
    Image,
    Layer,
    Values,
    block_mean,
    finite_plane,
    flatten,
    propose,
    rises_above_noise,
    typical_diameter,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Polarity = Literal["auto", "bright", "dark"]

# Larger cells are shrunk to this. 44 gave +0.008 F1 on smears for 1.7 times the time.
WORKING_DIAMETER_PX = 32
# A white cell is about 2.2 red cells wide; above 3.7 a region is a clump or tissue.
LARGEST_RELATIVE_DIAMETER = 3.7
# Share of a cell that better ones may cover: 0.4 is better for red cells, 0.3 for nuclei.
LARGEST_OVERLAP = 0.35

# Logistic weights of `_plausibility`: each candidate's overlap with its best true box was
# regressed once, on every 5th relabelled BCCD and every 2nd fluorescent and stained DSB image.
INTERCEPT = -0.799
WEIGHTS: dict[str, float] = {
    "ellipse": 0.985,
    "ellipse^2": 0.420,
    "roundness": 1.156,
    "cut": -2.934,
    "frame": 3.046,
    "edge": 0.668,
    "edge^2": -0.039,
    "weak": -1.214,
    "inner": -0.864,
    "solid": 0.086,
    "rim": 0.902,
    "larger": -3.481,
    "larger^2": 1.856,
    "smaller": -1.731,
    "smaller^2": -1.141,
    "level": -0.550,
}


@dataclass(frozen=True, slots=True)
class ClassicalSettings:
    """What a person may set; `None` and "auto" are found from each image.

    diameter_px : typical cell diameter.
    polarity : "bright" cells on dark, or "dark" cells on bright.
    min_area_px, max_area_px : area of one cell, px squared.
    smoothing_px : sigma of the blur before thresholding.
    min_score : cells scored lower are not returned.
    """

    diameter_px: float | None = None
    polarity: Polarity = "auto"
    min_area_px: float | None = None
    max_area_px: float | None = None
    smoothing_px: float | None = None
    min_score: float = 0.2


DEFAULT_SETTINGS = ClassicalSettings()


class _Candidate(NamedTuple):
    """One region of one layer."""

    score: float
    layer: int
    label: int
    box: tuple[int, int, int, int]  # (y0, x0, y1, x1), working px


@dataclass(frozen=True, slots=True)
class _Found:
    """Cells chosen, best first; `owner` is 0 or the index of the cell + 1, working pixels."""

    boxes: NDArray[np.intp]
    scores: Values
    owner: NDArray[np.int32]
    scale: int


def find_cells(
    pixels: NDArray[np.generic],
    settings: ClassicalSettings = DEFAULT_SETTINGS,
    *,
    rgb: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes and scores of the cells, best first.

    Parameters
    ----------
    pixels : uint8, uint16 or float [C, Y, X]
        One plane; not-a-number is read as the channel's median.
    settings : ClassicalSettings
    rgb : bool
        True if the three channels are red, green and blue of a colour photograph.

    Returns
    -------
    boxes : float32[N, 4]  (y0, x0, y1, x1), px, half-open
    scores : float32[N]  0..1, falling; about the chance that the box is right
    """
    found = _find(pixels, settings, rgb=rgb)
    if found is None:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    height, width = np.shape(pixels)[1:]
    boxes = np.minimum(found.boxes * found.scale, [height, width, height, width])
    return boxes.astype(np.float32), found.scores.astype(np.float32)


def segment_cells(
    pixels: NDArray[np.generic],
    settings: ClassicalSettings = DEFAULT_SETTINGS,
    *,
    rgb: bool,
) -> NDArray[np.int32]:
    """Return a label image of the same cells: label `i + 1` is row `i` of `find_cells`.

    Where two cells overlap the better-scored one owns the pixels, so a label can be a
    little smaller than its box.
    """
    found = _find(pixels, settings, rgb=rgb)
    height, width = np.shape(pixels)[1:]
    if found is None:
        return np.zeros((height, width), np.int32)
    full = found.owner.repeat(found.scale, axis=0).repeat(found.scale, axis=1)
    return np.ascontiguousarray(full[:height, :width])


def _find(pixels: NDArray[np.generic], settings: ClassicalSettings, *, rgb: bool) -> _Found | None:
    if np.ndim(pixels) != 3:
        raise ValueError(f"pixels must be [C, Y, X], not {np.ndim(pixels)}-dimensional")
    if min(np.shape(pixels)) == 0 or min(np.shape(pixels)[1:]) < 3:
        return None
    signals, diameter = _signals(pixels, settings, rgb=rgb)
    diameter = settings.diameter_px or diameter
    if not signals or diameter <= 0:
        return None
    scale = max(1, int(diameter / WORKING_DIAMETER_PX + 0.25))
    signals = [block_mean(signal, scale) for signal in signals]
    diameter /= scale
    smoothing = 0.03 * diameter
    if settings.smoothing_px is not None:
        smoothing = settings.smoothing_px / scale
    layers: list[Layer] = []
    for signal in signals:
        layers += propose(signal, diameter, 8, smoothing)
    # what stands out from its own neighbourhood: cells in haze, bright beside dim
    local = signals[0] - ndi.gaussian_filter(signals[0], max(1.0, 0.6 * diameter))
    layers += propose(np.asarray(local, np.float32), diameter, 4, smoothing)
    candidates = _candidates(layers, diameter, scale, settings)
    return _choose(layers, candidates, scale, settings)


def _signals(
    pixels: NDArray[np.generic], settings: ClassicalSettings, *, rgb: bool
) -> tuple[list[Image], float]:
    """Return the flattened signals to search, the leading one first, and the cells' size."""
    planes = [finite_plane(plane) for plane in pixels]
    planes = [plane for plane in planes if plane.max() > plane.min()]
    if rgb and len(planes) == 3 and _is_transmitted(planes, settings.polarity):
        # haemoglobin absorbs green; only nuclei, platelets and purple plasm absorb red
        signals = [flatten(-planes[1]), flatten(-planes[0])]
        signals = [signal for signal in signals if rises_above_noise(signal)]
        return signals, typical_diameter(signals[0])[0] if signals else 0.0
    best: tuple[float, list[Image], float] = (0.0, [], 0.0)
    for plane in planes:
        signal = flatten(plane if _is_bright(plane, settings.polarity) else -plane)
        if not rises_above_noise(signal):
            continue
        diameter, evidence = typical_diameter(signal)
        # evidence is in edges and shapes, so channels of other gain compare fairly
        if evidence > best[0]:
            best = (evidence, [signal], diameter)
    return best[1], best[2]


def _is_transmitted(planes: list[Image], polarity: Polarity) -> bool:
    """Return whether a colour image is light seen through cells, not fluorescence."""
    if polarity != "auto":
        return polarity == "dark"
    light = np.mean(planes, axis=0)
    return bool(np.median(light) >= 0.25 * np.percentile(light, 99.9))


def _is_bright(plane: Image, polarity: Polarity) -> bool:
    """Return whether cells are brighter than the background: the longer tail is the cells'."""
    if polarity != "auto":
        return polarity == "bright"
    low, middle, high = np.percentile(plane, [0.5, 50, 99.5])
    return bool(high - middle >= middle - low)


def _candidates(
    layers: list[Layer], diameter: float, scale: int, settings: ClassicalSettings
) -> list[_Candidate]:
    smallest = max(SMALLEST_REGION_PX, 0.01 * diameter**2)
    if settings.min_area_px is not None:
        smallest = min(smallest, settings.min_area_px / scale**2)
    candidates = []
    for layer_id, layer in enumerate(layers):
        area = layer.measures["area"]
        chance = _plausibility(layer, diameter)
        wide = np.sqrt(area * 4 / np.pi) / diameter
        good = (area >= smallest) & (wide < LARGEST_RELATIVE_DIAMETER)
        good &= (layer.measures["ellipse"] >= 0.6) & (chance >= settings.min_score)
        found = ndi.find_objects(layer.labels)
        for region in np.flatnonzero(good):
            ys, xs = found[region]
            box = (ys.start, xs.start, ys.stop, xs.stop)
            candidates.append(_Candidate(float(chance[region]), layer_id, int(region) + 1, box))
    return candidates


def _features(layer: Layer, diameter: float) -> dict[str, Values]:
    """Return what the chance of a region being a cell is read from, one value a region."""
    found = layer.measures
    shape = 10 * (np.clip(found["ellipse"], 0.6, 1) - 0.9)
    edge = np.minimum(found["edge"], 2)
    size = np.log(np.sqrt(found["area"] * 4 / np.pi) / diameter)
    larger, smaller = np.clip(size, 0, 2), np.clip(-size, 0, 2)
    return {
        "ellipse": shape,
        "ellipse^2": shape**2,
        "roundness": found["roundness"],
        "cut": found["cut"],
        "frame": found["frame"],
        "edge": edge,
        "edge^2": edge**2,
        "weak": found["weak"],
        "inner": found["inner"],
        "solid": found["solid"],
        "rim": found["rim"],
        "larger": larger,
        "larger^2": larger**2,
        "smaller": smaller,
        "smaller^2": smaller**2,
        "level": np.full(len(shape), layer.level),
    }


def _plausibility(layer: Layer, diameter: float) -> Values:
    """Return the chance that each region of a layer is one whole cell."""
    features = _features(layer, diameter).items()
    total = sum((WEIGHTS[name] * value for name, value in features), INTERCEPT)
    return np.asarray(1 / (1 + np.exp(-total)), np.float64)


def _choose(
    layers: list[Layer], candidates: list[_Candidate], scale: int, settings: ClassicalSettings
) -> _Found | None:
    """Return the best candidates that do not overlap, taken greedily by score.

    A cell outside the wished areas is dropped but keeps its pixels: else its fragments, or
    a clump around it, would come in its place.
    """
    if not candidates:
        return None
    smallest = settings.min_area_px or 0.0
    largest = settings.max_area_px or np.inf
    kept: list[_Candidate] = []
    owner = np.zeros(layers[0].labels.shape, np.int32)
    for candidate in sorted(candidates, key=lambda each: -each.score):
        y0, x0, y1, x1 = candidate.box
        labels = layers[candidate.layer].labels[y0:y1, x0:x1]
        mine = labels == candidate.label
        owned = owner[y0:y1, x0:x1]
        free = mine & (owned == 0)
        area = mine.sum()
        if free.sum() < (1 - LARGEST_OVERLAP) * area:
            continue
        if smallest <= area * scale**2 <= largest:
            kept.append(candidate)
            owned[free] = len(kept)
        else:
            owned[free] = -1
    boxes = np.array([each.box for each in kept], np.intp).reshape(-1, 4)
    scores = np.array([each.score for each in kept], np.float64)
    return _Found(boxes, scores, np.maximum(owner, 0), scale)
