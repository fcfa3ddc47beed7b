"""Which image to finish next: what a detector's proposals say. Light: no scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOKING = 10  # boxes: about what opening an image and looking it over costs


@dataclass(frozen=True, slots=True)
class OpenBoxes:
    """Proposals of one class in one image that nobody has reviewed.

    Attributes
    ----------
    cells : int
    doubt : float
        Sum over them of 1 - |2 score - 1|: a score of 0.5 counts 1, one of 0 or 1 nothing.
    """

    cells: int
    doubt: float


@dataclass(frozen=True, slots=True)
class ImageWorth:
    """An image, what finishing it is worth, and why."""

    image_id: str
    worth: float
    open: int
    doubtful: float
    classes: int

    @property
    def reason(self) -> str:
        """What a person is told."""
        kinds = "1 class" if self.classes == 1 else f"{self.classes} classes"
        return (
            f"{self.open:,} open boxes of {kinds}, about {self.doubtful:.0f} of them a toss-up to "
            "the detector"
        )


def rank_images(
    proposals: Mapping[str, Mapping[int | None, OpenBoxes]], labels: Mapping[int, int]
) -> tuple[ImageWorth, ...]:
    """Return the images with doubtful boxes, the most worth finishing first.

    An image's doubts are added up and doubts about classes with few labels weigh more, as in
    Brust, Käding and Denzler ("Active learning for deep object detection", VISAPP 2019, sum
    with class balance). Here the root of each class's sum is taken, because the hundredth red
    cell teaches less than the first platelet, and the whole is divided by the root of the
    boxes to look at: crowded images are not worth more only because they are more work.

    Parameters
    ----------
    proposals : {image_id: {class_id or None: OpenBoxes}}
    labels : {class_id: reviewed cells}
        Of the whole project.
    """
    found = []
    for image_id, by_class in proposals.items():
        cells = sum(b.cells for b in by_class.values())
        doubt = sum(b.doubt for b in by_class.values())
        if doubt <= 0:
            continue
        gain = sum(
            sqrt(b.doubt) / sqrt(1 + (0 if k is None else labels.get(k, 0)))
            for k, b in by_class.items()
        )
        classes = sum(k is not None for k in by_class) or 1
        worth = gain / sqrt(_LOOKING + cells)
        found.append(ImageWorth(image_id, worth, cells, doubt, classes))
    return tuple(sorted(found, key=lambda w: (-w.worth, w.image_id)))
