"""Plates of a report as heat maps, and their scale, as SVG inside the page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from napari_cellal.core.wells import row_name

from .drawing import svg
from .heat import brief, color_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .heat import Scale
    from .html import Markup

_LEFT, _TOP = 26, 20
_WIDTH = 430  # two beside each other on a page


@dataclass(frozen=True, slots=True)
class DrawnWell:
    """A well's colour, #RRGGBB; empty where it has no value; and what is known of it."""

    color: str
    text: str
    is_outlier: bool = False


def plate_svg(size: tuple[int, int], wells: Mapping[tuple[int, int], DrawnWell]) -> Markup:
    """Return a plate; wells that are not given are left empty.

    Parameters
    ----------
    size : (rows, columns)
    wells : {(row, column): DrawnWell}
    """
    rows, columns = size
    side = _WIDTH / columns
    step = 1 if side >= 18 else 4  # names of columns that would run into each other
    parts = [
        f'<text x="{_LEFT + side * (k + 0.5):.1f}" y="{_TOP - 6}" text-anchor="middle">'
        f"{k + 1}</text>"
        for k in range(0, columns, step)
    ]
    step = 1 if side >= 12 else 2
    parts += [
        f'<text x="{_LEFT - 5}" y="{_TOP + side * (k + 0.5) + 4:.1f}" text-anchor="end">'
        f"{row_name(k)}</text>"
        for k in range(0, rows, step)
    ]
    for row in range(rows):
        for column in range(columns):
            x, y = _LEFT + side * column, _TOP + side * row
            well = wells.get((row, column))
            place = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
            if well is None or not well.color:
                fill = "none" if well is None else "url(#unknown)"
                parts.append(f'<rect {place} fill="{fill}" stroke="#d5dae0"/>')
            else:
                parts.append(f'<rect {place} fill="{well.color}"/>')
            if well is not None and well.is_outlier:
                inner = side - 4
                parts.append(
                    f'<rect x="{x + 1.5:.1f}" y="{y + 1.5:.1f}" width="{inner:.1f}" '
                    f'height="{inner:.1f}" fill="none" stroke="#000" stroke-width="3"/>'
                    f'<rect x="{x + 1.5:.1f}" y="{y + 1.5:.1f}" width="{inner:.1f}" '
                    f'height="{inner:.1f}" fill="none" stroke="#fff" stroke-width="1.2"/>'
                )
            if well is not None:
                parts.append(f"<rect {place} fill-opacity='0'><title>{escape(well.text)}</title>")
                parts.append("</rect>")
    hatch = (
        '<pattern id="unknown" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<path d="M0 5L5 0" stroke="#b0b8c0"/></pattern>'
    )
    return svg(_LEFT + _WIDTH + 2, _TOP + side * rows + 4, [f"<defs>{hatch}</defs>", *parts])


def scale_svg(scale: Scale, unit: str = "") -> Markup:
    """Return the bar that says what the colours mean."""
    steps, width = 40, 240
    parts = [
        f'<rect x="{width * k / steps:.1f}" width="{width / steps + 0.5:.1f}" height="12" '
        f'fill="{color_at((k + 0.5) / steps, scale.is_change)}"/>'
        for k in range(steps)
    ]
    low = ("≤ " if scale.cut_low else "") + brief(scale.low)
    high = ("≥ " if scale.cut_high else "") + brief(scale.high)
    parts += [
        f'<text x="0" y="27">{low}</text>',
        f'<text x="{width}" y="27" text-anchor="end">{high} {escape(unit)}</text>',
    ]
    return svg(width + 2, 32, parts)
