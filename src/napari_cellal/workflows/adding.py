"""Images into a project: looked at away from the window, then registered in one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import ImageRecord, new_id
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import ImageInfo, probe_image

from .splitting import choose_splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_cellal.core.records import Split
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class Looked:
    """An image file and what it holds."""

    path: Path
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class LookResult:
    """The files that can be added, and a sentence for each that cannot."""

    images: tuple[Looked, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the files."""

    records: tuple[ImageRecord, ...]
    known: int = 0
    """Files that were in the project already."""
    problems: tuple[str, ...] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """Return the report for a person."""
        text = f"{len(self.records)} images added."
        if self.known:
            text += f" {self.known} were in the project already."
        return [text, *self.problems]


def look_at_images(paths: Iterable[str | Path]) -> Job[LookResult]:
    """Return what image files and folders hold; broken files are named, the rest goes on.

    Raises
    ------
    ImageError
        If a path does not exist, or there is no image at all.
    """
    yield Progress(0, 0, "Looking for images")
    places = list(paths)
    files = image_files(places)
    if not files:
        where = ", ".join(Path(place).name or str(place) for place in places)
        raise ImageError(f"There is no PNG, JPEG, BMP or TIFF image in {where}.")
    found: list[Looked] = []
    problems: list[str] = []
    for done, path in enumerate(files, 1):
        try:
            found.append(Looked(path, probe_image(path)))
        except CellalError as error:
            problems.append(str(error))
        yield Progress(done, len(files), path.name)
    return LookResult(tuple(found), tuple(problems))


def add_looked(
    project: Project, looked: LookResult, splits: Mapping[str, Split] | None = None
) -> Added:
    """Register the files and return what became of them.

    Parameters
    ----------
    splits : {file name or stem: Split}
        Official splits; if there are none, `splitting.hold_out` chooses.
    """
    known = {record.path for record in project.images.values()}
    contents = {record.fingerprint for record in project.images.values()}
    fresh: list[ImageRecord] = []
    for item in looked.images:
        path, info = project.stored_path(item.path), item.info
        if path in known or info.fingerprint in contents:
            continue
        known.add(path)
        contents.add(info.fingerprint)
        fresh.append(
            ImageRecord(
                new_id(),
                path,
                info.shape,
                info.dtype,
                info.channels,
                info.rgb,
                pixel_size_um=info.pixel_size_um,
                fingerprint=info.fingerprint,
            )
        )
    records, problems = choose_splits(
        fresh, project.images.values(), project.settings.holdout_percent, splits
    )
    project.add_images(records)
    return Added(tuple(records), len(looked.images) - len(records), (*looked.problems, *problems))
