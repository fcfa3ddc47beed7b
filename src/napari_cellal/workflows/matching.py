"""Which images of a project annotations speak of."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.core.records import ImageRecord
    from napari_cellal.io.exchange.report import ImportedImage
    from napari_cellal.io.store import Project


def match_images(project: Project, images: Sequence[ImportedImage]) -> list[list[ImageRecord]]:
    """Return for each annotated image the project's images that may be meant.

    By file name, then by name without suffix, then by the other names that the annotations
    offer. Of several of one name those are meant that lie in the folders which the
    annotations name, or else in the annotation's own folder, or else beside it.
    """
    by_name: dict[str, list[ImageRecord]] = {}
    by_stem: dict[str, list[ImageRecord]] = {}
    for record in project.images.values():
        by_name.setdefault(record.name, []).append(record)
        by_stem.setdefault(Path(record.name).stem, []).append(record)

    def called(name: str) -> list[ImageRecord]:
        stem = PurePosixPath(name).stem
        return by_name.get(name) or by_stem.get(name) or by_stem.get(stem, [])

    found = []
    for image in images:
        names = (image.image_name, *image.other_names)
        same = next((records for name in names if (records := called(name))), [])
        found.append(_nearest(project, image, same) if len(same) > 1 else same)
    return found


def _nearest(project: Project, image: ImportedImage, same: list[ImageRecord]) -> list[ImageRecord]:
    """Return those of several images of one name that are meant: plates have many 001.tif."""
    parents = image.parents
    if parents:
        ends = [r for r in same if _folders(r.path)[-len(parents) :] == parents]
        if ends:
            return ends
    folder = image.file.resolve().parent
    places = [project.image_path(r.image_id).parent for r in same]
    inside = [r for r, place in zip(same, places, strict=True) if place == folder]
    near = [r for r, place in zip(same, places, strict=True) if place.parent == folder.parent]
    return inside or near or same


def _folders(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/")).parent.parts
