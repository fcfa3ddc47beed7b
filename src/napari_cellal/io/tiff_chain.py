"""Finding out that a TIFF was cut short, which readers tend to take for fewer pages."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def missing_from(path: Path) -> int | None:
    """Return where the file should go on but has ended, or None where it is whole.

    Follows the chain of page headers (TIFF 6.0 section 2, BigTIFF: 8-byte offsets). tifffile
    drops the pages behind a broken link with a line in the log: half a z-stack would pass
    for a whole one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16).ljust(16, b"\0")
        order = "<" if head[:2] == b"II" else ">"
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        entry_bytes, count_code, link_code = (20, "Q", "Q") if big else (12, "H", "I")
        count_bytes, link_bytes = struct.calcsize(count_code), struct.calcsize(link_code)
        (at,) = struct.unpack(order + link_code, head[8:16] if big else head[4:8])
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            if at + count_bytes > size:
                return int(at)
            file.seek(at)
            (n_entries,) = struct.unpack(order + count_code, file.read(count_bytes))
            link_at = at + count_bytes + n_entries * entry_bytes
            if link_at + link_bytes > size:
                return int(link_at)
            file.seek(link_at)
            (at,) = struct.unpack(order + link_code, file.read(link_bytes))
    return None
