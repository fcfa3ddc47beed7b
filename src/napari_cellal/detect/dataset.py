"""Training images: checked, read, brought to the network's scale and kept in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.geometry import as_boxes, clip_boxes
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.reading import Reader, read_or_fail
from napari_cellal.networks.appearance import resized
from napari_cellal.networks.normalization import Normalization, NormalizationFit

from .augment import Sample, augmented
from .cell_masks import CellMasks, cell_masks
from .mixing import mosaic, with_pasted
from .requests import ImageFailure, TrainImage, TrainRequest
from .sampling import Order, repeat_factors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Mask

    from .settings import TrainSettings

_LEAST_SIDE_PX = 1.0  # a box thinner than this holds nothing to learn


@dataclass(frozen=True)
class Labelled:
    """A readable image with the labels that can be learned."""

    image: TrainImage
    shape: tuple[int, int]
    boxes: NDArray[np.float32]
    """[N, 4] (y0, x0, y1, x1), image px, cut to the image."""
    labels: NDArray[np.int64]
    """[N], 1 + index of the class in the request."""
    rejected: NDArray[np.float32]
    complete: bool
    unreviewed: NDArray[np.float32]
    masks: tuple[Mask | None, ...] = ()
    """One a box, image px; empty where none are learned."""


@dataclass(frozen=True)
class Survey:
    """What the training images are like.

    Attributes
    ----------
    dropped : int
        Boxes without area, or outside their image.
    """

    images: list[Labelled]
    normalization: Normalization
    dropped: int


def usable(boxes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return bool[N]: boxes that are finite and at least 1 px wide and high in the image."""
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    cut = clip_boxes(np.where(finite[:, None], boxes, 0), shape)
    return np.asarray(finite & ((cut[:, 2:] - cut[:, :2]) >= _LEAST_SIDE_PX).all(axis=1))


def labelled(
    image: TrainImage, shape: tuple[int, int], class_ids: Sequence[int]
) -> tuple[Labelled, int]:
    """Return the image's labels, checked, and how many boxes were dropped.

    A cell of a class that is not learned is no background, so its image counts as
    incomplete.

    Raises
    ------
    ModelError
        If boxes and classes are not of one number.
    """
    if len(image.boxes) != len(image.class_ids):
        raise ModelError(
            f"{image.path}: {len(image.boxes)} boxes but {len(image.class_ids)} classes."
        )
    boxes = as_boxes(image.boxes)
    good = usable(boxes, shape)
    known = np.asarray([c in class_ids for c in image.class_ids], dtype=bool)
    take = good & known
    labels = [class_ids.index(c) + 1 for c, t in zip(image.class_ids, take, strict=True) if t]
    unreviewed = np.concatenate([as_boxes(image.unreviewed), boxes[good & ~known]])
    result = Labelled(
        image,
        shape,
        clip_boxes(boxes[take], shape).astype(np.float32),
        np.asarray(labels, dtype=np.int64),
        _cut(as_boxes(image.rejected), shape),
        image.complete and not bool((good & ~known).any()),
        _cut(unreviewed, shape),
        tuple(m for m, t in zip(image.masks, take, strict=True) if t) if image.masks else (),
    )
    return result, int((~good).sum())


def _cut(boxes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    return clip_boxes(boxes[usable(boxes, shape)], shape).astype(np.float32)


def survey(request: TrainRequest, reader: Reader) -> Job[Survey]:
    """Read every training image once; yield an `ImageFailure` for each that is broken.

    Images that can teach nothing (not complete and without labels) are left out.

    Raises
    ------
    ModelError
        If nothing is left to learn from.
    """
    if not request.class_ids or len(set(request.class_ids)) != len(request.class_ids):
        raise ModelError("A detector needs at least one class, and each class once.")
    fit = NormalizationFit()
    images: list[Labelled] = []
    dropped = 0
    total = len(request.images)
    for done, image in enumerate(request.images, 1):
        try:
            pixels = read_or_fail(reader, image.path, image.plane)
        except CellalError as error:
            yield Progress(done, total, str(error), ImageFailure(image.path, str(error)))
            continue
        row, bad = labelled(image, (pixels.shape[1], pixels.shape[2]), request.class_ids)
        dropped += bad
        if row.complete or len(row.labels) or len(row.rejected):
            images.append(row)
            fit.add(pixels)
        yield Progress(done, total, f"Looking at the training images ({done} of {total})")
    if not any(len(row.labels) for row in images):
        raise ModelError(
            "There is no box to learn from in the training images. Confirm some boxes first."
        )
    return Survey(images, fit.result(), dropped)


def validation_images(request: TrainRequest, reader: Reader) -> Job[list[Labelled]]:
    """Return the validation images that can be read and are complete; yield at each.

    In an incomplete image a found cell without a box is not a mistake, so it cannot
    measure anything.
    """
    kept: list[Labelled] = []
    total = len(request.val_images)
    for done, image in enumerate(request.val_images, 1):
        failure = None
        try:
            pixels = read_or_fail(reader, image.path, image.plane)
        except CellalError as error:
            failure = ImageFailure(image.path, str(error))
        else:
            row, _ = labelled(image, (pixels.shape[1], pixels.shape[2]), request.class_ids)
            if row.complete:
                kept.append(row)
        yield Progress(done, total, "Looking at the validation images", failure)
    return kept


class Pictures:
    """Samples at the network's scale, kept in memory as far as they fit."""

    def __init__(
        self,
        images: Sequence[Labelled],
        normalization: Normalization,
        scale: float,
        reader: Reader,
        cache_mb: int,
        *,
        masks: bool = False,
        boxes_as_masks: bool = False,
    ) -> None:
        self._images = images
        self._normalization = normalization
        self._scale = scale
        self._reader = reader
        self._room = cache_mb * 2**20
        self._kept: dict[int, Tensor] = {}
        self._masks: dict[int, CellMasks] | None = {} if masks else None
        self._boxes_as_masks = boxes_as_masks

    def __len__(self) -> int:
        return len(self._images)

    def labels(self) -> list[NDArray[np.int64]]:
        """Return each picture's labels."""
        return [row.labels for row in self._images]

    def alike(self, index: int) -> list[int]:
        """Return the pictures that are complete, or not, as this one is."""
        complete = self._images[index].complete
        return [k for k, row in enumerate(self._images) if row.complete is complete]

    def __getitem__(self, index: int) -> Sample:
        row = self._images[index]
        pixels = self._pixels(index)
        ratio = np.asarray(  # the true scale, after the size was rounded
            [pixels.shape[2] / row.shape[1], pixels.shape[1] / row.shape[0]] * 2, np.float32
        )

        def boxes(yx: NDArray[np.float32]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(yx[:, [1, 0, 3, 2]] * ratio))

        sample = Sample(
            pixels,
            boxes(row.boxes),
            torch.from_numpy(row.labels),
            boxes(row.rejected),
            row.complete,
            boxes(row.unreviewed),
            row.image.rgb,
        )
        if self._masks is None:
            return sample
        if index not in self._masks:
            self._masks[index] = cell_masks(
                sample.boxes,
                row.masks or (None,) * len(row.labels),
                (float(ratio[0]), float(ratio[1])),
                boxes_count=self._boxes_as_masks,
            )
        return replace(sample, masks=self._masks[index])

    def _pixels(self, index: int) -> Tensor:
        """Return float32[C, h, w] in 0..1."""
        eight_bit = self._normalization.eight_bit
        if index in self._kept:
            kept = self._kept[index]
            return kept.float() / 255 if eight_bit else kept.float()
        image = self._images[index].image
        unit = self._normalization.to_unit(read_or_fail(self._reader, image.path, image.plane))
        pixels = resized(torch.from_numpy(unit), self._scale)
        # rounded also on the first look, so that the cache's size does not change results
        kept = (pixels * 255).round().to(torch.uint8) if eight_bit else pixels.half()
        if kept.nbytes <= self._room:
            self._room -= kept.nbytes
            self._kept[index] = kept
        return kept.float() / 255 if eight_bit else kept.float()


def batches(
    pictures: Pictures, settings: TrainSettings, first_step: int = 0
) -> Iterator[list[Sample]]:
    """Yield endless batches of random views, each drawn from the seed and its place alone.

    So a training that goes on at ``first_step`` sees what it would have seen.
    """
    size, seed = settings.batch_size, settings.seed
    order = Order(repeat_factors(pictures.labels(), settings.repeat_rare), seed)
    for step in itertools.count(first_step):
        rng = np.random.default_rng([seed, 1, step])
        places = range(step * size, (step + 1) * size)
        yield [_view(pictures, order[place], settings, rng) for place in places]


def _view(
    pictures: Pictures, index: int, settings: TrainSettings, rng: np.random.Generator
) -> Sample:
    """Return a random view of one picture, with something of others where that is asked for."""

    def view(k: int) -> Sample:
        return augmented(pictures[k], settings, rng)

    sample = view(index)
    if settings.mosaic and rng.random() < settings.mosaic:
        others = rng.choice(pictures.alike(index), 3)
        sample = mosaic([sample, *(view(int(k)) for k in others)], rng)
    if settings.copy_paste and rng.random() < settings.copy_paste:
        sample = with_pasted(sample, view(int(rng.integers(len(pictures)))), rng)
    return sample
