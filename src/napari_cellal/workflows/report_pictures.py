"""Pictures of what went wrong, for a report."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.features.crops import crop, resample

from .explaining import ExplainRequest, explain
from .explanation_pictures import hot_picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.detect.requests import ImageRequest
    from napari_cellal.evaluate.report import Report

    from .reporting import ImageFacts, ReportRequest
    from .scoring import Answers

THUMBNAIL_PX = 480
CROP_PX = 96
MOST_HEATS = 12
"""Of the worst answers so many are explained: half a second each on one core."""
_QUALITY = 72
_MARGIN = 0.3  # around a cell, a share of its box's longer side


def with_pictures(request: ReportRequest, answers: Answers, report: Report) -> Job[Report]:
    """Return the report with pictures of what went wrong; what cannot be read goes without.

    Parameters
    ----------
    answers : Answers
        Of the first model: its worst answers are shown.
    """
    from napari_cellal.evaluate.report_labels import worst_losses
    from napari_cellal.evaluate.report_places import worst_cells, worst_images

    side = report.sides[0]
    pictures: dict[str, bytes] = {}
    crops: dict[str, bytes] = {}
    heats: Mapping[str, bytes] = {}
    if report.boxes:
        wanted = worst_images(side)
        for k, key in enumerate(wanted):
            yield Progress(k, len(wanted), "Drawing the worst images")
            jpeg = _thumbnail(request.images[key][0])
            if jpeg is not None:
                pictures[key] = jpeg
    else:
        cells = [(m.image_id, m.cell_id or "", m.box) for m in worst_cells(side)]
        if report.multi_label:
            keys = [one["key"] for one in worst_losses(side)]
            cells = [(key, key, (0.0, 0.0, 0.0, 0.0)) for key in keys]
        for k, (image_id, cell_id, box) in enumerate(cells):
            yield Progress(k, len(cells), "Drawing the worst cells")
            jpeg = picture_of(request.images[image_id], box)
            if jpeg is not None:
                crops[cell_id] = jpeg
        heats = yield from _heats(answers, list(crops)[:MOST_HEATS])
    return replace(report, pictures=pictures, crops=crops, heats=heats)


def picture_of(facts: ImageFacts, box: Box) -> bytes | None:
    """Return a cell, small, as JPEG: cut out, or all of a picture of one cell."""
    image, _, _, size = facts
    return _thumbnail(image, CROP_PX) if box[2] <= box[0] else _crop(image, box, size)


def _heats(answers: Answers, cell_ids: list[str]) -> Job[dict[str, bytes]]:
    """Return what spoke for the answers to cells, as JPEG; nothing without a classifier."""
    classes = answers.request.classes
    found: dict[str, bytes] = {}
    if classes is None:
        return found
    patches = {p.key: p for p in classes.patches}
    for k, key in enumerate(cell_ids):
        yield Progress(k, len(cell_ids), "Explaining the worst answers")
        if key not in patches:
            continue
        request = ExplainRequest(
            classes.model_folder,
            patches[key],
            device=classes.device,
            own_range=classes.own_range,
        )
        try:
            explained = yield from explain(request)
        except CellalError:
            continue
        hot = np.moveaxis(hot_picture(explained), -1, 0)
        side_px = max(CROP_PX, hot.shape[1])
        found[key] = _jpeg(255 * resample(hot, side_px, side_px), is_colour=True)
    return found


def _thumbnail(image: ImageRequest, side_px: int = THUMBNAIL_PX) -> bytes | None:
    """Return an image, small, as JPEG; None where it cannot be read, or is too large."""
    from napari_cellal.io.planes import open_levels

    try:
        levels = open_levels(image.path, image.plane)
        level = next((a for a in reversed(levels) if max(a.shape[-2:]) >= side_px), levels[0])
        if level.size > 64_000_000:
            return None
        pixels = np.asarray(level)
    except ImageError:
        return None
    height, width = pixels.shape[-2:]
    shrink = min(1.0, side_px / max(height, width))
    small = resample(
        pixels.astype(np.float32), max(1, round(height * shrink)), max(1, round(width * shrink))
    )
    return _jpeg(small, is_colour=image.rgb and pixels.dtype == np.uint8)


def _crop(image: ImageRequest, box: Box, size: tuple[int, int]) -> bytes | None:
    """Return a cell with a margin, as JPEG; None where it cannot be read."""
    from napari_cellal.io.planes import read_plane_region

    y0, x0, y1, x1 = box
    # a square, as it is cut: at the image's edge a cell keeps its shape
    reach = (0.5 + _MARGIN) * max(y1 - y0, x1 - x0) + 1
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(size[0], int(y + reach) + 1), min(size[1], int(x + reach) + 1)
    if bottom <= top or right <= left:
        return None
    try:
        pixels = read_plane_region(image.path, image.plane, (top, left, bottom, right))
    except ImageError:
        return None
    there = (y0 - top, x0 - left, y1 - top, x1 - left)
    small = crop(pixels, there, context=_MARGIN, size_px=CROP_PX).astype(np.float32)
    return _jpeg(small, is_colour=image.rgb and pixels.dtype == np.uint8)


def _jpeg(pixels: NDArray[np.float32], *, is_colour: bool) -> bytes:
    """Return [C, y, x] as JPEG: colour pictures as they are, channels put together in grey."""
    from PIL import Image

    if is_colour and len(pixels) >= 3:
        shown = pixels[:3].clip(0, 255)
    else:
        low, high = np.percentile(pixels, [1, 99.8], axis=(1, 2), keepdims=True)
        unit = ((pixels - low) / np.maximum(high - low, 1e-6)).clip(0, 1)
        shown = np.repeat(255 * unit.max(axis=0, keepdims=True), 3, axis=0)
    out = io.BytesIO()
    picture = Image.fromarray(np.moveaxis(shown, 0, -1).round().astype(np.uint8))
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
