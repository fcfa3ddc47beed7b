"""Why a classifier gives a cell its class: where, which channels, and the cells most like it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.controls import ComboBox, button, note, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.neighbours import PICTURE_PX, NeighbourStrip
from napari_cellal.ui.why_layer import WhyLayer
from napari_cellal.workflows import classifying, explaining

if TYPE_CHECKING:
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.explaining import Explained, ExplainRequest
    from napari_cellal.workflows.worker import Failed

KEPT = 100
MOST_CHANNELS = 8
METHODS = {
    "grad-cam": "Grad-CAM: where the network's last map speaks for the class",
    "attention": "Attention: where the network looks for what speaks for the class",
    "covering": "By covering place after place, and asking again",
}


class WhyPanel(QWidget):
    """Explains the cell in hand; hidden while the project has no classifier."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.heat = WhyLayer(workspace.viewer, lambda: workspace.boxes.layer)
        self.found: Explained | None = None
        self._neighbours: tuple[str, ...] = ()
        self._pictures = CellPictures(workspace.session, workspace.images, PICTURE_PX, KEPT)
        self._pictures.arrived.connect(self._show_neighbours)
        self.of = ComboBox("Which class is to be explained: the model's own answer, or another")
        self.ask = button(
            "Why this class?",
            "Shows where in the cell in hand, and in which channels, the classifier finds what "
            "speaks for a class, and which confirmed cells look most like it to the network",
            self._ask,
        )
        self.bar = JobBar("Stop explaining")
        self._text = note()
        self._text.setTextFormat(Qt.TextFormat.RichText)
        self.strip = NeighbourStrip()
        self.close_ = button("Hide", "Take the heat map off the image", self.forget)
        self._result = QWidget()
        for body, widgets in (
            (self._result, (self._text, self.strip, self.close_)),
            (self, (row(self.ask, self.of), self.bar, self._result)),
        ):
            layout = QVBoxLayout(body)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(5)
            for widget in widgets:
                layout.addWidget(widget)
        self._result.hide()
        self.refresh()

    def close_pictures(self) -> None:
        """Stop making pictures, before the window closes."""
        self._pictures.close()

    def refresh(self, *_: object) -> None:
        """Offer the classes of the classifier in use."""
        record = self._record()
        kept = self.of.currentData()
        self.of.clear()
        self.of.addItem("its answer", "")
        for name in record.class_names if record is not None else ():
            self.of.addItem(name, name)
        self.of.setCurrentIndex(max(0, self.of.findData(kept)))
        self.setVisible(record is not None)

    def _record(self) -> ModelRecord | None:
        project = self.session.project
        chosen = None if project is None else classifying.choose_classifier(project)
        return next((m for m in (project.models if project else []) if m.model_id == chosen), None)

    def forget(self, *_: object) -> None:
        """Show no explanation."""
        self.found, self._neighbours = None, ()
        self.heat.hide()
        self._result.hide()

    # -- asking ---------------------------------------------------------------------------

    def _ask(self) -> None:
        project, cell, record = self.session.project, self.session.current, self._record()
        if project is None or record is None:
            return
        if cell is None:
            self.session.tell("Click a box first: it is explained for the cell in hand.")
            return
        if self.bar.busy:
            self.session.tell("A cell is being explained. Cancel it first, or wait.")
            return
        steps = explaining.explanation_steps(
            project,
            project.model_folder(record.model_id),
            cell.cell_id,
            class_name=self.of.currentData() or "",
        )
        image_id = cell.image_id
        self.session.works.add(steps, lambda request: self._begin(project, image_id, request))

    def _begin(self, project: Project, image_id: str, request: ExplainRequest) -> None:
        if self.session.project is not project:
            return
        handle = self._workspace.jobs.run("Explaining a cell", explaining.explain, request)
        self.bar.follow(handle)

        def show(found: Explained) -> None:
            if self.session.project is project and self.session.image_id == image_id:
                self._show(found)

        handle.finished.connect(show)
        handle.failed.connect(self._on_failed)

    def _on_failed(self, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)

    # -- the answer -----------------------------------------------------------------------

    def _show(self, found: Explained) -> None:
        self.found = found
        self.heat.show(found)
        p = found.probabilities[found.class_name]
        lines = [f"<b>{escape(found.class_name)} {p:.2f}</b>, coloured where it was found"]
        if len(found.channels) > 1:
            shares = [round(share, 2) + 0.0 for share in found.channels.tolist()]  # no -0.00
            pairs = zip(found.channel_names, shares, strict=True)
            ranked = sorted(pairs, key=lambda pair: -abs(pair[1]))[:MOST_CHANNELS]
            named = ", ".join(f"{escape(name)} {share:+.2f}" for name, share in ranked)
            lines.append(f"What each channel adds to that: {named}")
        if found.neighbours:
            lines.append("Confirmed cells that look most like it to the network:")
        self._text.setText("<br>".join(lines))
        self._text.setToolTip(METHODS[found.method])
        self._neighbours = tuple(n.cell_id for n in found.neighbours)
        self._result.show()
        self._show_neighbours()

    def _show_neighbours(self) -> None:
        project = self.session.project
        if project is None:
            return
        rows = project.cells.rows(self._neighbours)
        cells = [c for c in rows.values() if c is not None and c.is_label]
        self.strip.setVisible(bool(cells))
        classes = [project.classes[c.class_id] for c in cells if c.class_id is not None]
        self.strip.show_cells(
            [
                (picture, c.name, c.color)
                for picture, c in zip(self._pictures.of(cells), classes, strict=True)
            ]
        )
