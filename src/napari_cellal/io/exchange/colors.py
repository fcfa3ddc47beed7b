"""Colours of classes in other programs' files."""

from __future__ import annotations

import re

from .source import numbers


def color_of(value: object) -> str:
    """Return ``#RRGGBB`` of such a text, of [r, g, b] in 0..255, or of Java's number; else ""."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"#{value & 0xFFFFFF:06X}"
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
        return value.upper()
    if isinstance(value, list):
        parts = numbers(value[:3], 3)
        if all(0 <= v <= 255 for v in parts):
            return "#" + "".join(f"{int(v):02X}" for v in parts)
    return ""
