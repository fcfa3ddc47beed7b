"""The rows of a project: cells, images, classes, models. All values are immutable."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .geometry import Box
from .masks import Mask


class Origin(StrEnum):
    """Where a cell's row came from."""

    MODEL = "model"
    PERSON = "person"
    IMPORT = "import"


class Review(StrEnum):
    """What a person has said about a cell."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNSURE = "unsure"


class Status(StrEnum):
    """What is shown for a cell; derived from origin, review and proposal."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    DRAWN = "drawn"
    IMPORTED = "imported"
    REJECTED = "rejected"
    UNSURE = "unsure"


class Split(StrEnum):
    """What an image is for. Chosen once and stored."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def new_id() -> str:
    """Return 16 hexadecimal digits, unique for all practical purposes."""
    return uuid.uuid4().hex[:16]


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def local_time(text: str) -> str:
    """Return a stored time for a person: where they are, to the minute, e.g. 2026-03-01 14:05."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a model said about a cell. Never edited."""

    box: Box
    class_id: int | None
    score: float
    model_id: str
    probabilities: tuple[tuple[int, float], ...] = ()
    """(class_id, probability) pairs, probabilities in 0..1."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell in one image."""

    cell_id: str
    image_id: str
    box: Box
    """(y0, x0, y1, x1), px of the full-resolution plane, half-open, y down."""
    class_id: int | None = None
    origin: Origin = Origin.PERSON
    review: Review = Review.OPEN
    proposed: Proposal | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    note: str = ""
    mask: Mask | None = None
    """Which pixels are the cell's, where that is known; it may differ a little from the box."""

    @property
    def status(self) -> Status:
        """What the person sees for origin, review and proposal together."""
        if self.review is Review.REJECTED:
            return Status.REJECTED
        if self.review is Review.UNSURE:
            return Status.UNSURE
        if self.origin is Origin.PERSON:
            return Status.DRAWN
        if self.review is Review.OPEN:
            return Status.PROPOSED if self.origin is Origin.MODEL else Status.IMPORTED
        if self.proposed is not None:
            said = self.proposed.class_id
            if self.box != self.proposed.box or (said is not None and self.class_id != said):
                return Status.CORRECTED
        return Status.CONFIRMED

    @property
    def score(self) -> float | None:
        """The model's score in 0..1, or None where no model proposed the cell."""
        return None if self.proposed is None else self.proposed.score

    @property
    def is_label(self) -> bool:
        """True where a person vouches for box and class: what models may learn from."""
        return self.review is Review.CONFIRMED and self.class_id is not None


class Projection(StrEnum):
    """What several planes become one by, pixel by pixel."""

    MAX = "max"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Plane:
    """Which part of a file is the image. With the file's path it says where pixels are."""

    scene: int = 0
    t: int | Projection = 0
    z: int | Projection = 0
    files: tuple[str, ...] = ()
    """The channels' files, where each has its own; the path is then the first of them."""
    fingerprint: str = ""
    """What the content was when the image was added; empty where anything may be read."""
    stamp: str = ""
    """Size and time of change of the files then, so that the content need not be read again."""


WHOLE = Plane()
"""The first plane of a file, which is all of it for most."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One plane of one image file, or of one file a channel, as it was when it was added."""

    image_id: str
    path: str
    """Relative to the folder that holds the project where it lies under it, else absolute."""
    shape: tuple[int, int, int]
    """(C, Y, X)."""
    dtype: str
    channels: tuple[str, ...]
    rgb: bool = False
    """True where the three channels are the red, green and blue of one colour picture."""
    scene: int = 0
    t: int | Projection = 0
    z: int | Projection = 0
    pixel_size_um: float | None = None
    fingerprint: str = ""
    group: str = ""
    """What must not be torn apart by a split: batch, plate and well, where they are known."""
    split: Split = Split.TRAIN
    finished: bool = False
    """True once a person said that every cell has its box: background may be learned."""
    files: tuple[str, ...] = ()
    """As `path`, one a channel, where each channel has a file of its own."""
    title: str = ""
    """The name where the file's own would not do: of one file a channel, of many scenes."""
    place: Mapping[str, str] = field(default_factory=dict)
    """``batch``, ``plate``, ``well``, ``site``, ``field`` and the like, as far as known."""
    colors: tuple[str, ...] = ()
    """The channels' colours (#RRGGBB) where the file gives them."""
    stamp: str = ""
    """Size and time of change of the file or files, as `fingerprint` was taken."""

    @property
    def name(self) -> str:
        """What a person calls the image: the file's name without folders, or its title."""
        return self.title or self.path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]

    @property
    def source(self) -> str:
        """Where the image is from: batch and plate, else its group, else its folder or none."""
        plate = "/".join(self.place[k] for k in ("batch", "plate") if self.place.get(k))
        folders = self.path.replace("\\", "/").split("/")[:-1]
        is_absolute = bool(folders) and (not folders[0] or folders[0].endswith(":"))
        folder = "/".join(folders[-2:] if is_absolute else folders)
        return (plate if self.place.get("plate") else self.group) or folder


# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), safe for the colour-blind;
# black, which no dark image shows, is left out.
CLASS_COLORS = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#999999",
)


@dataclass(frozen=True, slots=True)
class CellClass:
    """A class of cells. Name and colour change freely; the id stays."""

    class_id: int
    name: str
    color: str
    shortcut: str = ""
    """The digit 1 to 9 that gives this class, or an empty string."""
    retired: bool = False


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model's card: all that is needed to say what it is and to run it again."""

    model_id: str
    kind: str
    """``detector`` or ``classifier``."""
    architecture: str
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    channels: tuple[str, ...]
    created_at: str = field(default_factory=now)
    parent_id: str | None = None
    start: str = ""
    """The starting weights in words: ``coco``, ``imagenet``, ``scratch``, a file, a model id."""
    pixel_size_um: float | None = None
    normalization: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    """What the person calls it; may be empty."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector found in one image, by falling score.

    Attributes
    ----------
    boxes : tuple of Box
    scores : tuple of float, 0..1
    class_ids : tuple of int or None
        The most probable class; None where the detector knows no classes.
    probabilities : tuple of ((class_id, probability), ...)
        One tuple a box; empty where unknown.
    masks : tuple of Mask or None
        One a box; empty where the detector gives boxes only.
    """

    image_id: str
    boxes: tuple[Box, ...]
    scores: tuple[float, ...]
    class_ids: tuple[int | None, ...]
    model_id: str
    probabilities: tuple[tuple[tuple[int, float], ...], ...] = ()
    masks: tuple[Mask | None, ...] = ()

    def take(self, index: Iterable[int]) -> Detections:
        """Return the detections chosen, in the order of ``index``."""
        rows = list(index)
        return replace(
            self,
            boxes=tuple(self.boxes[i] for i in rows),
            scores=tuple(self.scores[i] for i in rows),
            class_ids=tuple(self.class_ids[i] for i in rows),
            probabilities=tuple(self.probabilities[i] for i in rows if self.probabilities),
            masks=tuple(self.masks[i] for i in rows if self.masks),
        )

    def __len__(self) -> int:
        return len(self.boxes)
