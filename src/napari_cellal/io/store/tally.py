"""How many cells there are of each kind in each image, kept in step with every edit.

The database counts a million cells in a fifth of a second, which is too long after each answer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_cellal.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.history import Edit
    from napari_cellal.core.records import Cell

COUNT_ALL = (
    "SELECT image_id, status, class_id, n FROM images JOIN (SELECT image_no, status, class_id,"
    " COUNT(*) AS n FROM cells GROUP BY image_no, status, class_id) USING (image_no)"
)
"""In the order of an index, so that no row is read."""
Kind = tuple[Status, int | None]


class Tally:
    """Counts by image, status and class.

    Parameters
    ----------
    rows : iterable of (image_id, status, class_id, cells)
        What `COUNT_ALL` gives.
    """

    def __init__(self, rows: Iterable[tuple[str, str, int | None, int]]) -> None:
        statuses = {s.value: s for s in Status}
        self._total: Counter[Kind] = Counter()
        self._images: dict[str, Counter[Kind]] = {}
        for image_id, status, class_id, n in rows:
            kind = (statuses[status], class_id)
            self._total[kind] += n
            self._images.setdefault(image_id, Counter())[kind] = n

    def follow(self, edit: Edit) -> None:
        """Take in what an edit changed."""
        for key, new in edit.after.items():
            self._add(edit.before[key], -1)
            self._add(new, 1)

    def _add(self, cell: Cell | None, n: int) -> None:
        if cell is None:
            return
        kind = (cell.status, cell.class_id)
        for counts in (self._total, self._images.setdefault(cell.image_id, Counter())):
            counts[kind] += n
            if not counts[kind]:
                del counts[kind]

    def all(self) -> dict[Kind, int]:
        """Return {(status, class_id): cells} of all images."""
        return dict(self._total)

    def of_image(self, image_id: str) -> dict[Status, int]:
        """Return {status: cells} of one image."""
        counts: dict[Status, int] = {}
        for (status, _), n in self._images.get(image_id, Counter[Kind]()).items():
            counts[status] = counts.get(status, 0) + n
        return counts

    def by_image(self) -> dict[str, dict[Status, int]]:
        """Return {image_id: {status: cells}} of the images that have cells."""
        return {key: self.of_image(key) for key, counts in self._images.items() if counts}
