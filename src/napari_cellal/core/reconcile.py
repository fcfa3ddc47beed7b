"""A detection run and the rows that are there already: what a person said always wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .geometry import iou_matrix, match_boxes, overlapping_pairs
from .history import Edit, edit_of
from .records import Cell, Detections, Origin, Proposal, Review, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from .geometry import Box


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a detection run changed, in numbers of cells."""

    new: int = 0
    kept: int = 0
    """Reviewed or imported cells that were found again and left as they are."""
    moved: int = 0
    """Open proposals that were found again."""
    lost: int = 0
    """Open proposals that were not found again."""
    shifted: int = 0
    """Those of ``moved`` whose box is visibly another; see `is_elsewhere`."""
    reclassed: int = 0
    """Those of ``moved`` that changed their class."""

    def __add__(self, other: RunSummary) -> RunSummary:
        return RunSummary(
            self.new + other.new,
            self.kept + other.kept,
            self.moved + other.moved,
            self.lost + other.lost,
            self.shifted + other.shifted,
            self.reclassed + other.reclassed,
        )


_ELSEWHERE_IOU = 0.75


def is_elsewhere(a: Box, b: Box) -> bool:
    """Return whether two boxes of one cell differ so much that a person sees it."""
    return bool(iou_matrix([a], [b])[0, 0] < _ELSEWHERE_IOU)


def is_replaceable(cell: Cell) -> bool:
    """Return whether a run may change or remove the row: nobody's work, and not reviewed."""
    # Imported boxes are somebody's work even before they are reviewed.
    return cell.review is Review.OPEN and cell.origin is Origin.MODEL


def overlaps_any(cells: Iterable[Cell], boxes: Sequence[Box], iou: float) -> NDArray[np.bool_]:
    """Return bool[len(boxes)], True where a box overlaps any of the cells by ``iou`` or more."""
    # Any, not the best pairs one to one: a second box on a settled cell is noise.
    _, hit, _ = overlapping_pairs([c.box for c in cells], boxes, iou)
    result = np.zeros(len(boxes), dtype=bool)
    result[hit] = True
    return result


def _with_known_class(proposal: Proposal, old: Cell) -> Proposal:
    """Return the proposal with the class that the learner gave the row, if it has none."""
    if proposal.class_id is not None or old.class_id is None or old.proposed is None:
        return proposal
    _, plus, giver = old.proposed.model_id.partition("+")
    return replace(
        proposal,
        class_id=old.class_id,
        probabilities=old.proposed.probabilities,
        model_id=f"{proposal.model_id}{plus}{giver}",
    )


def merge_detections(
    cells: Iterable[Cell], found: Detections, iou: float = 0.5
) -> tuple[Edit, RunSummary]:
    """Return the edit that puts a run's proposals into one image, and what it changes.

    Only open proposals are replaced. A detection that overlaps a reviewed or imported box,
    a rejected one too, by ``iou`` or more is that cell and brings nothing new; one that
    overlaps an open proposal takes over its row, so that ids stay.

    Parameters
    ----------
    cells : iterable of Cell
        Every row of the image.
    found : Detections
        Of the same image, by falling score.
    """
    rows = list(cells)
    settled = [c for c in rows if not is_replaceable(c)]
    open_rows = [c for c in rows if is_replaceable(c)]
    kept = len(match_boxes([c.box for c in settled], found.boxes, iou))
    fresh = np.flatnonzero(~overlaps_any(settled, found.boxes, iou)).tolist()
    pairs = match_boxes([c.box for c in open_rows], [found.boxes[j] for j in fresh], iou)
    same = {fresh[j]: open_rows[i] for i, j in pairs}

    changes: list[tuple[Cell | None, Cell | None]] = []
    shifted = reclassed = 0
    for j in fresh:
        proposal = Proposal(
            found.boxes[j],
            found.class_ids[j],
            found.scores[j],
            found.model_id,
            found.probabilities[j] if found.probabilities else (),
        )
        mask = found.masks[j] if found.masks else None
        old = same.get(j)
        if old is not None:
            proposal = _with_known_class(proposal, old)
        if old is None:
            row = Cell(
                new_id(),
                found.image_id,
                proposal.box,
                proposal.class_id,
                Origin.MODEL,
                proposed=proposal,
                mask=mask,
            )
            changes.append((None, row))
        else:
            shifted += is_elsewhere(old.box, proposal.box)
            reclassed += old.class_id != proposal.class_id
            row = replace(
                old, box=proposal.box, class_id=proposal.class_id, proposed=proposal, mask=mask
            )
            changes.append((old, row))
    matched = {c.cell_id for c in same.values()}
    lost = [c for c in open_rows if c.cell_id not in matched]
    changes += [(c, None) for c in lost]
    summary = RunSummary(len(fresh) - len(same), kept, len(same), len(lost), shifted, reclassed)
    return edit_of(f"detected {len(found)} cells", changes, found.model_id), summary
