"""Scoring a detector in training on images that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Detections, ModelRecord
from napari_cellal.io.reading import Reader, read_or_fail
from napari_cellal.networks.course import Look

from .predict import TorchDetector
from .settings import PredictSettings

if TYPE_CHECKING:
    import torch

    from .dataset import Labelled
    from .family import CellNetwork

Metric: TypeAlias = Callable[
    [Sequence[Detections], Sequence[Any], Sequence[Sequence[int]], Sequence[int]],
    dict[int, float],
]


class Validation:
    """Scores a network on held-out images. Only complete ones count.

    Parameters
    ----------
    look_at : int
        A look on the way is at this many images only, the same ones each time.
    """

    def __init__(
        self,
        images: Sequence[Labelled],
        record: ModelRecord,
        network: CellNetwork,
        device: torch.device,
        reader: Reader,
        metric: Metric,
        look_at: int,
    ) -> None:
        self.images = images
        self.looked_at = images[:look_at]
        self._ids = record.class_ids
        self._reader = reader
        self._metric = metric
        self._network = network
        self._detector = TorchDetector(record, network, device, PredictSettings(keep_score=0.05))

    @property
    def has_any(self) -> bool:
        """Whether there is anything to look at."""
        return len(self.images) > 0

    def look(self, progress: Progress) -> Job[Look]:
        """Yield an image at a time and return mAP50 on some of the images, 0..1."""
        return (yield from self._look(self.looked_at, progress))

    def look_at_all(self, progress: Progress) -> Job[Look]:
        """Yield an image at a time and return mAP50 on all of them, 0..1."""
        return (yield from self._look(self.images, progress))

    def words(self, score: float) -> str:
        """Return what a person reads of the score."""
        return f"mAP50 {score:.2f} on the validation images"

    def _look(self, images: Sequence[Labelled], progress: Progress) -> Job[Look]:
        found, boxes, classes = [], [], []
        self._network.eval()
        for k, row in enumerate(images, 1):
            pixels = read_or_fail(self._reader, row.image.path, row.image.plane)
            found.append(self._detector.detect(pixels, image_id=row.image.path))
            boxes.append(row.boxes)
            classes.append([self._ids[label - 1] for label in row.labels])
            words = f"{progress.message}; validating, image {k} of {len(images)}"
            yield Progress(progress.done, progress.total, words)
        ap50 = self._metric(found, boxes, classes, self._ids)
        return Look(mean(ap50), ap50)


def mean(values: dict[int, float]) -> float:
    """Return mAP of AP by class; 0 where no class has a true box."""
    return sum(values.values()) / len(values) if values else 0.0
