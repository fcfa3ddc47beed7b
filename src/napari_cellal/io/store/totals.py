"""Sums over the cells of each image, by the database, beside the window's own connection."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .search import OF_IMAGES, SCORE, SCORES_ENOUGH, ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CellTotals:
    """What the cells of one or several images sum up to, rejected ones left out.

    Attributes
    ----------
    by_class : {class_id or None: cells}
        None is a cell without a class.
    waiting : int
        Cells that nobody has reviewed.
    area_px2 : float
        Of all boxes.
    score : float
        Of the ``scored`` cells that a model proposed, each 0..1.
    """

    by_class: Mapping[int | None, int] = field(default_factory=dict)
    waiting: int = 0
    area_px2: float = 0.0
    score: float = 0.0
    scored: int = 0

    @property
    def cells(self) -> int:
        """How many there are."""
        return sum(self.by_class.values())

    def __add__(self, other: CellTotals) -> CellTotals:
        return CellTotals(
            dict(Counter(self.by_class) + Counter(other.by_class)),
            self.waiting + other.waiting,
            self.area_px2 + other.area_px2,
            self.score + other.score,
            self.scored + other.scored,
        )


def cell_totals(
    folder: Path, min_score: float = 0.0, image_ids: Iterable[str] | None = None
) -> dict[str, CellTotals]:
    """Return {image_id: totals} of the images that have cells.

    Parameters
    ----------
    min_score : float, 0..1
        Open proposals with a lower score are left out, as on the picture.
    image_ids : iterable of str or None
        Only these images.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    where, values = _counted(min_score)
    if image_ids is not None:
        where += f" AND {OF_IMAGES}"
        values.append(json.dumps(list(image_ids)))
    # By image, state and class: in the order of an index, so that nothing has to be sorted.
    sql = (
        "SELECT image_id, class_id, n, waiting, area, score, scored FROM images JOIN ("
        " SELECT image_no, class_id, COUNT(*) AS n, SUM(status IN ('proposed', 'imported')) AS"
        f" waiting, SUM((y1 - y0) * (x1 - x0)) AS area, TOTAL({SCORE}) AS score,"
        f" COUNT({SCORE}) AS scored FROM cells WHERE {where}"
        " GROUP BY image_no, status, class_id) USING (image_no)"
    )
    found: dict[str, CellTotals] = {}
    for image_id, class_id, n, *sums in ask(folder, sql, values):
        more = CellTotals({class_id: n}, *sums)
        found[image_id] = found[image_id] + more if image_id in found else more
    return found


def counted_cells(folder: Path, min_score: float = 0.0) -> list[tuple[str, str]]:
    """Return (cell_id, image_id) of the cells that `cell_totals` counts.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    where, values = _counted(min_score)
    sql = f"SELECT cell_id, image_id FROM cells JOIN images USING (image_no) WHERE {where}"
    return ask(folder, sql, values)


def _counted(min_score: float) -> tuple[str, list[Any]]:
    if min_score <= 0:
        return "status <> 'rejected'", []
    return f"status <> 'rejected' AND {SCORES_ENOUGH}", [min_score]
