"""What a new model sees in another way than the one before, image by image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.reconcile import is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Detections


@dataclass(frozen=True, slots=True)
class ImageChange:
    """One image in the eyes of two models.

    Attributes
    ----------
    new, lost : int
        Boxes that only the new model, or only the old one, proposes.
    moved, reclassed : int
        Boxes of both that differ visibly, or in their class.
    f1_old, f1_new : float, 0..1
        Against the confirmed cells of the image, at IoU 0.5.
    """

    image_id: str
    new: int
    lost: int
    moved: int
    reclassed: int
    f1_old: float
    f1_new: float

    @property
    def boxes(self) -> int:
        """How many boxes differ."""
        return self.new + self.lost + self.moved + self.reclassed

    @property
    def gain(self) -> float:
        """What the new model brings on this image, F1, -1..1."""
        return self.f1_new - self.f1_old

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values, without the image."""
        return {k: v for k, v in asdict(self).items() if k != "image_id"}


def above(found: Detections, score: float) -> Detections:
    """Return the detections of this score or more."""
    return found.take(k for k, value in enumerate(found.scores) if value >= score)


def changed_images(
    old: Mapping[str, Detections],
    new: Mapping[str, Detections],
    truth: Mapping[str, tuple[Sequence[Box], Sequence[int | None]]],
    *,
    classes: bool = True,
    iou: float = 0.5,
) -> tuple[ImageChange, ...]:
    """Return the images in which anything differs, by how much F1 differs, then by boxes.

    Parameters
    ----------
    old, new : {image_id: Detections}
        Images that only one of them could search are left out.
    truth : {image_id: (boxes, class ids)}
    classes : bool
        Without, a cell counts whatever its class.
    """
    changes = []
    for key in old.keys() & new.keys() & truth.keys():
        a, b = old[key], new[key]
        pairs = match_boxes(a.boxes, b.boxes, iou)
        change = ImageChange(
            key,
            len(b) - len(pairs),
            len(a) - len(pairs),
            sum(is_elsewhere(a.boxes[i], b.boxes[j]) for i, j in pairs),
            sum(a.class_ids[i] != b.class_ids[j] for i, j in pairs) if classes else 0,
            f1(a, *truth[key], classes=classes, iou=iou),
            f1(b, *truth[key], classes=classes, iou=iou),
        )
        if change.boxes:
            changes.append(change)
    changes.sort(key=lambda c: (-abs(c.gain), -c.boxes, c.image_id))
    return tuple(changes)


def f1(
    found: Detections,
    boxes: Sequence[Box],
    class_ids: Sequence[int | None],
    *,
    classes: bool = True,
    iou: float = 0.5,
) -> float:
    """Return the F1 of detections against true boxes, 0..1; 1 where neither has any."""
    if not len(found) and not len(boxes):
        return 1.0
    pairs = match_boxes(found.boxes, boxes, iou)
    right = sum(not classes or found.class_ids[i] == class_ids[j] for i, j in pairs)
    return 2 * right / (len(found) + len(boxes))
