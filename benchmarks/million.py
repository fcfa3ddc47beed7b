"""A project of a million cells in 5,000 images: open, page, filter, count, suggest, memory.

    python benchmarks/million.py [--images 5000] [--cells 200] [--project FOLDER] [--json]

``--project`` keeps the project, or takes one that is there. Asks the database first, in this
process without a window; then opens a real napari window (under Xvfb where there is no screen:
``xvfb-run -a``). ``deaf_ms`` is the longest that the window did not hear mouse and keys,
``turn_cpu_ms`` the most that one turn of its loop worked. Files are in the disk's cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
import psutil
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from gallery import Deaf, timed
from napari_cellal.core.filters import REVIEWED, WAITING, CellFilter
from napari_cellal.core.history import Edit
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, Origin, Proposal, Review, Split, new_id
from napari_cellal.core.wells import well_name
from napari_cellal.features.table import FeatureTable
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.io.store.rows import pack_edit
from napari_cellal.io.store.schema import transaction
from napari_cellal.io.store.search import cell_states, find_cells
from napari_cellal.io.store.totals import cell_totals
from napari_cellal.ui.workspace import Workspace
from napari_cellal.workflows import adding, learning, looked_at, pools
from window import Drawn, figures, settle, wait

FEATURES = 78
SITES = 13


def _cells(rng: np.random.Generator, image_id: str, n: int) -> list[Cell]:
    size = rng.uniform(14, 40, (n, 2))
    corner = rng.uniform(0, 1, (n, 2)) * (np.array((480, 640)) - size)
    classes = rng.choice([1, 2, 3], n, p=[0.9, 0.07, 0.03]).tolist()
    scores = rng.beta(5, 2, n).tolist()
    said = rng.random(n).tolist()
    cells = []
    for k, ((y, x), (h, w)) in enumerate(zip(corner.tolist(), size.tolist(), strict=True)):
        box = (y, x, y + h, x + w)
        others = [c for c in (1, 2, 3) if c != classes[k]]
        share = (1 - scores[k]) / 2
        pairs = ((classes[k], scores[k]), *((c, share) for c in others))
        proposal = Proposal(box, classes[k], scores[k], "0123456789abcdef", pairs)
        review, by, at = Review.OPEN, None, None
        if said[k] < 0.02:
            review, by, at = Review.CONFIRMED, "bench", "2026-11-21T10:00:00.000+00:00"
        elif said[k] < 0.03:
            review, by, at = Review.REJECTED, "bench", "2026-11-21T10:00:00.000+00:00"
        row = Cell(new_id(), image_id, box, classes[k], Origin.MODEL, review, proposal, by, at)
        cells.append(row)
    return cells


def make_project(folder: Path, images: int, cells: int) -> Path:
    """Make the project: 5,000 names of one picture, in wells; rows written past the history."""
    rng = np.random.default_rng(0)
    source = folder / "source"
    write_samples(source, "smear", 1, 0)
    with Project.create(folder / "million", ["RBC", "WBC", "Platelets"]) as project:
        looked = run_job(adding.look_at_images([source]))
        (first,) = adding.add_looked(project, looked).records
        picture = project.image_path(first.image_id)
        project.remove_images([first.image_id])
        (folder / "images").mkdir()
        records = []
        for k in range(images):
            plate, rest = divmod(k, 384 * SITES)
            row, column = divmod(rest // SITES, 24)
            place = {"plate": f"P{plate + 1}", "well": well_name(row, column)}
            name = f"{place['plate']}_{place['well']}_s{k % SITES + 1:02}{picture.suffix}"
            os.link(picture, folder / "images" / name)
            records.append(
                replace(
                    first,
                    image_id=new_id(),
                    path=f"images/{name}",
                    group=f"{place['plate']}/{place['well']}",
                    place=place | {"site": str(k % SITES + 1)},
                    split=Split.VAL if rest // SITES % 5 == 0 else Split.TRAIN,
                )
            )
        project.add_images(records)
        for record in records:
            rows = _cells(rng, record.image_id, cells)
            after = {c.cell_id: c for c in rows}
            edit = Edit("detected", dict.fromkeys(after), after)
            _write(project, edit)
        return project.folder


def _write(project: Project, edit: Edit) -> None:
    """Write as `CellTable.commit_do` does, but without waiting for the disk each time."""
    project._db.execute("PRAGMA synchronous = OFF")
    with transaction(project._db):
        project._db.execute(
            "INSERT INTO edits(label, by, at, run, body) VALUES (?, ?, ?, ?, ?)",
            (edit.label, edit.by, edit.at, "bench", pack_edit(edit)),
        )
        project.cells._write(edit)


def memory_mb() -> int:
    return round(psutil.Process().memory_info().rss / 2**20)


def seconds(do) -> float:
    begun = time.perf_counter()
    do()
    return round(time.perf_counter() - begun, 3)


def queries(folder: Path) -> dict[str, object]:
    """Return how long opening and asking take, s, in a process without a window."""
    out: dict[str, object] = {}
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        project = Project.open(folder)
        times.append(round(time.perf_counter() - begun, 3))
        project.close()
    out["open"] = times
    with Project.open(folder) as project:
        names = {key: r.name for key, r in project.images.items()}
        out["counts by class and state"] = seconds(project.cells.counts)
        out["counts by image"] = seconds(project.cells.counts_by_image)
        out["totals by image"] = seconds(lambda: cell_totals(folder))
        out["totals by image, score from 0.6"] = seconds(lambda: cell_totals(folder, 0.6))
        out["totals of one image"] = seconds(lambda: cell_totals(folder, 0.0, [next(iter(names))]))
        key = list(names)[len(names) // 2]
        out["cells of an image"] = seconds(lambda: project.cells.of_image(key))
        for name, wanted, order in (
            ("all", CellFilter(), "image"),
            ("all, least score first", CellFilter(), "score"),
            ("one class, to look at", CellFilter(class_ids=(3,), statuses=WAITING), "image"),
            ("reviewed last", CellFilter(statuses=REVIEWED), "reviewed"),
            ("a well", CellFilter(text="P1_B03"), "image"),
            ("score from 0.6", CellFilter(min_score=0.6), "image"),
        ):
            begun = time.perf_counter()
            found = find_cells(folder, wanted, order, names)
            spent = round(time.perf_counter() - begun, 3)
            out[f"list: {name}"] = {"s": spent, "cells": len(found)}
        out["states of every cell"] = seconds(lambda: cell_states(folder))
    out["memory_mb"] = memory_mb()
    out["most_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return out


def fill_features(project: Project) -> str:
    """Write a table of features as measuring leaves it, of the cells that Learn looks at."""
    rng = np.random.default_rng(0)
    images = looked_at.images_looked_at(project)
    waiting = pools.Pool(project, images)
    ids = (*waiting.candidates, *waiting.checks, *waiting.labelled, *waiting.holdout)
    middles = rng.normal(0, 4, (6, FEATURES)).astype("f4")
    values = middles[rng.integers(0, 6, len(ids))]
    values += rng.standard_normal(values.shape, np.float32)
    project.cache_folder.mkdir(exist_ok=True)
    file = project.cache_folder / "features-bench.npz"
    FeatureTable(ids, tuple(f"f{k}" for k in range(FEATURES)), values).save(file)
    return str(file)


class Most:
    """The most memory of this process and of its children, MB, looked at whenever asked."""

    def __init__(self) -> None:
        self.window = self.children = 0
        self._next = 0.0

    def look(self) -> None:
        if time.perf_counter() < self._next:  # looking takes milliseconds
            return
        self._next = time.perf_counter() + 0.2
        self.window = max(self.window, memory_mb())
        kids = psutil.Process().children(recursive=True)
        used = 0
        for child in kids:
            with contextlib.suppress(psutil.NoSuchProcess):
                used = max(used, round(child.memory_info().rss / 2**20))
        self.children = max(self.children, used)


def window(folder: Path, features: str, options: argparse.Namespace) -> dict[str, object]:
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1280, 800)
    viewer.show()
    workspace = Workspace.of(viewer)
    workspace.dock_all()
    settle(2)
    drawn, session, most = Drawn(viewer), workspace.session, Most()
    out: dict[str, object] = {"memory before, MB": memory_mb()}
    begun = time.perf_counter()
    workspace.open_project(folder)
    opened = time.perf_counter()
    shown = drawn.after(lambda: workspace.images.pixels(session.image_id) is not None)
    out["open"] = {
        "project open, s": round(opened - begun, 3),
        "first image drawn, s": round(shown - begun, 3),
    }
    settle(2)
    most.look()
    out["memory open, MB"] = memory_mb()
    deaf = Deaf()
    pages = []
    for _ in range(20):
        settle(0.2)
        deaf.start()
        begun = time.perf_counter()
        session.step_image(1)
        key = session.image_id
        drawn.after(lambda k=key: workspace.images.pixels(k) is not None)
        wait(lambda k=key: len(workspace.boxes.ids()) == len(session.cells()))
        pages.append(time.perf_counter() - begun)
    out["page, all boxes there"] = figures(pages)
    batch = workspace.batch
    for name, do, done in (
        ("gallery opened", lambda: workspace.raise_dock("Gallery"), lambda: len(batch.cell_ids)),
        ("gallery: one class", lambda: batch.set_wanted(class_ids=(3,)), lambda: not batch.is_busy),
        ("gallery: by score", lambda: batch.set_order("score"), lambda: not batch.is_busy),
        ("gallery: all", lambda: batch.set_wanted(class_ids=None), lambda: not batch.is_busy),
        (
            "plate opened",
            lambda: workspace.raise_dock("Plate"),
            lambda: workspace.dock("Plate").map.wells,
        ),
        ("project list", lambda: workspace.raise_dock("Project"), lambda: True),
    ):
        out[name] = timed(deaf, do, done) | {"cells": len(batch.cell_ids)}
        most.look()
    out["memory browsed, MB"] = memory_mb()
    out |= learn(workspace, deaf, drawn, features, options, most)
    most.look()
    out["most memory, MB"] = {
        "window": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "window, seen": most.window,
        "largest child, seen": most.children,
    }
    viewer.close()
    wait(lambda: workspace._closed, 20)
    return out


def learn(workspace, deaf, drawn, features, options, most) -> dict[str, object]:
    """Return how long questions take, measurements being there."""
    loop = workspace.learn
    cells = tuple(FeatureTable.load(features).cell_ids)
    loop.cells.looks_at = looked_at.images_looked_at(workspace.session.project)
    loop.cells.now = learning.Measured(features, cells)
    loop.cells.now_ids = frozenset(cells)
    loop.cells.is_stale = False
    del cells
    out: dict[str, object] = {"memory with features, MB": memory_mb()}
    workspace.raise_dock("Learn")
    settle(0.5)
    canvas = workspace.viewer.window._qt_viewer.canvas.native

    def is_asked() -> bool:
        most.look()
        return loop.question is not None

    out["first question"] = timed(deaf, loop.start, is_asked)
    answers = []
    deaf.start()
    for k in range(options.answers):
        settle(0.3)
        asked = loop.question
        begun = time.perf_counter()
        QTest.keyClick(canvas, (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3)[k % 3])

        def is_next(asked=asked) -> bool:
            there = workspace.images.pixels(workspace.session.image_id) is not None
            return loop.question is not asked and loop.question is not None and there

        answers.append(drawn.after(is_next, 120) - begun)
        most.look()
    out["answer to next question"] = figures(answers) | deaf.figures()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--cells", type=int, default=200, help="in each image")
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--no-window", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    out: dict[str, object] = {"images": options.images, "cells": options.images * options.cells}
    with tempfile.TemporaryDirectory() as scratch:
        place = options.project or Path(scratch)
        folder = place / "million.cellal"
        if not folder.exists():
            place.mkdir(parents=True, exist_ok=True)
            out["making it, s"] = seconds(
                lambda: make_project(place, options.images, options.cells)
            )
        out["database, MB"] = round((folder / "project.sqlite").stat().st_size / 2**20)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:  # a process of its own, so that memory is its own
            out["queries"] = pool.apply(queries, (folder,))
            if not options.no_window:
                features = folder / "cache" / "features-bench.npz"
                if not features.exists():
                    pool.apply(_features, (folder,))
        if not options.no_window:
            out["window"] = window(folder, str(features), options)
    print(json.dumps(out) if options.json else json.dumps(out, indent=2))


def _features(folder: Path) -> None:
    with Project.open(folder) as project:
        fill_features(project)


if __name__ == "__main__":
    main()
