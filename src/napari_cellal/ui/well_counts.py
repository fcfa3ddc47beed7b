"""The figures of all wells, kept in step with the cells and their measurements."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_cellal.io.store.totals import CellTotals, cell_totals
from napari_cellal.workflows.summarizing import (
    NO_MEANS,
    Means,
    Summary,
    measured_means,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.errors import CellalError
    from napari_cellal.workflows.worker import Failed

    from .jobs import JobHandle
    from .workspace import Workspace


class WellCounts(QObject):
    """Counts when it is asked for, and then only what was touched since.

    Attributes
    ----------
    changed : Signal()
        ``summary`` is another.
    summary : Summary or None
        None until the cells are counted for the first time.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace, parent: QObject) -> None:
        super().__init__(parent)
        self.session = workspace.session
        self._workspace = workspace
        self.summary: Summary | None = None
        self._totals: dict[str, CellTotals] | None = None
        self._means: Means = NO_MEANS
        self._means_of = ("", 0.0)
        self._pending: JobHandle | None = None
        self._not_searched: dict[str, str] = {}
        self._touched: set[str] = set()
        self._is_asking = self._is_behind = False
        self._turn = 0

    def follow(self) -> None:
        """Have everything counted that changed; ``changed`` tells when it is."""
        self._ask()
        self._ask_means()

    def touch(self, image_ids: Iterable[str]) -> None:
        """Count the cells of these images again, the next time."""
        self._touched.update(image_ids)

    def sum_up(self) -> None:
        """Sum up again what is counted: the classes or the measurements are others."""
        self._is_behind = True
        self._ask()

    def forget(self) -> None:
        """Count all cells anew, the next time."""
        self._turn += 1
        self._totals = None
        self._is_asking = False
        self._touched.clear()

    def forget_project(self) -> None:
        """Let go of all figures."""
        self._let_go()
        self._means, self._means_of = NO_MEANS, ("", 0.0)
        self.summary = None
        self.forget()

    def cells_of(self, image_id: str) -> int:
        """Return the number of an image's cells, as it was counted last."""
        return (self._totals or {}).get(image_id, CellTotals()).cells

    def _ask(self) -> None:
        """Have the cells counted, all of them or those of touched images, and summed up.

        In a thread: with thousands of wells and many measurements, that takes a while too.
        """
        project, old = self.session.project, self._totals
        if project is None or self._is_asking:
            return
        if old is not None and not self._touched and not self._is_behind:
            return
        some = None if old is None else frozenset(self._touched)
        if some is None:
            self._not_searched = project.scans.not_searched()
        self._touched.clear()
        self._is_asking, self._is_behind = True, False
        folder, least = project.folder, self.session.shown.min_score
        sum_up = partial(
            summarize,
            tuple(project.images.values()),
            project.active_classes,
            means=self._means,
            not_searched=self._not_searched,
        )

        def work() -> tuple[dict[str, CellTotals], Summary]:
            kept = {} if some is None else {k: t for k, t in (old or {}).items() if k not in some}
            totals = kept | cell_totals(folder, least, some)
            return totals, sum_up(totals)

        self._workspace.batch.ask(
            work, partial(self._take, self._turn), failed=partial(self._give_up, self._turn)
        )

    def _take(self, turn: int, found: tuple[dict[str, CellTotals], Summary]) -> None:
        if turn != self._turn:
            return
        self._is_asking = False
        self._totals, self.summary = found
        self.changed.emit()
        self._ask()  # what changed meanwhile

    def _give_up(self, turn: int, error: CellalError) -> None:
        """Keep no figure in step that could not be counted: the next time all are, anew."""
        if turn == self._turn:
            self.forget()
            self.session.tell(str(error), error=True)

    def _ask_means(self) -> None:
        project, path = self.session.project, self._workspace.learn.features_path
        least = self.session.shown.min_score
        if project is None or path is None or (path, least) == self._means_of:
            return
        self._let_go()
        self._means_of = (path, least)
        self._pending = self._workspace.jobs.run(
            "Summing up the measurements",
            measured_means,
            project.folder,
            path,
            least,
            lane="quick",
        )
        self._pending.finished.connect(self._on_means)
        self._pending.failed.connect(self._on_failed)

    def _let_go(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            for signal in (pending.finished, pending.failed):
                signal.disconnect()
            pending.cancel()

    def _on_means(self, means: Means) -> None:
        self._pending = None
        self._means = means
        self.sum_up()

    def _on_failed(self, failed: Failed) -> None:
        self._pending = None
        self.session.tell(failed.message, error=True)
