"""Image arithmetic under the classical detector: levels, regions, size, splitting.

Every image here is a *signal*: float32[Y, X] in which cells are brighter than a
background near 0. Which channel and polarity that is, `classical` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.filters import threshold_multiotsu
from skimage.segmentation import watershed

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]
Values = NDArray[np.float64]

SMALLEST_REGION_PX = 12


def finite_plane(plane: NDArray[np.generic]) -> Image:
    """Return the plane as float32 in 0..1, without NaN and infinities."""
    values = np.asarray(plane, np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        values = np.where(bad, np.median(values[~bad]) if not bad.all() else 0.0, values)
    low, high = values.min(), values.max()
    if not high > low:
        return np.zeros(values.shape, np.float32)
    return np.asarray((values - low) / (high - low), np.float32)


def rises_above_noise(signal: Image) -> bool:
    """Return whether anything as wide as a cell stands out from pixel noise.

    Blurred with sigma 1.5, white noise keeps 1/5.3 of its height, so its highest peak of a
    million pixels stays near 0.9. The noise is Immerkaer's (1996), by median for robustness.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    noise = float(np.median(np.abs(ndi.convolve(signal, kernel)))) / (6 * 0.6745)
    blurred = ndi.gaussian_filter(signal, 1.5)
    return bool(blurred.max() - np.median(blurred) > 1.2 * noise)


def block_mean(image: Image, size: int) -> Image:
    """Return the image reduced by an integer factor; the last rows and columns are repeated.

    skimage's `downscale_local_mean` pads with zeros, which draws a false bright frame on
    a signal whose background is negative.
    """
    if size <= 1:
        return image
    height, width = image.shape
    padded = np.pad(image, ((0, -height % size), (0, -width % size)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // size, size, padded.shape[1] // size, size)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def background_threshold(signal: Image) -> float:
    """Return the value below which a pixel is background.

    The lower of two multi-Otsu thresholds (Liao, Chen and Chung 2001): with one threshold,
    dark white-cell nuclei pull it above the pale red cells.
    """
    low, high = np.percentile(signal, [0.5, 99.8])
    clipped = np.clip(signal, low, high)
    try:
        return float(threshold_multiotsu(clipped, 3, nbins=64)[0])
    except ValueError:  # fewer than three grey values
        return float((low + high) / 2)


def flatten(signal: Image) -> Image:
    """Return the signal minus its slowly varying background.

    The background is a wide blur over background pixels alone (normalised convolution,
    Knutsson and Westin 1993), so crowded fields do not lift it.
    """
    small = block_mean(signal, max(1, min(signal.shape) // 64))
    sigma = max(small.shape) / 6
    local = np.zeros_like(small)
    for _ in range(2):  # the second pass sees an evened image
        current = small - local
        background = current <= background_threshold(current)
        weight = ndi.gaussian_filter(background.astype(np.float32), sigma, mode="nearest")
        total = ndi.gaussian_filter(np.where(background, small, 0), sigma, mode="nearest")
        # 0.02: where no background is near, its mean over the image stands in
        local = (total + 0.02 * small[background].mean()) / (weight + 0.02)
    zoom = (signal.shape[0] / local.shape[0], signal.shape[1] / local.shape[1])
    return np.asarray(
        signal - ndi.zoom(local, zoom, order=1, mode="nearest", grid_mode=True), np.float32
    )


def threshold_levels(signal: Image, count: int, *, by_quantile: float = 0.0) -> list[float]:
    """Return rising thresholds between the background's noise and the brightest cells.

    Most are spaced geometrically, so that dim cells get as many as bright ones; the share
    `by_quantile` lies at quantiles of the foreground. Empty if nothing rises above noise.
    """
    top = float(np.percentile(signal, 99.8))
    background = signal[signal <= background_threshold(signal)]
    if not background.size:
        return []
    middle = float(np.median(background))
    noise = 1.4826 * float(np.median(np.abs(background - middle)))
    lowest = max(middle + 3 * noise, 0.03 * top)
    if top <= max(lowest, 1e-6):
        return []
    if lowest >= 0.85 * top:
        return [lowest]
    quantiles = int(count * by_quantile)
    foreground = signal[signal > lowest]
    levels = list(np.geomspace(lowest, 0.85 * top, count - quantiles))
    if quantiles and foreground.size:
        at = (np.arange(quantiles) + 0.7) / (quantiles + 0.7)
        levels += list(np.quantile(foreground, at))
    return sorted(float(level) for level in levels)


def fill_holes(mask: Mask, largest_px: float) -> Mask:
    """Return the mask with enclosed holes up to an area filled (pale centres of red cells)."""
    holes, count = ndi.label(~mask)
    is_hole = np.bincount(holes.ravel(), minlength=count + 1) <= largest_px
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        is_hole[side] = False
    is_hole[0] = False
    return np.asarray(mask | is_hole[holes], np.bool_)


def edge_strength(signal: Image, sigma: float) -> Image:
    """Return the gradient magnitude over its own 95th percentile."""
    gradient = ndi.gaussian_gradient_magnitude(signal, sigma)
    return np.asarray(gradient / (np.percentile(gradient, 95) + 1e-9), np.float32)


def measure(
    labels: Labels, count: int, signal: Image, edges: Image, raw: Mask
) -> dict[str, Values]:
    """Return one value a region for each property; region `i` is label `i + 1`.

    `ellipse` is area / (4 pi sqrt(det covariance)): 1 for any ellipse, less for every other
    shape, so it tells one cell from a clump without a convex hull.
    """
    width = labels.shape[1]
    flat = labels.ravel()
    at = np.flatnonzero(flat)
    region = flat[at] - 1
    y, x = (axis.astype(np.float64) for axis in np.divmod(at, width))

    def sums(weights: NDArray[np.generic] | None = None) -> Values:
        return np.bincount(region, weights, minlength=count).astype(np.float64)

    area = np.maximum(sums(), 1e-9)
    mean_y, mean_x = sums(y) / area, sums(x) / area
    # 1/12 is the variance of a pixel's own square
    var_y = sums(y * y) / area - mean_y**2 + 1 / 12
    var_x = sums(x * x) / area - mean_x**2 + 1 / 12
    covariance = sums(x * y) / area - mean_y * mean_x
    determinant = np.maximum(var_y * var_x - covariance**2, 1e-9)
    half_trace = (var_y + var_x) / 2
    spread = np.sqrt(np.maximum(half_trace**2 - determinant, 0))

    padded = np.pad(labels, 1, constant_values=-1)
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    on_edge = np.zeros(labels.shape, bool)
    touches_cell, touches_frame = on_edge.copy(), on_edge.copy()
    for neighbour in around:
        differs = neighbour != labels
        on_edge |= differs
        touches_cell |= differs & (neighbour > 0)
        touches_frame |= neighbour < 0
    rim = np.flatnonzero((on_edge & (labels > 0)).ravel())
    rim_region = flat[rim] - 1

    def rim_sums(values: NDArray[np.generic]) -> Values:
        sums = np.bincount(rim_region, values.ravel()[rim], minlength=count)
        return np.asarray(sums, np.float64)

    inside = ~touches_frame
    perimeter = np.maximum(np.bincount(rim_region, minlength=count), 1)
    free_perimeter = np.maximum(rim_sums(inside), 1)
    return {
        "area": area,
        "ellipse": np.minimum(area / (4 * np.pi * np.sqrt(determinant)), 1.05),
        "roundness": np.sqrt(np.maximum(half_trace - spread, 1e-9) / (half_trace + spread)),
        "cut": rim_sums(touches_cell & inside) / perimeter,
        "frame": rim_sums(touches_frame) / perimeter,
        "edge": rim_sums(edges * inside) / free_perimeter,
        "weak": rim_sums((edges < 0.25) & inside) / free_perimeter,
        "inner": sums(signal.ravel()[at]) / area,
        "solid": sums(raw.ravel()[at]) / area,
        "rim": rim_sums(signal) / perimeter,
    }


def typical_diameter(signal: Image) -> tuple[float, float]:
    """Return the diameter most cells seem to have, in px, and the weight of evidence for it.

    Regions of all thresholds vote for their own diameter, by how elliptic they are and how
    sharp their rim is. Crowded fields have few whole regions, so peaks of the distance
    transform of the low thresholds vote too, weakly. 0, 0 if nothing votes.
    """
    size = 2 if min(signal.shape) >= 400 else 1
    signal = np.asarray(ndi.gaussian_filter(block_mean(signal, size), 1), np.float32)
    edges = edge_strength(signal, 1)
    votes: list[tuple[Values, Values]] = []
    for step, level in enumerate(threshold_levels(signal, 8)):
        raw = signal > level
        # a pale centre is small; the middle of a ring-shaped tissue is not one
        mask = fill_holes(raw, max(1000, 0.04 * signal.size))
        labels, count = ndi.label(mask)
        found = measure(labels, count, signal, edges, raw)
        good = (found["area"] >= 20) & (found["ellipse"] > 0.92) & (found["frame"] == 0)
        area, edge = found["area"][good], np.minimum(found["edge"][good], 0.6)
        shape = np.clip(found["ellipse"][good] - 0.9, 0, 0.1)
        votes.append((np.sqrt(area * 4 / np.pi), shape * edge * area**0.4))
        if step < 4:
            depth = ndi.gaussian_filter(ndi.distance_transform_edt(mask), 1.5)
            peaks = 2 * depth[(ndi.maximum_filter(depth, 7) == depth) & (depth > 2.5)]
            votes.append((peaks, 0.01 * (np.pi / 4 * peaks**2) ** 0.4))
    if not sum(len(diameters) for diameters, _ in votes):
        return 0.0, 0.0
    diameters = np.concatenate([vote[0] for vote in votes])
    weights = np.concatenate([vote[1] for vote in votes])
    grid = np.arange(np.log(4), np.log(1000), 0.05)
    near = np.exp(-0.5 * ((grid[:, None] - np.log(diameters)) / 0.2) ** 2)  # [grid, votes]
    density = near @ weights
    best = int(density.argmax())
    return float(np.exp(grid[best])) * size, float(density[best])


@dataclass(frozen=True, slots=True)
class Layer:
    """One partition of the image into disjoint regions, each a guess at a cell."""

    labels: Labels
    level: float
    measures: dict[str, Values]


def propose(signal: Image, diameter_px: float, levels: int, smoothing_px: float) -> list[Layer]:
    """Return layers of candidate regions: thresholds, holes filled or not, clumps split.

    The nested components of rising thresholds are the idea of MSER (Matas et al. 2002); a
    later choice among all of them replaces any single right threshold. Clumps are split by a
    distance-transform watershed (Beucher and Lantuejoul 1979) finely and coarsely.
    """
    if smoothing_px > 0.3:
        signal = np.asarray(ndi.gaussian_filter(signal, smoothing_px), np.float32)
    top = float(np.percentile(signal, 99.7))
    if top <= 0:
        return []
    edges = edge_strength(signal, max(0.7, 0.03 * diameter_px))
    relative = np.asarray(signal / top, np.float32)
    cell_px = np.pi / 4 * diameter_px**2
    layers = []
    steps = threshold_levels(signal, levels, by_quantile=0.25)
    for step, level in enumerate(steps):
        raw = signal > level
        filled = fill_holes(raw, 3 * cell_px)
        masks = [filled]
        # gaps between touching cells are holes too: keep those as big as half a cell
        less_filled = fill_holes(raw, 0.5 * cell_px)
        if not np.array_equal(less_filled, filled):
            masks.append(less_filled)
        for mask in masks:
            labels, count = ndi.label(mask)
            if not count:
                continue
            whole = measure(labels, count, relative, edges, raw)
            layers.append(Layer(labels, step / len(steps), whole))
            doubtful = (whole["ellipse"] < 0.95) | (whole["area"] > 1.3 * diameter_px**2)
            doubtful &= whole["area"] > 0.15 * diameter_px**2
            if not doubtful.any():
                continue
            clumps = np.append(False, doubtful)[labels]
            # edge padding: a cell cut by the frame is deep there, not shallow
            depth = ndi.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
            for scale in (0.35, 0.7):
                smooth = ndi.gaussian_filter(depth, 0.15 * scale * diameter_px)
                window = 2 * max(1, int(0.5 * scale * diameter_px)) + 1
                peaks = (ndi.maximum_filter(smooth, window) == smooth) & clumps & (smooth > 1)
                seeds, count = ndi.label(peaks, np.ones((3, 3)))
                if count:
                    parts = watershed(-smooth, seeds, mask=clumps)
                    found = measure(parts, count, relative, edges, raw)
                    layers.append(Layer(parts, step / len(steps), found))
    return layers
