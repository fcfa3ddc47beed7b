"""Pictures of cells: read, cut, brought to one size, and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError, ImageError, ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.features.crops import crop, resample, square_of
from napari_cellal.features.outline import cell_mask
from napari_cellal.io.planes import is_large, plane_size, read_plane_region
from napari_cellal.io.reading import read_or_fail, read_plane

from .requests import PatchFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.io.reading import Reader
    from napari_cellal.networks.normalization import Normalization

    from .requests import Patch
    from .settings import ViewSettings

_IMAGES_KEPT = 2  # decoded ones: the cells of an image follow each other


class Cutter:
    """Cuts patches out of images."""

    def __init__(self, view: ViewSettings, reader: Reader = read_plane) -> None:
        self._view = view
        self._reader = reader
        self._images: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def window(self, patch: Patch) -> tuple[int, int, int, int] | None:
        """Return what part of its image a cell is shown in, (y0, x0, y1, x1) px, half-open.

        None for a patch without a box.
        """
        found = self._field(patch)
        return None if found is None else square_of(*found)

    def _field(self, patch: Patch) -> tuple[Box, float] | None:
        """Return the box that is cut, and the margin around it."""
        box, side = patch.box, self._view.field_px
        if box is None:
            return None
        if side is None:
            return box, self._view.context
        y, x, half = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side / 2
        return (y - half, x - half, y + half, x + half), 0.0

    def outline(self, patch: Patch) -> NDArray[np.bool_] | None:
        """Return bool[size, size], the cell in the picture; None where its mask is not known."""
        window = self.window(patch)
        if patch.mask is None or window is None:
            return None
        bits = patch.mask.within(window)
        size = self._view.size_px
        share = resample(bits[None].astype(np.float32), size, size)[0]
        return np.asarray(share >= 0.5)

    def cut(self, patch: Patch) -> NDArray[Any]:
        """Return a patch, [C, size, size], of its image's dtype.

        Raises
        ------
        ImageError
            If the image cannot be read, or is no picture.
        """
        view = self._view
        box, context = self._field(patch) or (None, 0.0)
        if box is not None and self._in_parts(patch):
            pixels, box = self._part(patch, box)
            return crop(pixels, box, context=context, size_px=view.size_px)
        pixels = self._image(patch)
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise ImageError(f"{patch.key}: an image without pixels.")
        if box is not None:
            return crop(pixels, box, context=context, size_px=view.size_px)
        height, width = pixels.shape[1:]
        h, w = height * view.center / 2, width * view.center / 2
        middle = (height / 2 - h, width / 2 - w, height / 2 + h, width / 2 + w)
        return crop(pixels, middle, size_px=view.size_px)

    def _in_parts(self, patch: Patch) -> bool:
        # Only our own reader can read parts.
        return self._reader is read_plane and is_large(patch.path, patch.plane)

    def _part(self, patch: Patch, box: Box) -> tuple[NDArray[Any], Box]:
        """Return what a cell needs of a large image, and its box in there."""
        y0, x0, y1, x1 = box
        margin = 2 + max(y1 - y0, x1 - x0) * (1 + self._view.context)
        height, width = plane_size(patch.path, patch.plane)
        top, left = max(0, int(y0 - margin)), max(0, int(x0 - margin))
        window = (top, left, min(height, int(y1 + margin) + 1), min(width, int(x1 + margin) + 1))
        pixels = read_plane_region(patch.path, patch.plane, window)
        return pixels, (y0 - top, x0 - left, y1 - top, x1 - left)

    def _image(self, patch: Patch) -> NDArray[Any]:
        key = (patch.path, patch.plane)
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key]
        pixels = read_or_fail(self._reader, patch.path, patch.plane)
        if patch.box is not None:  # others are seen once
            self._images[key] = pixels
            if len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return pixels


def foreground(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return bool[h, w]: the cell in the middle of a picture, [C, h, w]; all of it if none is seen.

    By the channel with the most contrast; see `features.outline.cell_mask`.
    """
    planes = pixels.astype(np.float32)
    low, high = np.percentile(planes.reshape(len(planes), -1), [1, 99], axis=1)
    spread = planes.reshape(len(planes), -1).std(axis=1) / np.maximum(high - low, 1e-6)
    plane = planes[int(np.argmax(spread * (high > low)))]
    mask, _ = cell_mask(plane, np.ones(plane.shape, bool))
    return mask


class Pictures:
    """Pictures at the network's size, kept in memory as far as they fit."""

    def __init__(self, patches: Sequence[Patch], cutter: Cutter, cache_mb: int) -> None:
        self.patches = patches
        self._cutter = cutter
        self._room = max(0, cache_mb) * 2**20
        self._kept: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def kept_mb(self) -> int:
        """Memory that is taken."""
        return sum(pixels.nbytes for pixels in self._kept.values()) >> 20

    def raw(self, index: int) -> NDArray[Any]:
        """Return a picture, [C, size, size], of its image's dtype.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        if index in self._kept:
            return self._kept[index]
        pixels = self._cutter.cut(self.patches[index])
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[index] = pixels
        return pixels

    def outline(self, index: int) -> NDArray[np.bool_] | None:
        """Return bool[size, size], the cell in a picture, where its mask is known."""
        return self._cutter.outline(self.patches[index])

    def without(self, bad: set[int]) -> Pictures:
        """Return the pictures that can be used, with what is kept of them."""
        good = [k for k in range(len(self)) if k not in bad]
        rest = Pictures([self.patches[k] for k in good], self._cutter, 0)
        rest._room = self._room
        rest._kept = {new: self._kept[k] for new, k in enumerate(good) if k in self._kept}
        return rest


def seen(
    pixels: NDArray[Any],
    normalization: Normalization,
    view: ViewSettings,
    outline: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return what the network sees of a picture: float32[C, h, w] in 0..1.

    Background that is taken out gets the mean of each channel, which tells nothing.

    Parameters
    ----------
    outline : bool[h, w] or None
        The cell by its mask; None looks for it.
    """
    unit = normalization.to_unit(pixels)
    if view.mask_background:
        mean = np.asarray(normalization.mean, np.float32)[:, None, None]
        cell = foreground(pixels) if outline is None else outline
        unit = np.where(cell[None], unit, mean)
    return unit


def look_through(
    pictures: Pictures, n_channels: int | None = None, *, may_be_none: bool = False
) -> Job[tuple[Pictures, list[PatchFailure]]]:
    """Read every picture once; yield and return a `PatchFailure` for each that is broken.

    Parameters
    ----------
    n_channels : int or None
        How many a picture must have; None takes the number that most have.
    may_be_none : bool
        Whether it can go on with no picture left.

    Raises
    ------
    ModelError
        If no picture is left that must be there.
    """
    counts: dict[int, int] = {}
    failures: dict[int, PatchFailure] = {}
    total = len(pictures)
    for k, patch in enumerate(pictures.patches):
        failure = None
        try:
            counts[k] = len(pictures.raw(k))
        except CellalError as error:
            failure = failures[k] = PatchFailure(patch.key, str(error))
        yield Progress(k + 1, total, "Looking at the pictures", failure)
    if counts and n_channels is None:
        numbers = sorted(counts.values())
        n_channels = max(dict.fromkeys(numbers), key=numbers.count)
    for k, n in counts.items():
        if n != n_channels:
            key = pictures.patches[k].key
            has = f"{key} has {n} channel{'s' * (n != 1)}"
            failures[k] = PatchFailure(key, f"{has} instead of {n_channels}; left out.")
    if len(failures) == total and not may_be_none:
        reason = f" {next(iter(failures.values())).sentence}" if failures else ""
        raise ModelError(f"There is no picture that can be used.{reason}")
    return pictures.without(set(failures)), [failures[k] for k in sorted(failures)]
