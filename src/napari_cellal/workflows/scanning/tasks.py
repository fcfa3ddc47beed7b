"""What the hands of a scan are given and what they give back. Picklable, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from napari_cellal.detect.registry import CLASSICAL
from napari_cellal.detect.requests import ImageFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellal.core.records import Detections
    from napari_cellal.detect.large import Part
    from napari_cellal.features.kept import KeptRows
    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.workflows.detecting import DetectRequest


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """What is done to every image: given once to each of those who do it.

    Attributes
    ----------
    run : DetectRequest
        The detector and how it is run; without images.
    min_score : float
        Proposals that score less are left out.
    classifier : str
        A classifier's folder; empty where the detector's classes stay.
    classifier_id : str
    classes : ((classifier's class, project's class), ...)
    features : str
        Which measurements are made; empty for none. See `workflows.describing`.
    """

    scan_id: str
    run: DetectRequest
    min_score: float = 0.0
    classifier: str = ""
    classifier_id: str = ""
    classes: tuple[tuple[int, int], ...] = ()
    features: str = ""

    @property
    def uses_torch(self) -> bool:
        """Whether a network has a part in it."""
        return self.run.model != CLASSICAL or bool(self.classifier) or "deep" in self.features


Kind = Literal["lot", "look", "part", "cells"]


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work that depends on nothing but itself: done twice, it gives the same.

    Attributes
    ----------
    kind : str
        ``lot``: search whole images together. Of a large one, ``look``: what its parts must
        have in common; ``part``: search one; ``cells``: class and measure some of its cells.
    images : tuple of MeasureRequest
        One but for a lot. Their boxes are cells that are measured too.
    number : int
        Of the lot, the part, or the portion of cells.
    part : Part or None
    memory : mapping or None
        What ``look`` found, for a part.
    """

    kind: Kind
    images: tuple[MeasureRequest, ...]
    number: int = 0
    part: Part | None = None
    memory: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """A name that no other task of the scan has."""
        return f"{self.kind}-{self.images[0].image_id}-{self.number}"


@dataclass(frozen=True, slots=True)
class ImageFound:
    """The cells of a whole image, in the project's classes."""

    detections: Detections
    kept: tuple[KeptRows, ...] = ()


@dataclass(frozen=True, slots=True)
class LargeLook:
    """What the parts of a large image must know: how far they overlap, and `Detector.memory`."""

    image_id: str
    shape: tuple[int, int]
    margin_px: int
    memory: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PartFound:
    """The cells of a part, in the model's classes and the image's coordinates."""

    image_id: str
    number: int
    detections: Detections


@dataclass(frozen=True, slots=True)
class CellsFound:
    """Classes and measurements of some cells of a large image, in the task's order.

    ``classes`` has ((class_id, probability), ...) a cell, the most probable first; empty where
    no class of the project was found, or none was asked for.
    """

    image_id: str
    number: int
    classes: tuple[tuple[tuple[int, float], ...], ...]
    kept: tuple[KeptRows, ...]


Item: TypeAlias = ImageFound | ImageFailure | LargeLook | PartFound | CellsFound


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task.

    Attributes
    ----------
    busy_s : float
        Seconds of computing, waiting for pixels left out.
    notes : tuple of str
        What the person should know, e.g. that memory was short.
    """

    key: str
    items: tuple[Item, ...]
    busy_s: float = 0.0
    notes: tuple[str, ...] = field(default=())
