"""Writes what is measured as a page, in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.controls import button
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import reporting

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers
    from napari_cellal.workflows.worker import Failed


class ReportPart(QWidget):
    """A button, and the progress of the page.

    Parameters
    ----------
    asked : callable
        Gives the answers of one model or of two, and the score that counts.
    """

    def __init__(
        self, workspace: Workspace, asked: Callable[[], tuple[list[Answers], float]]
    ) -> None:
        super().__init__()
        self.session = workspace.session
        self._jobs = workspace.jobs
        self._asked = asked
        self.write = button(
            "Write a report…",
            "One HTML file with all of this, curves, the worst images and a map of the cells, for "
            "a colleague or the lab book; with a second model both stand side by side. Nothing "
            "else is needed to read it",
            self._ask_file,
        )
        self.bar = JobBar("Stop writing; no file is left")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.write)
        layout.addWidget(self.bar)

    def _ask_file(self) -> None:
        project = self.session.project
        if project is None:
            return
        usual = str(project.folder.parent / f"{project.name} evaluation.html")
        file, _ = QFileDialog.getSaveFileName(self, "Write a report", usual, "Web page (*.html)")
        if file:
            self.write_to(file)

    def write_to(self, file: str) -> None:
        """Write the page."""
        project = self.session.project
        answers, score = self._asked()
        if project is None or not answers:
            return
        if self.bar.busy:
            self.session.tell("A report is being written. Cancel it first, or wait.")
            return
        try:
            request = reporting.request_report(project, file, answers, score=score)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        # a classifier lays out the cells and explains its worst answers
        lane = "quick" if answers[0].request.classes is None else "heavy"
        handle = self._jobs.run("Writing the report", reporting.write_report, request, lane=lane)
        self.bar.follow(handle)
        handle.finished.connect(
            lambda done: self.session.tell(f"Written: {done['file']}. Open it in a web browser.")
        )
        handle.failed.connect(self._on_failed)

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
