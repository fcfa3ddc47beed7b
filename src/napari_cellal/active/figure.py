"""Learning curves as a picture: SVG, written without a plotting library."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""
_WIDTH, _HEIGHT = 640, 400
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 620, 350


def curves_svg(
    curves: Mapping[str, Sequence[Mapping[str, float]]], title: str, measure: str
) -> str:
    """Return an SVG of curves {name: [{labels, mean, low, high}]}: means, bands of all seeds.

    Parameters
    ----------
    title, measure : str
        Above the picture, and beside the axis of values in 0..1.
    """
    most = max([p["labels"] for line in curves.values() for p in line] + [1])

    def place(labels: float, value: float) -> str:
        x = _LEFT + (_RIGHT - _LEFT) * labels / most
        return f"{x:.1f},{_BOTTOM - (_BOTTOM - _TOP) * value:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for tenth in range(0, 11, 2):
        y = _BOTTOM - (_BOTTOM - _TOP) * tenth / 10
        parts.append(f'<path d="M{_LEFT} {y}H{_RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tenth / 10}</text>')
    for fifth in range(6):
        x = _LEFT + (_RIGHT - _LEFT) * fifth / 5
        text = f"{most * fifth / 5:g}"
        parts.append(f'<text x="{x}" y="{_BOTTOM + 18}" text-anchor="middle">{text}</text>')
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_BOTTOM + 38}" text-anchor="middle">labels</text>')
    parts.append(
        f'<text transform="translate(16 {(_TOP + _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(measure)}</text>'
    )
    for k, (name, line) in enumerate(curves.items()):
        color = _COLORS[k % len(_COLORS)]
        band = [place(p["labels"], p["high"]) for p in line]
        band += [place(p["labels"], p["low"]) for p in reversed(line)]
        mean = " ".join(place(p["labels"], p["mean"]) for p in line)
        y = _BOTTOM - 16 - 16 * k
        parts += [
            f'<polygon points="{" ".join(band)}" fill="{color}" opacity="0.15"/>',
            f'<polyline points="{mean}" fill="none" stroke="{color}" stroke-width="2"/>',
            f'<path d="M{_RIGHT - 200} {y - 4}h20" stroke="{color}" stroke-width="2"/>',
            f'<text x="{_RIGHT - 174}" y="{y}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])
