"""Wells of plates: their names, their places, and the plate that holds them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Wells as ANSI SLAS 4-2004 (R2012) names them: rows A to AF, columns from 1. The small plates
# follow the same naming.
FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
"""(rows, columns) of the plates of 6, 12, 24, 48, 96, 384 and 1,536 wells."""
_WELL = re.compile(r"([A-Za-z]{1,2})0*(\d{1,3})")


def parse_well(text: str) -> tuple[int, int] | None:
    """Return (row, column) from 0 of a well's name such as B07, b7 or AF48; None if it is none."""
    match = _WELL.fullmatch(text.strip())
    if match is None or int(match[2]) < 1:
        return None
    row = 0
    for letter in match[1].upper():
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def row_name(row: int) -> str:
    """Return the letters of a row counted from 0: A to Z, then AA."""
    return chr(ord("A") + row) if row < 26 else row_name(row // 26 - 1) + row_name(row % 26)


def well_name(row: int, column: int) -> str:
    """Return the name of a well, (row, column) from 0, as B07: names sort as wells do."""
    return f"{row_name(row)}{column + 1:02}"


def plate_format(wells: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return (rows, columns) of the smallest usual plate that holds the wells.

    Wells beyond 1,536 make a plate that just holds them.
    """
    found = list(wells) or [(0, 0)]
    rows, columns = (max(side) + 1 for side in zip(*found, strict=True))
    fitting = (f for f in FORMATS if rows <= f[0] and columns <= f[1])
    return next(fitting, (rows, columns))


def plate_well_site(place: Mapping[str, str]) -> tuple[str, str, str]:
    """Return plate, well and site of an image's place, each empty where it is not known.

    The plate is named with its batch, since batches count their plates from 1; a well that is
    written b7 is B07; a field is a site.
    """
    plate = "/".join(place[part] for part in ("batch", "plate") if place.get(part))
    well = place.get("well", "")
    at = parse_well(well)
    site = place.get("site") or place.get("field", "")
    return plate, well if at is None else well_name(*at), site
