"""A question of Learn: which cell, why, and what the learner thinks of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """The cell that is asked about.

    Attributes
    ----------
    probabilities : tuple of (class_id, probability), most probable first
        Empty for a check: the person's answer must not lean on the model's.
    neighbours : tuple of cell_id
        Labelled cells that look most like it.
    """

    cell_id: str
    reason: str
    probabilities: tuple[tuple[int, float], ...] = ()
    neighbours: tuple[str, ...] = ()
    is_check: bool = False
