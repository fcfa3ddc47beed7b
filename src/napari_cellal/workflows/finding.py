"""Images of a project by their names."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.io.store import Project


def find_images(project: Project, patterns: Iterable[str]) -> list[str]:
    """Return the images that are called so: names, stored paths, or patterns such as ``A1_*``.

    A name may stand without its suffix, as lists of splits have it.

    Raises
    ------
    CellalError
        If a pattern fits no image.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        fits = [
            key
            for key, r in project.images.items()
            if pattern in (r.name, Path(r.name).stem, r.path)
            or fnmatch.fnmatchcase(r.name, pattern)
            or fnmatch.fnmatchcase(r.path, pattern)
        ]
        if not fits:
            raise CellalError(f"No image of the project is called {pattern}.")
        found.update(dict.fromkeys(fits))
    return list(found)
