"""Every image file goes through here: pictures, TIFF, OME-Zarr and makers' formats as [C, Y, X].

One rule for colour: alpha is dropped, and a colour picture whose red, green and blue are
equal everywhere is read as the one grey channel that it is (DSB2018's PNGs, many cameras).
A picture of one colour throughout says nothing about that and stays as it is stored.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError

from . import pictures, tiff_image, vendor_image, zarr_image, zarr_metadata
from .fingerprint import stamp_of
from .image_errors import clear_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_cellal.core.records import ImageRecord

    from .axes import Window
    from .opened import Opened

MAX_READ_BYTES = 20_000_000_000
MAX_CHANNELS = 1000
ALL = slice(None)


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
        Pictures in the file (TIFF series), and time points and z-planes of this one.
    fingerprint : str
        32 hexadecimal digits that change when the file's content does.
    stamp : str
        Size and time of change of the file, see `fingerprint.stamp_of`.
    colors : tuple of str
        #RRGGBB, one a channel; empty where the file gives none.
    levels : tuple of (Y, X)
        Sizes of a pyramid's levels, full size first.
    block : (Y, X) or None
        What can be read without the rest; None where a part costs as much as the whole.
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
    colors: tuple[str, ...] = ()
    levels: tuple[tuple[int, int], ...] = ()
    block: tuple[int, int] | None = None
    stamp: str = ""


@contextmanager
def open_image(path: str | Path, *, scene: int = 0) -> Iterator[Opened]:
    """Open an image file for reading, whatever its format.

    Raises
    ------
    ImageError
        If it is no image, damaged, without pixels, of numbers that are no brightness, or
        has no such scene.
    """
    path = Path(path)
    is_zarr = zarr_metadata.is_zarr(path)
    with clear_errors(path, folder=is_zarr):
        opened: AbstractContextManager[Opened]
        if is_zarr:
            opened = nullcontext(zarr_image.ZarrImage(path))
        elif vendor_image.is_vendor(path):
            opened = nullcontext(vendor_image.open_vendor(path, scene))
        elif tiff_image.is_tiff(path):
            opened = tiff_image.open_tiff(path, scene)
        else:
            opened = nullcontext(pictures.PictureImage(path))
        with opened as image:
            _check(path, image, scene)
            yield image


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
    with open_image(path, scene=scene) as image:
        stamp = stamp_of(path)  # first: what changes while it is read will be noticed
        image.check()
        layout, said = image.layout, image.describe()
        names = said.names or _default_names(layout.plane_shape[0], layout.rgb)
        hexadecimal = all(re.fullmatch("#[0-9A-F]{6}", c) for c in said.colors)
        return ImageInfo(
            shape=layout.plane_shape,
            dtype=_read_type(image.dtype).name,
            channels=_unique(names),
            rgb=layout.rgb,
            pixel_size_um=said.pixel_size_um,
            n_scenes=image.n_scenes,
            n_t=layout.size("T"),
            n_z=layout.size("Z"),
            fingerprint=image.fingerprint(),
            colors=said.colors if hexadecimal else (),
            levels=image.levels,
            block=image.block,
            stamp=stamp,
        )


def read_pixels(path: str | Path, *, scene: int = 0, t: int = 0, z: int = 0) -> NDArray[Any]:
    """Return [C, Y, X] of one plane, in the file's own number type (bool as uint8).

    Raises
    ------
    ImageError
        If the file cannot be read, or has no such scene, time point or z-plane.
    """
    path = Path(path)
    with open_image(path, scene=scene) as image:
        _check_plane(path, image, t, z)
        n_bytes = np.prod(image.layout.plane_shape, dtype=float) * image.dtype.itemsize
        if n_bytes > MAX_READ_BYTES:
            raise ImageError(f"{path.name} is too large to be read at once: use a part of it.")
        return _native(image.read(t, z))


def read_region(
    path: str | Path,
    window: Window,
    *,
    level: int = 0,
    scene: int = 0,
    t: int = 0,
    z: int = 0,
    channels: slice = ALL,
) -> NDArray[Any]:
    """Return [c, y, x] of a part of one plane, reading only what holds it.

    Tiled or stripped TIFFs and OME-Zarr decode the tiles that the window touches;
    uncompressed TIFFs are mapped; PNG, JPEG and BMP are decoded whole.

    Parameters
    ----------
    window : (y0, x0, y1, x1), px of that level, half-open
        Cut to the picture.
    level : int
        0 is the full size; see `ImageInfo.levels`.

    Raises
    ------
    ImageError
        If the file cannot be read, or has no such level, plane or window.
    """
    path = Path(path)
    with open_image(path, scene=scene) as image:
        _check_plane(path, image, t, z)
        check_index(path, "level", level, len(image.levels))
        height, width = image.levels[level]
        y0, x0, y1, x1 = window
        y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
        if y0 >= y1 or x0 >= x1:
            raise ImageError(f"{path.name} is {width} x {height} px; there is nothing at {window}.")
        return _native(image.read_part(t, z, (y0, x0, y1, x1), channels, level))


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


def _read_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype("uint8") if dtype.kind == "b" else dtype.newbyteorder("=")


def _native(plane: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(plane, dtype=_read_type(plane.dtype))


def _check(path: Path, image: Opened, scene: int) -> None:
    check_index(path, "scene", scene, image.n_scenes)
    shape = image.layout.plane_shape
    if min(shape) < 1 or min(image.layout.shape) < 1:
        raise ImageError(f"{path.name} holds a picture without pixels: export it again.")
    if image.dtype.kind not in "buif":
        raise ImageError(
            f"{path.name} holds {image.dtype.name} numbers, which are no brightness: "
            "save it with 8, 16 or 32 bits."
        )
    if shape[0] > MAX_CHANNELS:
        raise ImageError(
            f"{path.name} says that it has {shape[0]:,} channels: its axes are probably named "
            "in the wrong order; save it as OME-TIFF with the right ones."
        )


def _check_plane(path: Path, image: Opened, t: int, z: int) -> None:
    check_index(path, "time point", t, image.layout.size("T"))
    check_index(path, "z-plane", z, image.layout.size("Z"))


def check_index(path: Path, word: str, index: int, n: int) -> None:
    """Raise `ImageError` where a file has no such plane, level or scene."""
    if not 0 <= index < n:
        raise ImageError(f"{path.name} has no {word} {index}: they go from 0 to {n - 1}.")


def _default_names(n_channels: int, rgb: bool) -> tuple[str, ...]:
    if rgb:
        return ("red", "green", "blue")
    return ("gray",) if n_channels == 1 else tuple(f"Ch{k}" for k in range(1, n_channels + 1))


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, a number behind those that came before: channels are told by name."""
    out: list[str] = []
    for name in names:
        new, k = name, 2
        while new in out:
            new, k = f"{name} {k}", k + 1
        out.append(new)
    return tuple(out)
