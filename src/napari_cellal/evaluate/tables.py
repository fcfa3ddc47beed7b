"""Figures from counted squares of a confusion matrix: totals, classes, sources, mix-ups."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core import rates

from .intervals import wilson_interval
from .matches import NOTHING, Confusion, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Totals:
    """All cells together; shares are 0..1, intervals Wilson's at 95 %.

    Attributes
    ----------
    images, cells, answers : int
        ``answers``: boxes that were found, or cells that were classed.
    found : int
        Cells that have an answer, of whatever class.
    right : int
        Those of them that got their class.
    precision, recall, f1 : float
        Of finding cells, whatever their class.
    classed_right : float;  interval : (low, high)
        ``right`` of ``found``.
    count_error : float
        Mean over images of how many more or fewer answers than cells there are.
    """

    images: int
    cells: int
    answers: int
    found: int
    right: int
    precision: float
    recall: float
    f1: float
    classed_right: float
    interval: Interval
    count_error: float


@dataclass(frozen=True, slots=True)
class ClassLine:
    """One class: of the boxes said to be of it, and of the cells that are."""

    class_id: int
    support: int
    said: int
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    f1: float


@dataclass(frozen=True, slots=True)
class SourceLine:
    """The totals of one plate, group or folder.

    ``is_worse`` where its share of right classes, or of found cells, lies below that of all the
    others by more than chance explains: the 95 % intervals do not touch.
    """

    source: str
    totals: Totals
    is_worse: bool


@dataclass(frozen=True, slots=True)
class MixUp:
    """How often one class was given another; `NOTHING` as in `Match`."""

    true: int | None
    said: int | None
    cells: int
    share: float
    """Of the cells of the true class, or of the boxes of the class that was said."""


def totals_of(tallies: Iterable[Tally]) -> Totals:
    """Return the totals of images' tallies."""
    images = cells = answers = found = right = 0
    off = 0
    for tallied in tallies:
        images += 1
        here = sum(n for (true, _), n in tallied.items() if true != NOTHING)
        said = sum(n for (_, said), n in tallied.items() if said != NOTHING)
        off += abs(said - here)
        cells, answers = cells + here, answers + said
        for (true, given), n in tallied.items():
            if NOTHING not in (true, given):
                found += n
                right += n if true == given and true is not None else 0
    return Totals(
        images,
        cells,
        answers,
        found,
        right,
        found / answers if answers else 0.0,
        found / cells if cells else 0.0,
        2 * found / max(cells + answers, 1),
        right / found if found else 0.0,
        wilson_interval(right, found),
        off / images if images else 0.0,
    )


def class_lines(table: Confusion) -> tuple[ClassLine, ...]:
    """Return a line for each class of a matrix."""
    lines = []
    for k, class_id in enumerate(table.rows):
        if class_id is None or class_id == NOTHING:
            continue
        right = int(table.counts[k, k])
        support, said = int(table.counts[k].sum()), int(table.counts[:, k].sum())
        lines.append(
            ClassLine(
                class_id,
                support,
                said,
                right / said if said else 0.0,
                wilson_interval(right, said),
                right / support if support else 0.0,
                wilson_interval(right, support),
                float(rates.f1_of(right, support, said)),
            )
        )
    return tuple(lines)


def gives_classes(tallied: Tally) -> bool:
    """Return whether any answer has a class: a detector without any is right about none."""
    return any(said is not None and said != NOTHING for _, said in tallied)


def macro_f1(lines: Iterable[ClassLine]) -> float:
    """Return F1 averaged over the classes that occur, 0..1."""
    counts = [(line.recall * line.support, line.support, line.said) for line in lines]
    return float(rates.macro_f1(*np.array(counts, np.float64).reshape(-1, 3).T))


def mix_ups(table: Confusion, most: int = 8) -> tuple[MixUp, ...]:
    """Return what was taken for what, most cells first."""
    found = []
    for i, true in enumerate(table.rows):
        for j, said in enumerate(table.columns):
            n = int(table.counts[i, j])
            if not n or true == said:
                continue
            whole = table.counts[:, j] if true == NOTHING else table.counts[i]
            found.append(MixUp(true, said, n, n / int(whole.sum())))
    return tuple(sorted(found, key=lambda m: (-m.cells, -m.share))[:most])


def source_lines(
    tallies: Mapping[str, Tally], sources: Mapping[str, str]
) -> tuple[SourceLine, ...]:
    """Return a line for each source, those with the fewest right answers first.

    Parameters
    ----------
    tallies : {image_id: Tally}
    sources : {image_id: source}
    """
    by_source: dict[str, list[Tally]] = {}
    for image_id, tallied in tallies.items():
        by_source.setdefault(sources[image_id], []).append(tallied)
    lines = []
    for source, own in by_source.items():
        others = [t for name, some in by_source.items() if name != source for t in some]
        mine, rest = totals_of(own), totals_of(others)
        lines.append(SourceLine(source, mine, _is_worse(mine, rest)))
    return tuple(sorted(lines, key=lambda s: (s.totals.right / max(s.totals.cells, 1), s.source)))


def _is_worse(mine: Totals, rest: Totals) -> bool:
    pairs = (
        ((mine.right, mine.found), (rest.right, rest.found)),
        ((mine.found, mine.cells), (rest.found, rest.cells)),
        ((mine.found, mine.answers), (rest.found, rest.answers)),
    )
    return any(
        n_a and n_b and wilson_interval(a, n_a)[1] < wilson_interval(b, n_b)[0]
        for (a, n_a), (b, n_b) in pairs
    )


def joined(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    total: Tally = Counter()
    for tallied in tallies:
        total.update(tallied)
    return total
