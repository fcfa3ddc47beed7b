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

    By name or file name, then without suffix, then by the other names that the annotations
    offer. An image of one file a channel goes by each of them. Of several of one name those
    are meant that lie in the folders which the annotations name, or else in the
    annotation's own folder, or else beside it.
    """
    by_name: dict[str, list[ImageRecord]] = {}
    by_stem: dict[str, list[ImageRecord]] = {}
    for record in project.images.values():
        files = (r.replace("\\", "/").rsplit("/", 1)[-1] for r in (record.path, *record.files))
        for name in {record.name, record.name.replace("/", "_"), *files}:
            by_name.setdefault(name, []).append(record)
        for stem in {Path(record.name).stem, *(Path(file).stem for file in record.files)}:
            by_stem.setdefault(stem, []).append(record)

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
    alike = [_common_end(_folders(r.path), image.parents) for r in same]
    if max(alike):
        return [r for r, n in zip(same, alike, strict=True) if n == max(alike)]
    folder = image.file.resolve().parent
    places = [project.image_path(r.image_id).parent for r in same]
    inside = [r for r, place in zip(same, places, strict=True) if place == folder]
    near = [r for r, place in zip(same, places, strict=True) if place.parent == folder.parent]
    return inside or near or same


def _folders(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/")).parent.parts


def _common_end(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Return how many folders before the file's name are the same."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return next((k for k, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
