"""Telling whether an image is still the one that was added."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

WHOLE_HASH_BYTES = 64 * 2**20
HASH_SAMPLE_BYTES = 4 * 2**20


def stamp_of(path: Path) -> str:
    """Return size and time of last change: what differs after nearly every change, for nothing.

    Of a folder (OME-Zarr) those of its metadata files are taken.

    Raises
    ------
    OSError
        If there is no such file.
    """
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    return ",".join(f"{s.st_size}:{s.st_mtime_ns}" for s in (f.stat() for f in files))


def fingerprint_of(path: Path) -> str:
    """Return 128 bits of BLAKE2 over a file's size and content, hexadecimal.

    Of files above 64 MiB only head, middle and tail are read, 4 MiB each.
    """
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= WHOLE_HASH_BYTES:
            while block := file.read(2**20):
                digest.update(block)
        else:
            for start in (0, (size - HASH_SAMPLE_BYTES) // 2, size - HASH_SAMPLE_BYTES):
                file.seek(start)
                digest.update(file.read(HASH_SAMPLE_BYTES))
    return digest.hexdigest()


def fingerprint_of_files(folder: Path, files: Sequence[Path]) -> str:
    """Return 128 bits over a folder's files: all names and sizes, and up to 64 MiB of content."""
    sizes = [(file.relative_to(folder).as_posix(), file.stat().st_size) for file in files]
    digest = hashlib.blake2b(repr(sizes).encode(), digest_size=16)
    left = WHOLE_HASH_BYTES
    for file in files:
        with file.open("rb") as opened:
            block = opened.read(left)
        digest.update(block)
        left -= len(block)
        if left <= 0:
            break
    return digest.hexdigest()


def joined_fingerprint(parts: Iterable[str]) -> str:
    """Return the fingerprint of an image whose channels have files of their own."""
    return hashlib.blake2b("/".join(parts).encode(), digest_size=16).hexdigest()
