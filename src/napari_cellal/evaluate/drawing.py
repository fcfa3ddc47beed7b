"""Pictures of a report, as SVG inside the page: curves, histograms, boxes on an image."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .html import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.geometry import Box

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""
_SIDE, _LEFT, _TOP, _BOTTOM = 340, 46, 10, 40


@dataclass(frozen=True, slots=True)
class Line:
    """A curve in the unit square; ``mark`` is a point on it that is set off."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    dashed: bool = False
    mark: tuple[float, float] | None = None


def _axes(x_name: str, y_name: str) -> list[str]:
    parts = []
    for tenth in range(0, 11, 2):
        x, y = _place(tenth / 10, tenth / 10)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}h{_SIDE}" stroke="#e3e7eb"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:g}</text>',
            f'<text x="{x:.1f}" y="{_TOP + _SIDE + 16}" text-anchor="middle">{tenth / 10:g}</text>',
        ]
    middle = _LEFT + _SIDE / 2
    return [
        *parts,
        f'<text x="{middle}" y="{_TOP + _SIDE + 34}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(13 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]


def _place(x: float, y: float) -> tuple[float, float]:
    return _LEFT + _SIDE * x, _TOP + _SIDE * (1 - y)


def lines_svg(lines: Sequence[Line], x_name: str, y_name: str, *, diagonal: bool = False) -> Markup:
    """Return curves over axes from 0 to 1, and what each is beside them."""
    parts = _axes(x_name, y_name)
    if diagonal:
        (x0, y0), (x1, y1) = _place(0, 0), _place(1, 1)
        parts.append(
            f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#999" stroke-dasharray="4 4"/>'
        )
    legend = _LEFT + _SIDE + 18
    for k, line in enumerate(lines):
        points = " ".join("{:.1f},{:.1f}".format(*_place(x, y)) for x, y in line.points)
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        stroke = f'fill="none" stroke="{escape(line.color)}" stroke-width="2"{dash}'
        y = _TOP + 14 + 18 * k
        parts += [
            f'<polyline points="{points}" {stroke}/>',
            f'<path d="M{legend} {y - 4}h22" {stroke}/>',
            f'<text x="{legend + 28}" y="{y}">{escape(line.name)}</text>',
        ]
        if line.mark is not None:
            x, y_ = _place(*line.mark)
            parts.append(f'<circle cx="{x:.1f}" cy="{y_:.1f}" r="4" fill="{escape(line.color)}"/>')
    width = legend + 40 + 7 * max([len(line.name) for line in lines], default=0)
    return svg(width, max(_TOP + _SIDE + _BOTTOM, 30 + 18 * len(lines)), parts)


def histogram_svg(
    values: Sequence[float],
    color: str,
    unit: str,
    bins: int = 24,
    ends: tuple[float, float] | None = None,
) -> Markup:
    """Return how many values lie where.

    Parameters
    ----------
    ends : (low, high) or None
        Of the axis; None takes the least and the largest value.
    """
    width, height = 260, 90
    known = np.asarray(values, np.float64)
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if ends is not None:
        low, high = ends
    if high <= low:
        low, high = low - 0.5, low + 0.5
    counts, _ = np.histogram(known, bins, (low, high))
    step = width / bins
    most = max(1, int(counts.max()))
    parts = [
        f'<rect x="{k * step:.1f}" y="{height - n / most * height:.1f}" width="{step - 1:.1f}" '
        f'height="{n / most * height:.1f}" fill="{escape(color)}"/>'
        for k, n in enumerate(counts.tolist())
        if n
    ]
    parts += [
        f'<path d="M0 {height}h{width}" stroke="#888"/>',
        f'<text x="0" y="{height + 16}">{low:.3g}</text>',
        f'<text x="{width}" y="{height + 16}" text-anchor="end">{high:.3g} {escape(unit)}</text>',
    ]
    return svg(width, height + 20, parts)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box on a picture: ``kind`` is a key of `BOX_LOOKS`."""

    box: Box
    kind: str
    text: str = ""


BOX_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "found": ("#0072B2", "", "found, right class"),
    "wrong": ("#CC79A7", "", "found, another class"),
    "missed": ("#E69F00", "8 5", "missed"),
    "false": ("#D55E00", "3 4", "no cell labelled there"),
}
"""{kind: (colour, dashes, words)}: told apart by dashes as well."""


def boxes_svg(jpeg: bytes | None, size: tuple[int, int], drawn: Sequence[Drawn]) -> Markup:
    """Return an image with boxes; a grey sheet where no picture is given.

    Parameters
    ----------
    size : (height, width), px that the boxes count in
    """
    height, width = size
    thick = max(height, width) / 260
    if jpeg is None:
        parts = [f'<rect width="{width}" height="{height}" fill="#eef1f4"/>']
    else:
        data = base64.b64encode(jpeg).decode("ascii")
        parts = [
            f'<image width="{width}" height="{height}" preserveAspectRatio="none" '
            f'href="data:image/jpeg;base64,{data}"/>'
        ]
    for d in drawn:
        color, dashes, _ = BOX_LOOKS[d.kind]
        dash = " ".join(f"{float(v) * thick / 2:.1f}" for v in dashes.split())
        y0, x0, y1, x1 = d.box
        title = f"<title>{escape(d.text)}</title>" if d.text else ""
        parts.append(
            f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" '
            f'fill="none" stroke="{color}" stroke-width="{thick:.1f}"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + f">{title}</rect>"
        )
    return svg(width, height, parts, shown_px=420)


def crop_img(jpeg: bytes, text: str) -> Markup:
    """Return a small picture; ``text`` says what it is."""
    data = base64.b64encode(jpeg).decode("ascii")
    return Markup(f'<img width="96" alt="{escape(text)}" src="data:image/jpeg;base64,{data}"/>')


def looks_legend() -> Markup:
    """Return what the boxes' colours and dashes mean."""
    parts = []
    for k, (color, dashes, words) in enumerate(BOX_LOOKS.values()):
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        x = 180 * k
        parts += [
            f'<rect x="{x + 2}" y="3" width="18" height="14" fill="none" stroke="{color}" '
            f'stroke-width="2"{dash}/>',
            f'<text x="{x + 26}" y="15">{escape(words)}</text>',
        ]
    return svg(180 * len(BOX_LOOKS), 22, parts)


def svg(width: float, height: float, parts: Sequence[str], shown_px: int = 0) -> Markup:
    """Return a picture of that size, ``shown_px`` wide on the page."""
    shown = shown_px or round(width)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{shown}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="system-ui, sans-serif" '
        f'font-size="12">{"".join(parts)}</svg>'
    )
