"""A trained detector applied to images of any size."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_cellal.core.errors import ModelError
from napari_cellal.core.records import Detections, ModelRecord
from napari_cellal.networks.appearance import resized
from napari_cellal.networks.devices import autocast
from napari_cellal.networks.memory import is_out_of_memory
from napari_cellal.networks.normalization import EACH, Limits, Normalization

from .fusion import MIRRORED, fused, mirrored
from .settings import PredictSettings
from .tiles import Found, Tile, cut_boxes, full_mask, joined, merge_tiles, tiles_of
from .weights import composite_of, network_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .family import CellNetwork
    from .settings import NetworkSettings

log = logging.getLogger(__name__)
_SURE, _ENOUGH = 0.5, 3  # score and number of the cells that tell an image's scale
_LEAST_TILE_PX = 128  # network px; smaller tiles show cells without their surroundings


def _numbers(found: Found) -> NDArray[np.bool_]:
    """Return bool[N]: boxes of which every figure is a number; others never leave a network."""
    figures = [found.boxes, found.scores[:, None], found.probabilities]
    return np.asarray(np.isfinite(np.concatenate(figures, axis=1)).all(axis=1))


def first_scale(shape: NetworkSettings, size: tuple[int, int]) -> float:
    """Return network px per image px before anything is known of the cells."""
    if shape.short_side_px is None:
        return shape.scale
    return float(np.clip(shape.short_side_px / min(size), shape.scale, 2 * shape.scale))


def better_scale(cell_px: tuple[float, float], scale: float, found: Found) -> float | None:
    """Return the scale that brings the middle cell to the size that a network knows best.

    None where it is there already. Where hardly anything is found the cells may be too small
    to be seen, so twice the scale is worth a look.
    """
    sure = found.scores >= _SURE
    if sure.sum() < _ENOUGH:
        return 2 * scale
    sides = found.boxes[sure, 2:] - found.boxes[sure, :2]
    middle = float(np.median(np.sqrt(sides.prod(axis=1)))) * scale
    low, high = cell_px
    if low <= middle <= high:
        return None
    return scale * min(3.0, 1.25 * low / middle) if middle < low else scale * 0.75 * high / middle


def _sure(found: Found) -> int:
    return int((found.scores >= _SURE).sum())


class TorchDetector:
    """Finds cells with a trained network.

    Attributes
    ----------
    notes : list of str
        What the person should know about the last image, e.g. that memory was short.
    """

    def __init__(
        self,
        record: ModelRecord,
        network: CellNetwork,
        device: torch.device,
        settings: PredictSettings | None = None,
    ) -> None:
        self.record = record
        self.model_id = record.model_id
        self.device = device
        self.settings = settings or PredictSettings()
        self.notes: list[str] = []
        self._shape = network_settings(record)
        self._normalization = Normalization.from_dict(record.normalization)
        self._composite = composite_of(record)
        self.network = network.to(device).eval()
        self._tile_px = self._shape.tile_px
        self._batch = self.settings.tile_batch
        self._limits: tuple[str, Limits | None] = ("", None)  # of the last image shown in parts
        self._fitted = ("", 0.0)  # the last image and the scale that its cells asked for

    @property
    def margin_px(self) -> int:
        """How much around a cell's middle must be seen, image px."""
        return int(np.ceil(self._shape.largest_box_px))

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the training pictures, one number a channel, 0..1."""
        return self._normalization.mean

    def prepared(self, pixels: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        """Return a plane as the network sees it, float32[C, y, x] in 0..1, and at which scale.

        That is network px per image px, the one that suits the cells where the model may
        choose it.

        Raises
        ------
        ModelError
            If the image does not fit the model.
        """
        unit = self._unit(pixels, "")
        if self._shape.cell_px is None:
            return unit, first_scale(self._shape, (unit.shape[1], unit.shape[2]))
        self._fitted = ("", 0.0)
        return unit, self._find(unit, "a plane of its own")[1]

    def look_at(self, sample: NDArray[Any], *, image_id: str) -> None:
        """Take note of the intensities of an image that will be shown in parts, [C, y, x]."""
        if self._composite is not None:
            sample = self._composite.apply(sample)
        self._limits = (image_id, self._normalization.own_limits(sample))

    def memory(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image that is shown in parts, as JSON values.

        A detector that is given it by `recall` finds the same in the same part, wherever it
        runs and whatever it saw before.
        """
        limits = self._limits[1] if self._limits[0] == image_id else None
        memory: dict[str, Any] = {"limits": limits and [side.tolist() for side in limits]}
        if self._shape.cell_px is not None:
            memory["scale"] = self._fitted[1] if self._fitted[0] == image_id else None
        return memory

    def recall(self, image_id: str, memory: Mapping[str, Any]) -> None:
        """Take over what another detector noted of an image; see `memory`."""
        limits, scale = memory["limits"], memory.get("scale")
        self._limits = (image_id, limits and (np.asarray(limits[0]), np.asarray(limits[1])))
        self._fitted = ("", 0.0) if scale is None else (image_id, scale)

    def detect_many(
        self, planes: Sequence[NDArray[Any]], image_ids: Sequence[str]
    ) -> list[Detections]:
        """Return the cells of several planes of one shape, shown to the network together.

        The same as `detect` of each but for the last digits, which depend on how many pictures
        are computed at once.

        Raises
        ------
        ModelError
            See `detect`.
        """
        if self.settings.flips:
            pairs = zip(planes, image_ids, strict=True)
            return [self.detect(pixels, image_id=key) for pixels, key in pairs]
        self.notes = []
        units = [self._unit(p, key) for p, key in zip(planes, image_ids, strict=True)]
        scale = first_scale(self._shape, (units[0].shape[1], units[0].shape[2]))
        found = self._search_many(units, scale)
        again: dict[float, list[int]] = {}
        if self._shape.cell_px is not None:
            for k, first in enumerate(found):
                better = better_scale(self._shape.cell_px, scale, first)
                if better is not None:
                    again.setdefault(better, []).append(k)
        for better, index in again.items():
            seconds = self._search_many([units[k] for k in index], better)
            for k, second in zip(index, seconds, strict=True):
                if _sure(second) >= _sure(found[k]):
                    found[k] = second
        return [self._detections(f, key) for f, key in zip(found, image_ids, strict=True)]

    def detect(self, pixels: NDArray[Any], *, image_id: str, rgb: bool = False) -> Detections:
        """Return the cells of one plane, [C, Y, X].

        Raises
        ------
        ModelError
            If the image does not fit the model, or not even one small tile fits the memory.
        """
        self.notes = []
        unit = self._unit(pixels, image_id)
        found, scale = self._find(unit, image_id)
        if self.settings.flips:
            found = fused([found, *self._mirrored(unit, scale)])
            found = found.take(np.flatnonzero(found.scores >= self.settings.keep_score))
        return self._detections(found, image_id)

    def _unit(self, pixels: NDArray[Any], image_id: str) -> NDArray[np.float32]:
        """Return a plane as the network sees it, before its size is changed."""
        if self._composite is not None:
            pixels = self._composite.apply(pixels)
        limits = self._limits[1] if self._limits[0] == image_id else None
        unit = self._normalization.to_unit(pixels, limits)
        if self._normalization.dtype not in (EACH, str(pixels.dtype)):
            self.notes.append(
                f"The image is {pixels.dtype}, the model was trained on "
                f"{self._normalization.dtype}: intensities were scaled by the image's own range."
            )
        return unit

    def _mirrored(self, unit: NDArray[np.float32], scale: float) -> Iterator[Found]:
        """Yield what is found in the image mirrored, where it lies in the image as it is."""
        shape = (unit.shape[1], unit.shape[2])
        for axes in MIRRORED:
            found = self._search(np.flip(unit, axes), scale)
            masks = None if found.masks is None else np.flip(found.masks, axes)
            yield replace(found, boxes=mirrored(found.boxes, axes, shape), masks=masks)

    def _find(self, unit: NDArray[np.float32], image_id: str) -> tuple[Found, float]:
        """Return the cells and the scale at which they were found.

        That is the one that suits the image, where the model may choose it. All parts of a
        large image are searched at the scale that its first cells ask for.
        """
        if self._fitted[0] == image_id:
            return self._search(unit, self._fitted[1]), self._fitted[1]
        scale = first_scale(self._shape, (unit.shape[1], unit.shape[2]))
        found = self._search(unit, scale)
        if self._shape.cell_px is None:
            return found, scale
        better = better_scale(self._shape.cell_px, scale, found)
        if better is not None:
            second = self._search(unit, better)
            # nothing found says nothing: twice as large must show cells to be believed
            if _sure(second) >= _sure(found):
                found, scale = second, better
        if _sure(found) >= _ENOUGH:
            self._fitted = (image_id, scale)
        return found, scale

    def _search(self, unit: NDArray[np.float32], scale: float) -> Found:
        """Return the cells at a scale, in smaller pieces where memory is short."""
        return self._search_many([unit], scale)[0]

    def _search_many(self, units: Sequence[NDArray[np.float32]], scale: float) -> list[Found]:
        """Return the cells of each of several images of one size."""
        while (found := self._try_search(units, scale)) is None:
            self._make_smaller()
        return found

    def _try_search(self, units: Sequence[NDArray[np.float32]], scale: float) -> list[Found] | None:
        """Return the boxes, or None where memory was short; its tensors are then let go."""
        try:
            return self._search_tiles(units, scale)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _make_smaller(self) -> None:
        """Halve the batch of tiles, then the tile.

        Raises
        ------
        ModelError
            If both are as small as they can be.
        """
        if self._batch > 1:
            self._batch //= 2
            note = f"Memory was short: {self._batch} tiles at once from now on."
        elif self._tile_px // 2 >= _LEAST_TILE_PX:
            self._tile_px //= 2
            note = f"Memory was short: tiles of {self._tile_px} px from now on."
        else:
            raise ModelError(
                "The memory does not hold even one small tile. Close other programs that use "
                "the GPU, or choose the device 'cpu'."
            )
        log.warning(note)
        self.notes.append(note)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _search_tiles(self, units: Sequence[NDArray[np.float32]], scale: float) -> list[Found]:
        shape = (units[0].shape[1], units[0].shape[2])
        side = max(1, int(self._tile_px / scale))
        near_px = max(2.0, 1.5 / scale)
        # a cell so near to an edge counts as cut: each needs a tile where it is not
        overlap = int(np.ceil(self._shape.largest_box_px + 2 * near_px)) + 1
        tiles = tiles_of(shape, side, overlap)
        shown = [(unit, tile) for unit in units for tile in tiles]
        parts: list[Found] = []
        for first in range(0, len(shown), self._batch):
            some = shown[first : first + self._batch]
            parts += self._run([unit for unit, _ in some], [tile for _, tile in some], scale)
        n = len(tiles)
        return [
            self._merged(parts[k * n : (k + 1) * n], tiles, shape, near_px)
            for k in range(len(units))
        ]

    def _merged(
        self, parts: Sequence[Found], tiles: Sequence[Tile], shape: tuple[int, int], near_px: float
    ) -> Found:
        """Return the cells of one image, given those of its tiles."""
        cut = [cut_boxes(p.boxes, t, shape, near_px) for p, t in zip(parts, tiles, strict=True)]
        index = [np.full(len(p.boxes), k) for k, p in enumerate(parts)]
        return merge_tiles(
            joined(parts),
            np.concatenate(cut),
            np.concatenate(index),
            self.settings.same_class_iou,
            self.settings.any_class_iou,
            self.settings.same_class_inside,
        )

    def _run(
        self, units: Sequence[NDArray[np.float32]], tiles: Sequence[Tile], scale: float
    ) -> list[Found]:
        """Return what the network finds in tiles, one of each of the images, image px."""
        windows = [
            torch.from_numpy(np.ascontiguousarray(unit[:, t.y0 : t.y1, t.x0 : t.x1]))
            for unit, t in zip(units, tiles, strict=True)
        ]
        self.network.limit(self.settings)
        with torch.inference_mode(), autocast(self.device):
            images = [resized(w.to(self.device), scale) for w in windows]
            answers = self.network(images)
        found = []
        for tile, image, answer in zip(tiles, images, answers, strict=True):
            # rounding the size makes the true scale differ a little from the one asked for
            ratio_y = (tile.y1 - tile.y0) / image.shape[1]
            ratio_x = (tile.x1 - tile.x0) / image.shape[2]
            boxes = answer["boxes"].float().cpu().numpy()[:, [1, 0, 3, 2]]  # [N, 4], y first
            boxes = boxes * np.asarray([ratio_y, ratio_x, ratio_y, ratio_x], np.float32)
            boxes += np.asarray([tile.y0, tile.x0, tile.y0, tile.x0], np.float32)
            part = Found(
                boxes,
                answer["scores"].float().cpu().numpy(),
                answer["labels"].cpu().numpy() - 1,
                answer["probabilities"].float().cpu().numpy(),
                (answer["cell_masks"] * 255).round().to(torch.uint8).cpu().numpy()
                if "cell_masks" in answer
                else None,
            )
            found.append(part.take(np.flatnonzero(_numbers(part))))
        return found

    def _detections(self, found: Found, image_id: str) -> Detections:
        ids = self.record.class_ids
        y0, x0, y1, x1 = (found.boxes[:, k].tolist() for k in range(4))
        return Detections(
            image_id,
            tuple(zip(y0, x0, y1, x1, strict=True)),
            tuple(found.scores.tolist()),
            tuple(ids[k] for k in found.classes.tolist()),
            self.model_id,
            tuple(tuple(zip(ids, row, strict=True)) for row in found.probabilities.tolist()),
            ()
            if found.masks is None
            else tuple(full_mask(*pair) for pair in zip(found.masks, found.boxes, strict=True)),
        )
