"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file beside its place and move it there: a crash leaves the old one.

    Raises
    ------
    OSError
        If the folder cannot be written to, or what stands there is no plain file.
    """
    with atomic_file(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which stands at ``path`` once the block has ended well.

    Raises
    ------
    OSError
        If the folder cannot be written to, or what stands there is no plain file.
    """
    if path.exists() and not path.is_file():  # a device, too, would be replaced by the file
        raise OSError(errno.EINVAL, "it is no plain file; choose another name", str(path))
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
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
