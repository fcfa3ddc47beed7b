"""Every image file goes through here: PNG, JPEG, BMP, TIFF, OME-TIFF as [C, Y, X] planes.

One rule for colour: alpha is dropped, and a colour picture whose red, green and blue are
equal everywhere is read as the one grey channel that it is (DSB2018's PNGs, many cameras).
A picture of one colour throughout says nothing about that and stays as it is stored.
"""

from __future__ import annotations

import importlib.util
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cellal.core.errors import ImageError

from . import pictures, tiff
from .fingerprint import fingerprint_of
from .image_errors import clear_errors
from .image_files import image_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array as da
    from numpy.typing import NDArray

    from napari_cellal.core.records import ImageRecord

__all__ = [
    "ImageInfo",
    "check_matches",
    "fingerprint_of",
    "image_files",
    "open_pixels",
    "probe_image",
    "read_pixels",
]

# Above this a picture is not decoded just to look at it: 100 megapixels take a second.
MAX_LOOK_PIXELS = 100_000_000
MAX_READ_PIXELS = 10_000_000_000
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image file holds.

    Attributes
    ----------
    shape : (C, Y, X)
        Of one plane, as `read_pixels` returns it.
    dtype : str
        numpy's name, e.g. ``uint16``.
    channels : tuple of str
        One name a channel, all different.
    rgb : bool
        True where the three channels are the red, green and blue of one colour picture.
    pixel_size_um : float or None
        Width of a pixel, µm.
    n_scenes, n_t, n_z : int
        Pictures in the file (TIFF series), and time points and z-planes of the first.
    fingerprint : str
        32 hexadecimal digits that change when the file's content does.
    """

    shape: tuple[int, int, int]
    dtype: str
    channels: tuple[str, ...]
    rgb: bool
    pixel_size_um: float | None
    n_scenes: int
    n_t: int
    n_z: int
    fingerprint: str


def probe_image(path: str | Path, *, scene: int = 0) -> ImageInfo:
    """Return what the file holds, without keeping its pixels.

    Pictures of up to 100 megapixels are decoded once, so that a file which was cut short
    is found when it is added and not in the middle of the work.

    Raises
    ------
    ImageError
        If the file is missing, empty, cut short, damaged, or not an image.
    """
    path = Path(path)
    with clear_errors(path):
        names: list[str] = []
        size_um: float | None = None
        n_scenes = n_t = n_z = 1
        if _is_tiff(path):
            with _open_tiff(path, scene) as (tif, series, n_scenes):
                layout = tiff.layout_of(series)
                tiff.check_complete(series, path)
                shape, rgb = layout.plane_shape, layout.rgb
                dtype = np.dtype(series.dtype)
                n_t, n_z = layout.size("T"), layout.size("Z")
                if rgb and _is_grey_tiff(path, tif, series):
                    shape, rgb = (1, *shape[1:]), False
                names, size_um = tiff.describe(tif, scene, layout)
        else:
            _check_index(path, "scene", scene, 1)
            with pictures.open_picture(path) as picture:
                n_channels, dtype = pictures.stored_form(picture)
                shape = (n_channels, picture.height, picture.width)
            if shape[1] * shape[2] <= MAX_LOOK_PIXELS:
                shape = _merge_grey(pictures.decode_picture(path)).shape
            rgb = shape[0] == 3
        _check_kind(path, dtype, shape)
        dtype = np.dtype("uint8") if dtype.kind == "b" else dtype
        return ImageInfo(
            shape=shape,
            dtype=dtype.name,
            channels=_unique(names or _default_names(shape[0], rgb)),
            rgb=rgb,
            pixel_size_um=size_um,
            n_scenes=n_scenes,
            n_t=n_t,
            n_z=n_z,
            fingerprint=fingerprint_of(path),
        )


def read_pixels(path: str | Path, *, scene: int = 0, t: int = 0, z: int = 0) -> NDArray[Any]:
    """Return [C, Y, X] of one plane, in the file's own number type (bool as uint8).

    Raises
    ------
    ImageError
        If the file cannot be read, or has no such scene, time point or z-plane.
    """
    path = Path(path)
    with clear_errors(path):
        if not _is_tiff(path):
            for word, index in (("scene", scene), ("time point", t), ("z-plane", z)):
                _check_index(path, word, index, 1)
            plane = pictures.decode_picture(path)
            if plane[0].size <= MAX_LOOK_PIXELS:
                plane = _merge_grey(plane)
            return plane
        with _open_tiff(path, scene) as (tif, series, _):
            layout = tiff.layout_of(series)
            _check_plane(path, layout, series, t, z)
            if np.prod(layout.plane_shape, dtype=float) > MAX_READ_PIXELS:
                raise ImageError(f"{path.name} is too large to be read at once: use a part of it.")
            tiff.check_complete(series, path)
            plane = tiff.read_plane(path, tif, series, t, z)
            # Decided on the first plane, so that a series does not change its channels.
            first = plane if t == z == 0 else None
            if layout.rgb and _is_grey_tiff(path, tif, series, first):
                plane = plane[:1]
        dtype = np.dtype("uint8") if plane.dtype.kind == "b" else plane.dtype.newbyteorder("=")
        return np.ascontiguousarray(plane, dtype=dtype)


def open_pixels(path: str | Path, *, scene: int = 0, t: int = 0, z: int = 0) -> da.Array:
    """Return a lazy [C, Y, X]: tile by tile for a tiled TIFF, else in one piece.

    Nothing but the header is read before a part is computed; the tiles come through
    tifffile's zarr store, which needs the package zarr.

    Raises
    ------
    ImageError
        If the file cannot be read, or has no such scene, time point or z-plane.
    """
    import dask
    import dask.array as da

    path = Path(path)
    with clear_errors(path):
        if _is_tiff(path):
            with _open_tiff(path, scene) as (tif, series, _):
                layout = tiff.layout_of(series)
                _check_plane(path, layout, series, t, z)
                tiff.check_complete(series, path)
                _check_kind(path, np.dtype(series.dtype), layout.plane_shape)
                page = series.keyframe
                tiled = page.is_tiled and tiff.can_decode(page)
                if tiled and importlib.util.find_spec("zarr") is not None:
                    n_channels = layout.plane_shape[0]
                    if layout.rgb and _is_grey_tiff(path, tif, series):
                        n_channels = 1
                    lazy = _open_tiles(path, scene)
                    return tiff.pick(lazy, layout, t, z)[:n_channels]
    info = probe_image(path, scene=scene)
    _check_index(path, "time point", t, info.n_t)
    _check_index(path, "z-plane", z, info.n_z)
    later = dask.delayed(read_pixels, pure=True)(str(path), scene=scene, t=t, z=z)
    return da.from_delayed(later, info.shape, info.dtype)


def check_matches(info: ImageInfo, record: ImageRecord) -> None:
    """Raise `ImageError` where a file is no longer what the project recorded."""
    if info.shape[0] != record.shape[0]:
        what = f"{info.shape[0]} channels instead of {record.shape[0]}"
    elif info.shape != record.shape:
        now, then = info.shape, record.shape
        what = f"{now[2]} x {now[1]} px instead of {then[2]} x {then[1]}"
    elif info.dtype != record.dtype:
        what = f"{info.dtype} numbers instead of {record.dtype}"
    else:
        return
    raise ImageError(
        f"{record.name} has {what}: it was changed after it was added; put the first file back "
        "or add this one under another name."
    )


@contextmanager
def _open_tiff(path: Path, scene: int) -> Iterator[tuple[Any, Any, int]]:
    tiff.check_chain(path)
    with tiff.quiet(), tifffile.TiffFile(path) as tif:
        series = tiff.image_series(tif, path.name)
        _check_index(path, "scene", scene, len(series))
        yield tif, series[scene], len(series)


def _open_tiles(path: Path, scene: int) -> Any:
    """Return a lazy array of a whole series; it keeps the file open while it lives."""
    import dask.array as da
    import zarr

    with tiff.quiet():
        tif = tifffile.TiffFile(path)
        store = tiff.image_series(tif, path.name)[scene].aszarr(level=0)
        array = zarr.open(store, mode="r")
        weakref.finalize(array, tif.close)
        return da.from_zarr(array)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in TIFF_MAGIC


def _is_grey_tiff(path: Path, tif: Any, series: Any, first: NDArray[Any] | None = None) -> bool:
    layout = tiff.layout_of(series)
    if np.prod(layout.plane_shape[1:], dtype=float) > MAX_LOOK_PIXELS:
        return False
    if first is None:
        first = tiff.read_plane(path, tif, series, 0, 0)
    return len(_merge_grey(first)) == 1


def _merge_grey(plane: NDArray[Any]) -> NDArray[Any]:
    """Return [1, Y, X] where red, green and blue are the same picture, else the plane."""
    if len(plane) != 3 or plane.min() == plane.max():
        return plane
    for rows in (slice(None, None, 16), slice(None)):  # a sixteenth settles most
        if any((plane[k, rows] != plane[0, rows]).any() for k in (1, 2)):
            return plane
    return np.ascontiguousarray(plane[:1])


def _check_plane(path: Path, layout: tiff.Layout, series: Any, t: int, z: int) -> None:
    _check_kind(path, np.dtype(series.dtype), layout.plane_shape)
    _check_index(path, "time point", t, layout.size("T"))
    _check_index(path, "z-plane", z, layout.size("Z"))


def _check_index(path: Path, word: str, index: int, n: int) -> None:
    if not 0 <= index < n:
        raise ImageError(f"{path.name} has no {word} {index}: they go from 0 to {n - 1}.")


def _check_kind(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if min(shape) < 1:
        raise ImageError(f"{path.name} holds a picture without pixels: export it again.")
    if dtype.kind not in "buif":
        raise ImageError(
            f"{path.name} holds {dtype.name} numbers, which are no brightness: "
            "save it with 8, 16 or 32 bits."
        )


def _default_names(n_channels: int, rgb: bool) -> list[str]:
    if rgb:
        return ["red", "green", "blue"]
    return ["gray"] if n_channels == 1 else [f"Ch{k}" for k in range(1, n_channels + 1)]


def _unique(names: list[str]) -> tuple[str, ...]:
    """Return the names, a number behind those that came before: channels are told by name."""
    out: list[str] = []
    for name in names:
        new, k = name, 2
        while new in out:
            new, k = f"{name} {k}", k + 1
        out.append(new)
    return tuple(out)
