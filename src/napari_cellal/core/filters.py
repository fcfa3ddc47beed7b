"""Which cells a list of the whole project shows."""

from __future__ import annotations

from dataclasses import dataclass

from .records import Status

NOT_REJECTED = tuple(s for s in Status if s is not Status.REJECTED)
WAITING = (Status.PROPOSED, Status.IMPORTED)
REVIEWED = (Status.CONFIRMED, Status.CORRECTED, Status.DRAWN)


@dataclass(frozen=True, slots=True)
class CellFilter:
    """What a cell must be to be listed; all of it together.

    Attributes
    ----------
    statuses : tuple of Status
    class_ids : tuple of (int or None), or None
        None in the tuple is a cell without a class; None instead of it is every class.
    image_ids : tuple of str or None
        Only cells of these images.
    min_score : float, 0..1
        Open proposals with a lower score are left out, as on the picture.
    text : str
        Part of the image's name or of the cell's note, in capitals or not.
    cell_ids : tuple of str or None
        Only these.
    """

    statuses: tuple[Status, ...] = NOT_REJECTED
    class_ids: tuple[int | None, ...] | None = None
    image_ids: tuple[str, ...] | None = None
    min_score: float = 0.0
    text: str = ""
    cell_ids: tuple[str, ...] | None = None
