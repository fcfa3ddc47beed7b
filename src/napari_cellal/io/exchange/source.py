"""Annotation files: which ones a folder holds, and their content, of a size that can be read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import AnnotationError
from napari_cellal.io.image_files import natural_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_BYTES = 300_000_000
MAX_JSON_MEMORY = 1_400_000_000
"""Bytes; what Python's objects of a JSON file may take."""


class UnreadableError(AnnotationError):
    """A file that is not taken; the message goes behind "the file"."""

    def __init__(self, what: str, kind: str = "malformed") -> None:
        super().__init__(what)
        self.kind = kind


def annotation_files(
    paths: Iterable[str | Path] | str | Path, suffixes: Collection[str], subfolder: str = ""
) -> list[Path]:
    """Return the files that files and folders stand for, each once, in natural order.

    Parameters
    ----------
    suffixes : collection of str
        In lower case. A file that is named itself is taken whatever it is.
    subfolder : str
        Where a folder has this one in it, only that is searched.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        below = path / subfolder
        files = []
        # Links to folders are not followed: they may lead round in circles.
        for root, folders, names in os.walk(below if below.is_dir() else path):
            folders[:] = [f for f in folders if not f.startswith(".") and ".cellal" not in f]
            files += [
                Path(root, n)
                for n in names
                if not n.startswith(".") and os.path.splitext(n)[1].lower() in suffixes
            ]
        found.update(dict.fromkeys(sorted(files, key=natural_key)))
    return list(found)


def read_bytes(file: Path, most: int = MAX_BYTES, *, may_be_empty: bool = False) -> bytes:
    """Return the content of a file.

    Raises
    ------
    UnreadableError
        If it is missing, empty, too large or may not be read.
    """
    try:
        n_bytes = file.stat().st_size
        if n_bytes > most:
            raise UnreadableError(f"has {n_bytes / 1e6:.0f} MB, too many for boxes", "too-large")
        if not file.is_file():
            raise UnreadableError("is no ordinary file")
        content = file.read_bytes()
    except FileNotFoundError:
        raise UnreadableError("was not found") from None
    except PermissionError:
        raise UnreadableError("may not be read") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror or error})") from error
    if not may_be_empty and not content.strip():
        raise UnreadableError("is empty")
    return content


def read_text(file: Path, most: int = MAX_BYTES, *, may_be_empty: bool = False) -> str:
    """Return the text of a file in UTF-8, in UTF-16 with its mark, or else in Latin-1.

    Raises
    ------
    UnreadableError
        As `read_bytes`, or if it is no text.
    """
    content = read_bytes(file, most, may_be_empty=may_be_empty)
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in content and not wide:
        raise UnreadableError("is no text")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_json(file: Path) -> Any:
    """Return the value in a JSON file.

    Raises
    ------
    UnreadableError
        As `read_bytes`, or if it is damaged, nested too deeply, or larger in memory than
        annotations are.
    """
    content = read_bytes(file)
    # An empty list is 2 characters and 64 bytes of memory, an object with a member 200.
    memory = 60 * (content.count(b"[") + content.count(b",")) + 200 * content.count(b"{")
    if memory + len(content) > MAX_JSON_MEMORY:
        raise UnreadableError("holds more values than annotations do", "too-large")
    try:
        return json.loads(content)
    except RecursionError:
        raise UnreadableError("is nested more deeply than annotations are") from None
    except ValueError:  # also undecodable text, and whole numbers of thousands of digits
        raise UnreadableError("is damaged or no JSON") from None


def number(value: object) -> float:
    """Return a number, or text that is one, as float; NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def numbers(values: object, count: int) -> list[float]:
    """Return a list of ``count`` numbers, all NaN where ``values`` is no such list."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return [math.nan] * count
    return [number(v) for v in values]
