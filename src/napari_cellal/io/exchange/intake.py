"""The boxes of one image on their way in: checked, cut, and every fault said."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.geometry import iou_matrix

from .names import short
from .report import ImportedBox, ImportedImage, Problem, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask

MAX_COORDINATE = 1e7  # px; beyond any slide, so a typing error
DOUBLED_IOU = 0.8
MOST_ALIKE = 20
"""More problems of one kind in one image are counted and not told one by one."""
MOST_PAIRS = 5_000_000
"""Pairs that are looked at for doubled boxes: a second, and far more than real images have."""


class Intake:
    """Collects the boxes of one image and what was not taken as it stands.

    Parameters
    ----------
    file : Path
        The annotation file.
    size : (Y, X) or None
        px; boxes are cut to it.
    within : str
        The image's name, where a file speaks of several.
    relative : bool
        Whether boxes are shares of the image, 0..1.
    """

    def __init__(
        self,
        file: Path,
        image_name: str,
        size: tuple[int, int] | None = None,
        *,
        within: str = "",
        relative: bool = False,
    ) -> None:
        self.file = file
        self.image_name = image_name
        self.size = size
        self.relative = relative
        self.boxes: list[tuple[int, ImportedBox]] = []
        self.problems: list[Problem] = []
        self._prefix = f"{file.name}: {short(within)}: " if within else f"{file.name}: "
        self._skipped: list[tuple[str, str]] = []  # (kind, what) until the rest is counted
        self._told: Counter[str] = Counter()

    def report(self, kind: str, what: str) -> None:
        """Note something that was repaired, or is to be looked at."""
        self._told[kind] += 1
        if self._told[kind] <= MOST_ALIKE:
            self.problems.append(Problem(self.file.name, self._prefix + what, kind))

    def skip(self, kind: str, what: str) -> None:
        """Note a box that was left out."""
        self._skipped.append((kind, what))

    def sides(self, number: int, raw: Sequence[float]) -> Box | None:
        """Return (y0, x0, y1, x1) as the file has it, upright; None where it is no box."""
        y0, x0, y1, x1 = raw
        # NaN fails every comparison.
        if not all(abs(v) <= MAX_COORDINATE for v in (y0, x0, y1, x1)):
            self.skip("bad-number", f"box {number} has a side that is no number")
            return None
        if y0 == y1 or x0 == x1:
            missing = "height" if y0 == y1 else "width"
            self.skip("zero-area", f"box {number} has no {missing}")
            return None
        if y0 > y1 or x0 > x1:
            self.report("reversed", f"box {number} runs backwards; turned round.")
        return (min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))

    def put(
        self,
        number: int,
        box: Box,
        class_name: str,
        *,
        slack: tuple[float, float] = (0.01, 0.01),
        mask: Mask | None = None,
        **more: Any,
    ) -> None:
        """Take a box, cut to the image.

        Parameters
        ----------
        slack : (low, high)
            How far a box may reach over the image's first and last edges and be cut
            without a word.
        mask : Mask or None
            Cut to the image too. One that fills its window says no more than the box.
        more
            Further fields of `ImportedBox`.
        """
        height, width = (1, 1) if self.relative else self.size or (math.inf, math.inf)
        y0, x0, y1, x1 = box
        cut = (max(y0, 0.0), max(x0, 0.0), min(y1, height), min(x1, width))
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            self.skip("outside", f"box {number} lies outside the image")
            return
        low, high = slack
        if min(y0, x0) < -low or y1 > height + high or x1 > width + high:
            self.report("outside", f"box {number} reaches out of the image; cut at its edge.")
        if mask is not None and self.size is not None:
            mask = mask.cut((0, 0, *self.size))
        if mask is not None and mask.is_rectangle:
            mask = None
        self.boxes.append((number, ImportedBox(cut, class_name, mask=mask, **more)))

    def take(self, number: int, raw: Sequence[float], class_name: str, **more: Any) -> None:
        """Check and take a box of half-open sides (y0, x0, y1, x1)."""
        box = self.sides(number, raw)
        if box is not None:
            self.put(number, box, class_name, **more)

    def image(self, **more: Any) -> ImportedImage:
        """Return the image and complete ``problems``; once, when all boxes were taken."""
        for kind, what in self._skipped:
            self.report(kind, f"{what}; skipped. The other {len(self.boxes)} come in.")
        self._find_doubled()
        for kind, n in self._told.items():
            if n > MOST_ALIKE:
                what = f"{counted(n - MOST_ALIKE, 'more problem')} of the last kind ({kind})."
                self.problems.append(Problem(self.file.name, self._prefix + what, kind))
        return ImportedImage(
            self.file,
            self.image_name,
            self.size,
            tuple(box for _, box in self.boxes),
            relative=self.relative,
            **more,
        )

    def _find_doubled(self) -> None:
        for i, j in _overlapping([b.box for _, b in self.boxes]):
            (a, first), (b, second) = self.boxes[i], self.boxes[j]
            if first.class_name == second.class_name:
                self.report(
                    "doubled",
                    f"boxes {a} and {b}{f' ({first.class_name})' if first.class_name else ''} are "
                    "nearly the same; both were kept: delete one.",
                )


def _overlapping(boxes: Sequence[Box]) -> Iterator[tuple[int, int]]:
    """Yield pairs of boxes that overlap by more than 0.8, the lower index first.

    Two such boxes begin less than a fifth of their height apart, so in the order of y0
    only few need be compared.
    """
    if len(boxes) < 2:
        return
    table = np.asarray(boxes, np.float64)
    order = np.argsort(table[:, 0], kind="stable")
    table = table[order]
    reach = table[:, 0] + (1 - DOUBLED_IOU) * (table[:, 2] - table[:, 0])
    ends = np.searchsorted(table[:, 0], reach, side="right")
    looked_at = 0
    for k, end in enumerate(ends.tolist()):
        looked_at += end - k - 1
        if looked_at > MOST_PAIRS:
            return
        if end > k + 1:
            overlap = iou_matrix(table[k : k + 1], table[k + 1 : end])[0]
            for other in np.flatnonzero(overlap > DOUBLED_IOU).tolist():
                pair = (int(order[k]), int(order[k + 1 + other]))
                yield min(pair), max(pair)
