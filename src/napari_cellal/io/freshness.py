"""Whether an image's files are still those that the project knows."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ImageError

from .fingerprint import joined_fingerprint, stamp_of
from .pixels import open_image

if TYPE_CHECKING:
    from napari_cellal.core.records import Plane


def change_of(path: str | Path, plane: Plane) -> str | None:
    """Return a sentence where a file has another content than when it was added, else None.

    Cheap enough for every reading: size and time of change are compared, and only where they
    differ is the content read, once in a process. A file that is gone is left to its reader,
    and a plane without a fingerprint is taken as it is.

    Raises
    ------
    ImageError
        If a changed file is no image any more.
    """
    if not plane.fingerprint:
        return None
    files = [Path(file) for file in plane.files or (path,)]
    try:
        stamps = [stamp_of(file) for file in files]
    except OSError:
        return None
    if "/".join(stamps) == plane.stamp:
        return None
    prints = [_fingerprint(f, plane.scene, s) for f, s in zip(files, stamps, strict=True)]
    if (joined_fingerprint(prints) if plane.files else prints[0]) == plane.fingerprint:
        return None
    return (
        f"{files[0].name} has changed since it was added, so its boxes may not fit any more. Put "
        "the first file back, or take it as it is now with: napari-cellal refresh PROJECT --accept."
    )


def check_unchanged(path: str | Path, plane: Plane) -> None:
    """Raise `ImageError` where `change_of` has something to say."""
    changed = change_of(path, plane)
    if changed is not None:
        raise ImageError(changed)


@lru_cache(maxsize=100_000)
def _fingerprint(file: Path, scene: int, _stamp: str) -> str:
    with open_image(file, scene=scene) as image:
        return image.fingerprint()
