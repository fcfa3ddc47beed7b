"""Which image to finish next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.active.images import ImageWorth, OpenBoxes, rank_images
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Split
from napari_cellal.io.store.search import open_boxes

if TYPE_CHECKING:
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class FinishRequest:
    """What is known of a project: its folder, and the images that may be finished. Picklable."""

    folder: str
    image_ids: frozenset[str]
    labels: dict[int, int]


def request_images(project: Project) -> FinishRequest:
    """Return the question which image to finish: training images that are not finished."""
    labels: dict[int, int] = {}
    for by_class in project.cells.label_counts().values():
        for class_id, n in by_class.items():
            labels[class_id] = labels.get(class_id, 0) + n
    open_ids = (k for k, r in project.images.items() if not r.finished and r.split is Split.TRAIN)
    return FinishRequest(str(project.folder), frozenset(open_ids), labels)


def images_to_finish(request: FinishRequest) -> Job[tuple[ImageWorth, ...]]:
    """Return the job that puts images in order, the most worth finishing first.

    Empty where no image has proposals that the detector doubts.
    """
    yield Progress(0, 0, "Comparing the images")
    by_image: dict[str, dict[int | None, OpenBoxes]] = {}
    for image_id, class_id, cells, doubt in open_boxes(Path(request.folder)):
        if image_id in request.image_ids:
            by_image.setdefault(image_id, {})[class_id] = OpenBoxes(cells, doubt)
    return rank_images(by_image, request.labels)
