"""Measurements on disk: one file an image and describer, rows found by box and mask.

Only numpy here: whoever owns a project can write what others measured.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .table import write_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Mask

BOX_BYTES = 4 * 8


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Measurements of cells of one image, to be written by `keep_rows`. Picklable.

    Attributes
    ----------
    name : str
        The describer's.
    key : str
        All that a row depends on besides its box and mask.
    rows : {`row_keys`' key: float32[F]}
    """

    name: str
    key: str
    rows: Mapping[bytes, NDArray[np.float32]]


def kept_path(cache_folder: Path, image_id: str, name: str) -> Path:
    """Return the file of an image's measurements."""
    if not image_id.isalnum():  # an id from elsewhere may hold characters that no file can
        image_id = hashlib.sha256(image_id.encode()).hexdigest()[:32]
    return cache_folder / "measurements" / f"{image_id}-{name}.npz"


def keep_rows(cache_folder: Path, image_id: str, kept: KeptRows) -> None:
    """Write an image's rows in place of those that its file has."""
    if not kept.rows:
        return
    with contextlib.suppress(OSError):  # a full disk costs time later, not this result
        write_arrays(
            kept_path(cache_folder, image_id, kept.name),
            {
                "key": np.array(kept.key),
                "boxes": np.array([np.frombuffer(k[:BOX_BYTES], np.float64) for k in kept.rows]),
                "masks": np.array([k[BOX_BYTES:].hex() for k in kept.rows], np.str_),
                "values": np.array(list(kept.rows.values()), np.float32),
            },
        )


def row_keys(boxes: NDArray[np.float64], masks: Sequence[Mask | None]) -> list[bytes]:
    """Return for each box what its row is found by: the box, and of a mask its digest."""
    return [
        box.tobytes() + (b"" if mask is None else _digest(mask))
        for box, mask in zip(boxes, masks or (None,) * len(boxes), strict=True)
    ]


def _digest(mask: Mask) -> bytes:
    return hashlib.sha256(f"{mask.window} {mask.counts}".encode()).digest()[:16]
