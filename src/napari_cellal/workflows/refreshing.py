"""Looking at a project's image files again: what is missing, and what has changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.freshness import change_of
from napari_cellal.io.pixels import check_matches
from napari_cellal.io.planes import probe_plane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.records import ImageRecord, Plane
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """An image, and where it should be. Picklable."""

    record: ImageRecord
    path: str
    plane: Plane


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of the files.

    Attributes
    ----------
    changed : {image_id: (fingerprint, stamp)}
        Of another content than when they were added, but of the same size and kind.
    problems : tuple of str
        A sentence for each file that is missing, broken or of another size.
    """

    images: int
    changed: Mapping[str, tuple[str, str]]
    problems: tuple[str, ...]


def files_to_check(project: Project) -> list[FileToCheck]:
    """Return every image of the project with its place."""
    return [
        FileToCheck(r, str(project.image_path(key)), project.plane(key))
        for key, r in project.images.items()
    ]


def refresh(files: Sequence[FileToCheck]) -> Job[Refreshed]:
    """Return what has changed in the files since they were added."""
    changed: dict[str, tuple[str, str]] = {}
    problems: list[str] = []
    for done, file in enumerate(files):
        yield Progress(done, len(files), file.record.name)
        try:
            if not _is_there(file):
                raise ImageError(f"{file.record.name} is not in its place any more ({file.path}).")
            if change_of(file.path, file.plane) is None:
                continue
            info = probe_plane(file.path, file.plane, file.record.channels)
            check_matches(info, file.record)
            changed[file.record.image_id] = (info.fingerprint, info.stamp)
        except CellalError as error:
            problems.append(str(error))
    yield Progress(len(files), len(files), "Looked at all files")
    return Refreshed(len(files), changed, tuple(problems))


def _is_there(file: FileToCheck) -> bool:
    return all(Path(name).exists() for name in file.plane.files or (file.path,))


def accept_changes(project: Project, refreshed: Refreshed) -> int:
    """Take changed files as they are now; boxes stay, cells are measured anew. Return how many."""
    records = [
        replace(project.images[key], fingerprint=fingerprint, stamp=stamp)
        for key, (fingerprint, stamp) in refreshed.changed.items()
        if key in project.images
    ]
    project.replace_images(records)
    return len(records)
