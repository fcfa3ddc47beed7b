"""The learner's classes for all cells without a label, above how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import new_id
from napari_cellal.ui.controls import SpinBox, button
from napari_cellal.ui.live_pool import read_cells
from napari_cellal.workflows import classing_rest, learning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.progress import Progress
    from napari_cellal.io.store import Project
    from napari_cellal.ui.job_bar import JobBar
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.pools import Pool
    from napari_cellal.workflows.worker import Failed

    Predicted = Mapping[str, tuple[tuple[int, float], ...]]

_AHEAD = 4  # images whose classes wait to be written


class ClassRest(QWidget):
    """A button, and how sure the learner must be.

    Cells that it does not look at are measured first, image by image, which may take long:
    what is classed by then is written, and asking goes on meanwhile.
    """

    def __init__(self, workspace: Workspace, bar: JobBar) -> None:
        super().__init__()
        self._workspace = workspace
        self._session = workspace.session
        self._loop = workspace.learn
        self._bar = bar
        self._job: JobHandle | None = None
        self.sure = SpinBox(
            0, 100, 1, 95, "Only cells whose most probable class is at least this sure, %", 0
        )
        self.sure.setSuffix(" %")
        self.sure.setFixedWidth(92)
        self.run = button(
            "Class the rest above",
            "Give every other proposal its most probable class, in one step that can be undone. "
            "They stay proposals: nobody has looked at them.",
            self._read,
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.run)
        layout.addWidget(self.sure)

    def forget(self) -> None:
        """Class no more: the project is another."""
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _read(self) -> None:
        project, table = self._session.project, self._loop.table
        if project is None or table is None:
            self._session.tell("Start first and answer a few cells.")
            return
        if self._job is not None:
            self._session.tell("Cells are being classed. Cancel it first, or wait.")
            return
        looks_at = None if self._loop.cells.looks_at is None else list(self._loop.cells.looks_at)
        handle = read_cells(self._workspace.jobs, project, looks_at)
        handle.finished.connect(lambda pool: self._on_pool(pool, project, table, looks_at))
        handle.failed.connect(self._on_failed)

    def _on_pool(
        self,
        pool: Pool,
        project: Project,
        table: learning.Measured,
        looks_at: list[str] | None,
    ) -> None:
        if self._session.project is not project or self._job is not None:
            return
        if len(set(pool.labelled.values())) < 2:
            self._session.tell("The learner needs labels of two classes at least.")
            return
        run = _Run(self._workspace, project, self.sure.value() / 100)
        jobs = self._workspace.jobs
        if looks_at is None:
            handle = jobs.run(
                "Classing the rest",
                learning.class_rest,
                learning.request_rest(project, table, pool),
                lane="quick",
            )
            handle.finished.connect(lambda predicted: run.write(predicted))
        else:  # not in the lane that answers, which would wait for it
            handle = jobs.run(
                "Classing the rest",
                classing_rest.class_everywhere,
                classing_rest.request_everywhere(project, table, pool, looks_at),
                lane="classical",
                most_ahead=_AHEAD,
            )
            run.follow(handle)
        self._bar.follow(handle)
        self._job = handle
        handle.finished.connect(run.end)
        handle.cancelled.connect(lambda: run.end(stopped=True))
        handle.failed.connect(lambda failed: (self._on_failed(failed), run.end(stopped=True)))
        handle.ended.connect(lambda: self._on_ended(handle))

    def _on_ended(self, handle: JobHandle) -> None:
        if self._job is handle:
            self._job = None

    def _on_failed(self, failed: Failed) -> None:
        self._session.tell(failed.message, error=True)


class _Run:
    """What is written of one classing; all of it is one step of undo."""

    def __init__(self, workspace: Workspace, project: Project, sure: float) -> None:
        self._session = workspace.session
        self._project = project
        self._sure = sure
        self._id = new_id()
        self._asked = self._classed = 0
        self._job: JobHandle | None = None
        self._is_writing = False
        self._session.edited.connect(self._on_edit)

    def follow(self, handle: JobHandle) -> None:
        """Write what a job brings, step by step; it ends where the person takes that back."""
        self._job = handle
        handle.progressed.connect(self._on_progress)

    def _on_progress(self, step: Progress) -> None:
        if self._job is not None and isinstance(step.item, dict):
            self._job.items.clear()  # written at once: nobody needs them twice
            self.write(step.item)

    def _on_edit(self, edit: Edit) -> None:
        if edit.run != self._id:
            return
        if self._is_writing:
            self._classed += len(edit.after)
        elif self._job is not None:
            self._job.cancel()

    def write(self, predicted: Predicted) -> None:
        """Write the classes of some cells."""
        if self._session.project is self._project:
            self._session.works.add(self._steps(predicted), lambda _: None)

    def _steps(self, predicted: Predicted) -> Steps[None]:
        steps = learning.class_steps(self._project, predicted, self._sure, run=self._id)
        try:
            if not self._is_stopped:
                self._asked += len(predicted)
            while not self._is_stopped:
                self._is_writing = True
                try:
                    next(steps)
                except StopIteration:
                    return
                finally:
                    self._is_writing = False
                yield
        except CellalError:  # the rest could not be written either
            if self._job is not None:
                self._job.cancel()
            raise
        finally:
            if self._job is not None:
                self._job.taken()

    @property
    def _is_stopped(self) -> bool:
        return self._job is not None and self._job.is_cancelling

    def end(self, failures: Any = (), *, stopped: bool = False) -> None:
        """Tell what was done, once it is written."""
        self._session.works.add(_nothing(), lambda _: self._tell(failures, stopped))

    def _tell(self, failures: Any, stopped: bool) -> None:
        self._session.edited.disconnect(self._on_edit)
        if self._session.project is not self._project:
            return
        text = (
            f"Classed {self._classed:,} of {self._asked:,} cells, those at least "
            f"{self._sure:.0%} sure."
        )
        if stopped:
            text = f"Stopped. {text} Class the rest goes on with the others."
        if self._classed:
            text += " Ctrl+Z takes it back."
        if isinstance(failures, tuple) and failures:
            text += f" {failures[0]}"
            if len(failures) > 1:
                text += f" And {len(failures) - 1:,} images more could not be measured."
        self._session.tell(text)


def _nothing() -> Steps[None]:
    """Come when all that was handed in before is written."""
    yield
