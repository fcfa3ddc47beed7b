"""The sections of a report that tell where a model goes wrong: sources, images, cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drawing import Drawn, boxes_svg, crop_img, looks_legend
from .html import Markup, Text, bullets, element, section, share, table
from .matches import NOTHING, Match
from .report_words import MISSED, NO_CELL
from .tables import source_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Report, Side

WORST = 8
MOST_SOURCES = 40
MOST_CHANGED = 12


def f1_of(matches: Sequence[Match]) -> float:
    """Return F1 of an image, box and class right, 0..1; 1 where nothing is and nothing was said."""
    cells = sum(m.true != NOTHING for m in matches)
    said = sum(m.said != NOTHING for m in matches)
    right = sum(m.true == m.said and m.true is not None for m in matches)
    return 2 * right / (cells + said) if cells + said else 1.0


def worst_images(side: Side, most: int = WORST) -> list[str]:
    """Return the images with the lowest F1 that hold any mistake, worst first."""
    rated = [(f1_of(some), -len(some), key) for key, some in side.matches.items()]
    return [key for f1, _, key in sorted(rated)[:most] if f1 < 1]


def worst_cells(side: Side, most: int = 24) -> list[Match]:
    """Return the surest of the wrong classes."""
    wrong = [m for some in side.matches.values() for m in some if m.true != m.said]
    return sorted(wrong, key=lambda m: -m.score)[:most]


def sources(report: Report) -> Markup:
    """Return the figures of every source, the worst first."""
    sources = {key: note.source for key, note in report.images.items()}
    parts = []
    for side in report.sides:
        lines = source_lines(side.tallies(), sources)
        rows: list[list[Text]] = []
        for line in lines[:MOST_SOURCES]:
            t = line.totals
            name: Text = line.source or "–"
            if line.is_worse:
                name = element("span", f"▼ {line.source}", kind="worse")
            found = [share(t.precision), share(t.recall), share(t.f1)] if report.boxes else []
            right = share(t.classed_right, t.interval) if t.found else "–"
            rows.append([name, f"{t.images:,}", f"{t.cells:,}", *found, right])
        heads = ["source", "images", "cells"]
        heads += ["precision", "recall", "F1"] if report.boxes else []
        if len(lines) < 2:
            return Markup("")
        if len(report.sides) > 1:
            parts.append(element("h3", side.name))
        parts.append(table([*heads, "right class"], rows))
        if len(lines) > MOST_SOURCES:
            parts.append(element("p", f"and {len(lines) - MOST_SOURCES} more"))
    remark = (
        "Plate, group or folder of the images, the worst first. ▼: below all others together by "
        "more than chance explains (95 % intervals that do not touch)."
    )
    return section("Source by source", *parts, element("p", remark, kind="quiet"))


def worst(report: Report) -> Markup:
    """Return the worst images with their boxes, or the surest of the wrong answers."""
    side = report.sides[0]
    if not report.boxes:
        return _worst_cells(report, side)
    figures = []
    for key in worst_images(side):
        matches, note = side.matches[key], report.images[key]
        drawn = [Drawn(m.box, _kind(m), _words(report, m)) for m in matches]
        kinds = [d.kind for d in drawn]
        text = (
            f"{note.name}: F1 {f1_of(matches):.2f}; {kinds.count('found')} right, "
            f"{kinds.count('wrong')} of another class, {kinds.count('missed')} missed, "
            f"{kinds.count('false')} where no cell is labelled"
        )
        picture = boxes_svg(report.pictures.get(key), note.size, drawn)
        figures.append(element("figure", picture, element("figcaption", text)))
    if not figures:
        return Markup("")
    return section(
        "Worst images" + (f" of {side.name}" if len(report.sides) > 1 else ""),
        looks_legend(),
        element("div", *figures, kind="side"),
    )


def _worst_cells(report: Report, side: Side) -> Markup:
    figures, lines = [], []
    for m in worst_cells(side):
        text = f"{report.name(m.true, '')}, said {report.name(m.said, '')} {m.score:.2f}"
        note = report.images[m.image_id]
        lines.append(f"{text} ({note.name})")
        jpeg = report.crops.get(m.cell_id or "")
        if jpeg is not None:
            where = element("figcaption", text, Markup("<br/>"), note.name)
            heat = report.heats.get(m.cell_id or "")
            shown = [crop_img(jpeg, text)]
            if heat is not None:
                shown.append(crop_img(heat, f"where it found {report.name(m.said, '')}"))
            figures.append(element("figure", *shown, where))
    if not lines:
        return Markup("")
    parts = [element("div", *figures, kind="side cells") if figures else bullets(lines)]
    if report.heats:
        text = "Where there are two pictures, the second shows in red and yellow what spoke for it."
        parts.insert(0, element("p", text, kind="quiet"))
    return section("Surest of the wrong answers", *parts)


def _kind(match: Match) -> str:
    if match.said == NOTHING:
        return "missed"
    if match.true == NOTHING:
        return "false"
    return "found" if match.true == match.said else "wrong"


def _words(report: Report, m: Match) -> str:
    true, said = report.name(m.true, NO_CELL), report.name(m.said, MISSED)
    return true if m.true == m.said else f"{true}, {said}"


def changes(report: Report) -> Markup:
    """Return the images in which two models differ most."""
    first, second = report.sides[:2]
    both = [key for key in first.matches if key in second.matches]
    rated = [(f1_of(first.matches[key]), f1_of(second.matches[key]), key) for key in both]
    rated.sort(key=lambda row: -abs(row[0] - row[1]))
    rows = [
        [report.images[key].name, share(a), share(b), f"{a - b:+.3f}"]
        for a, b, key in rated[:MOST_CHANGED]
        if a != b
    ]
    better = sum(a > b for a, b, _ in rated)
    worse = sum(a < b for a, b, _ in rated)
    return section(
        "Images that differ most",
        element(
            "p",
            f"{first.name} is better on {better:,} images, {second.name} on {worse:,}; "
            f"{len(rated) - better - worse:,} are alike (F1, box and class right).",
        ),
        table(["image", first.name, second.name, "difference"], rows),
    )
