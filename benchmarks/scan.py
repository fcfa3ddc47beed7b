"""A plate scanned, beside a plain loop: images a second, CPU time, memory, the device's busy share.

    python benchmarks/scan.py [--wells 384] [--device cpu] [--workers 0] [--rounds 3]
                              [--model DIR|classical] [--warm-cache]

The plate is drawn: two sites a well, five channels, a file each. The plain loop is what a script
would do with the package's own functions: for each image read its channels, detect, write, one
after the other, in one process. The loop "torchvision" does so with the same network run as
torchvision's own parts do it: see plain_training.py. All are processes of their own, take turns on
the same images of projects of their own, and are timed from the 16th image to the last, so that
the loading of the model counts for none. The files are read from the disk, as those of a plate
that was just imaged, unless --warm-cache is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import tifffile

if TYPE_CHECKING:
    from napari_cellal.detect.predict import TorchDetector

SHARE = 0.5  # of 520 x 696 px
ROWS = "ABCDEFGHIJKLMNOP"


def make_plate(folder: Path, wells: int) -> None:
    from napari_cellal.io.samples.fluorescence import CELL_PX, make_field

    size = (round(520 * SHARE), round(696 * SHARE))
    folder.mkdir(parents=True)
    for well in range(wells):
        for site in (1, 2):
            pixels = make_field(2 * well + site, size, cell_px=CELL_PX * SHARE).pixels
            for channel, plane in enumerate(pixels, 1):
                name = f"P1_{ROWS[well // 24]}{well % 24 + 1:02}_s{site}_w{channel}.tif"
                tifffile.imwrite(folder / name, plane)


def make_model(folder: Path, device: str) -> Path:
    """Return the folder of a detector of five channels, trained for a minute."""
    from drawn_fields import Fields, train

    folder.mkdir()
    path, _ = train(Fields(range(10_000, 10_012), SHARE), str(folder), "fast", steps=40)
    return Path(path)


def family() -> list[Path]:
    """Return the folders in /proc of this process and of all that it started."""
    found, mine = [], {os.getpid()}
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
        try:
            parent = int((folder / "status").read_text().split("PPid:")[1].split()[0])
        except (OSError, IndexError):
            continue
        if parent in mine or int(folder.name) in mine:
            mine.add(int(folder.name))
            found.append(folder)
    return found


def memory_mb() -> float:
    """Return what the family holds now, without shared pages twice."""
    total = 0
    for folder in family():
        try:
            total += int((folder / "smaps_rollup").read_text().split("Pss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total / 1024


def cpu_s() -> float:
    """Return the processor time that the family has taken."""
    total = 0
    for folder in family():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def plain_detector(folder: Path, device: str) -> TorchDetector:
    """Return a model in torchvision's own way: no norms folded, its RoIAlign, single precision."""
    import torch

    from napari_cellal.detect import faster_rcnn, predict
    from napari_cellal.detect.weights import load_model
    from plain_training import plain_pool

    with patch.object(faster_rcnn, "cell_pool", plain_pool):
        record, network = load_model(folder)
    predict.autocast = lambda device: nullcontext()
    return predict.TorchDetector(record, network, torch.device(device))


def run_one(kind: str, project_folder: str, warm: int, device: str, workers: int) -> dict:
    """Work on a project with one way; return its figures."""
    from napari_cellal.core.progress import run_job
    from napari_cellal.io.reading import read_plane
    from napari_cellal.io.store import Project
    from napari_cellal.workflows import detecting
    from napari_cellal.workflows.scanning import plan, running

    most, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            most[0] = max(most[0], memory_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    with Project.open(project_folder) as project:
        model = next(iter(project.models), None)
        seen: list[tuple[float, float, int]] = []

        def note(done: int) -> None:
            """Keep the clock and the processor time, twice a second, once it is warm."""
            if done < warm or (seen and time.perf_counter() - seen[-1][0] < 0.5):
                return
            if not seen or done > seen[-1][2]:
                seen.append((time.perf_counter(), cpu_s(), done))

        watcher.start()
        if kind != "scan":
            from napari_cellal.detect.registry import load_detector

            folder = None if model is None else project.model_folder(model.model_id)
            if kind == "torchvision":
                detector = plain_detector(folder, device)
            else:
                detector = load_detector(folder or "classical", device)
            for n, key in enumerate(project.images, 1):
                pixels = read_plane(str(project.image_path(key)), project.plane(key))
                found = detector.detect(pixels, image_id=key, rgb=False)
                detecting.apply_detections(project, [found])
                note(n)
            busy = None
        else:
            settings = plan.ScanSettings("classical" if model is None else model.model_id)
            todo = plan.plan_scan(project, project.images, settings, device=device)
            crew = run_job(running.hire(todo.spec, device, workers=workers))
            report = run_job(running.scan(project, todo, crew), lambda step: note(step.done))
            assert not report.failed
            busy = report.busy
        stop.set()
        watcher.join()
        cells = sum(project.cells.counts().values())
    (since, cpu, first), (until, all_cpu, last) = seen[0], seen[-1]
    return {
        "rate": (last - first) / (until - since),
        "cpu": (all_cpu - cpu) / (last - first),
        "busy": busy,
        "memory": most[0],
        "cells": cells,
    }


def out_of_cache(plate: Path) -> None:
    """Have the system forget what it has read of the files."""
    os.sync()
    for file in plate.iterdir():
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_project(folder: Path, plate: Path, model: Path | None) -> Path:
    import shutil

    from napari_cellal.core.progress import run_job
    from napari_cellal.io.samples.fluorescence import FIELD_CLASSES
    from napari_cellal.io.store import Project
    from napari_cellal.networks.model_files import load_record
    from napari_cellal.workflows.adding import LookOptions, add_looked, look_at_images

    with Project.create(folder, FIELD_CLASSES) as project:
        begun = time.perf_counter()
        looked = run_job(look_at_images([plate], LookOptions("plate")))
        added = add_looked(project, looked)
        print(f"{len(added.records)} images added in {time.perf_counter() - begun:.1f} s")
        if model is not None:
            record = load_record(model)
            shutil.copytree(model, project.model_folder(record.model_id))
            project.add_model(record)
        return project.folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--warm", type=int, default=16, help="images that do not count")
    parser.add_argument("--model", help="classical, or the folder of a detector of five channels")
    parser.add_argument("--warm-cache", action="store_true")
    parser.add_argument("--plate", type=Path, help="a plate that was made before")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--project", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.run:
        print(json.dumps(run_one(a.run, a.project, a.warm, a.device, a.workers)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plate = a.plate or folder / "P1"
        if not plate.exists():
            make_plate(plate, a.wells)
        model = None if a.model == "classical" else Path(a.model) if a.model else None
        if a.model is None:
            model = make_model(folder / "models", a.device)
        projects = {}
        kinds = ["plain", "scan"] if model is None else ["torchvision", "plain", "scan"]
        found: dict[str, list[dict]] = {kind: [] for kind in kinds}
        for number in range(a.rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                name = f"{kind}{number}"
                projects[name] = make_project(folder / name, plate, model)
                command = [sys.executable, __file__, "--run", kind, "--project"]
                command += [str(projects[name]), "--device", a.device, "--warm", str(a.warm)]
                command += ["--workers", str(a.workers)]
                if not a.warm_cache:
                    out_of_cache(plate)
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[kind].append(json.loads(said.splitlines()[-1]))
                one = found[kind][-1]
                busy = "" if one["busy"] is None else f", busy {one['busy']:.2f}"
                print(
                    f"{kind:11} {one['rate']:6.2f} images/s, {one['cpu']:.3f} CPU s an image, "
                    f"{one['memory']:.0f} MB, {one['cells']} cells{busy}, load "
                    f"{os.getloadavg()[0]:.1f}",
                    flush=True,
                )
        for kind in kinds[:-1]:
            pairs = zip(found["scan"], found[kind], strict=True)
            ratios = ", ".join(f"{s['rate'] / p['rate']:.2f}" for s, p in pairs)
            print(f"scan / {kind}: {ratios}")


if __name__ == "__main__":
    main()
