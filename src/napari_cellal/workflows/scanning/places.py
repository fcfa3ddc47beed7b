"""Which images of a project files and folders, plates, slides and lists of files stand for."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.io.groups import group_files, guess_pattern
from napari_cellal.workflows.adding import LookOptions, add_looked, find_files, look_at_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.core.progress import Job
    from napari_cellal.io.store import Project

AUTO = "auto"
NONE = "none"
_COLUMNS = ("file", "path", "image", "filename", "name")


@dataclass(frozen=True, slots=True)
class Arrived:
    """The images that paths stand for.

    Attributes
    ----------
    image_ids : tuple of str
        All of them, also those that the project had.
    added : int
        Images that are new.
    problems, notes : tuple of str
        Files that are no images, and what the person should know of others.
    """

    image_ids: tuple[str, ...]
    added: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def add_places(project: Project, paths: Sequence[str], options: LookOptions) -> Job[Arrived]:
    """Add what is new to the project and return the images that the paths stand for.

    Only new files are opened.

    Parameters
    ----------
    paths : sequence of str
        Files, folders, and lists of files (``.csv``).
    options : LookOptions
        The pattern ``auto`` takes the preset that most files fit, if there is one; ``none``
        makes an image of every file.

    Raises
    ------
    CellalError
        If a path does not exist, a list names no files, or there is no image at all.
    """
    files = find_files([file for path in paths for file in _listed(path)])
    pattern, notes = options.pattern, []
    if pattern == AUTO:
        pattern = guess_pattern(files) or NONE
        if pattern != NONE:
            notes.append(
                f"One file a channel, by the pattern '{pattern}'. For an image of every file: "
                "--pattern none."
            )
    pattern = "" if pattern == NONE else pattern
    known: dict[str, list[str]] = {}
    for key, record in project.images.items():
        known.setdefault(record.path, []).append(key)
    if pattern:
        groups = [group.files for group in group_files(files, pattern).groups]
        firsts = {file: group[0] for group in groups for file in group}
        fresh = [f for f in files if project.stored_path(firsts.get(f, f)) not in known]
    else:
        fresh = [f for f in files if project.stored_path(f) not in known]
    problems: tuple[str, ...] = ()
    added = 0
    if fresh:
        looked = yield from look_at_images(fresh, replace(options, pattern=pattern))
        result = add_looked(project, looked)
        added, problems = len(result.records), result.problems
        notes += [note for note in result.notes if "one file a channel" not in note]
    stored = {project.stored_path(f) for f in files}
    ids = tuple(key for key, r in project.images.items() if r.path in stored)
    if not ids:
        raise CellalError(next(iter(problems), f"No image fits the pattern {pattern}."))
    return Arrived(ids, added, problems, tuple(notes))


def _listed(path: str) -> list[Path]:
    """Return the files that a list names, or the path itself.

    Raises
    ------
    CellalError
        If the list cannot be read or has no column of files.
    """
    table = Path(path)
    if table.suffix.lower() != ".csv" or not table.is_file():
        return [table]
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CellalError(f"{table.name} cannot be read as a list of files ({error}).") from error
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((head.index(name) for name in _COLUMNS if name in head), None)
    if column is None:
        raise CellalError(
            f"{table.name} has no column of files: call it 'file', in the first line. Paths are "
            "taken from the folder of the list."
        )
    names = [row[column].strip() for row in rows[1:] if len(row) > column and row[column].strip()]
    if not names:
        raise CellalError(f"{table.name} names no files.")
    return [table.parent / name for name in names]
