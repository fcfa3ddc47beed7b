"""What the parts of the Project dock have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed


class ProjectPart(QWidget):
    """A part that runs jobs of its own and reports in the dock's bar and lines.

    Parameters
    ----------
    follow : callable
        Shows the progress of a job.
    say : callable
        Shows the lines of a report.
    """

    def __init__(
        self,
        workspace: Workspace,
        follow: Callable[[JobHandle], object],
        say: Callable[[list[str]], object],
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._session = workspace.session
        self._follow = follow
        self._say = say

    def _on_failed(self, failed: Failed) -> None:
        self._session.tell(failed.message, error=True)
        self._say([failed.message])
