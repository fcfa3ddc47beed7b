"""What the loop of Learn knows of the cells' labels, kept in step with each edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.workflows import pools

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.history import Edit
    from napari_cellal.io.store import Project

    from .jobs import JobHandle, Jobs


def read_cells(jobs: Jobs, project: Project, image_ids: Iterable[str] | None) -> JobHandle:
    """Return the job that reads the pool of these images as it is now, None for all."""
    return jobs.run(
        "Reading the cells",
        pools.read_pool,
        str(project.folder),
        {key: r.split for key, r in project.images.items()},
        None if image_ids is None else list(image_ids),
        lane="quick",
    )


class LivePool:
    """Reads the pool in a worker, and lets it follow what changes from then on.

    Attributes
    ----------
    now : Pool or None
        None while it is not read, or no longer true.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.now: pools.Pool | None = None
        self._missed: list[Edit] | None = None
        """Edits since it began to be read; None while it is not, or is no longer wanted."""

    def read(self, project: Project, image_ids: Iterable[str] | None) -> JobHandle:
        """Begin to read the pool of these images, None for all; ``now`` has it in the end."""
        self._missed = []
        handle = read_cells(self._jobs, project, image_ids)
        handle.finished.connect(self._on_read)
        return handle

    def _on_read(self, pool: pools.Pool) -> None:
        missed, self._missed = self._missed, None
        if missed is None:  # images came or went meanwhile: it is to be read again
            return
        for edit in missed:
            pool.follow(edit)
        self.now = pool

    def follow(self, edit: Edit) -> None:
        """Take an edit into account."""
        if self.now is not None:
            self.now.follow(edit)
        elif self._missed is not None:
            self._missed.append(edit)

    def forget(self) -> None:
        """Have it read anew: other images count."""
        self.now = self._missed = None
