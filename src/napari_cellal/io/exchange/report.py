"""What comes in from and goes out to other programs' annotation files, and what was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask


@dataclass(frozen=True, slots=True)
class ImportedBox:
    """One box of an annotation file.

    Attributes
    ----------
    box : (y0, x0, y1, x1)
        px, half-open, from 0, whatever the file counts in.
    class_name : str
        As the file spells it; empty where the file has none.
    difficult, truncated : bool
        VOC's marks: hard to tell; cut off by the edge of the image.
    note : str
        Whatever else the file says about the box.
    score : float or None
        A model's, 0..1.
    probabilities : tuple of (class name, probability)
    model : str
        Whose score it is; empty where the file does not say.
    model_class : str
        What the model had said, where the file tells that apart; else empty.
    status : str
        `napari_cellal.core.records.Status`, in files that this program wrote; else empty.
    mask : Mask or None
        None where the file gives a box only, or an outline that is its box.
    """

    box: Box
    class_name: str
    difficult: bool = False
    truncated: bool = False
    note: str = ""
    score: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    model: str = ""
    model_class: str = ""
    status: str = ""
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """What annotation files say about one image.

    Attributes
    ----------
    file : Path
        The annotation file.
    image_name : str
        The image's file name without folders; some files leave out its suffix.
    size : (Y, X) or None
        px, None where the file does not say.
    verified : bool
        True where a person said that the image is done.
    parents : tuple of str
        The folders that the file names before the image's name. Only compared with those of
        the project's images, never opened.
    other_names : tuple of str
        What the image may be called if the project has none of its name.
    relative : bool
        True where boxes are shares of the image's height and width, 0..1, and not px.
    reviews : bool
        True where the file says of each box what a person said about it.
    """

    file: Path
    image_name: str
    size: tuple[int, int] | None
    boxes: tuple[ImportedBox, ...]
    verified: bool = False
    parents: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    relative: bool = False
    reviews: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that was not taken as it stands.

    Attributes
    ----------
    file : str
        Name of the annotation file.
    sentence : str
        What it is and what was done about it; names the file.
    kind : str
        One of ``zero-area, doubled, outside, reversed, bad-number, no-class, no-box,
        no-size, no-name, zero-based, unknown-class, malformed, too-large, too-thin,
        renamed``, or what another format adds.
    """

    file: str
    sentence: str
    kind: str


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person can say about how files are to be read.

    Attributes
    ----------
    columns : {what is meant: heading}
        Of a table, instead of the guess; the keys are those of `table.ROLES`.
    from_one : bool
        Whether a table counts pixels from 1 and its last pixel belongs to the box, as VOC.
    split_parts : bool
        Whether parts of a label that do not touch are cells of their own.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    from_one: bool = False
    split_parts: bool = False


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How an import went: files looked at, images and boxes taken, and every problem.

    Attributes
    ----------
    colors : {class name: "#rrggbb"}
        Where the files give classes colours.
    columns : {what is meant: heading}
        Which columns of a table were taken for what.
    headings : tuple of str
        All columns of the table.
    """

    files: int
    images: int
    boxes: int
    problems: tuple[Problem, ...] = ()
    colors: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    headings: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Problem, ...]:
        """Return the problems of one kind."""
        return tuple(p for p in self.problems if p.kind == kind)

    def __add__(self, other: ImportReport) -> ImportReport:
        return ImportReport(
            self.files + other.files,
            self.images + other.images,
            self.boxes + other.boxes,
            self.problems + other.problems,
            {**self.colors, **other.colors},
            {**self.columns, **other.columns},
            tuple(dict.fromkeys(self.headings + other.headings)),
        )

    def counts(self) -> dict[str, int]:
        """Return {kind: number of problems}."""
        return dict(Counter(p.kind for p in self.problems))

    def lines(self) -> list[str]:
        """Return the report for a person: one line of counts, then one a problem."""
        head = (
            f"{counted(self.boxes, 'box', 'boxes')} in {counted(self.images, 'image')} "
            f"from {counted(self.files, 'file')}"
        )
        return [head + ".", *(p.sentence for p in self.problems)]


@dataclass(frozen=True, slots=True)
class ExportBox:
    """One cell on its way out; a format takes of it what it can hold.

    Attributes
    ----------
    box : (y0, x0, y1, x1)
        px, half-open, from 0.
    class_name : str or None
        None while the cell is not classed.
    model_class : str or None
        What the model had said before a person did; None where it gave no class.
    score : float or None
        The model's, 0..1.
    probabilities : tuple of (class name, probability)
    status : str
        `napari_cellal.core.records.Status` of the cell.
    """

    box: Box
    class_name: str | None = None
    score: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    status: str = ""
    cell_id: str = ""
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    note: str = ""
    difficult: bool = False
    truncated: bool = False
    model: str = ""
    model_class: str | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class ExportClass:
    """A class of the project on its way out; ``color`` is ``#rrggbb``."""

    name: str
    color: str


@dataclass(frozen=True, slots=True)
class ExportImage:
    """One image and its cells on their way out.

    Attributes
    ----------
    name : str
        The image's file name.
    shape : (C, Y, X)
    boxes : tuple of ExportBox
    finished : bool
        True where a person said that every cell has its box.
    """

    name: str
    shape: tuple[int, int, int]
    boxes: tuple[ExportBox, ...] = ()
    finished: bool = False
    path: Path | None = None
    image_id: str = ""
    split: str = ""
    pixel_size_um: float | None = None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How an export went.

    Attributes
    ----------
    files : tuple of Path
        What was written.
    lost : tuple of str
        Sentences on what the format could not hold.
    """

    files: tuple[Path, ...]
    images: int
    boxes: int
    lost: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def lines(self) -> list[str]:
        """Return the report for a person: one line of counts, then losses and problems."""
        head = (
            f"{counted(self.boxes, 'box', 'boxes')} of {counted(self.images, 'image')} "
            f"written to {counted(len(self.files), 'file')}."
        )
        return [head, *self.lost, *(p.sentence for p in self.problems)]


def counted(n: int, one: str, many: str = "") -> str:
    """Return ``1 file``, ``1,204 files``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
