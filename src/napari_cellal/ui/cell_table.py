"""The measured cells that Learn asks about, and whether they still are the project's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_cellal.core.records import Status
from napari_cellal.workflows import learning, looked_at

from .better_features import BetterFeatures

if TYPE_CHECKING:
    from napari_cellal.core.history import Edit
    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.io.store import Project

    from .jobs import JobHandle, Jobs
    from .session import Session


class CellTable:
    """Has the cells measured: quickly at first, then by the chosen features.

    Attributes
    ----------
    now : Measured or None
        None before the first measuring.
    is_stale : bool
        True if cells came or moved since the last measuring began, or if there was none.
    looks_at : ordered set of image_id, as dict keys, or None
        The images whose cells are measured; None for all.
    how_many : (int, int)
        How many cells these have, and how many there are, when they were last measured.
    better : BetterFeatures
    changed : Signal()
        ``now`` is another table.
    """

    changed = Signal()

    def __init__(self, session: Session, jobs: Jobs) -> None:
        self._jobs = jobs
        self.now: learning.Measured | None = None
        self.is_stale = True
        self.looks_at: dict[str, None] | None = None
        self.how_many = (0, 0)
        self._requests: list[MeasureRequest] = []
        self.better = BetterFeatures(session, jobs)
        self.better.ready.connect(self._use)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that were last measured."""
        return tuple(r.image_id for r in self._requests)

    def begin(self, project: Project) -> JobHandle | None:
        """Return the job that measures the cells of a project; None if it has none."""
        self.looks_at = looked_at.images_looked_at(project)
        self.how_many = looked_at.cells_looked_at(project, self.looks_at)
        self._requests = looked_at.requests_without_cells(project, self.looks_at)
        if not self._requests:
            return None
        self.is_stale = False
        return self._jobs.run(
            "Measuring the cells",
            learning.measure_project,
            str(project.folder),
            self._requests,
            str(project.cache_folder),
            lane="quick",
        )

    def take(self, measured: learning.Measured) -> None:
        """Use what the job of `begin` found, until the chosen features are there."""
        self.better.begin(measured, self._requests)

    def _use(self, measured: learning.Measured) -> None:
        self.now = measured
        self.changed.emit()

    def follow(self, edit: Edit) -> bool:
        """Return whether an edit makes the table stale."""
        for key, row in edit.after.items():
            old = edit.before[key]
            if row is None:
                continue
            appeared = old is None or old.status is Status.REJECTED
            elsewhere = self.looks_at is not None and row.image_id not in self.looks_at
            if elsewhere and not row.is_label:
                continue
            moved = old is not None and (old.box, old.mask) != (row.box, row.mask)
            if appeared or moved or elsewhere:
                self.is_stale = True
                return True
        return False

    def forget(self) -> None:
        """Let go of a project's cells."""
        self.better.forget()
        self.now = self.looks_at = None
        self.is_stale = True
