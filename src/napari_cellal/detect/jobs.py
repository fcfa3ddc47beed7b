"""The job of searching many images for cells."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.planes import is_large, plane_size, read_plane_region
from napari_cellal.io.reading import Reader, read_or_fail, read_plane

from .large import detect_in_parts
from .registry import load_detector
from .requests import ImageFailure, ImageRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Detections

    from .classical import ClassicalSettings
    from .settings import PredictSettings

log = logging.getLogger(__name__)


def detect_images(
    requests: Sequence[ImageRequest],
    model: str | Path,
    device: str = "auto",
    settings: PredictSettings | None = None,
    *,
    classical: ClassicalSettings | None = None,
    reader: Reader = read_plane,
    view: Box | None = None,
) -> Job[dict[str, Detections]]:
    """Yield each image's `Detections`, or `ImageFailure`, and return all by image_id.

    Parameters
    ----------
    model : str or Path
        ``classical`` or a model's folder.
    device : str
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    reader : callable
        Gives the pixels of a plane; tests pass their own.
    view : (y0, x0, y1, x1) or None
        What is wanted of each image. Of a large one only that is searched, and what is found
        around it is given too.

    Raises
    ------
    ModelError
        If the model cannot be loaded. A broken image does not end the job.
    """
    total = len(requests)
    yield Progress(0, total, "Loading the model")
    detector = load_detector(model, device, settings, classical)
    results: dict[str, Detections] = {}
    for done, request in enumerate(requests, 1):
        try:
            # Only our own reader can read parts.
            if reader is read_plane and is_large(request.path, request.plane):
                found = yield from detect_in_parts(
                    detector,
                    partial(read_plane_region, request.path, request.plane),
                    plane_size(request.path, request.plane),
                    image_id=request.image_id,
                    rgb=request.rgb,
                    progress=Progress(done - 1, total, Path(request.path).name),
                    view=view,
                )
            else:
                pixels = read_or_fail(reader, request.path, request.plane)
                found = detector.detect(pixels, image_id=request.image_id, rgb=request.rgb)
        except CellalError as error:
            log.warning("%s: %s", request.path, error)
            failure = ImageFailure(request.image_id, str(error))
            yield Progress(done, total, f"{Path(request.path).name}: {error}", failure)
            continue
        results[request.image_id] = found
        notes: list[str] = getattr(detector, "notes", [])
        message = f"{Path(request.path).name}: {len(found)} cells"
        yield Progress(done, total, ". ".join([message, *notes]), found)
    return results
