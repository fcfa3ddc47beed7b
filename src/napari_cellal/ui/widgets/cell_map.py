"""The map: every measured cell a point, close to those that look like it."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer

from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.controls import ComboBox, button, note, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.map_colors import PointStates
from napari_cellal.ui.picking_keys import bind_picking_keys
from napari_cellal.ui.scatter import Scatter
from napari_cellal.ui.words import STATUS_WORDS
from napari_cellal.workflows import learning
from napari_cellal.workflows.mapping import CellMap, make_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from qtpy.QtGui import QPixmap

    from napari_cellal.core.history import Edit
    from napari_cellal.io.store import Project
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.worker import Failed

PICTURE_PX = 96
KEPT = 500
"""Pictures in memory, 37 kB each."""
REPAINT_MS = 50
LEGEND_LINES = 10
LONGEST_NAME = 32
LAYOUTS = (
    ("pca", "PCA, at once", "The two directions in which the cells differ most"),
    ("umap", "UMAP, groups apart", "Takes a while, in the background; shows more groups"),
)
COLORS = (
    ("class", "By class"),
    ("status", "By state"),
    ("image", "By image"),
    ("group", "By plate, well or folder"),
)


class MapDock(Dock):
    """Layout and colours to choose, the points, their legend, and the way to the gallery."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.batch = batch = workspace.batch
        self.loop = workspace.learn
        self.cell_ids: tuple[str, ...] = ()
        self._states: PointStates | None = None
        self._made_of = ""
        self._shown_as = ""
        self._asked_for: Project | None = None
        self._is_reading = False
        self._pending: JobHandle | None = None
        self._pending_of = ("", "")
        self._edits = 0
        self._repaint = QTimer(self)  # once for the portions of a long edit
        self._repaint.setSingleShot(True)
        self._repaint.setInterval(REPAINT_MS)
        self._repaint.timeout.connect(self._paint)
        self.pictures = CellPictures(session, workspace.images, PICTURE_PX, KEPT)
        self.needs = Needs()
        self.add(self.needs)
        self.scatter = Scatter(self._hint)
        self.home = self.scatter
        self._build()
        keys = bind_picking_keys(self.scatter, session, batch, lambda do: do())
        keys.bind(("G",), "gallery", self._show_gallery)
        keys.bind(("?",), "show the keys", workspace.show_keys)
        self.pictures.arrived.connect(self.scatter.update)
        workspace.images.looks.changed.connect(self._on_looks)
        self.scatter.lassoed.connect(self._on_lasso)
        self.scatter.clicked.connect(self._on_click)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self.refresh),
            (session.classes_changed, self._on_classes),
            (session.edited, self._on_edit),
            (batch.picked_changed, self._on_picked),
            (self.loop.measured, self.refresh),
            (self.loop.job_started, self._follow),
            (self.loop.state_changed, self._on_state),
        )
        self.refresh()

    def disconnect_session(self) -> None:
        """Stop listening and making pictures, before the window closes."""
        super().disconnect_session()
        self.pictures.close()

    def _build(self) -> None:
        self.layout_ = ComboBox("How the cells are laid out")
        for place, (key, text, tip) in enumerate(LAYOUTS):
            self.layout_.addItem(text, key)
            self.layout_.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.layout_.activated.connect(self.refresh)
        self.color = ComboBox("What the colours mean")
        for key, text in COLORS:
            self.color.addItem(text, key)
        self.color.activated.connect(self._paint)
        self._lasso = button(
            "Lasso",
            "Drag around points to pick their cells (Shift+drag does so too); with Ctrl more. "
            "Off: a drag moves the map.",
            self._on_tool,
        )
        self._lasso.setCheckable(True)
        self._lasso.setStyleSheet("QPushButton:checked { background: #00629B; color: white; }")
        self._fit = button("Whole map", "Show all points again (double click)", self.scatter.fit)
        self._gallery = button(
            "Gallery", "Pictures of the picked cells, or of all (G)", self._show_gallery
        )
        self.bar = JobBar()
        self.bar.hide()
        self._count = note()
        self.legend = note()
        self._parts = (
            row(self.layout_, self.color),
            self.bar,
            row(self._lasso, self._fit, self._gallery),
            self.scatter,
            self._count,
            self.legend,
        )
        self.add(*self._parts)
        self.column.setStretchFactor(self.scatter, 1)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be shown now, when the dock is on screen."""
        self.when_seen(self._show)

    def _show(self) -> None:
        project, path = self.session.project, self.loop.features_path
        is_there = project is not None and bool(project.images)
        ready = is_there and path is not None
        for widget in self._parts:
            if widget is not self.bar:
                widget.setVisible(ready)
        if not is_there:
            self._say(
                "No cells to show yet: open a project with images first.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock makes and opens projects",
            )
        elif not ready and self._reads():
            self.needs.hide()
        elif not ready:
            self._say(
                "The map shows how alike the cells are: it needs them measured.",
                "Measure the cells",
                self.loop.measure,
                "Measures every cell, in the background; Learn uses the same measurements",
            )
        else:
            self.needs.hide()
            self._ask(path)

    def _reads(self) -> bool:
        """Return whether measurements of an earlier day are being read; asked once a project."""
        project = self.session.project
        if self._asked_for is not project and learning.was_measured(project):
            self._asked_for = project
            self._is_reading = True
            self.loop.measure()
        return self._is_reading

    def _on_state(self, _text: str) -> None:
        if self._is_reading and not self.loop.is_busy:  # it failed, or was cancelled
            self._is_reading = False
            self.refresh()

    def _say(self, text: str, label: str, act: Callable[[], object], tooltip: str) -> None:
        self.needs.say(text, label, act, tooltip)

    def _ask(self, path: str) -> None:
        project = self.session.project
        if self._pending is not None and self._pending.is_cancelling:
            self._back_to_shown()  # the person gave it up; other features do not bring it back
        how = self.layout_.currentData()
        if (how, path) == (self._shown_as, self._made_of):
            return
        if how == "umap" and self._made_of != path:
            how = "pca"  # first: there is something to see meanwhile
        if self._pending is not None:
            if self._pending_of == (how, path):
                return
            self._let_go()
        self._pending_of = (how, path)
        # UMAP would hold up the answers in Learn: it has a process of its own.
        lane = "quick" if how == "pca" else "map"
        seed, folder = project.settings.seed, str(project.cache_folder)
        self._pending = self.workspace.jobs.run(
            "Laying out the cells", make_map, path, how, seed, folder, lane=lane
        )
        self._pending.finished.connect(lambda found: self._on_made(found, how, path))
        self._pending.failed.connect(self._on_failed)
        self._pending.cancelled.connect(self._on_cancelled)
        if how == "umap":
            self.bar.follow(self._pending)

    def _let_go(self) -> None:
        pending, self._pending = self._pending, None
        for signal in (pending.finished, pending.failed, pending.cancelled):
            signal.disconnect()
        pending.cancel()

    def _on_made(self, found: CellMap, how: str, path: str) -> None:
        self._pending = None
        self._made_of, self._shown_as = path, how
        self.cell_ids = found.cell_ids
        self._states = None
        grey = np.full(len(found.cell_ids), 0xFF808080, np.uint32)
        self.scatter.set_points(found.places, grey)
        self._read_states()
        self.refresh()  # UMAP, if that is what was wanted

    def _read_states(self) -> None:
        edits, ids = self._edits, self.cell_ids

        def take(states: PointStates) -> None:
            if ids is not self.cell_ids:
                return
            if edits != self._edits:  # the answer may be from before them
                self._read_states()
                return
            self._states = states
            self._paint()
            self._on_picked()

        self.batch.states(partial(PointStates, ids), take)

    def _on_failed(self, failed: Failed) -> None:
        self._pending = None
        self.session.tell(failed.message, error=True)
        self._back_to_shown()

    def _on_cancelled(self) -> None:
        self._pending = None
        self._back_to_shown()

    def _back_to_shown(self) -> None:
        place = self.layout_.findData(self._shown_as or "pca")
        self.layout_.setCurrentIndex(place)

    def _paint(self, *_: object) -> None:
        project = self.session.project
        if project is None or self._states is None:
            return
        colors, legend = self._states.colors(project, self.color.currentData())
        self.scatter.set_colors(colors)
        lines = [
            f"<span style='color:{color}'>■</span>&nbsp;{_unbroken(name)}&nbsp;{n:,}"
            for name, color, n in legend[:LEGEND_LINES]
        ]
        if len(legend) > LEGEND_LINES:
            lines.append(f"and {len(legend) - LEGEND_LINES:,} more")
        self.legend.setText(" &nbsp; ".join(lines))
        self._show_count()

    def _show_count(self) -> None:
        picked = len(self.batch.picked)
        text = f"{len(self.cell_ids):,} cells"
        if picked:
            text = f"{picked:,} selected of {text}: press the number of their class"
        elif self.cell_ids:
            text += ", look-alikes close together. Shift+drag around some picks them."
        self._count.setText(text)

    # -- the session ----------------------------------------------------------------------

    def _on_project(self, _project: object) -> None:
        if self._pending is not None:
            self._let_go()
        self.pictures.forget()
        self._made_of = self._shown_as = ""
        self._asked_for, self._is_reading = None, False
        self.cell_ids, self._states = (), None
        self.layout_.setCurrentIndex(0)
        self.scatter.set_points(np.zeros((0, 2), np.float32), np.zeros(0, np.uint32))
        self.refresh()

    def _on_edit(self, edit: Edit) -> None:
        self._edits += 1
        if self._states is not None:
            for key, cell in edit.after.items():
                self._states.follow(key, cell)
            self.when_seen(self._repaint.start)

    def _on_classes(self) -> None:
        self.when_seen(self._paint)

    def _on_looks(self) -> None:
        self.pictures.forget()

    def _on_picked(self) -> None:
        if self._states is not None:
            places = self._states.index_of
            found = [places[key] for key in self.batch.picked if key in places]
            self.scatter.set_picked(np.array(found, np.intp))
            self._show_count()

    # -- the person -----------------------------------------------------------------------

    def _follow(self, handle: JobHandle) -> None:
        if not self.bar.busy:  # a layout under way keeps its Cancel
            self.bar.follow(handle)

    def _on_tool(self) -> None:
        self.scatter.lasso_is_on = self._lasso.isChecked()

    def _on_lasso(self, items: NDArray[np.intp], more: bool) -> None:
        if more:
            items = np.union1d(items, self.scatter.picked)
        if not len(items):
            self.batch.pick(())
            return
        self.batch.show_only([self.cell_ids[k] for k in items.tolist()])
        self._show_gallery()

    def _show_gallery(self) -> None:
        self.workspace.raise_dock("Gallery")

    def _on_click(self, item: int) -> None:
        project = self.session.project
        cell = None if project is None else project.cells.get(self.cell_ids[item])
        if cell is None:
            self.session.tell("This cell was deleted.")
        else:
            self.batch.pick((cell.cell_id,))  # keys are about what is picked
            self.session.go_to(cell)

    def _hint(self, item: int) -> tuple[QPixmap | None, str]:
        project = self.session.project
        (cell,) = self.batch.rows([self.cell_ids[item]])
        if project is None or cell is None or cell.image_id not in project.images:
            return None, "deleted"
        (picture,) = self.pictures.of([cell])
        known = None if cell.class_id is None else project.classes.get(cell.class_id)
        name = "no class yet" if known is None else known.name
        lines = (name, STATUS_WORDS[cell.status], project.images[cell.image_id].name)
        return picture, "\n".join(lines)


def _unbroken(name: str) -> str:
    """Return a name as HTML that stays on one line beside its colour, its middle left out."""
    if len(name) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    return escape(name).replace(" ", "&nbsp;").replace("-", "&#8209;")
