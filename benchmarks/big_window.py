"""A 40,000 x 40,000 px image with 200,000 boxes in the window: opening, moving, memory.

    python benchmarks/big_window.py [--side 40000] [--boxes 200000] [--moves 20] [--json]

Opens a real napari window (under Xvfb where there is no screen: ``xvfb-run -a``). A move ends
when the canvas has been drawn with the boxes that lie in the new view.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
import psutil

from big_image import make, memory_mb
from napari_cellal.core.history import edit_of, finish
from napari_cellal.core.progress import run_job
from napari_cellal.io.store import Project
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding
from window import Drawn, figures, random_cells, settle, wait


def make_project(folder: Path, side: int, boxes: int) -> Path:
    picture = make(folder, side)
    rng = np.random.default_rng(0)
    with Project.create(folder / "big", ["nucleus", "other"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([picture])))
        (image_id,) = project.images
        cells = random_cells(rng, image_id, boxes, (side, side))
        finish(project.history.do_run("filled", (edit_of("", [(None, c)]) for c in cells), "bench"))
        return project.folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--boxes", type=int, default=200_000)
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_project(Path(scratch), options.side, options.boxes)
        viewer = napari.Viewer(show=False)
        viewer.window.resize(1280, 800)
        viewer.show()
        workspace = Workspace.of(viewer)
        workspace.dock_all()
        settle(2)
        drawn, session = Drawn(viewer), workspace.session
        empty_mb = psutil.Process().memory_info().rss / 2**20
        begun = time.perf_counter()
        workspace.open_project(folder)
        opened = drawn.after(lambda: len(workspace.images.layers) == 3) - begun
        settle(2)
        if options.screenshots:
            viewer.screenshot(str(options.screenshots / "whole.png"), canvas_only=False)
        rng = np.random.default_rng(1)
        camera, boxes = viewer.scene.camera, workspace.boxes
        moves, numbers = [], []
        for _ in range(options.moves):
            settle(0.3)
            y, x = rng.uniform(0.1, 0.9, 2) * options.side
            begun = time.perf_counter()
            camera.zoom = 1.0
            camera.center = (y, x)

            def is_there() -> bool:
                view = workspace.current_view()
                there = session.project.cells.in_view(session.image_id, view)
                return {c.cell_id for c in there} <= set(boxes.ids())

            moves.append(drawn.after(is_there) - begun)
            numbers.append(len(boxes.ids()))
        if options.screenshots:
            settle(0.5)
            viewer.screenshot(str(options.screenshots / "close.png"), canvas_only=False)
        result = {
            "side_px": options.side,
            "boxes": options.boxes,
            "first_picture_ms": round(opened * 1000),
            "move": figures(moves),
            "boxes_shown": [min(numbers), max(numbers)],
            "memory_mb": round(psutil.Process().memory_info().rss / 2**20),
            "memory_before_mb": round(empty_mb),
            "most_memory_mb": round(memory_mb()),
        }
        viewer.close()
        wait(lambda: workspace._closed, 20)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
