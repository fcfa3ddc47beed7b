"""How quick the gallery and the map are with many cells.

    python benchmarks/gallery.py [--cells 100000] [--umap] [--json]

Opens a real napari window (under Xvfb where there is no screen: ``xvfb-run -a``) on a synthetic
project. ``deaf_ms`` is the longest that the window did not hear mouse and keys, ``turn_cpu_ms``
the most that one turn of its loop worked (the window's thread alone), ``cpu_ms`` all turns
together: on a machine that others use too, these two say what is ours.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cellal.core.history import PORTION, edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.features.table import FeatureTable
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding, learning
from window import figures, random_cells, settle, wait

IMAGES = 50


def make_project(folder: Path, cells: int) -> Path:
    rng = np.random.default_rng(0)
    write_samples(folder / "images", "smear", IMAGES, 0)
    with Project.create(folder / "bench", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([folder / "images"])))
        for image_id in project.images:
            rows = random_cells(rng, image_id, cells // IMAGES, (480, 640))
            for k in range(0, len(rows), PORTION):
                project.history.do(edit_of("", [(None, c) for c in rows[k : k + PORTION]], "b"))
        return project.folder


class Deaf:
    """The longest time between two turns of the window's loop, and the processor's share in it."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)
        self.start()

    def _tick(self) -> None:
        now = np.array([time.perf_counter(), time.thread_time()])
        self._longest = np.maximum(self._longest, now - self._last)
        self._last = now

    def start(self) -> None:
        self._last = self._begun = np.array([time.perf_counter(), time.thread_time()])
        self._longest = np.zeros(2)

    def figures(self) -> dict[str, float]:
        self._tick()
        deaf, turn = (1000 * self._longest).round(1).tolist()
        cpu = round(1000 * float(self._last[1] - self._begun[1]), 1)
        return {"deaf_ms": deaf, "turn_cpu_ms": turn, "cpu_ms": cpu}


def timed(deaf: Deaf, do, done=lambda: True) -> dict[str, float]:
    deaf.start()
    start = time.perf_counter()
    do()
    wait(done, 600)
    seconds = round(time.perf_counter() - start, 3)
    settle(0.3)  # what was put off to a later turn
    return {"s": seconds} | deaf.figures()


def drawn(widget) -> float:
    """Return how long drawing a widget takes, s of this thread.

    `repaint` does nothing most of the time: beside an OpenGL canvas, Qt puts it off to the next
    picture of the screen.
    """
    since = time.thread_time()
    widget.grab()
    return time.thread_time() - since


def gallery(workspace: Workspace, deaf: Deaf) -> dict[str, object]:
    batch, session = workspace.batch, workspace.session
    workspace.dock("Gallery")
    settle(1)
    out: dict[str, object] = {}
    out["open"] = timed(
        deaf, lambda: workspace.raise_dock("Gallery"), lambda: len(batch.cell_ids) > 0
    )
    dock = workspace.dock("Gallery")
    grid = dock.grid
    pictures = dock.pictures

    def all_there() -> bool:
        cells = [c for c in batch.rows([batch.cell_ids[k] for k in grid.in_view()]) if c]
        return all((c.cell_id, c.box) in pictures._kept for c in cells)

    out["first pictures"] = timed(deaf, grid.viewport().update, all_there)
    bar, steps = grid.verticalScrollBar(), []
    deaf.start()
    for value in np.linspace(0, bar.maximum(), 60).astype(int).tolist():
        bar.setValue(value)
        steps.append(drawn(grid.viewport()))
        QApplication.processEvents()
    out["scroll, a step"] = figures(steps) | deaf.figures()
    out["order by score"] = timed(deaf, lambda: batch.set_order("score"), lambda: not batch.is_busy)
    out["pick all"] = timed(
        deaf, lambda: QTest.keyClick(grid, "A", Qt.KeyboardModifier.ControlModifier)
    )
    grid.go_to(0)
    grid.go_to(999, extend=True)
    settle(1)
    out["class 1,000"] = timed(
        deaf, lambda: QTest.keyClick(grid, "2"), lambda: not len(session.works)
    )
    out["undo 1,000"] = timed(
        deaf,
        lambda: QTest.keyClick(grid, "Z", Qt.KeyboardModifier.ControlModifier),
        lambda: not len(session.works),
    )
    return out


def cell_map(workspace: Workspace, deaf: Deaf, umap: bool) -> dict[str, object]:
    project, batch = workspace.session.project, workspace.batch
    rng = np.random.default_rng(0)
    ids = tuple(batch.cell_ids)
    middles = rng.normal(0, 4, (6, 40))
    values = (middles[rng.integers(0, 6, len(ids))] + rng.normal(0, 1, (len(ids), 40))).astype("f4")
    project.cache_folder.mkdir(exist_ok=True)
    file = project.cache_folder / "features-bench.npz"
    FeatureTable(ids, tuple(f"f{k}" for k in range(40)), values).save(file)
    workspace.learn.cells.now = learning.Measured(str(file), ids)
    dock = workspace.dock("Map")
    out: dict[str, object] = {}
    out["PCA, from nothing"] = timed(
        deaf, lambda: workspace.raise_dock("Map"), lambda: dock._states is not None
    )
    settle(1)
    scatter, steps = dock.scatter, []
    for k in range(40):
        scatter._center = scatter._center + np.array([0.02 * (-1) ** k, 0.01])
        scatter._redraw()
        steps.append(drawn(scatter))
    out["draw or pan, a step"] = figures(steps)
    if umap:
        dock.layout_.setCurrentIndex(1)
        out["UMAP"] = timed(deaf, dock.refresh, lambda: dock._shown_as == "umap")
    items = np.flatnonzero(scatter._points[:, 0] > 0)
    out["lasso half"] = timed(
        deaf, lambda: dock._on_lasso(items, False), lambda: len(batch.picked) == len(items)
    ) | {"cells": len(items)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--umap", action="store_true", help="measure UMAP too; takes minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = make_project(Path(place), options.cells)
        viewer = napari.Viewer()
        viewer.window.resize(1280, 800)
        workspace = Workspace.of(viewer)
        workspace.dock_all("Learn")
        workspace.open_project(folder)
        settle(3)
        deaf = Deaf()
        out = {"cells": options.cells, "gallery": gallery(workspace, deaf)}
        out["map"] = cell_map(workspace, deaf, options.umap)
        viewer.close()
        settle(1)
    if options.json:
        print(json.dumps(out))
        return
    for part in ("gallery", "map"):
        for name, found in out[part].items():
            print(f"{part}: {name}: {found}")


if __name__ == "__main__":
    main()
