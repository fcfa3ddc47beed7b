"""Images into a project: looked at away from the window, then registered in one step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import ImageRecord, Split, new_id
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import ImageInfo, probe_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


def hold_out(names: list[str], there: int, held: int, percent: int) -> set[str]:
    """Return the new images that become ``val``, so that ``percent`` of all are.

    Chosen by the hash of their names, so that the same files are always split alike.

    Parameters
    ----------
    names : list of str
        The new images.
    there, held : int
        Images of ``train`` and ``val`` that the project has, and how many of them are held out.
    """
    wanted = round((there + len(names)) * percent / 100) - held

    def place(name: str) -> bytes:
        # Folder and file alone: the same files on another disk are split alike.
        return hashlib.blake2b("/".join(Path(name).parts[-2:]).encode()).digest()

    order = sorted(names, key=place)
    return set(order[: max(0, wanted)])


def add_looked(
    project: Project, looked: LookResult, splits: Mapping[str, Split] | None = None
) -> Added:
    """Register the files and return what became of them.

    Parameters
    ----------
    splits : {file name or stem: Split}
        Official splits; if there are none, `hold_out` chooses. Images that they do not
        name are for training.
    """
    given = splits or {}
    known = {record.path for record in project.images.values()}
    contents = {record.fingerprint for record in project.images.values()}
    fresh: list[tuple[str, Looked]] = []
    for item in looked.images:
        path = project.stored_path(item.path)
        if path not in known and item.info.fingerprint not in contents:
            known.add(path)
            contents.add(item.info.fingerprint)
            fresh.append((path, item))
    split_of = {
        path: given[key]
        for path, item in fresh
        for key in (item.path.stem, item.path.name)
        if key in given
    }
    if not given:
        mine = [r.split for r in project.images.values() if r.split is not Split.TEST]
        held = hold_out(
            [path for path, _ in fresh],
            len(mine),
            mine.count(Split.VAL),
            project.settings.holdout_percent,
        )
        split_of = dict.fromkeys(held, Split.VAL)
    records = []
    for path, item in fresh:
        info = item.info
        records.append(
            ImageRecord(
                new_id(),
                path,
                info.shape,
                info.dtype,
                info.channels,
                info.rgb,
                pixel_size_um=info.pixel_size_um,
                fingerprint=info.fingerprint,
                split=split_of.get(path, Split.TRAIN),
            )
        )
    project.add_images(records)
    problems = looked.problems
    if given and records and not split_of:
        problems += (
            "The split lists name none of these images, so all are for training. Check that "
            "they hold file names.",
        )
    return Added(tuple(records), len(looked.images) - len(records), problems)


def read_splits(files: Mapping[str, str | Path]) -> dict[str, Split]:
    """Return {image name: Split} from text files with one name a line, by split's name.

    A sign behind a name (``-1``, ``0`` or ``1``), as VOC writes them, is dropped.

    Raises
    ------
    CellalError
        If a split is not train, val or test, a file cannot be read, or a name stands in the
        lists of two splits.
    """
    splits: dict[str, Split] = {}
    for name, path in files.items():
        try:
            split = Split(name)
        except ValueError:
            raise CellalError(f"'{name}' is not a split; use train, val or test.") from None
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise CellalError(f"The list {path} cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError:
            raise CellalError(f"The list {path} is no text file in UTF-8.") from None
        for line in filter(None, map(str.strip, text.splitlines())):
            first, _, sign = line.rpartition(" ")
            image = first.strip() if first and sign in ("-1", "0", "1") else line
            if splits.setdefault(image, split) is not split:
                raise CellalError(
                    f"{image} stands in the lists of both {splits[image]} and {split}. An image "
                    "can have one split only."
                )
    return splits
