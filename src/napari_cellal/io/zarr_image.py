"""OME-Zarr images: pyramids in chunks, of which only those that are looked at are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import ImageError

from .axes import Layout, Window, read_part, roles_of
from .fingerprint import fingerprint_of_files
from .image_errors import damaged
from .opened import Description
from .tiff_metadata import micrometers
from .zarr_metadata import ArrayHeader, array_header, attributes, inside

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LOOK_PIXELS = 4_000_000


class ZarrImage:
    """See `opened.Opened`."""

    n_scenes = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = attributes(path)
        self._arrays, axes = self._find()
        first = self._arrays[0]
        roles = roles_of(axes, first.shape, path.name)
        if "Y" not in roles or "X" not in roles:
            raise damaged(path)
        self.layout = Layout(roles, first.shape)
        self.dtype = first.dtype
        y, x = roles.index("Y"), roles.index("X")
        self.levels = tuple((a.shape[y], a.shape[x]) for a in self._arrays)
        self.block: tuple[int, int] | None = (
            min(first.chunks[y], first.shape[y]),
            min(first.chunks[x], first.shape[x]),
        )

    def _find(self) -> tuple[list[ArrayHeader], str]:
        """Return the arrays, largest first, and their axes."""
        pyramids = self._values.get("multiscales")
        if pyramids is None:
            return self._single()
        try:
            sets = self._multiscale["datasets"]
            arrays = [array_header(inside(self._path, s["path"]), self._path) for s in sets]
        except (KeyError, TypeError, IndexError) as error:
            raise damaged(self._path) from error
        if not arrays:
            raise damaged(self._path)
        given = self._multiscale.get("axes") or list("tczyx")[-len(arrays[0].shape) :]
        names = [str(a.get("name")) if isinstance(a, dict) else str(a) for a in given]
        axes = "".join(name.upper() if len(name) == 1 else "?" for name in names)
        for array in arrays:
            if len(array.shape) != len(axes) or array.dtype != arrays[0].dtype:
                raise ImageError(
                    f"{self._path.name} names {len(axes)} axes and holds {len(array.shape)}: "
                    "export it again."
                )
        # A level that is not smaller than the one before has no use, and no order.
        kept = [arrays[0]]
        for array in arrays[1:]:
            if max(array.shape) <= max(kept[-1].shape):
                kept.append(array)
        return kept, axes

    def _single(self) -> tuple[list[ArrayHeader], str]:
        if not any((self._path / name).is_file() for name in (".zarray", "zarr.json")):
            raise ImageError(
                f"{self._path.name} is no image but a group of other things: name the images in it."
            )
        try:
            array = array_header(self._path, self._path)
        except ImageError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self._path) from error
        n = len(array.shape)
        if array.names and all(len(name) == 1 for name in array.names):
            return [array], "".join(array.names).upper()
        return [array], ("?" * (n - 2) + "YX")[-n:]

    @property
    def _multiscale(self) -> dict[str, Any]:
        first = self._values["multiscales"][0]
        if not isinstance(first, dict):
            raise damaged(self._path)
        return first

    def describe(self) -> Description:
        """Return channel names, colours and pixel size; what makes no sense is left out."""
        omero = self._values.get("omero")
        channels = omero.get("channels") if isinstance(omero, dict) else None
        names: list[str] = []
        colors: list[str] = []
        if isinstance(channels, list) and all(isinstance(c, dict) for c in channels):
            names = [str(c.get("label") or f"Ch{k}") for k, c in enumerate(channels, 1)]
            colors = [f"#{c.get('color')}".upper() for c in channels]
        n_channels = self.layout.plane_shape[0]
        return Description(
            tuple(names) if len(names) == n_channels else (),
            tuple(colors) if len(colors) == n_channels else (),
            self._pixel_size_um(),
        )

    def _pixel_size_um(self) -> float | None:
        try:
            axis = self.layout.roles.index("X")
            unit = self._multiscale["axes"][axis]["unit"]
            steps = self._multiscale["datasets"][0]["coordinateTransformations"]
            steps = [*steps, *(self._multiscale.get("coordinateTransformations") or [])]
            scale = np.prod([float(s["scale"][axis]) for s in steps if s.get("type") == "scale"])
        except (KeyError, TypeError, IndexError, ValueError, AttributeError):
            return None
        return micrometers(float(scale), str(unit))

    def check(self) -> None:
        """Raise `ImageError` where the smallest level, if it is small, cannot be decoded."""
        height, width = self.levels[-1]
        if height * width <= _LOOK_PIXELS:
            window = (0, 0, height, width)
            self.read_part(0, 0, window, slice(0, 1), len(self.levels) - 1)

    def read(self, t: int, z: int) -> NDArray[Any]:
        """Return one plane, [C, Y, X]."""
        return self.read_part(t, z, (0, 0, *self.levels[0]), slice(None), 0)

    def read_part(
        self, t: int, z: int, window: Window, channels: slice, level: int
    ) -> NDArray[Any]:
        """Return a part of one plane from the chunks that hold it."""
        array = self._open(level)
        layout = Layout(self.layout.roles, self._arrays[level].shape)
        return read_part(array, layout, t, z, window, channels)

    def _open(self, level: int) -> Any:
        import zarr

        return zarr.open_array(self._arrays[level].folder, mode="r")

    def fingerprint(self) -> str:
        """Return what changes with the metadata or the smallest level, a digest of them all."""
        folder = self._arrays[-1].folder
        chunks = sorted(p for p in folder.rglob("*") if p.is_file())
        notes = sorted(p for p in self._path.iterdir() if p.is_file())
        return fingerprint_of_files(self._path, [*notes, *(p for p in chunks if p not in notes)])
