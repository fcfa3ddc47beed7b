"""Smaller copies of large images that have none, so that they can be seen as a whole.

Kept in the project's cache, as OME-Zarr, under the image's fingerprint: they may be deleted
at any time.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import Job, Progress

from .planes import is_large, open_levels, probe_plane, read_plane_region

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    from napari_cellal.core.records import Plane

_FIRST = 4  # the first copy is smaller by this much, each further one by half
_SMALL_PX = 2048  # longer side of the last copy, at most
_BLOCK_PX = 2048  # side of what is read at once, a multiple of every copy's step
_CHUNK_PX = 512


def needs_pyramid(path: str | Path, plane: Plane) -> bool:
    """Return whether an image is large and has no smaller copy of itself.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    return is_large(path, plane) and max(open_levels(path, plane)[-1].shape) > 2 * _SMALL_PX


def pyramid_folder(path: str | Path, plane: Plane, cache: Path) -> Path:
    """Return where an image's smaller copies lie, whether there are any or not."""
    fingerprint = plane.fingerprint or probe_plane(path, plane).fingerprint
    name = f"{fingerprint}-{plane.scene}-{plane.t}-{plane.z}.zarr"
    return cache / "pyramids" / name


def make_pyramid(path: str | Path, plane: Plane, cache: Path) -> Job[Path]:
    """Return the folder of an image's smaller copies, made unless they are there.

    The image is read once, block by block; a pixel of a copy is the mean of those that it
    stands for. Half-made copies never carry the name.

    Raises
    ------
    ImageError
        If the image cannot be read or the copies cannot be written.
    """
    import zarr

    target = pyramid_folder(path, plane, cache)
    if target.exists():
        return target
    info = probe_plane(path, plane)
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    channels, height, width = info.shape
    steps = [_FIRST]
    while max(height, width) // steps[-1] > _SMALL_PX and steps[-1] * 2 <= _BLOCK_PX:
        steps.append(steps[-1] * 2)
    name = Path(path).name
    try:
        draft.mkdir(parents=True)
        copies = [
            zarr.create_array(
                draft / str(k),
                shape=(channels, -(-height // step), -(-width // step)),
                chunks=(1, _CHUNK_PX, _CHUNK_PX),
                dtype=info.dtype,
            )
            for k, step in enumerate(steps)
        ]
        corners = list(product(range(0, height, _BLOCK_PX), range(0, width, _BLOCK_PX)))
        for done, (y, x) in enumerate(corners):
            yield Progress(done, len(corners), f"Making smaller copies of {name}")
            block = read_plane_region(path, plane, (y, x, y + _BLOCK_PX, x + _BLOCK_PX))
            part, size = block, 1
            for copy, step in zip(copies, steps, strict=True):
                part, size = shrunk(part, step // size), step
                top, left = y // step, x // step
                copy[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        (draft / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
        with suppress(OSError):  # another process was quicker
            draft.replace(target)
    except OSError as error:
        raise ImageError(
            f"Smaller copies of {name} cannot be written to {target.parent} ({error.strerror})."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def all_levels(path: str | Path, plane: Plane, cache: Path) -> list[da.Array]:
    """Return an image's levels, full size first, lazy [C, Y, X]: its own, else those in the cache.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    own = open_levels(path, plane)
    if len(own) > 1:
        return own
    return [*own, *open_pyramid(pyramid_folder(path, plane, cache))]


def open_pyramid(folder: Path) -> list[da.Array]:
    """Return the smaller copies, largest first, lazy [C, Y, X]; none where they are not there."""
    import dask.array as da
    import zarr

    try:
        steps = json.loads((folder / "steps.json").read_text(encoding="utf-8"))
        arrays = [zarr.open_array(folder / str(k), mode="r") for k in range(len(steps))]
    except (OSError, ValueError, KeyError):
        return []
    return [da.from_zarr(array) for array in arrays]


def shrunk(block: NDArray[Any], step: int) -> NDArray[Any]:
    """Return [C, y, x] made ``step`` times smaller by the mean, edges repeated."""
    if step == 1:
        return block
    _, height, width = block.shape
    padded = np.pad(block, ((0, 0), (0, -height % step), (0, -width % step)), mode="edge")
    c, h, w = padded.shape
    parts = padded.reshape(c, h // step, step, w // step, step)
    mean = parts.mean(axis=(2, 4), dtype=np.float32)
    whole = block.dtype.kind in "iu"
    return np.asarray(np.rint(mean) if whole else mean).astype(block.dtype)
