"""Why a model gives a cell its class: where, which channels, and the cells most like it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.detect.shipped import SHIPPED, shipped_record
from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.controls import ComboBox, button, note, row
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.neighbours import PICTURE_PX, NeighbourStrip
from napari_cellal.ui.why_layer import WhyLayer
from napari_cellal.workflows import explainable, explaining

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
    "gradient-activation": "Where the detector's map of the image speaks for the class of this box",
    "attention": "Attention: where the network looks for what speaks for the class",
    "covering": "By covering place after place, and asking again",
}


class WhyPanel(QWidget):
    """Explains the cell in hand; hidden while no model gives classes."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.session = workspace.session
        self._workspace = workspace
        self.heat = WhyLayer(workspace.viewer, lambda: workspace.boxes.layer)
        self.found: Explained | None = None
        self._neighbours: tuple[str, ...] = ()
        self._pictures = CellPictures(workspace.session, workspace.images, PICTURE_PX, KEPT)
        self._pictures.arrived.connect(self._show_neighbours)
        self.by = ComboBox(
            "Whose answer: a classifier's, or that of a detector, which sees what is around too"
        )
        self.by.activated.connect(self._on_model)
        self._chosen = ""
        """The model that the person chose; empty while that is left to the program."""
        self.of = ComboBox("Which class is to be explained: the model's own answer, or another")
        self.ask = button(
            "Why this class?",
            "Shows where in the cell in hand, and in which channels, a model finds what speaks for "
            "a class, and for a classifier which confirmed cells look most like it to the network",
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
            (self, (row(self.ask, self.of), self.by, self.bar, self._result)),
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
        """Offer the models that give classes, and the classes of the one that is asked."""
        project = self.session.project
        offered = {} if project is None else explainable.models_to_ask(project)
        self.by.clear()
        for model_id, kind in offered.items():
            name = "shipped" if model_id == SHIPPED else self._workspace.model_name(model_id)
            self.by.addItem(f"by the {kind} {name}", model_id)
        self.by.setCurrentIndex(max(0, self.by.findData(self._chosen)))
        self.by.setVisible(len(offered) > 1)
        self.setVisible(bool(offered))
        self._show_classes()

    def _show_classes(self) -> None:
        kept = self.of.currentData()
        self.of.clear()
        self.of.addItem("its answer", "")
        record = self._record()
        for name in record.class_names if record is not None else ():
            self.of.addItem(name, name)
        self.of.setCurrentIndex(max(0, self.of.findData(kept)))

    def _on_model(self, *_: object) -> None:
        self._chosen = self.by.currentData() or ""
        self._show_classes()

    def _record(self) -> ModelRecord | None:
        project, chosen = self.session.project, self.by.currentData()
        if chosen == SHIPPED:
            return shipped_record()
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
            explainable.find_model(project, record.model_id),
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
