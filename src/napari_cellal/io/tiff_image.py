"""One scene of an open TIFF, OME-TIFF or ImageJ file, whole or by its tiles."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from . import tiff
from .axes import Layout, Window, read_part
from .fingerprint import fingerprint_of
from .gray import MAX_LOOK_PIXELS, merge_gray
from .opened import Description
from .tiff_metadata import channel_colors, channel_names, pixel_size_um

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(path: Path) -> bool:
    """Return whether the file begins as TIFFs do."""
    with path.open("rb") as file:
        return file.read(4) in TIFF_MAGIC


@contextmanager
def open_tiff(path: Path, scene: int) -> Iterator[TiffImage]:
    """Open a file for reading; its series that hold pictures are the scenes."""
    tiff.check_chain(path)
    with tiff.quiet(), tifffile.TiffFile(path) as tif:
        yield TiffImage(path, tif, tiff.image_series(tif, path.name), scene)


class TiffImage:
    """See `opened.Opened`."""

    def __init__(self, path: Path, tif: Any, series: list[Any], scene: int) -> None:
        self.n_scenes = len(series)
        self._path, self._tif, self._scene = path, tif, scene
        self._series = series[scene] if 0 <= scene < len(series) else series[0]
        self._stored = tiff.layout_of(self._series, path.name)
        self.dtype = np.dtype(self._series.dtype)

    @cached_property
    def layout(self) -> Layout:
        """As stored, but a colour picture in shades of grey has one channel."""
        if self._stored.rgb and self._is_gray:
            return Layout(self._stored.roles, self._stored.shape, 1)
        return self._stored

    @cached_property
    def _is_gray(self) -> bool:
        """Decided on the first plane, so that a series does not change its channels."""
        if np.prod(self._stored.plane_shape[1:], dtype=float) > MAX_LOOK_PIXELS:
            return False
        state = self._path.stat()
        return _looks_gray(self._path, self._scene, state.st_mtime_ns, state.st_size)

    @cached_property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Sizes of a pyramid's levels; levels with other axes than the first are left out."""
        sizes = []
        for level in self._series.levels:
            layout = tiff.layout_of(level, self._path.name)
            if layout.roles != self._stored.roles:
                break
            sizes.append(layout.plane_shape[1:])
        return tuple(sizes)

    @property
    def block(self) -> tuple[int, int] | None:
        """The tile or the strip."""
        page = self._series.keyframe
        if self._series.dataoffset is None and not tiff.can_decode(page):
            return None
        _, height, width = self._stored.plane_shape
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return (min(page.rowsperstrip or height, height), width)

    def describe(self) -> Description:
        """Return channel names, colours and pixel size."""
        n_channels = self.layout.plane_shape[0]
        size_um = pixel_size_um(self._tif, self._scene)
        if self._stored.rgb:
            return Description(pixel_size_um=size_um)
        names = channel_names(self._tif, self._scene, n_channels)
        colors = channel_colors(self._tif, self._scene, n_channels)
        return Description(tuple(names), tuple(colors), size_um)

    def check(self) -> None:
        """Raise `ImageError` where pixel data lie beyond the end of the file."""
        tiff.check_complete(self._series, self._path)

    def fingerprint(self) -> str:
        """Return what changes when the content does."""
        return fingerprint_of(self._path)

    def read(self, t: int, z: int) -> NDArray[Any]:
        """Return one plane, [C, Y, X]."""
        self.check()
        plane = tiff.read_plane(self._path, self._tif, self._series, t, z)
        return plane[: self.layout.plane_shape[0]]

    def read_part(
        self, t: int, z: int, window: Window, channels: slice, level: int
    ) -> NDArray[Any]:
        """Return a part of one plane, decoding only the tiles or strips that hold it."""
        y0, x0, y1, x1 = window
        series = self._series.levels[level]
        if series.dataoffset is None and not tiff.can_decode(series.keyframe):
            return self.read(t, z)[channels, y0:y1, x0:x1]
        stored = tiff.layout_of(series, self._path.name)
        layout = Layout(stored.roles, stored.shape, self.layout.samples, self.layout.rgb)
        if series.dataoffset is not None:
            self.check()
            mapped = tiff.map_series(self._path, self._tif, series)
            return read_part(mapped, layout, t, z, window, channels)
        import zarr

        # The series itself, not its level: a level has no levels of its own.
        store = self._series.aszarr(level=level)
        return read_part(zarr.open_array(store, mode="r"), layout, t, z, window, channels)


@lru_cache(maxsize=256)
def _looks_gray(path: Path, scene: int, _modified: int, _size: int) -> bool:
    with tiff.quiet(), tifffile.TiffFile(path) as tif:
        series = tiff.image_series(tif, path.name)[scene]
        tiff.check_complete(series, path)
        return len(merge_gray(tiff.read_plane(path, tif, series, 0, 0))) == 1
