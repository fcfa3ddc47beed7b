"""The image that was on screen when a project was closed, to go on with the next day."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ProjectError
from napari_cellal.io.atomic import write_atomic

if TYPE_CHECKING:
    from napari_cellal.io.store import Project

FILE = "last_image.txt"


def last_image(project: Project) -> str | None:
    """Return the image to open a project with: that of the last time, else the first."""
    with contextlib.suppress(OSError, ValueError, ProjectError):
        image_id = (project.cache_folder / FILE).read_text(encoding="utf-8")
        if image_id in project.images:
            return image_id
    return next(iter(project.images), None)


def note_image(project: Project, image_id: str | None) -> None:
    """Keep in the project's cache which image is on screen; it changes no result."""
    if image_id is not None and image_id != last_image(project):
        with contextlib.suppress(OSError, ProjectError):
            write_atomic(project.cache_folder / FILE, image_id)
