"""A process killed while it trains and edits loses no acknowledged edit and leaves no half model.

Run as a script it is the child: it trains, again and again, edits the project between the
steps, and says so on stdout. ``NAPARI_CELLAL_KILLS=50`` asks for more than the usual moments.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_cellal.core import gestures
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Split
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, training

if TYPE_CHECKING:
    from pathlib import Path

MOMENTS = int(os.environ.get("NAPARI_CELLAL_KILLS", "4"))
SETTINGS = TrainSettings(steps=4, crop_px=64, batch_size=1, validate_every=2)


def make_project(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    boxes = [(8.0, 8.0, 24.0, 24.0), (36.0, 30.0, 54.0, 50.0)]
    for k in range(3):
        pixels = rng.integers(0, 40, (64, 64, 3), dtype=np.uint8)
        for y0, x0, y1, x1 in boxes:
            pixels[int(y0) : int(y1), int(x0) : int(x1)] = 200 + k
        Image.fromarray(pixels).save(images / f"{k}.png")
    with Project.create(folder / "p", ["cell"]) as project:
        looked = run_job(adding.look_at_images([images]))
        adding.add_looked(project, looked, {"0": Split.TRAIN, "1": Split.TRAIN, "2": Split.VAL})
        for key in project.images:
            project.history.do(gestures.draw(key, boxes, 1, "test"))
            project.history.do(gestures.finish_image(key, key, [], "test"))
        return project.folder


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def child(folder: str) -> None:
    with Project.open(folder) as project:
        key = next(iter(project.images))
        say("ready")
        while True:
            request = training.request_training(
                project, start="scratch", device="cpu", settings=SETTINGS
            )
            job = training.train(request)
            while True:
                try:
                    next(job)
                except StopIteration as stop:
                    training.register_model(project, stop.value, use=False)
                    say(f"model {stop.value.record.model_id}")
                    break
                edit = gestures.draw(key, [(1.0, 1.0, 5.0, 6.0)], 1, "child")
                project.history.do(edit)
                say(f"cell {next(iter(edit.after))}")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_training_run_loses_nothing(tmp_path: Path) -> None:
    from napari_cellal.detect.weights import load_model

    folder = make_project(tmp_path)
    rng = random.Random(0)
    cells: set[str] = set()
    models: set[str] = set()
    for moment in range(MOMENTS):
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        said = []
        # every second child is let live to its first edit, however slow the computer is
        while moment % 2 and not any(line.startswith("cell ") for line in said):
            said.append(process.stdout.readline())
            assert said[-1], "the child ended by itself"
        time.sleep(rng.uniform(0.5, 6.0))
        process.kill()
        said += process.stdout.read().splitlines()
        process.wait()
        cells |= {line.split()[1] for line in said if line.startswith("cell ")}
        models |= {line.split()[1] for line in said if line.startswith("model ")}
        with closing(sqlite3.connect(folder / "project.sqlite")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with Project.open(folder) as project:
            assert None not in project.cells.rows(cells).values()
            known = {m.model_id for m in project.models}
            assert models <= known
            for model_id in known:
                load_model(project.model_folder(model_id))  # whole, and its hash is right
    assert cells


if __name__ == "__main__":
    child(sys.argv[1])
