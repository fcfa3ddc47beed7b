"""Measurements of many images, each cell measured once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.geometry import as_boxes
from napari_cellal.core.progress import Job, Progress

from .kept import KeptRows, keep_rows, kept_path, row_keys
from .measure import QUICK
from .table import FeatureTable, MeasureRequest, join_tables, read_arrays
from .view import Levels, finite_pixels, image_levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .describer import Describer

_PART_PX = 2048
_AROUND_PX = 100  # seen around a cell; at least the tenth of its size that is measured
_BROKEN_IMAGE = (CellalError, OSError, ValueError, MemoryError)
_BROKEN_CACHE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def measure_images(
    requests: Sequence[MeasureRequest],
    cache_folder: str | Path,
    describers: Sequence[Describer] = (QUICK,),
) -> Job[FeatureTable]:
    """Measure the cells of many images; return one table, rows in the requests' order.

    A cell is measured again only if its box, its mask (where the describer sees it), its
    image's fingerprint, the choice of plane or channels, or the describer's key has changed.
    What is measured is kept in ``cache_folder/measurements/<image_id>-<describer>.npz``, also
    where the job is cancelled; it may be deleted at any time, and a broken file there is
    measured anew. An image that cannot be read is told in a progress message and listed in
    the table's ``failures``; the others go on.

    Parameters
    ----------
    describers : sequence of Describer
        Their columns stand side by side.
    """
    total = sum(len(r.cell_ids) for r in requests) * len(describers)
    done = 0
    tables: list[FeatureTable] = []
    for request in requests:
        name = Path(request.path).name
        yield Progress(done, total, f"Measuring {name}")
        try:
            table = yield from _measure_image(request, Path(cache_folder), describers, done, total)
        except _BROKEN_IMAGE as error:
            table = FeatureTable(
                (), (), np.zeros((0, 0), np.float32), ((request.image_id, str(error)),)
            )
            yield Progress(done, total, f"{name} was skipped: {error}")
        done += len(request.cell_ids) * len(describers)
        tables.append(table)
    yield Progress(total, total, "Measured")
    return join_tables(tables)


def _measure_image(
    request: MeasureRequest,
    cache_folder: Path,
    describers: Sequence[Describer],
    done: int,
    total: int,
) -> Job[FeatureTable]:
    boxes = as_boxes(request.boxes)
    masks = request.masks or (None,) * len(boxes)
    keys = [row_keys(boxes, masks if d.sees_masks else ()) for d in describers]
    found = [cached_rows(request, cache_folder, d) for d in describers]
    missing = [
        [k for k, key in enumerate(wanted) if key not in rows]
        for wanted, rows in zip(keys, found, strict=True)
    ]
    done += len(boxes) * len(describers) - sum(len(m) for m in missing)
    changed = [d for d, m in enumerate(missing) if m]
    parts = _parts(request, boxes, sorted(set().union(*missing))) if changed else iter(())
    try:
        for index, pixels, (y0, x0), levels in parts:
            near = boxes[index] - [y0, x0, y0, x0]
            own = [None if m is None else m.moved(-y0, -x0) for m in (masks[k] for k in index)]
            for d in changed:
                wanted = set(missing[d])
                here = [i for i, k in enumerate(index) if k in wanted]
                for start in range(0, len(here), describers[d].chunk):
                    part = here[start : start + describers[d].chunk]
                    values = describers[d].rows(
                        pixels,
                        near[part],
                        rgb=request.rgb,
                        channels=request.channels,
                        levels=levels,
                        masks=[own[i] for i in part],
                    )
                    rows = zip(part, values, strict=True)
                    found[d].update({keys[d][index[i]]: row for i, row in rows})
                    done += len(part)
                    yield Progress(done, total, f"Measuring {Path(request.path).name}")
    finally:  # a cancelled job keeps what it had
        for d in changed:
            known = {k: row for k in keys[d] if (row := found[d].get(k)) is not None}
            keep_rows(cache_folder, request.image_id, _kept(request, describers[d], known))
    sides = [
        np.array([rows[key] for key in wanted], np.float32).reshape(len(wanted), -1)
        for wanted, rows in zip(keys, found, strict=True)
    ]
    names = [d.names(request.channels, rgb=request.rgb) for d in describers]
    return FeatureTable(request.cell_ids, tuple(n for c in names for n in c), np.hstack(sides))


def measure_cells(
    request: MeasureRequest, describers: Sequence[Describer], pixels: NDArray[Any] | None = None
) -> list[KeptRows]:
    """Return what each describer says of the cells of an image, computed anew.

    Parameters
    ----------
    pixels : [C, Y, X] or None
        Of the whole image, where they are at hand; else they are read.
    """
    boxes = as_boxes(request.boxes)
    masks = request.masks or (None,) * len(boxes)
    parts: Iterator[tuple[list[int], NDArray[Any], tuple[int, int], Levels]]
    if pixels is None:
        parts = _parts(request, boxes, list(range(len(boxes))))
    else:
        pixels = finite_pixels(pixels)
        parts = iter([(list(range(len(boxes))), pixels, (0, 0), image_levels(pixels))])
    said: list[dict[bytes, NDArray[np.float32]]] = [{} for _ in describers]
    for index, part, (y0, x0), levels in parts:
        near = boxes[index] - [y0, x0, y0, x0]
        own = [None if m is None else m.moved(-y0, -x0) for m in (masks[k] for k in index)]
        for found, describer in zip(said, describers, strict=True):
            seen = [masks[k] for k in index] if describer.sees_masks else ()
            values = describer.rows(
                part, near, rgb=request.rgb, channels=request.channels, levels=levels, masks=own
            )
            found.update(zip(row_keys(boxes[index], seen), values, strict=True))
    return [_kept(request, d, found) for d, found in zip(describers, said, strict=True)]


def _kept(
    request: MeasureRequest, describer: Describer, rows: Mapping[bytes, NDArray[np.float32]]
) -> KeptRows:
    return KeptRows(describer.name, _cache_key(request, describer), rows)


def cached_rows(
    request: MeasureRequest, cache_folder: Path, describer: Describer = QUICK
) -> dict[bytes, NDArray[np.float32]]:
    """Return {`row_keys`' key: float32[F]} of the rows that are still good for a request.

    Rows are found by box and mask, not by the cell's id: a cell that is deleted and drawn
    again, or undone and redone, is the same picture.
    """
    path = kept_path(cache_folder, request.image_id, describer.name)
    try:
        arrays = read_arrays(path)
        if str(arrays["key"]) != _cache_key(request, describer):
            return {}
        boxes, values = as_boxes(arrays["boxes"]), arrays["values"]
        # Files from before cells had masks have none.
        marks = arrays.get("masks", np.full(len(boxes), "")).tolist()
        names = describer.names(request.channels, rgb=request.rgb)
        if values.shape != (len(boxes), len(names)) or not np.isfinite(values).all():
            raise ValueError("rows and names do not fit the values")
        keys = [b.tobytes() + bytes.fromhex(m) for b, m in zip(boxes, marks, strict=True)]
    except FileNotFoundError:
        return {}
    except _BROKEN_CACHE:
        path.unlink(missing_ok=True)
        return {}
    return dict(zip(keys, values, strict=True))


def _parts(
    request: MeasureRequest, boxes: NDArray[np.float64], missing: list[int]
) -> Iterator[tuple[list[int], NDArray[Any], tuple[int, int], Levels]]:
    """Yield boxes' numbers, pixels that hold them, where those begin, and the image's levels.

    An image comes whole, a large one by its parts of `_PART_PX` that hold boxes.
    """
    from napari_cellal.io import planes

    path, plane = request.path, request.plane
    if not is_large(request):
        pixels = finite_pixels(read_pixels(request))
        yield missing, pixels, (0, 0), image_levels(pixels)
        return
    levels = image_levels(finite_pixels(planes.read_sample(path, plane)))
    height, width = planes.plane_size(path, plane)
    places: dict[tuple[int, int], list[int]] = {}
    for k in missing:
        y0, x0, y1, x1 = boxes[k]
        y = int(np.clip((y0 + y1) / 2, 0, height - 1)) // _PART_PX
        x = int(np.clip((x0 + x1) / 2, 0, width - 1)) // _PART_PX
        places.setdefault((y, x), []).append(k)
    for (y, x), index in places.items():
        # A part and its neighbours hold every cell whose middle lies in it.
        top, left = max(0, (y - 1) * _PART_PX), max(0, (x - 1) * _PART_PX)
        inner = boxes[index]
        low = np.floor(inner[:, :2].min(axis=0)) - _AROUND_PX
        high = np.ceil(inner[:, 2:].max(axis=0)) + _AROUND_PX
        y0, x0 = min(max(top, int(low[0])), height - 1), min(max(left, int(low[1])), width - 1)
        y1, x1 = (
            min(length, (at + 2) * _PART_PX, int(end))
            for length, at, end in zip((height, width), (y, x), high, strict=True)
        )
        pixels = planes.read_plane_region(path, plane, (y0, x0, max(y1, y0 + 1), max(x1, x0 + 1)))
        yield index, finite_pixels(pixels), (y0, x0), levels


def is_large(request: MeasureRequest) -> bool:
    """Return whether an image is read in parts."""
    from napari_cellal.io import planes

    return planes.is_large(request.path, request.plane)


def read_pixels(request: MeasureRequest) -> NDArray[Any]:
    """Return the plane of a request, [C, Y, X]."""
    # here, not above: the readers are slow to import, and a warm cache needs none of them
    from napari_cellal.io.planes import read_plane

    return read_plane(request.path, request.plane)


def _cache_key(request: MeasureRequest, describer: Describer) -> str:
    """Return all that a row depends on besides its box."""
    return json.dumps(
        [
            describer.key,
            request.fingerprint,
            request.plane.scene,
            request.plane.t,
            request.plane.z,
            request.rgb,
            request.channels,
        ]
    )
