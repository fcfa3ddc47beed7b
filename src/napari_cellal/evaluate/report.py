"""A measurement as one page: what was measured on what, how good, and where it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import report_labels
from .html import Markup, element, page, section, table
from .matches import NOTHING, Match, Tally, tally
from .report_data import overview
from .report_figures import calibration, classes, curves, matrices, mixed_up, summary
from .report_places import changes, sources, worst
from .report_words import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.records import Cell, Detections


@dataclass(frozen=True, slots=True)
class ImageNote:
    """What the page says of an image."""

    name: str
    source: str
    size: tuple[int, int]
    """(height, width), px."""


@dataclass(frozen=True, slots=True)
class Side:
    """One model's answers.

    Attributes
    ----------
    about : tuple of (what, text)
        The model's card in words.
    matches : {image_id: tuple of Match}
    figures : dict
        As of ``evaluate``; see docs/cli.md.
    found : {image_id: Detections} or None
        None for a classifier.
    """

    name: str
    about: tuple[tuple[str, str], ...]
    matches: Mapping[str, tuple[Match, ...]]
    figures: Mapping[str, Any]
    found: Mapping[str, Detections] | None
    notes: tuple[str, ...] = ()

    def tallies(self) -> dict[str, Tally]:
        """Return each image's tally."""
        return {key: tally(some) for key, some in self.matches.items()}


@dataclass(frozen=True, slots=True)
class Sight:
    """How a cell looks.

    Attributes
    ----------
    brightness : tuple of float
        Mean intensity of each channel.
    side_px : float
        Square root of the area that was looked at.
    place : (x, y) or None
        On the map; None where it is not on it.
    """

    class_id: int | None
    source: str
    brightness: tuple[float, ...]
    side_px: float = 0.0
    place: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How cells look, or some of them.

    Attributes
    ----------
    channels : tuple of str
    words : str
        Of what the map is made.
    explained : (x, y)
        Shares of the variance that the axes of the map hold, 0..1.
    """

    cells: tuple[Sight, ...]
    channels: tuple[str, ...]
    words: str = ""
    explained: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page is written from.

    Attributes
    ----------
    facts : tuple of (what, text)
        What was measured on what.
    classes : {class_id: (name, colour)}
    cells : {image_id: cells}
        The labels that were measured against.
    sides : one or two models
        None on a page of the data alone.
    pictures : {image_id: JPEG};  crops : {cell_id: JPEG}
        Empty for a page without pictures.
    project_counts : {split: {class_id: cells}}
        All labels of the project.
    heats : {cell_id: JPEG}
        What spoke for the answer, beside ``crops``.
    look : Look or None
        None where no image was read.
    source_counts : {source: {class_id: cells}}
        Where ``cells`` are not all; empty where they are.
    multi_label : bool
        Whether a picture may have several classes, or none; ``cells`` have the first.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    score: float
    classes: Mapping[int, tuple[str, str]]
    images: Mapping[str, ImageNote]
    cells: Mapping[str, Sequence[Cell]]
    sides: tuple[Side, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    crops: Mapping[str, bytes] = field(default_factory=dict)
    project_counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    heats: Mapping[str, bytes] = field(default_factory=dict)
    look: Look | None = None
    source_counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    multi_label: bool = False

    @property
    def boxes(self) -> bool:
        """Whether boxes were looked for, or only classes given."""
        return self.sides[0].found is not None

    def name(self, class_id: int | None, nothing: str) -> str:
        """Return a class's name; ``nothing`` where there is no cell."""
        if class_id is None:
            return NO_CLASS
        return nothing if class_id == NOTHING else self.classes.get(class_id, ("?", ""))[0]


def report_html(report: Report) -> str:
    """Return the page."""
    head = [
        element("h1", report.title),
        table(("", ""), [(what, text) for what, text in report.facts], left=2),
    ]
    if report.multi_label:
        parts = [
            *head,
            report_labels.summary(report),
            report_labels.classes(report),
            calibration(report),
            report_labels.sources(report),
            report_labels.worst(report),
            overview(report),
            _models(report),
        ]
        return page(report.title, [p for p in parts if p.text])
    parts = [
        *head,
        summary(report),
        matrices(report),
        classes(report),
        mixed_up(report),
    ]
    if report.boxes:
        parts.append(curves(report))
    parts += [calibration(report), sources(report), worst(report), overview(report)]
    if len(report.sides) > 1:
        parts.append(changes(report))
    parts.append(_models(report))
    return page(report.title, [p for p in parts if p.text])


def _models(report: Report) -> Markup:
    parts = []
    for side in report.sides:
        parts.append(element("h3", side.name))
        parts.append(table(("", ""), side.about, left=2))
    return section("The model" if len(report.sides) == 1 else "The models", *parts)
