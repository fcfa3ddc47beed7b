"""How quick the window is: answers in Learn, and edits among many boxes.

    python benchmarks/window.py [--cells 10000] [--answers 60] [--boxes 5000]
                                [--features automatic] [--pace 0.25] [--json]

Opens a real napari window (under Xvfb where there is no screen: ``xvfb-run -a``) on a
synthetic project and drives it with key events. Times end when the canvas has been drawn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, Origin, Proposal, Split, new_id
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding, describing

IMAGES = 25


def figures(seconds: list[float]) -> dict[str, float]:
    ms = np.array(seconds) * 1000
    return {
        "n": len(ms),
        "p50_ms": round(float(np.percentile(ms, 50)), 1),
        "p95_ms": round(float(np.percentile(ms, 95)), 1),
        "max_ms": round(float(ms.max()), 1),
    }


def random_cells(
    rng: np.random.Generator, image_id: str, n: int, shape: tuple[int, int]
) -> list[Cell]:
    size = rng.uniform(14, 40, (n, 2))
    corner = rng.uniform(0, 1, (n, 2)) * (np.array(shape) - size)
    cells = []
    for (y, x), (h, w) in zip(corner.tolist(), size.tolist(), strict=True):
        box = (y, x, y + h, x + w)
        proposal = Proposal(box, None, float(rng.uniform()), "classical")
        cells.append(Cell(new_id(), image_id, box, None, Origin.MODEL, proposed=proposal))
    return cells


def make_project(folder: Path, cells: int, boxes: int) -> Path:
    rng = np.random.default_rng(0)
    write_samples(folder / "images", "smear", IMAGES, 0)
    with Project.create(folder / "bench", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([folder / "images"])))
        ids = list(project.images)
        rows = [
            c for k in ids[1:] for c in random_cells(rng, k, cells // (len(ids) - 1), (480, 640))
        ]
        rows += random_cells(rng, ids[0], boxes, (480, 640))
        project.set_split([ids[0]], Split.TEST)  # its boxes are no candidates
        project.history.do(edit_of("filled", [(None, c) for c in rows], "bench"))
        return project.folder


def wait(condition, seconds: float = 120) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        QApplication.processEvents()
        if time.perf_counter() > end:
            raise TimeoutError
        time.sleep(0.0005)


def settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class Drawn:
    """When the canvas was drawn with something on it."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._is_done = lambda: False
        self._at = 0.0
        self._canvas = viewer.window._qt_viewer.canvas
        self._canvas._scene_canvas.events.draw.connect(self._on_draw, position="last")

    def _on_draw(self, _event: object) -> None:
        # asked here: change and drawing may come in one turn of the window's loop
        if not self._at and self._is_done():
            self._at = time.perf_counter()

    def after(self, is_done, seconds: float = 30) -> float:
        """Return when the canvas was first drawn with ``is_done`` already true."""
        end = time.perf_counter() + seconds
        self._is_done, self._at = is_done, 0.0
        while not self._at:
            QApplication.processEvents()
            if time.perf_counter() > end:
                raise TimeoutError
            time.sleep(0.0002)
        return self._at


def answers(workspace: Workspace, n: int, pace: float) -> dict[str, float]:
    viewer, loop = workspace.viewer, workspace.learn
    canvas = viewer.window._qt_viewer.canvas.native
    workspace.raise_dock("Learn")
    loop.start()
    wait(lambda: loop.question is not None, 600)
    spent = []
    drawn = Drawn(viewer)
    for k in range(n):
        settle(pace)
        asked = loop.question

        def is_next(asked=asked) -> bool:
            is_read = workspace.images.pixels(workspace.session.image_id) is not None
            return loop.question is not asked and loop.question is not None and is_read

        begun = time.perf_counter()
        QTest.keyClick(canvas, (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3)[k % 3])
        spent.append(drawn.after(is_next) - begun)
    workspace.session.select(())  # keys mean Review again
    return figures(spent)


def edits(workspace: Workspace, image_id: str, n: int = 30) -> dict[str, object]:
    viewer, session = workspace.viewer, workspace.session
    canvas = viewer.window._qt_viewer.canvas.native
    drawn = Drawn(viewer)
    begun = time.perf_counter()
    session.show_image(image_id)
    opened = drawn.after(lambda: workspace.images.pixels(image_id) is not None) - begun
    wait(lambda: len(workspace.boxes.ids()) == len(session.cells()))
    complete = time.perf_counter() - begun
    times: dict[str, list[float]] = {"class_ms": [], "delete_ms": [], "undo_ms": []}
    for k in range(n):
        ids = workspace.boxes.ids()
        session.select([ids[(k * 37) % len(ids)]])
        for name, key, modifier in (
            ("class_ms", Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier),
            ("delete_ms", Qt.Key.Key_Delete, Qt.KeyboardModifier.NoModifier),
            ("undo_ms", Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier),
        ):
            settle(0.2)
            begun = time.perf_counter()
            QTest.keyClick(canvas, key, modifier)
            times[name].append(drawn.after(lambda: True) - begun)
    result: dict[str, object] = {
        "boxes": len(workspace.boxes.ids()),
        "open_ms": round(opened * 1000),
        "all_boxes_ms": round(complete * 1000),
    }
    result.update({name: figures(values) for name, values in times.items()})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--boxes", type=int, default=5_000)
    parser.add_argument("--answers", type=int, default=60)
    parser.add_argument(
        "--pace", type=float, default=0.25, help="seconds that a person looks at each question"
    )
    parser.add_argument(
        "--features",
        choices=describing.CHOICES,
        default=describing.AUTOMATIC,
        help="automatic: a network looks at the cells meanwhile, in a process of its own",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_project(Path(scratch), options.cells, options.boxes)
        viewer = napari.Viewer(show=False)
        viewer.window.resize(1280, 800)
        viewer.show()
        workspace = Workspace.of(viewer)
        workspace.dock_all()
        workspace.learn.better.choice = options.features
        workspace.open_project(folder)
        project = workspace.session.project
        first, second = list(project.images)[:2]
        workspace.session.show_image(second)
        result = {
            "candidates": options.cells,
            "features": options.features,
            "answer_to_next": answers(workspace, options.answers, options.pace),
            "many_boxes": edits(workspace, first),
        }
        viewer.close()
        wait(lambda: workspace._closed, 20)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
