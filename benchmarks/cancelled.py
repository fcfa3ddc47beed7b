"""Start a training in the window's worker process and cancel it at a random moment, many times.

python benchmarks/cancelled.py [--times 100] [--seconds 6] [--device cpu] [--json]

Small drawn pictures, a real project. After each cancel: no file is left that was not there before
(models, checkpoints, temporary files, shared memory), the project's database is the same to the
byte, and there is one worker and no other process. At the end the same worker trains a model. With
a GPU also its memory, as nvidia-smi sees it: after each cancel, and after the worker has ended.
Exit code 1 if anything was left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from napari_cellal.core.progress import Progress, run_job
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, annotating, training
from napari_cellal.workflows.worker import Cancelled, Failed, Finished, WorkerProcess

if TYPE_CHECKING:
    from napari_cellal.detect.requests import TrainRequest

SETTINGS = TrainSettings(steps=100_000, crop_px=96, validate_every=3)
PATIENCE_S = 120.0


def make_project(folder: Path, device: str) -> tuple[Path, TrainRequest]:
    """Return a project of six drawn smears and the training of a detector on them."""
    images = folder / "images"
    write_samples(images, "smear", 6, 0, shape=(96, 120), cell_px=20)
    with Project.create(folder / "p", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([images])))
        found, report = run_job(annotating.read_annotations([images], "voc"))
        annotating.import_annotations(project, found, report, confirm=True, finished=True)
        request = training.request_training(
            project, start="scratch", device=device, settings=SETTINGS
        )
        return project.folder, request


def files_of(*folders: Path) -> set[str]:
    return {str(path) for folder in folders for path in folder.rglob("*")}


def shared_memory(pid: int | None) -> set[str]:
    """Return what lies in shared memory under a process' number."""
    place = Path("/dev/shm")
    return {p.name for p in place.glob("*") if str(pid) in p.name} if place.is_dir() else set()


def gpu_mb(pid: int | None) -> float | None:
    """Return the GPU memory that a process holds, or None without a GPU."""
    if not shutil.which("nvidia-smi"):
        return None
    command = [
        "nvidia-smi",
        "--query-compute-apps=pid,used_memory",
        "--format=csv,noheader,nounits",
    ]
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    held = [row.split(",") for row in rows if "," in row]
    return sum(float(used) for process, used in held if int(process) == pid)


def train_for(
    worker: WorkerProcess, request: TrainRequest, seconds: float
) -> tuple[str, Any, float]:
    """Return what the training was at when it was cancelled, its outcome, and seconds to stop."""
    worker.start(training.train, request)
    end = time.monotonic() + seconds
    at, asked = "before its first word", 0.0
    while True:
        for message in worker.poll(0.02):
            if isinstance(message, Progress):
                at = message.message.split(",")[0] if not asked else at
                at = "validating" if "validating" in message.message and not asked else at
            else:
                return at, message, time.monotonic() - asked if asked else 0.0
        now = time.monotonic()
        if not asked and now >= end:
            worker.cancel()
            asked = now
        if asked and now - asked > PATIENCE_S:
            worker.stop()
            return at, Failed("It did not stop."), now - asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6.0, help="cancel within this time")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    rng = random.Random(a.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        scratch = place / "temporary"
        scratch.mkdir()
        os.environ["TMPDIR"] = str(scratch)  # the worker's too
        folder, request = make_project(place, a.device)
        result = cancel_many(a, rng, folder, scratch, request)
    print(json.dumps(result) if a.json else "\n".join(f"{k:22} {v}" for k, v in result.items()))
    sys.exit(1 if result["wrong"] else 0)


def quick(request: TrainRequest) -> TrainRequest:
    return replace(request, settings=SETTINGS.model_copy(update={"steps": 2}), model_id="first")


def cancel_many(
    a: argparse.Namespace, rng: random.Random, folder: Path, scratch: Path, request: TrainRequest
) -> dict[str, Any]:
    """Return the counts; ``wrong`` holds a sentence for each thing left behind."""
    me = psutil.Process()
    worker = WorkerProcess("cancelled.py")
    # torch makes a folder of its own when it is imported, once
    _, outcome, _ = train_for(worker, quick(request), PATIENCE_S)
    assert isinstance(outcome, Finished), outcome
    first_pid = worker.pid
    known = {p.pid for p in me.children(recursive=True)}  # the worker and Python's own watcher
    database = folder / "project.sqlite"
    before, files = hashlib.sha256(database.read_bytes()).digest(), files_of(folder, scratch)
    wrong: list[str] = []
    phases: Counter[str] = Counter()
    stops, memory, handles, gpu = [], [], [], []
    for k in range(a.times):
        at, outcome, took = train_for(worker, request, rng.uniform(0, a.seconds))
        phases[at] += 1
        stops.append(took)
        if not isinstance(outcome, Cancelled):
            wrong.append(f"{k}: {outcome}")
        if left := files_of(folder, scratch) - files:
            wrong.append(f"{k}: left {sorted(left)}")
        if left := shared_memory(worker.pid):
            wrong.append(f"{k}: left in shared memory {sorted(left)}")
        if hashlib.sha256(database.read_bytes()).digest() != before:
            wrong.append(f"{k}: the project has changed")
        if more := {p.pid for p in me.children(recursive=True)} - known:
            wrong.append(f"{k}: {len(more)} more processes")
        child = psutil.Process(worker.pid)
        memory.append(round(child.memory_info().rss / 2**20))
        handles.append(child.num_fds())
        gpu.append(gpu_mb(worker.pid))
        if sys.stderr.isatty() or k % 10 == 9:
            print(f"{k + 1} of {a.times}, stopped after {took:.2f} s", file=sys.stderr, flush=True)
    _, outcome, _ = train_for(worker, replace(quick(request), model_id="last"), PATIENCE_S)
    if not isinstance(outcome, Finished) or not Path(outcome.value.folder, "card.json").is_file():
        wrong.append(f"the worker trains no more: {outcome}")
    if worker.pid != first_pid:
        wrong.append("the worker is another one")
    worker.stop(30.0)
    time.sleep(0.5)
    if alive := [p for p in me.children(recursive=True) if p.pid == first_pid]:
        wrong.append(f"still there: {alive}")
    stops.sort()
    return {
        "times": a.times,
        "cancelled_while": dict(phases.most_common()),
        "seconds_to_stop": {
            "median": round(stops[len(stops) // 2], 2),
            "most": round(stops[-1], 2),
        },
        "worker_memory_mb": [memory[min(9, len(memory) - 1)], memory[-1]],
        "worker_handles": [handles[min(9, len(handles) - 1)], handles[-1]],
        "gpu_mb": None if gpu[0] is None else {"each": gpu, "after": gpu_mb(first_pid)},
        "wrong": wrong,
    }


if __name__ == "__main__":
    main()
