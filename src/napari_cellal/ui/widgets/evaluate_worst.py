"""The surest of the wrong answers, and on what they rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.evaluate.matches import NOTHING
from napari_cellal.ui.controls import button, heading, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.workflows import detecting, explainable, explaining, scoring

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellal.core.progress import Progress
    from napari_cellal.evaluate.matches import Match
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scoring import Answers
    from napari_cellal.workflows.worker import Failed

MOST = 8
"""Listed; the gallery shows all of them."""
PICTURE_PX = 48


class WorstAnswers(QWidget):
    """A list of cells of one class that were surely taken for another; hidden without any."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self._answers: Answers | None = None
        self._wrong: list[Match] = []
        self.list = QListWidget()
        self.list.setToolTip("Click one to see the cell")
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemClicked.connect(self._go)
        self.rest = button(
            "On what they rest",
            "Shows beside each the cell as the model saw it, and in red and yellow where it found "
            "what spoke for its answer",
            self._explain,
        )
        self.gallery = button(
            "In the gallery", "Shows all wrong answers, to mend labels there", self._open
        )
        self.bar = JobBar("Stop explaining")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            heading("Surest of the wrong answers"),
            self.list,
            row(self.rest, self.gallery),
            self.bar,
        ):
            layout.addWidget(widget)

    def show_answers(
        self,
        answers: Answers,
        matches: Mapping[str, tuple[Match, ...]],
        names: Mapping[int, str],
    ) -> None:
        """List the wrong answers among other matches, the surest first."""
        pictures = self._pictures() if answers is self._answers else {}
        self._answers = answers
        wrong = [m for some in matches.values() for m in some if _is_wrong(m)]
        self._wrong = sorted(wrong, key=lambda m: -m.score)
        self.list.clear()
        for m in self._wrong[:MOST]:
            true, said = (names.get(c or 0, "?") for c in (m.true, m.said))
            item = QListWidgetItem(f"{true}, said {said} {m.score:.2f}")
            item.setToolTip(item.text())
            item.setData(Qt.ItemDataRole.UserRole, m.cell_id)
            if m.cell_id in pictures:
                item.setIcon(pictures[m.cell_id])
            self.list.addItem(item)
        self._fit()
        self.rest.setEnabled(answers.request.model_id not in _WITHOUT)
        self.setVisible(bool(self._wrong))

    def _pictures(self) -> dict[str, QIcon]:
        items = [self.list.item(k) for k in range(self.list.count())]
        role = Qt.ItemDataRole.UserRole
        return {i.data(role): i.icon() for i in items if not i.icon().isNull()}

    def _fit(self) -> None:
        """Give the list room for all its lines."""
        has_icons = bool(self._pictures())
        side = PICTURE_PX if has_icons else 0
        self.list.setIconSize(QSize(2 * side + 2, side))
        n = self.list.count()
        self.list.setFixedHeight(sum(self.list.sizeHintForRow(k) for k in range(n)) + 8)

    # -- to the cells ---------------------------------------------------------------------

    def _go(self, item: QListWidgetItem) -> None:
        project = self.session.project
        cell = None if project is None else project.cells.get(item.data(Qt.ItemDataRole.UserRole))
        if cell is not None:
            self.session.go_to(cell)

    def _open(self) -> None:
        self._workspace.batch.show_only([m.cell_id for m in self._wrong if m.cell_id], pick=False)
        self._workspace.raise_dock("Gallery")

    # -- on what they rest ----------------------------------------------------------------

    def _explain(self) -> None:
        project, answers = self.session.project, self._answers
        if project is None or answers is None:
            return
        if self.bar.busy:
            self.session.tell("Cells are being explained. Cancel it first, or wait.")
            return
        classes = answers.request.classes
        try:
            requests = explaining.requests_for(
                project,
                explainable.find_model(project, answers.request.model_id),
                [m.cell_id for m in self._wrong[:MOST] if m.cell_id],
                own_range=classes is not None and classes.own_range,
            )
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        title = "Explaining the worst answers"
        handle = self._workspace.jobs.run(title, explaining.explain_each, requests)
        self.bar.follow(handle)
        handle.progressed.connect(lambda step: self._on_step(answers, step))
        handle.failed.connect(self._on_failed)

    def _on_step(self, answers: Answers, step: Progress) -> None:
        if answers is not self._answers or not isinstance(step.item, tuple):
            return
        cell_id, pixels = step.item
        for k in range(self.list.count()):
            item = self.list.item(k)
            if item.data(Qt.ItemDataRole.UserRole) == cell_id:
                item.setIcon(_icon(pixels))
        self._fit()

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)


_WITHOUT = (scoring.PROPOSED, detecting.CLASSICAL)
"""What gives answers that no network can explain."""


def _is_wrong(m: Match) -> bool:
    """Return whether a cell was found and given another class than its own."""
    both = m.true not in (None, NOTHING) and m.said not in (None, NOTHING)
    return both and m.true != m.said and m.cell_id is not None


def _icon(pixels: NDArray[np.uint8]) -> QIcon:
    height, width = pixels.shape[:2]
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image))
