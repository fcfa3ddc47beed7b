"""How long the window's thread is busy in one piece, gesture by gesture.

    python benchmarks/stalls.py [--images 1000] [--stacks] [--json]

Opens a real napari window (under Xvfb where there is no screen: ``xvfb-run -a``), drives it
through a session and reports, for each step, the longest gap between two turns of the
window's loop: while it lasts neither mouse nor key is heard. ``--stacks`` tells where the
window's thread was in each gap above the limit, with the share of samples, innermost last.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest

from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Detections
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding, detecting
from window import random_cells, wait

if TYPE_CHECKING:
    from napari_cellal.ui.session import Session

LIMIT_S = 0.05
SAMPLE_S = 0.004


class Watch:
    """Measures the turns of the window's loop; samples the main thread's stack in long ones."""

    def __init__(self, stacks: bool) -> None:
        self._stacks = stacks
        self._main = threading.get_ident()
        self._beat = time.perf_counter()
        self.gaps: list[float] = []
        self.places: collections.Counter[str] = collections.Counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._turn)
        self._timer.start(1)
        if stacks:
            threading.Thread(target=self._sample, daemon=True).start()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._beat)
        self._beat = now

    def _sample(self) -> None:
        while True:
            time.sleep(SAMPLE_S)
            if time.perf_counter() - self._beat > SAMPLE_S * 2:
                frame = sys._current_frames().get(self._main)
                if frame is not None:
                    self.places[_brief(frame)] += 1

    def start(self) -> None:
        self.gaps.clear()
        self.places.clear()
        self._beat = time.perf_counter()

    def run(self, seconds: float) -> None:
        """Turn the loop as a running program does, for so long."""
        QTest.qWait(round(seconds * 1000))


def _brief(frame) -> str:
    lines = []
    for entry in traceback.extract_stack(frame):
        name = entry.filename
        for mark in ("napari_cellal/", "site-packages/"):
            if mark in name:
                name = name.split(mark)[-1]
                break
        else:
            continue
        lines.append(f"{name}:{entry.lineno} {entry.name}")
    ours = [k for k, line in enumerate(lines) if line.startswith(("ui/", "io/", "core/"))]
    keep = lines[max(ours) :] if ours else lines
    return " > ".join([*keep[:4], *(["..."] if len(keep) > 6 else []), *keep[-2:]])


def make_project(folder: Path, images: int) -> Path:
    rng = np.random.default_rng(0)
    write_samples(folder / "smears", "smear", 6, 0)
    write_samples(folder / "fields", "fluorescence", 3, 0)
    with Project.create(folder / "bench", ["RBC", "WBC", "Platelets"]) as project:
        for name in ("smears", "fields"):
            adding.add_looked(project, run_job(adding.look_at_images([folder / name])))
        cells = [c for k in project.images for c in random_cells(rng, k, 40, (480, 480))]
        project.history.do(edit_of("filled", [(None, c) for c in cells], "bench"))
        like = next(iter(project.images.values()))
        project.add_images(
            [replace(like, image_id=f"more{k}", path=f"more/{k:05d}.png") for k in range(images)]
        )
        return project.folder


def long_run(session: Session, boxes: int = 40) -> list[Detections]:
    """Return a run's result on every image that was made up."""
    rng = np.random.default_rng(1)
    found = []
    for image_id in session.project.images:
        if image_id.startswith("more"):
            cells = random_cells(rng, image_id, boxes, (480, 480))
            found.append(
                Detections(
                    image_id,
                    tuple(c.box for c in cells),
                    tuple(c.score for c in cells),
                    (None,) * boxes,
                    "classical",
                )
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--stacks", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []

    with tempfile.TemporaryDirectory() as scratch:
        folder = make_project(Path(scratch), options.images)
        viewer = napari.Viewer(show=False)
        viewer.window.resize(1280, 800)
        viewer.show()
        QTest.qWait(2000)
        watch = Watch(options.stacks)
        canvas = viewer.window._qt_viewer.canvas.native

        def step(name: str, do, seconds: float = 1.0, until=None) -> None:
            watch.run(0.2)
            watch.start()
            do()
            watch.run(0.05)
            if until is not None:
                wait(until)
            watch.run(seconds)
            gaps = sorted((g for g in watch.gaps if g > LIMIT_S), reverse=True)
            rows.append(
                {
                    "step": name,
                    "longest_ms": round(max(watch.gaps) * 1000),
                    "over_limit_ms": [round(g * 1000) for g in gaps],
                }
            )
            if not options.json:
                print(f"{name:44} {rows[-1]['longest_ms']:6} ms  {rows[-1]['over_limit_ms'][:8]}")
                for place, n in watch.places.most_common(12 if options.stacks else 0):
                    if n * SAMPLE_S > 0.02:
                        print(f"      {n * SAMPLE_S * 1000:5.0f} ms  {place}")
            sys.stdout.flush()

        def key(which, modifier=Qt.KeyboardModifier.NoModifier):
            return lambda: QTest.keyClick(canvas, which, modifier)

        box: dict[str, Workspace] = {}
        step("nothing", lambda: None)
        step("workspace made", lambda: box.update(w=Workspace.of(viewer)))
        workspace = box["w"]
        step("docks shown", workspace.dock_all, 2)
        step("project opened, first image", lambda: workspace.open_project(folder), 3)
        session = workspace.session
        ids = list(session.project.images)
        step("next image (same kind)", key(Qt.Key.Key_D), 1)
        step("next image (same kind) again", key(Qt.Key.Key_D), 1)
        step("next box", key(Qt.Key.Key_Tab), 0.5)
        step("class key", key(Qt.Key.Key_2), 0.5)
        step("delete", key(Qt.Key.Key_Delete), 0.5)
        step("undo", key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier), 0.5)
        for name in ("Detect", "Review", "Learn", "Project"):
            step(f"tab {name}", lambda name=name: workspace.raise_dock(name), 0.7)
        for score in (0.3, 0.6, 0.0):
            step(f"score {score}", lambda s=score: session.set_shown(min_score=s), 0.7)
        step("image finished", key(Qt.Key.Key_F), 1)
        step("grey image, 5 channels (first)", lambda: session.show_image(ids[6]), 2)
        step("grey image, next", key(Qt.Key.Key_D), 1)
        step("colour image again", lambda: session.show_image(ids[1]), 2)
        step("grey image again", lambda: session.show_image(ids[7]), 2)
        step("colour image again", lambda: session.show_image(ids[2]), 2)
        done: list[object] = []
        steps = detecting.detection_steps(session.project, long_run(session))
        begun = time.perf_counter()
        step(
            f"run of {options.images} images written",
            lambda: session.works.add(steps, done.append),
            until=lambda: done,
        )
        rows[-1]["took_s"] = round(time.perf_counter() - begun, 1)
        step(
            "undo of it",
            key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier),
            until=lambda: not session.project.cells.of_image(ids[-1]) and not session.works,
        )
        viewer.close()
        wait(lambda: workspace._closed, 20)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
