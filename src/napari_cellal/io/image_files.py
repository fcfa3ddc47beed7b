"""Which files a list of files and folders means."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


def image_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the images that files and folders stand for, each once.

    Folders are searched with all below them, in natural order (``s2`` before ``s10``).
    Hidden files, other suffixes, other projects (``*.cellal``) and folders met before
    through a link are passed over; a file named itself is taken whatever it is.

    Raises
    ------
    ImageError
        If a path does not exist.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = _below(path, set())
        elif path.exists():
            files = [path]
        else:
            raise ImageError(f"{path.name} was not found in {path.parent}: check its name.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def natural_key(path: str | Path) -> list[tuple[bool, int, str]]:
    """Return a sort key that counts digits as numbers and ignores case."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]


def _below(folder: Path, seen: set[Path]) -> list[Path]:
    real = folder.resolve()
    if real in seen:
        return []
    seen.add(real)
    try:
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError as error:
        raise ImageError(f"{folder.name} may not be read: ask its owner.") from error
    files: list[Path] = []
    folders: list[Path] = []
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if path.is_dir():
            if not name.endswith(".cellal"):
                folders.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            files.append(path)
    for sub in folders:
        files += _below(sub, seen)
    return files
