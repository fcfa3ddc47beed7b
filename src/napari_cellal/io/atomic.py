"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file beside its place and move it there: a crash leaves the old one.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    if isinstance(data, str):
        data = data.encode("utf-8")
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; these are meant for others as well.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        os.replace(name, path)
    except BaseException:  # Ctrl+C too: leave no draft behind
        Path(name).unlink(missing_ok=True)
        raise
