"""The section of a report that shows what was measured on."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from .drawing import COLORS, histogram_svg
from .html import Markup, Text, bullets, element, section, table
from .report_places import MOST_SOURCES
from .scatter import Dot, scatter_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.records import Cell

    from .report import Report, Sight

MOST_COLORED = 6
"""Sources with a colour of their own in the map; the others are grey."""
_GREY = "#B0B6BC"


def overview(report: Report) -> Markup:
    """Return counts by source and split, sizes, intensities, and how the cells look."""
    parts = [
        element("h3", "Cells measured on, by source" if report.sides else "Labels by source"),
        _by_source(report),
    ]
    if report.project_counts:
        whole = list(report.classes)
        lines = [
            [split, *(f"{counts.get(k, 0):,}" for k in whole)]
            for split, counts in report.project_counts.items()
        ]
        parts += [
            element("h3", "All labels, by split"),
            table(["split", *(report.classes[k][0] for k in whole)], lines),
        ]
    return section("The data", *parts, *_sizes(report), *_intensities(report), *_map(report))


def _by_source(report: Report) -> Markup:
    by_source: dict[str, dict[int | None, int]] = {}
    for source, counts in report.source_counts.items():
        by_source.setdefault(source, {}).update(counts.items())
    for key, some in report.cells.items() if not report.source_counts else ():
        own = by_source.setdefault(report.images[key].source, {})
        for c in some:
            own[c.class_id] = own.get(c.class_id, 0) + 1
    ids = [k for k in report.classes if any(k in own for own in by_source.values())]
    rows = [
        [source or "–", *(f"{own.get(k, 0):,}" for k in ids)]
        for source, own in sorted(by_source.items())[:MOST_SOURCES]
    ]
    return table(["source", *(report.classes[k][0] for k in ids)], rows)


def _sizes(report: Report) -> list[Markup]:
    """Return how large the boxes are, or pictures without boxes."""
    cells = [c for some in report.cells.values() for c in some]
    sides = [(c.class_id, _side_px(c)) for c in cells]
    what = "Size of the boxes: square root of their area"
    if not any(side for _, side in sides):
        sights = report.look.cells if report.look is not None else ()
        sides = [(sight.class_id, sight.side_px) for sight in sights]
        what = "Size of the pictures: square root of their area"
    values: dict[int, list[float]] = {}
    for class_id, side in sides:
        if class_id is not None:
            values.setdefault(class_id, []).append(side)
    return [element("h3", what), _charts(report, values, "px")] if values else []


def _side_px(cell: Cell) -> float:
    y0, x0, y1, x1 = cell.box
    return float(max(0.0, (y1 - y0) * (x1 - x0)) ** 0.5)


def _charts(report: Report, values: Mapping[int, Sequence[float]], unit: str) -> Markup:
    """Return a histogram a class, all over the same axis."""
    charts = []
    every = [v for some in values.values() for v in some]
    ends = (min(every), max(every)) if every else None
    for k, (name, color) in report.classes.items():
        if k in values:
            chart = histogram_svg(values[k], color or COLORS[0], unit, ends=ends)
            text = f"{name}: {len(values[k]):,} cells, median {median(values[k]):.4g} {unit}"
            charts.append(element("figure", chart, element("figcaption", text.strip())))
    return element("div", *charts, kind="side")


def _intensities(report: Report) -> list[Markup]:
    """Return how bright the cells are: class by class, and source by source in every channel."""
    look = report.look
    if look is None or not look.cells:
        return []
    values: dict[int, list[float]] = {}
    by_source: dict[str, list[Sight]] = {}
    for cell in look.cells:
        by_source.setdefault(cell.source, []).append(cell)
        if cell.class_id is not None:
            values.setdefault(cell.class_id, []).append(float(np.mean(cell.brightness)))
    rows: list[list[Text]] = []
    for source, own in sorted(by_source.items())[:MOST_SOURCES]:
        found = np.array([cell.brightness for cell in own])
        low, middle, high = np.percentile(found, [10, 50, 90], axis=0)
        rows.append(
            [
                source or "–",
                f"{len(own):,}",
                *(
                    Markup(f'{m:.4g} <span class="range">{a:.4g}–{b:.4g}</span>')
                    for a, m, b in zip(low, middle, high, strict=True)
                ),
            ]
        )
    text = f"Of {len(look.cells):,} cells: their mean intensity, in the image's own units."
    return [
        element("h3", "Intensities"),
        element("p", text + " In the table the median, and from a tenth to nine tenths."),
        table(["source", "cells", *look.channels], rows),
        _charts(report, values, ""),
    ]


def _map(report: Report) -> list[Markup]:
    """Return the cells as points, coloured by class and by source."""
    look = report.look
    if look is None or not any(cell.place for cell in look.cells):
        return []
    placed = [cell for cell in look.cells if cell.place is not None]
    names = [cell.source or "–" for cell in placed]
    common = sorted(set(names), key=lambda s: (-names.count(s), s))
    colors = {s: COLORS[k % len(COLORS)] for k, s in enumerate(common[:MOST_COLORED])}
    by_class = [
        Dot(cell.place or (0, 0), *report.classes.get(cell.class_id or 0, ("no class", _GREY)))
        for cell in placed
    ]
    by_source = [
        Dot(cell.place or (0, 0), name if name in colors else "others", colors.get(name, _GREY))
        for cell, name in zip(placed, names, strict=True)
    ]
    first, second = look.explained
    figures = [element("figure", scatter_svg(by_class), element("figcaption", "by class"))]
    words = [
        f"The first two principal components ({first:.0%} and {second:.0%} of the variance) of "
        f"{look.words}. Cells that look alike lie close."
    ]
    if len(common) > 1:
        figures.append(
            element("figure", scatter_svg(by_source), element("figcaption", "by source"))
        )
        words.append(
            "Where the colours of sources fall apart, the sources look different: what is learned "
            "from one may not hold on the other."
        )
    return [
        element("h3", "How the cells look"),
        element("div", *figures, kind="side"),
        bullets(words),
    ]
