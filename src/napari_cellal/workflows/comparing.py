"""Two summaries of the same images or wells beside each other: two models, or before and after."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError

from .summarizing import Column, Line, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS: Mapping[str, tuple[str, ...]] = {
    "well": ("plate", "well"),
    "image": ("image", "plate", "well", "site"),
}
"""What says that two lines are about the same image or well."""


def read_summary(path: str | Path, per: str) -> Summary:
    """Return the summary in a CSV file that `summarizing.write_summary` wrote.

    Raises
    ------
    CellalError
        If the file cannot be read, or is no such table.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            heads, *rows = csv.reader(stream)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not text, or empty
        raise CellalError(f"{file.name} cannot be read as a table: {error}.") from error
    known = ("image", "plate", "well", "site", "split") if per == "image" else ("plate", "well")
    about = tuple(name for name in known if name in heads)
    if not set(KEYS[per]) <= set(about):
        raise CellalError(
            f"{file.name} is no table of {per}s: it lacks the columns {', '.join(KEYS[per])}. "
            f"Write one with: napari-cellal table PROJECT --per {per} -o FILE.csv"
        )
    names = [name for name in heads if name not in known]
    lines = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(heads):
            raise CellalError(f"{file.name}: line {number} has {len(row)} of {len(heads)} places.")
        values = dict(zip(heads, row, strict=True))
        try:
            found = tuple(float(values[n]) if values[n] else None for n in names)
        except ValueError as error:
            raise CellalError(f"{file.name}: line {number} holds no number ({error}).") from error
        lines.append(Line(tuple(values[a] for a in about), found))
    return Summary(per, about, tuple(Column(n, n) for n in names), tuple(lines))


def compare(now: Summary, before: Summary) -> tuple[Summary, list[str]]:
    """Return what two summaries differ by, and a sentence for what stands in one of them only.

    For each column of both, three: the figure now, ``NAME_before``, and ``NAME_change``, now less
    before. Lines are those of both, in the order of ``now``.
    """
    keys = KEYS[now.per]
    old = {_key(before, line, keys): line for line in before.lines}
    shared = [(c, k, before.column(c.name)) for k, c in enumerate(now.columns)]
    shared = [(c, k, j) for c, k, j in shared if j >= 0]
    columns = []
    for column, _, _ in shared:
        columns += [
            column,
            replace(column, name=f"{column.name}_before", words=f"{column.words}, before"),
            replace(column, name=f"{column.name}_change", words=f"{column.words}, change"),
        ]
    lines, missing = [], 0
    for line in now.lines:
        other = old.pop(_key(now, line, keys), None)
        if other is None:
            missing += 1
            continue
        values: list[float | None] = []
        for column, k, j in shared:
            a, b = line.values[k], other.values[j]
            if column.kind == "count" and b is not None:
                b = round(b)  # a file does not tell whole numbers from others
            values += [a, b, None if a is None or b is None else a - b]
        lines.append(replace(line, values=tuple(values)))
    notes = []
    if missing:
        notes.append(f"{missing} {now.per}s stand only in this project, and are left out.")
    if old:
        notes.append(f"{len(old)} {now.per}s stand only in the other one, and are left out.")
    lost = [c.name for c in now.columns if before.column(c.name) < 0]
    if lost:
        notes.append(f"The other one has no column {', '.join(lost)}.")
    return replace(now, columns=tuple(columns), lines=tuple(lines)), notes


def _key(summary: Summary, line: Line, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line.about[summary.about.index(key)] for key in keys)


def changes(compared: Summary, column: str, n: int = 20) -> list[tuple[Line, float, float]]:
    """Return (line, before, now) of those where a column changed most, the largest first."""
    at = compared.column(column)
    found = []
    for line in compared.lines:
        now, before = line.values[at], line.values[at + 1]
        if now is not None and before is not None and now != before:
            found.append((line, before, now))
    return sorted(found, key=lambda c: -abs(c[2] - c[1]))[:n]
