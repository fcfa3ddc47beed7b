"""Which files a list of files and folders means."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ImageError

from .image_errors import clear_errors
from .vendor_image import READERS
from .zarr_metadata import image_folders, is_zarr

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"} | set(READERS))


def image_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the images that files and folders stand for, each once.

    Folders are searched with all below them, in natural order (``s2`` before ``s10``). An
    OME-Zarr folder is an image, or a plate's images. Hidden files, other suffixes, other
    projects (``*.cellal``) and folders met before through a link are passed over; a file
    named itself is taken whatever it is.

    Raises
    ------
    ImageError
        If a path does not exist.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        try:
            if is_zarr(path):
                files = _images_of(path)
            elif path.is_dir():
                files = _below(path, set())
            elif path.is_file():
                files = [path]
            elif path.exists():  # a pipe would be waited for without end
                raise ImageError(f"{path.name} is no file. Choose images, or folders of them.")
            else:
                raise ImageError(f"{path.name} was not found in {path.parent}: check its name.")
        except (OSError, ValueError) as error:  # a name that is too long, a loop of links
            raise ImageError(f"'{str(path)[:80]}' is no name of a file: check it.") from error
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
        if is_zarr(path):
            files += _images_of(path)
        elif path.is_dir():
            if not name.endswith(".cellal"):
                folders.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            files.append(path)
    for sub in folders:
        files += _below(sub, seen)
    return files


def _images_of(folder: Path) -> list[Path]:
    with clear_errors(folder, folder=True):
        return image_folders(folder)
