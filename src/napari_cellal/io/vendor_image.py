"""Microscope makers' files (CZI, ND2, LIF) through bioio, where it is installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError

from .axes import Layout, Window, pick
from .fingerprint import fingerprint_of
from .image_errors import damaged
from .opened import Description

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

READERS = {".czi": "bioio_czi", ".nd2": "bioio_nd2", ".lif": "bioio_lif"}
"""The package that reads a format, by suffix."""


def is_vendor(path: Path) -> bool:
    """Return whether the file's name says that it is one of these formats."""
    return path.suffix.lower() in READERS


def open_vendor(path: Path, scene: int) -> VendorImage:
    """Return a file, open.

    Raises
    ------
    ImageError
        If the package that reads it is not installed, or the file is damaged.
    """
    package = READERS[path.suffix.lower()]
    try:
        module = importlib.import_module(package)
        errors = importlib.import_module("bioio_base.exceptions")
    except ImportError as error:
        raise ImageError(
            f"{path.name} needs a reader of its own: pip install 'napari-cellal[formats]', or "
            "save it as OME-TIFF."
        ) from error
    try:
        return VendorImage(path, module.Reader(path), scene)
    except (errors.UnsupportedFileFormatError, errors.UnexpectedShapeError) as error:
        raise damaged(path) from error


class VendorImage:
    """See `opened.Opened`."""

    def __init__(self, path: Path, reader: Any, scene: int) -> None:
        self._path = path
        self.n_scenes = len(reader.scenes)
        if scene < self.n_scenes:
            reader.set_scene(scene)
        self._reader = reader
        lazy = reader.xarray_dask_data
        axes = "".join(str(d) for d in lazy.dims)
        self.dtype = np.dtype(lazy.dtype)
        # A mosaic's tiles are put together by the reader; what is left of M is one tile.
        roles = "".join(r if r in "TZCYXS" else "T" for r in axes)
        samples = lazy.shape[axes.index("S")] if "S" in axes else 1
        self.layout = Layout(roles, tuple(lazy.shape), min(samples, 3), samples in (3, 4))
        self.levels: tuple[tuple[int, int], ...] = (self.layout.plane_shape[1:],)
        chunks = dict(zip(axes, lazy.data.chunksize, strict=True))
        self.block: tuple[int, int] | None = (chunks["Y"], chunks["X"])
        self._lazy = lazy.data

    def describe(self) -> Description:
        """Return channel names and pixel size; bioio does not tell colours."""
        n_channels = self.layout.plane_shape[0]
        names = tuple(map(str, self._reader.channel_names or ()))
        size = self._reader.physical_pixel_sizes.X
        good = size is not None and np.isfinite(size) and size > 0
        return Description(
            names if len(names) == n_channels and not self.layout.rgb else (),
            pixel_size_um=float(size) if good else None,
        )

    def check(self) -> None:
        """Read the first plane's first corner."""
        self.read_part(0, 0, (0, 0, 1, 1), slice(0, 1), 0)

    def fingerprint(self) -> str:
        """Return what changes when the content does."""
        return fingerprint_of(self._path)

    def read(self, t: int, z: int) -> NDArray[Any]:
        """Return one plane, [C, Y, X]."""
        return self.read_part(t, z, (0, 0, *self.levels[0]), slice(None), 0)

    def read_part(
        self, t: int, z: int, window: Window, channels: slice, level: int
    ) -> NDArray[Any]:
        """Return a part of one plane."""
        y0, x0, y1, x1 = window
        return np.asarray(pick(self._lazy, self.layout, t, z)[channels, y0:y1, x0:x1])
