"""What a format cannot hold, counted while it is written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .report import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from .report import ExportBox, ExportImage

UNCLASSED = "cell"
"""The class that cells without one get in formats that want one."""

_SENTENCES = {
    "rounded": "{} rounded to whole pixels.",
    "class": f"{{}} without a class written as '{UNCLASSED}'.",
    "score": "Scores and probabilities of {} left out: %s has no place for them.",
    "review": "Review state and origin of {} left out: %s has no place for them.",
    "note": "Notes on {} left out: %s has no place for them.",
    "mask": "Masks of {} left out: %s has no place for them.",
    "finished": "That {} finished is left out: %s has no place for it.",
}


class Losses:
    """Counts what is lost.

    Parameters
    ----------
    title : str
        The format's name in a sentence.
    holds : collection of str
        What the format has a place for, of ``class, score, review, note, finished, mask``.
    """

    def __init__(self, title: str, holds: Collection[str]) -> None:
        self.title = title
        self.holds = holds
        self.counts: Counter[str] = Counter()

    def add(self, cell: ExportBox) -> None:
        """Note what one cell has."""
        self.counts["class"] += not cell.class_name
        self.counts["score"] += cell.score is not None or bool(cell.probabilities)
        self.counts["review"] += bool(cell.status or cell.reviewed_by)
        self.counts["note"] += bool(cell.note)
        self.counts["mask"] += cell.mask is not None

    def add_image(self, image: ExportImage) -> None:
        """Note what one image and its cells have."""
        self.counts["finished"] += image.finished
        for cell in image.boxes:
            self.add(cell)

    def lines(self) -> tuple[str, ...]:
        """Return a sentence for each thing that was lost."""
        lines = []
        for kind, text in _SENTENCES.items():
            n = self.counts[kind]
            if n and kind not in self.holds:
                what = ("1 image is", f"{n:,} images are")[n > 1]
                who = what if kind == "finished" else counted(n, "box", "boxes")
                lines.append(text.format(who).replace("%s", self.title))
        return tuple(lines)
