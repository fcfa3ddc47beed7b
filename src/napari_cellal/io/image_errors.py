"""What can go wrong with an image file, as one sentence that names it."""

from __future__ import annotations

import errno
import struct
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tifffile

from napari_cellal.core.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def damaged(path: Path) -> ImageError:
    """Return the error for a file whose header or data make no sense."""
    return ImageError(
        f"{path.name} is damaged and cannot be read: copy it again from the computer that made it."
    )


def cut_short(path: Path) -> ImageError:
    """Return the error for a file that ends too early."""
    return ImageError(f"{path.name} is cut short: copy it again from the computer that made it.")


@contextmanager
def clear_errors(path: Path, *, folder: bool = False) -> Iterator[None]:
    """Turn what can go wrong with a file, or an image that is a folder, into one sentence."""
    try:
        if path.is_dir() and not folder:
            raise ImageError(f"{path.name} is a folder, not an image: name the files in it.")
        if not path.exists():
            raise ImageError(
                f"{path.name} was not found in {path.parent}: it was moved, renamed or deleted."
            )
        if path.is_file() and path.stat().st_size == 0:
            raise ImageError(
                f"{path.name} is empty (0 bytes): copy it again from the computer that made it."
            )
        yield
    except PermissionError as error:
        raise ImageError(
            f"{path.name} may not be read: ask its owner, or copy it to a folder of yours."
        ) from error
    except MemoryError as error:
        raise ImageError(f"{path.name} does not fit into this computer's memory.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise ImageError(
                f"{path.name[:60]} cannot be opened: its name is too long for this computer, or "
                "it is a link that leads back to itself."
            ) from error
        raise damaged(path) from error
    # What tifffile, Pillow and zlib are known to raise on damaged data.
    except (
        tifffile.TiffFileError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        AssertionError,
        EOFError,
        SyntaxError,
        struct.error,
        zlib.error,
    ) as error:
        raise damaged(path) from error
