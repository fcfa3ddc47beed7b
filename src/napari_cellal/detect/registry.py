"""Detectors by name: the classical one, and every trained model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_cellal.core.records import Detections

from .architectures import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from .classical import ClassicalSettings
    from .settings import PredictSettings

__all__ = ["ARCHITECTURES", "CLASSICAL", "ClassicalDetector", "Detector", "load_detector"]

CLASSICAL = "classical"


class Detector(Protocol):
    """Whatever finds cells in a plane."""

    model_id: str

    @property
    def margin_px(self) -> int:
        """How much around a cell's middle must be seen, image px."""

    def look_at(self, sample: NDArray[Any], *, image_id: str) -> None:
        """Take note of an image that will be shown in parts, [C, y, x] from all over it."""

    def memory(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image that is shown in parts, as JSON values.

        ``scale`` is there where a detector chooses one, None as long as it has not.
        """

    def recall(self, image_id: str, memory: Mapping[str, Any]) -> None:
        """Take over what another detector noted of an image."""

    def detect(self, pixels: NDArray[Any], *, image_id: str, rgb: bool) -> Detections:
        """Return the cells of one plane, [C, Y, X]."""


class ClassicalDetector:
    """Thresholds and watershed, without training and without classes."""

    model_id = CLASSICAL
    margin_px = 200

    def __init__(self, settings: ClassicalSettings | None = None) -> None:
        self._settings = settings

    def look_at(self, sample: NDArray[Any], *, image_id: str) -> None:
        """Do nothing: each part has its own threshold."""

    def memory(self, image_id: str) -> dict[str, Any]:
        """Return nothing: each part is searched by itself."""
        return {}

    def recall(self, image_id: str, memory: Mapping[str, Any]) -> None:
        """Do nothing; see `memory`."""

    def detect(self, pixels: NDArray[Any], *, image_id: str, rgb: bool) -> Detections:
        """Return the cells of one plane, [C, Y, X], by falling score; their class is None."""
        from .classical import ClassicalSettings, find_cells

        boxes, scores = find_cells(pixels, self._settings or ClassicalSettings(), rgb=rgb)
        order = np.argsort(-scores, kind="stable")
        rows = boxes[order].astype(float).tolist()
        return Detections(
            image_id,
            tuple((y0, x0, y1, x1) for y0, x0, y1, x1 in rows),
            tuple(scores[order].astype(float).tolist()),
            (None,) * len(rows),
            self.model_id,
        )


def load_detector(
    name_or_folder: str | Path,
    device: torch.device | str = "auto",
    settings: PredictSettings | None = None,
    classical: ClassicalSettings | None = None,
) -> Detector:
    """Return a detector: ``classical``, or the model in a folder.

    torch is imported only for the latter.

    Raises
    ------
    ModelError
        If the model or the device cannot be used.
    """
    if str(name_or_folder) == CLASSICAL:
        return ClassicalDetector(classical)
    from napari_cellal.networks.devices import choose_device

    from .folding import quicken
    from .predict import TorchDetector
    from .weights import load_model

    target = choose_device(device) if isinstance(device, str) else device
    record, network = load_model(Path(name_or_folder))
    quicken(network, target)
    return TorchDetector(record, network, target, settings)
