"""What images are for: trained on, held out to measure on, or kept for the last test.

Chosen once and stored. A group (a well, a plate, a slide, the planes of one file) stays whole:
its images resemble each other, and a model measured on one that it half knows looks better than
it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.core.records import ImageRecord
    from napari_cellal.io.store import Project


def group_of(record: ImageRecord) -> str:
    """Return what keeps images together: the stored group, else the file."""
    return record.group or record.path


def listed(record: ImageRecord, lists: Mapping[str, Split]) -> Split | None:
    """Return the split that lists give an image, which they name with its suffix or without."""
    return lists.get(record.name) or lists.get(Path(record.name).stem)


def choose_splits(
    fresh: Sequence[ImageRecord],
    there: Iterable[ImageRecord],
    holdout_percent: int,
    given: Mapping[str, Split] | None = None,
) -> tuple[list[ImageRecord], list[str]]:
    """Return new images with their splits, and a sentence for each thing to look at.

    Parameters
    ----------
    fresh : sequence of ImageRecord
        New images; their splits do not count.
    there : iterable of ImageRecord
        The project's images. A new image of a group that is there gets its split.
    holdout_percent : int
        How many of 100 images `hold_out` holds out, where no lists are given.
    given : {file name or stem: Split}
        Official splits. An image that they do not name follows its group, or is for training.
    """
    old = list(there)
    of_group = {group_of(r): r.split for r in old}
    lists = given or {}
    named = {r.image_id: split for r in fresh if (split := listed(r, lists))}
    for r in fresh:
        if r.image_id in named:
            of_group.setdefault(group_of(r), named[r.image_id])
    if not lists:
        mine = [r.split for r in old if r.split is not Split.TEST]
        sizes: dict[str, int] = {}
        for r in fresh:
            if group_of(r) not in of_group:
                sizes[group_of(r)] = sizes.get(group_of(r), 0) + 1
        held = hold_out(sizes, len(mine), mine.count(Split.VAL), holdout_percent)
        of_group.update(dict.fromkeys(held, Split.VAL))
    records = [
        replace(r, split=named.get(r.image_id, of_group.get(group_of(r), Split.TRAIN)))
        for r in fresh
    ]
    problems = []
    if lists and records and not named:
        problems.append(
            "The split lists name none of these images, so all are for training. Check that "
            "they hold file names."
        )
    torn = torn_groups([*old, *records]) - torn_groups(old)
    if torn:
        first = min(torn)
        more = f" and {len(torn) - 1} more groups" if len(torn) > 1 else ""
        problems.append(
            f"The split lists tear {first}{more} apart: a model is measured on images that "
            "resemble those it was trained on. Put a group into one list."
        )
    return records, problems


def torn_groups(records: Iterable[ImageRecord]) -> set[str]:
    """Return the groups whose images have different splits."""
    first: dict[str, Split] = {}
    return {group_of(r) for r in records if first.setdefault(group_of(r), r.split) is not r.split}


def hold_out(sizes: Mapping[str, int], there: int, held: int, percent: int) -> set[str]:
    """Return the new groups that become ``val``, so that about ``percent`` of all images are.

    Chosen by the hash of their names, so that the same files are always split alike. A group
    that would lead farther from the wanted share than without it is passed over.

    Parameters
    ----------
    sizes : {group: images}
        The new groups; an image without a group is one of its own.
    there, held : int
        Images of ``train`` and ``val`` that the project has, and how many of them are held out.
    """
    missing = round((there + sum(sizes.values())) * percent / 100) - held

    def place(name: str) -> bytes:
        # Folder and file alone: the same files on another disk are split alike.
        return hashlib.blake2b("/".join(Path(name).parts[-2:]).encode()).digest()

    chosen: set[str] = set()
    for name in sorted(sizes, key=place):
        if abs(missing - sizes[name]) < abs(missing):
            chosen.add(name)
            missing -= sizes[name]
    return chosen


def change_split(project: Project, image_ids: Iterable[str], split: Split) -> list[str]:
    """Say what images are for, with all others of their groups; return those that changed."""
    groups = {group_of(project.images[key]) for key in image_ids}
    changed = [
        key for key, r in project.images.items() if group_of(r) in groups and r.split is not split
    ]
    project.set_split(changed, split)
    return changed


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
