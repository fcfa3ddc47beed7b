"""Planes of images for jobs, which tests give another reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from numpy.typing import NDArray

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.records import Plane

Reader: TypeAlias = Callable[[str, Plane], NDArray[Any]]
"""Returns the pixels of a plane as [C, Y, X]."""


def read_plane(path: str, plane: Plane) -> NDArray[Any]:
    """Return the pixels of one plane, [C, Y, X], in the file's own type."""
    from napari_cellal.io.planes import read_plane

    return read_plane(path, plane)


def read_or_fail(reader: Reader, path: str, plane: Plane) -> NDArray[Any]:
    """Return the pixels of one plane, [C, Y, X].

    Raises
    ------
    ImageError
        Whatever is wrong with the file: image libraries raise all kinds of errors.
    """
    try:
        return reader(path, plane)
    except CellalError:
        raise
    except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
        name = path.replace("\\", "/").rsplit("/", 1)[-1]
        raise ImageError(f"{name} cannot be read: {error}") from error
