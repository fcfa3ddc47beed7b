"""Telling whether a file is still the one that was added."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WHOLE_HASH_BYTES = 64 * 2**20
HASH_SAMPLE_BYTES = 4 * 2**20


def fingerprint_of(path: Path) -> str:
    """Return 128 bits of BLAKE2 over size and content, hexadecimal.

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
