"""The Plate dock: wells coloured by what their cells come to, and the way to their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem

from napari_cellal.core.filters import CellFilter
from napari_cellal.core.wells import parse_well, plate_format
from napari_cellal.evaluate.heat import brief, scale_of
from napari_cellal.evaluate.outliers import is_outlier, robust_z
from napari_cellal.io.store.search import find_cells
from napari_cellal.ui.controls import ComboBox, button, note, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.keys import KeyFilter
from napari_cellal.ui.plate_map import PlateMap, WellLook
from napari_cellal.ui.well_counts import WellCounts
from napari_cellal.workflows.summarizing import Line, values_of, write_summary

if TYPE_CHECKING:
    from napari_cellal.core.history import Edit
    from napari_cellal.ui.workspace import Workspace

FOLLOW_MS = 300
"""So long after an edit the wells that it touched are counted again."""
NAMED = 3
"""Wells that stand out are named below the plate; of more, these and how many."""
LIST_PX = 110
USUAL = "cells"


class PlateDock(Dock):
    """Plate and figure to choose, the plate, and the images of the well in hand."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.counts = WellCounts(workspace, self)
        self.counts.changed.connect(self._on_counted)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(FOLLOW_MS)
        self._soon.timeout.connect(self.refresh)
        self.needs = Needs()
        self.add(self.needs)
        self.map = PlateMap()
        self.home = self.map
        self._build()
        keys = KeyFilter(self.map, lambda: session.project is not None)
        keys.bind(("Ctrl+Z",), "undo", session.undo)
        keys.bind(("Ctrl+Shift+Z", "Ctrl+Y"), "redo", session.redo)
        keys.bind(("G",), "gallery", self._show_gallery)
        keys.bind(("?",), "show the keys", workspace.show_keys)
        self.map.opened.connect(self._on_well)
        self.listen(
            (session.project_changed, self._on_project),
            (session.images_changed, self._count_anew),
            (session.classes_changed, self._on_classes),
            (session.shown_changed, self._on_shown),
            (session.image_changed, self._on_image),
            (session.edited, self._on_edit),
            (workspace.learn.measured, self.refresh),
        )
        self.refresh()

    def _build(self) -> None:
        self.plate = ComboBox("Which plate")
        self.plate.activated.connect(self._paint)
        self.column_ = ComboBox(
            "What the colours show. Means of measurements come with the others once the cells "
            "are measured (Learn or Map)"
        )
        self.column_.activated.connect(self._paint)
        self.note = note()
        self.note.setToolTip(
            "A framed well stands out from its plate: its robust z-score, 0.6745 x (value - "
            "median) / median absolute deviation, is beyond 3.5 (Iglewicz and Hoaglin, 1993)"
        )
        self.well = note()
        self.images = QListWidget()
        self.images.setToolTip("The images of the well; click one to show it")
        self.images.setFixedHeight(LIST_PX)
        self.images.itemClicked.connect(self._on_item)
        self.images.itemActivated.connect(self._on_item)
        self._gallery = button(
            "Its cells",
            "Pictures of the cells of this well, in the gallery (G)",
            self._show_gallery,
        )
        self._save = button(
            "Save table…", "All wells of all plates with all figures, as CSV or Parquet", self.save
        )
        self._parts = (
            row(self.plate, self.column_),
            self.map,
            self.note,
            self.well,
            self.images,
            row(self._gallery, self._save),
        )
        self.add(*self._parts)
        self.column.setStretchFactor(self.map, 1)

    # -- counting -------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what there is now, when the dock is on screen."""
        self.when_seen(self._show)

    def _show(self) -> None:
        project = self.session.project
        has_wells = project is not None and any("well" in r.place for r in project.images.values())
        for widget in self._parts:
            widget.setVisible(has_wells)
        if project is None or not project.images:
            self.needs.say(
                "No plate to show yet: open a project with images first.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock makes and opens projects",
            )
            return
        if not has_wells:
            self.needs.say(
                "These images are in no well. Wells are read from the files' names, as in "
                "plate_B07_s1_w2.tif, or from an OME-Zarr plate: add the images so.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "Add images… asks what the names of the files mean",
            )
            return
        self.needs.hide()
        self.counts.follow()

    def _on_counted(self) -> None:
        summary = self.counts.summary
        _fill(self.plate, [(plate or "(no name)", plate) for plate in summary.plates], "")
        _fill(self.column_, [(c.words, c.name) for c in summary.columns], USUAL)
        self._paint()

    # -- showing --------------------------------------------------------------------------

    def _lines(self) -> tuple[Line, ...]:
        if self.counts.summary is None or self.plate.currentIndex() < 0:
            return ()
        return self.counts.summary.of_plate(self.plate.currentData())

    def _paint(self, *_: object) -> None:
        summary, lines = self.counts.summary, self._lines()
        if summary is None:
            return
        at = summary.column(self.column_.currentData())
        column = summary.columns[at]
        scores = robust_z(values_of(lines, at))
        odd = is_outlier(scores)
        wells: dict[tuple[int, int], WellLook] = {}
        for line, z, is_odd in zip(lines, scores.tolist(), odd.tolist(), strict=True):
            place, value = parse_well(line.about[1]), line.values[at]
            if place is None:
                continue
            known = "no value" if value is None else f"{brief(value)} {column.unit}".strip()
            n, cells = line.values[0], line.values[summary.column("cells")]
            text = f"{line.about[1]}\n{column.words}: {known}"
            if cells is not None:
                text += f"\n{cells:,} cells in {n} images"
            text += f"\nstands out: robust z {z:+.1f}" if is_odd else ""
            wells[place] = WellLook(value, text, is_odd)
        every = [values_of(summary.of_plate(plate), at) for plate in summary.plates]
        self.map.show_wells(plate_format(wells), wells, scale_of(every), column.unit)
        self._say(lines, scores, odd, len(lines) - len(wells))
        self._on_image()

    def _say(
        self, lines: tuple[Line, ...], scores: np.ndarray, odd: np.ndarray, unplaced: int
    ) -> None:
        text = f"{len(lines):,} wells"
        order = np.argsort(-np.abs(np.nan_to_num(scores)), kind="stable")[: int(odd.sum())]
        names = [f"{lines[k].about[1]} (z {scores[k]:+.1f})" for k in order.tolist()]
        if names:
            text += f", {len(names)} standing out: {', '.join(names[:NAMED])}"
            text += f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        if self.counts.summary is not None and self.counts.summary.left_out:
            text += f". {self.counts.summary.left_out:,} images are in no well"
        if unplaced:
            text += f". {unplaced} wells have names without row and column, and are not drawn"
        self.note.setText(f"{text}.")

    def _on_image(self, *_: object) -> None:
        """Take the well of the image on screen in hand."""
        self.when_seen(self._follow_image)

    def _follow_image(self) -> None:
        line = next((n for n in self._lines() if self.session.image_id in n.image_ids), None)
        self.map.go_to(None if line is None else parse_well(line.about[1]))
        self._list(line)

    def _list(self, line: Line | None) -> None:
        project = self.session.project
        self.images.clear()
        self._gallery.setEnabled(line is not None)
        if project is None or line is None:
            self.well.setText("Click a well to see its images. The arrow keys and Enter do so too.")
            return
        self.well.setText(f"Well {line.about[1]}:")
        for key in line.image_ids:
            record = project.images.get(key)
            if record is None:
                continue
            total = self.counts.cells_of(key)
            item = QListWidgetItem(f"{record.name} · {total:,} cells")
            item.setData(Qt.ItemDataRole.UserRole, key)
            self.images.addItem(item)
            if key == self.session.image_id:
                self.images.setCurrentItem(item)

    # -- the session ----------------------------------------------------------------------

    def _on_project(self, _project: object) -> None:
        self.counts.forget_project()
        self.map.show_wells((8, 12), {}, None)
        self.refresh()

    def _count_anew(self, *_: object) -> None:
        self.counts.forget()
        self.refresh()

    def _on_shown(self, *_: object) -> None:
        self.counts.forget()
        self._soon.start()  # once for a slider that is being moved

    def _on_classes(self) -> None:
        self.when_seen(self.counts.sum_up)

    def _on_edit(self, edit: Edit) -> None:
        self.counts.touch(edit.image_ids)
        self._soon.start()

    # -- the person -----------------------------------------------------------------------

    def _line_at(self, place: tuple[int, int]) -> Line | None:
        return next((n for n in self._lines() if parse_well(n.about[1]) == place), None)

    def _on_well(self, row_: int, column: int) -> None:
        line = self._line_at((row_, column))
        project = self.session.project
        if line is None or project is None:
            return
        there = [key for key in line.image_ids if key in project.images]
        if self.session.image_id not in there and there:
            self.session.show_image(there[0])
        self._list(line)

    def _on_item(self, item: QListWidgetItem) -> None:
        project, key = self.session.project, item.data(Qt.ItemDataRole.UserRole)
        if project is not None and key in project.images:
            self.session.show_image(key)

    def _show_gallery(self) -> None:
        project, batch = self.session.project, self.workspace.batch
        line = None if self.map.current is None else self._line_at(self.map.current)
        if line is None or project is None:
            return
        folder = project.folder
        wanted = CellFilter(image_ids=line.image_ids, min_score=self.session.shown.min_score)

        def show(cell_ids: list[str]) -> None:
            if self.session.project is project and not cell_ids:
                self.session.tell(f"Well {line.about[1]} has no cells that are shown.")
            elif self.session.project is project:
                batch.show_only(cell_ids, pick=False)
                self.workspace.raise_dock("Gallery")

        batch.ask(lambda: find_cells(folder, wanted, "image", {}), show)

    def save(self) -> None:
        """Ask for a file and write every well's figures."""
        project = self.session.project
        if project is None or self.counts.summary is None:
            return
        start = str(project.folder.parent / f"{project.name}-wells.csv")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the wells", start, "Table (*.csv *.parquet)"
        )
        if not chosen:
            return
        handle = self.workspace.jobs.run(
            "Writing the wells", write_summary, self.counts.summary, chosen, lane="quick"
        )
        handle.finished.connect(lambda n: self.session.tell(f"{n:,} wells written to {chosen}."))
        handle.failed.connect(lambda failed: self.session.tell(failed.message, error=True))


def _fill(box: ComboBox, items: list[tuple[str, str]], usual: str) -> None:
    """Offer (words, data); the choice stays where it can."""
    chosen = box.currentData() if box.count() else usual
    if [(box.itemText(k), box.itemData(k)) for k in range(box.count())] == items:
        return
    box.clear()
    for words, data in items:
        box.addItem(words, data)
    found = (box.findData(chosen), box.findData(usual), 0)
    box.setCurrentIndex(next(k for k in found if k >= 0) if items else -1)
