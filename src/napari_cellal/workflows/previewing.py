"""What files would become as images, before they are opened and added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Plane
from napari_cellal.io.groups import Grouping, group_files, guess_pattern
from napari_cellal.io.planes import probe_plane

from .adding import find_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Preview:
    """What files would become.

    Attributes
    ----------
    pattern : str
        By which they were grouped; empty where each file is an image.
    files : int
    grouping : Grouping or None
        None where each file is an image.
    n_z, n_t : int
        Planes and time points of the first image; 1 where it cannot be read.
    """

    pattern: str
    files: int
    grouping: Grouping | None
    n_z: int = 1
    n_t: int = 1


def preview_images(paths: Iterable[str | Path], pattern: str | None = None) -> Job[Preview]:
    """Return what files and folders would become; only the first image is opened.

    Parameters
    ----------
    pattern : str or None
        See `adding.LookOptions`; None guesses.

    Raises
    ------
    ImageError
        If a path does not exist, there is no image at all, or the pattern makes no sense.
    """
    yield Progress(0, 0, "Looking for images")
    files = find_files(list(paths))
    if pattern is None:
        pattern = guess_pattern(files) or ""
    grouping = group_files(files, pattern) if pattern else None
    first, plane = files[0], Plane()
    if grouping is not None and grouping.complete:
        together = grouping.complete[0].files
        first, plane = together[0], Plane(files=tuple(map(str, together)))
    try:
        info = probe_plane(first, plane)
    except CellalError:  # told when it is added, with all others that cannot be read
        return Preview(pattern, len(files), grouping)
    return Preview(pattern, len(files), grouping, info.n_z, info.n_t)
