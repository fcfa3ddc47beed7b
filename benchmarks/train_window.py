"""How soon the window hears the person while a training runs beside it.

    xvfb-run -a -s "-screen 0 1400x900x24" python benchmarks/train_window.py [--seconds 60]

A real napari window on synthetic smears, a real training in its worker (preset fast), and a hand
that presses keys (next box, class, next image) now and then. A timer of 10 ms tells how late the
window's loop is: reported are median, 95th percentile and maximum of that delay, with the window
idle, and while it trains; and how fast the training is. ``--nice`` and ``--threads`` set the
worker's, to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest

from napari_cellal.core.progress import run_job
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.ui import jobs
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding, annotating
from window import wait

BEAT_MS = 10
KEYS = (Qt.Key.Key_Tab, Qt.Key.Key_1, Qt.Key.Key_Tab, Qt.Key.Key_2, Qt.Key.Key_D)
EVERY_MS = 700


class Beat:
    """Collects by how much each turn of a 10-ms timer came too late, ms."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._turn)
        self._timer.start(BEAT_MS)

    def _turn(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(0.0, (now - self._last) * 1000 - BEAT_MS))
        self._last = now

    def start(self) -> None:
        self.late_ms.clear()
        self._last = time.perf_counter()

    def figures(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.late_ms, (50, 95))
        most = max(self.late_ms)
        # a long stall is one late turn, but every moment in it is waited through
        whole = np.asarray(self.late_ms) + BEAT_MS
        order = np.argsort(whole)
        share = np.cumsum(whole[order]) / whole.sum()
        by_time = self.late_ms[int(order[np.searchsorted(share, 0.95)])]
        return {
            "p50_ms": round(float(p50), 1),
            "p95_ms": round(float(p95), 1),
            "p95_by_time_ms": round(float(by_time), 1),
            "max_ms": round(most, 1),
        }


def make_project(folder: Path) -> Path:
    write_samples(folder / "smears", "smear", 12, 0)
    with Project.create(folder / "smears.cellal", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([folder / "smears"])))
        found, report = run_job(annotating.read_annotations([str(folder / "smears")]))
        annotating.import_annotations(project, found, report, confirm=True, finished=True)
        return project.folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nice", type=int, help="of the heavy worker; default: as it is")
    parser.add_argument("--threads", type=int, help="of torch in the worker; default: its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.nice is not None:
        jobs.NICENESS["heavy"] = options.nice
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        folder = make_project(Path(scratch))
        viewer = napari.Viewer(show=False)
        viewer.window.resize(1280, 800)
        viewer.show()
        workspace = Workspace.of(viewer)
        workspace.dock_all("Review")
        workspace.open_project(folder)
        wait(lambda: workspace.images.layers and workspace.device_name, 120)
        QTest.qWait(1000)
        canvas = viewer.window._qt_viewer.canvas.native
        pressed = 0

        def press() -> None:
            nonlocal pressed
            at = pressed % (2 * len(KEYS))
            key = KEYS[at % len(KEYS)]
            if key == Qt.Key.Key_D and workspace.session.image_id == [*session.project.images][-1]:
                session.show_image(next(iter(session.project.images)))
            else:
                QTest.keyClick(canvas, key)
            pressed += 1

        session = workspace.session
        hand = QTimer()
        hand.timeout.connect(press)
        beat = Beat()

        def measure(name: str) -> None:
            hand.start(EVERY_MS)
            beat.start()
            QTest.qWait(round(options.seconds * 1000))
            hand.stop()
            load = os.getloadavg()[0]
            rows.append({"step": name, **beat.figures(), "keys": pressed, "load": round(load, 1)})
            print(rows[-1], file=sys.stderr)

        measure("no training")
        dock = workspace.dock("Train")
        dock.choices.form.fields["steps"].setValue(100_000)
        dock.start.click()
        wait(lambda: dock.running.plot.losses, 180)
        first, begun = len(dock.running.plot.losses), time.perf_counter()
        measure("training, another dock in front")
        spent = time.perf_counter() - begun
        rows[-1]["steps_a_second"] = round((len(dock.running.plot.losses) - first) / spent, 2)
        workspace.raise_dock("Train")
        measure("training, its curves in front")
        asked = time.perf_counter()
        dock.running.bar.cancel.click()
        wait(lambda: not dock.running.busy, 60)
        rows.append({"step": "cancel", "took_s": round(time.perf_counter() - asked, 2)})
        viewer.close()
        wait(lambda: workspace._closed, 20)
    print(json.dumps(rows) if options.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
