"""What was said of which cell: every square of a confusion matrix leads back to its cells.

Free of scikit-learn, so that the window counts anew at once when a label changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_cellal.core.geometry import as_boxes, box_area, match_boxes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Cell, Detections

NOTHING = -1
"""In the place of a class: no cell is there, or none was found."""
Tally: TypeAlias = Counter[tuple[int | None, int | None]]
"""How often a class (rows of the matrix) was given which class (columns)."""


@dataclass(frozen=True, slots=True)
class Match:
    """A cell and what was said of it, or one of both alone.

    Attributes
    ----------
    cell_id : str or None
        None where no cell is.
    true, said : int or None
        Class ids; None for a cell or a box without a class, `NOTHING` where there is no cell,
        or where the cell was not found.
    score : float, 0..1
        Of the answer; 0 where there is none.
    box : Box
        The answer's, px; the cell's where there is none.
    """

    image_id: str
    cell_id: str | None
    true: int | None
    said: int | None
    score: float
    box: Box

    @property
    def square(self) -> tuple[int | None, int | None]:
        """Where in the matrix it counts: (true, said)."""
        return self.true, self.said


def match_boxes_of(
    found: Detections | None,
    image_id: str,
    cells: Sequence[Cell],
    score: float = 0.5,
    iou: float = 0.5,
) -> tuple[Match, ...]:
    """Return the matches of one image: its cells in their order, then boxes where no cell is.

    Boxes of ``score`` or more count. A box and a cell that overlap by ``iou`` or more belong
    together whatever their classes, the highest overlap first. Boxes without area are left
    out, on both sides.
    """
    known = [c for c, area in zip(cells, _areas([c.box for c in cells]), strict=True) if area > 0]
    rows: list[int] = []
    if found is not None:
        areas = _areas(found.boxes)
        rows = [k for k, s in enumerate(found.scores) if s >= score and areas[k] > 0]
        rows.sort(key=lambda k: -found.scores[k])
    boxes = [found.boxes[k] for k in rows] if found is not None else []
    pairs = dict(match_boxes([c.box for c in known], boxes, iou))
    matches = []
    for i, cell in enumerate(known):
        if found is None or i not in pairs:
            matches.append(Match(image_id, cell.cell_id, cell.class_id, NOTHING, 0.0, cell.box))
        else:
            k = rows[pairs[i]]
            said, at = found.class_ids[k], found.boxes[k]
            score_ = found.scores[k]
            matches.append(Match(image_id, cell.cell_id, cell.class_id, said, score_, at))
    if found is not None:
        alone = set(range(len(rows))) - set(pairs.values())
        matches += [
            Match(image_id, None, NOTHING, found.class_ids[k], found.scores[k], found.boxes[k])
            for k in (rows[j] for j in sorted(alone))
        ]
    return tuple(matches)


def _areas(boxes: Sequence[Box]) -> Sequence[float]:
    return box_area(as_boxes(boxes)).tolist() if boxes else ()


def match_classes(
    said: Mapping[str, tuple[tuple[int | None, float], ...]], cells: Iterable[Cell]
) -> tuple[Match, ...]:
    """Return the matches of labelled cells that got an answer.

    Parameters
    ----------
    said : {cell_id: ((class_id, probability), ...)}
        The most probable first.
    """
    return tuple(
        Match(c.image_id, c.cell_id, c.class_id, *said[c.cell_id][0], c.box)
        for c in cells
        if c.is_label and said.get(c.cell_id)
    )


def tally(matches: Iterable[Match]) -> Tally:
    """Return how many matches fall on each square."""
    return Counter(m.square for m in matches)


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix.

    Attributes
    ----------
    rows, columns : tuple of (int or None)
        Class ids; None for what has no class, if that occurs; `NOTHING` last where boxes were
        looked for.
    counts : int64[rows, columns]
    """

    rows: tuple[int | None, ...]
    columns: tuple[int | None, ...]
    counts: NDArray[np.int64]

    def shares(self) -> NDArray[np.float64]:
        """Return float64[rows, columns], each row summing to 1, or to 0 where it is empty."""
        shares: NDArray[np.float64] = self.counts / np.maximum(
            self.counts.sum(axis=1, keepdims=True), 1
        )
        return shares


def confusion_of(tallied: Tally, class_ids: Sequence[int], *, boxes: bool) -> Confusion:
    """Return the matrix of a tally.

    Parameters
    ----------
    class_ids : sequence of int
        In the order of the matrix.
    boxes : bool
        Whether cells may be missed, and found where none are.
    """
    end: tuple[int | None, ...] = (NOTHING,) if boxes else ()
    ids: tuple[int | None, ...] = tuple(class_ids)
    rows = ids + ((None,) if any(t is None for t, _ in tallied) else ()) + end
    columns = ids + ((None,) if any(s is None for _, s in tallied) else ()) + end
    counts = np.zeros((len(rows), len(columns)), np.int64)
    row, column = ({c: k for k, c in enumerate(side)} for side in (rows, columns))
    for (true, said), n in tallied.items():
        if true in row and said in column:  # not of a class that was retired
            counts[row[true], column[said]] += n
    return Confusion(rows, columns, counts)
