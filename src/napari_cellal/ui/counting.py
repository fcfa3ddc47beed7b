"""A model's answers beside the labels as they are: counted anew when a label changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellal.evaluate.matches import Confusion, Match, Tally, confusion_of, tally
from napari_cellal.evaluate.tables import joined
from napari_cellal.workflows.scoring import images_of, matches_of

if TYPE_CHECKING:
    from napari_cellal.core.history import Edit
    from napari_cellal.workflows.scoring import Answers

    from .session import Session

TURN_S = 0.02
"""How long images are counted in one turn of the window's loop."""


class Counting(QObject):
    """Keeps the matches of every image that was measured. Main thread only.

    Images whose cells change are counted anew in portions; nothing is searched again.

    Attributes
    ----------
    changed : Signal()
        Every image is counted.
    relabelled : Signal()
        A person changed labels that were measured against; they are counted next.
    answers : Answers or None
    matches : {image_id: tuple of Match}
    tallies : {image_id: Tally}
    """

    changed = Signal()
    relabelled = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.answers: Answers | None = None
        self.score = 0.5
        self.matches: dict[str, tuple[Match, ...]] = {}
        self.tallies: dict[str, Tally] = {}
        self._images: dict[str, None] = {}
        self._pending: dict[str, None] = {}
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._count)

    def take(self, answers: Answers) -> None:
        """Count other answers."""
        project = self.session.project
        self.forget()
        if project is not None:
            self.answers = answers
            self._images = dict.fromkeys(images_of(project, answers))
            self._ask(self._images)

    def forget(self) -> None:
        """Let go of the answers."""
        self.answers = None
        self._turn.stop()
        for held in (self.matches, self.tallies, self._images, self._pending):
            held.clear()

    def set_score(self, score: float) -> None:
        """Count boxes of another score or more."""
        if score != self.score:
            self.score = score
            self._ask(self._images)

    def on_edit(self, edit: Edit) -> None:
        """Count the images anew whose cells were changed."""
        touched = {key: None for key in edit.image_ids if key in self._images}
        if touched:
            self.relabelled.emit()
            self._ask(touched)

    def on_images(self) -> None:
        """Count all anew: images came or went, or are for something else."""
        if self.answers is not None:
            self.relabelled.emit()
            self._ask(self._images)

    def confusion(self) -> Confusion:
        """Return the matrix of all images."""
        project, answers = self.session.project, self.answers
        ids = [] if project is None else [c.class_id for c in project.active_classes]
        boxes = answers is not None and answers.found is not None
        return confusion_of(joined(self.tallies.values()), ids, boxes=boxes)

    def on_square(self, true: int | None, said: int | None) -> list[Match]:
        """Return the matches of one square of the matrix, the surest answers first."""
        found = [m for some in self.matches.values() for m in some if m.square == (true, said)]
        return sorted(found, key=lambda m: -m.score)

    # -- counting -------------------------------------------------------------------------

    def _ask(self, images: dict[str, None]) -> None:
        self._pending |= images
        self._count()

    def _count(self) -> None:
        project, answers = self.session.project, self.answers
        if project is None or answers is None:
            return
        end = time.monotonic() + TURN_S
        while self._pending and time.monotonic() < end:
            image_id = next(iter(self._pending))
            del self._pending[image_id]
            found = matches_of(project, answers, image_id, self.score)
            if found is None:
                self.matches.pop(image_id, None)
                self.tallies.pop(image_id, None)
            else:
                self.matches[image_id] = found
                self.tallies[image_id] = tally(found)
        if self._pending:
            self._turn.start(0)
        else:
            self.changed.emit()
