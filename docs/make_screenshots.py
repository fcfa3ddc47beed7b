"""Makes the pictures of README and docs by driving the real window.

    xvfb-run -a -s "-screen 0 1400x900x24" python docs/make_screenshots.py

Run it again after a change of the window, and look at each picture.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import napari
import numpy as np
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_cellal.core.geometry import iou_matrix
from napari_cellal.core.progress import run_job
from napari_cellal.core.wells import well_name
from napari_cellal.io.samples.fluorescence import make_field
from napari_cellal.io.store import Project
from napari_cellal.ui.show import settle
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding
from napari_cellal.workflows.annotating import import_annotations, read_annotations
from napari_cellal.workflows.sampling import make_samples

IMAGES = Path(__file__).parent / "images"


class Stage:
    """A window on a sample project, and a hand that works in it."""

    def __init__(self, theme: str, scratch: str) -> None:
        self.theme = theme
        self.viewer = napari.Viewer(show=False)
        self.viewer.theme = theme
        self.viewer.window.resize(1280, 800)
        self.viewer.show()
        self.workspace = Workspace.of(self.viewer)
        self.workspace.dock_all()
        self.viewer.window.resize(1280, 800)
        self.folder = run_job(make_samples(Path(scratch) / theme))
        self.canvas = self.viewer.window._qt_viewer.canvas.native

    def wait(self, condition) -> None:
        """Let the window work until something holds."""
        for _ in range(30000):
            if condition():
                return
            settle(0.02)
        raise TimeoutError

    def picture(self, name: str) -> None:
        """Write a picture of the whole window, without passing messages."""
        settle(0.6)
        self.workspace.notice.hide()
        settle(0.2)
        file = IMAGES / f"{name}.png"
        self.viewer.screenshot(str(file), canvas_only=False, flash=False)
        sys.stdout.write(f"{file.name}\n")

    def press(self, key: Qt.Key) -> None:
        """Press a key over the image."""
        QTest.keyClick(self.canvas, key)

    def detect(self) -> None:
        """Open the project and propose boxes in every image."""
        w = self.workspace
        if w.session.project is None:
            w.open_project(self.folder)
        self.wait(lambda: w.images.layers)
        w.raise_dock("Detect")
        dock = w.dock("Detect")
        dock._scopes.button(2).click()
        dock.run.click()
        n = len(w.session.project.images)
        self.wait(lambda: len(w.session.project.cells.counts_by_image()) == n)

    def show_import(self) -> None:
        """Write a picture of the import dialog on a table that needs a look."""
        project = self.workspace.session.project
        table = Path(self.folder).parent / "cells.csv"
        lines = ["filename,cell_id,cell_type,xmin,xmax,ymin,ymax,image_id"]
        for record in [*project.images.values()][:8]:
            for k, name in enumerate(("RBC", "Leukocyte", "Platelets", "Artefact", "RBC")):
                x = 10 + 90 * k
                lines.append(f"{record.name},{k},{name},{x},{x + 70},300,{300 + 70 * (k < 4)},1")
        table.write_text("\n".join([*lines, "smear_999.png,1,RBC,1,40,2,40,9"]))
        dialog = self.workspace.dock("Project").exchange.open_import()
        dialog.look_at([str(table)])
        self.wait(dialog._import.isEnabled)
        dialog._classes["Leukocyte"].setCurrentText("WBC")
        dialog._classes["Artefact"].setCurrentText("(leave out)")
        settle(1)
        dialog.grab().save(str(IMAGES / "import.png"))
        dialog.close()

    def train(self) -> None:
        """Confirm the true boxes, train a little, and stop at the verdict."""
        w = self.workspace
        project = w.session.project
        found, report = run_job(read_annotations([str(Path(self.folder).with_suffix(""))]))
        import_annotations(project, found, report, confirm=True, finished=True)
        w.raise_dock("Train")
        dock = w.dock("Train")
        fields = dock.choices.form.fields
        fields["steps"].setValue(60)
        fields["validate_every"].setValue(10)
        dock.start.click()
        self.wait(lambda: dock.verdict.isVisible())
        settle(1)
        dock.verticalScrollBar().setValue(dock.verticalScrollBar().maximum())

    def right_key(self, cell_id: str) -> Qt.Key:
        """Return the key that says what a cell truly is, Delete where it is none."""
        files = str(Path(self.folder).with_suffix(""))
        truth = {image.image_name: image.boxes for image in run_job(read_annotations([files]))[0]}
        project = self.workspace.session.project
        keys = {c.name: c.shortcut for c in project.active_classes}
        cell = project.cells.get(cell_id)
        known = truth[project.images[cell.image_id].name]
        overlaps = iou_matrix([cell.box], [item.box for item in known])[0]
        name = known[overlaps.argmax()].class_name
        return getattr(Qt.Key, f"Key_{keys[name] if overlaps.max() > 0.4 else 'Delete'}")

    def is_inner(self, cell_id: str) -> bool:
        """Return whether a cell lies well inside its image."""
        project = self.workspace.session.project
        cell = project.cells.get(cell_id)
        _, height, width = project.images[cell.image_id].shape
        y0, x0, y1, x1 = cell.box
        return 0.2 < (y0 + y1) / 2 / height < 0.8 and 0.2 < (x0 + x1) / 2 / width < 0.8

    def answer(self, n: int) -> None:
        """Answer suggestions as somebody who knows the true cells, which lie beside the images.

        So many, and further until there is a curve, the model says what it takes a cell for, and
        that cell lies in the middle of its image.
        """
        w = self.workspace
        w.raise_dock("Learn")
        w.learn.start()
        self.wait(lambda: w.learn.question is not None)
        done = 0
        while (
            done < n
            or not w.learn.curve
            or w.learn.question.is_check
            or not self.is_inner(w.learn.question.cell_id)
        ):
            asked = w.learn.question
            self.press(self.right_key(asked.cell_id))
            self.wait(lambda asked=asked: w.learn.question not in (asked, None))
            done += 1


def smears(scratch: str) -> None:
    """Write the pictures of a project of smears."""
    stage = Stage("dark", scratch)
    stage.picture("start")
    stage.detect()
    stage.picture("detect")
    stage.answer(45)
    stage.picture("learn")
    stage.workspace.dock("Learn").rest.run.click()
    stage.wait(lambda: "learner" in stage.workspace.session.project.history.undo_label)
    stage.workspace.session.show_image(next(iter(stage.workspace.session.project.images)))
    stage.workspace.raise_dock("Review")
    stage.press(Qt.Key.Key_Escape)
    stage.viewer.reset_view()
    stage.press(Qt.Key.Key_Tab)
    stage.viewer.reset_view()
    stage.picture("review")
    stage.workspace.raise_dock("Project")
    stage.picture("project")
    stage.show_import()
    stage.train()
    stage.picture("train")
    stage.viewer.close()
    settle(0.5)


def many(scratch: str) -> None:
    """Write the pictures of the gallery and the map."""
    stage = Stage("dark", scratch)
    stage.detect()
    stage.answer(30)
    w = stage.workspace
    w.dock("Learn").rest.run.click()
    stage.wait(lambda: "learner" in w.session.project.history.undo_label)
    w.raise_dock("Map")
    dock = w.dock("Map")
    stage.wait(lambda: dock._states is not None)
    settle(1)
    stage.picture("map")
    w.raise_dock("Gallery")
    dock = w.dock("Gallery")
    w.batch.set_order("doubt")
    stage.wait(lambda: w.batch.cell_ids and not w.batch.is_busy)
    dock.filter.order.setCurrentIndex(dock.filter.order.findData("doubt"))
    for item in (0, 3):
        dock.grid.go_to(item)
        QTest.keyClick(dock.grid, stage.right_key(w.batch.cell_ids[item]))
    dock.grid.go_to(6)
    dock.grid.go_to(9, extend=True)
    settle(2)
    stage.picture("gallery")
    stage.viewer.close()
    settle(0.5)


def fields(scratch: str) -> None:
    """Write the pictures of fields in five channels, each in a file of its own."""
    stage = Stage("dark", scratch)
    place = Path(scratch) / "plate"
    place.mkdir()
    for k, well in enumerate(("A14", "A15", "B03")):
        pixels = make_field(k, (520, 696)).pixels
        for c, plane in enumerate(pixels[: 4 if well == "B03" else 5], 1):
            tifffile.imwrite(place / f"plate1_{well}_site1_Ch{c}.tif", plane)
    tifffile.imwrite(place / "thumbnail.tif", pixels[0, ::8, ::8])
    dock = stage.workspace.dock("Project")
    dock.make(str(Path(scratch) / "fields.cellal"))
    stage.workspace.session.project.add_classes(["interphase", "mitotic", "large"])
    dock.adding.add([str(place)])
    stage.wait(lambda: dock.adding.dialog is not None)
    dialog = dock.adding.dialog
    dialog.names.setText("DNA, ER, RNA, AGP, Mito")
    settle(0.5)
    dialog.grab().save(str(IMAGES / "grouping.png"))
    dialog.add.click()
    stage.wait(lambda: len(stage.workspace.images.layers) == 5)
    stage.detect()
    stage.workspace.raise_dock("Review")
    for _ in range(6):
        stage.press(Qt.Key.Key_Tab)
    stage.picture("channels")
    stage.viewer.close()
    settle(0.5)


def plate(scratch: str) -> None:
    """Write the picture of a plate of 96 wells, two of which hold cells three times as large."""
    stage = Stage("dark", scratch)
    place = Path(scratch) / "plate"
    place.mkdir()
    rng = np.random.default_rng(0)
    for row in range(8):
        for column in range(12):
            size = 92 if (row, column) in ((2, 1), (6, 4)) else rng.normal(30, 1.2)
            field = make_field(12 * row + column, (200, 260), cell_px=size)
            for c, plane in enumerate(field.pixels, 1):
                name = f"plate1_{well_name(row, column)}_site1_Ch{c}.tif"
                tifffile.imwrite(place / name, plane)
    look = adding.LookOptions("plate", ("DNA", "ER", "RNA", "AGP", "Mito"))
    with Project.create(Path(scratch) / "screen", ["interphase", "mitotic", "large"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([place], look)))
        stage.folder = project.folder
    stage.detect()
    w = stage.workspace
    w.raise_dock("Plate")
    dock = w.dock("Plate")
    counts = dock.counts
    stage.wait(lambda: len(dock.map.wells) == 96 and not (counts._touched or counts._is_asking))
    settle(1)
    dock.map.opened.emit(2, 1)
    stage.wait(lambda: w.session.image is not None and "C02" in w.session.image.name)
    stage.picture("plate")
    stage.viewer.close()
    settle(0.5)


def main() -> None:
    """Write every picture, or those of the parts that are named."""
    IMAGES.mkdir(exist_ok=True)
    os.environ["LOGNAME"] = "ana"  # who reviewed, in the pictures
    for part in (smears, many, fields, plate):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as scratch:
                part(scratch)


if __name__ == "__main__":
    main()
