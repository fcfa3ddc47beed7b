"""How long an answer waits for the next question with 100,000 cells of 512 features.

python benchmarks/active_latency.py [--cells 100000] [--features 512] [--rounds 60] [--json]

A worker process gets the request through its pipe, as from the window, refits the learner with
one label more, ranks every cell, and sends four suggestions back. Prints milliseconds: the
wait, and the processor time of both processes, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.active.requests import SuggestRequest, pack_rows
from napari_cellal.features.table import FeatureTable
from napari_cellal.workflows import learning
from napari_cellal.workflows.worker import Failed, Finished, WorkerProcess

if TYPE_CHECKING:
    from napari_cellal.core.progress import Job

CLASSES = 5
HELD = 100


def suggest(request: SuggestRequest) -> Job[float]:
    """Return the job that answers; it returns the processor time of its process so far, s."""
    yield from learning.suggest(request)
    return time.process_time()


def ask(worker: WorkerProcess, request: SuggestRequest) -> tuple[float, float, float]:
    """Return seconds: the wait for the answer; the worker's CPU in all so far; this process's."""
    begin, here = time.perf_counter(), time.process_time()
    from active_latency import suggest  # the worker does not know what __main__ is

    worker.start(suggest, request)
    while True:
        for message in worker.poll(1.0):
            if isinstance(message, Failed):
                raise SystemExit(message.trace)
            if isinstance(message, Finished):
                wait = time.perf_counter() - begin
                return wait, message.value, time.process_time() - here


def spread(seconds: list[float]) -> dict[str, int]:
    """Return median, 95th percentile and most, in ms."""
    return {
        "p50_ms": round(float(np.median(seconds)) * 1e3),
        "p95_ms": round(float(np.quantile(seconds, 0.95)) * 1e3),
        "max_ms": round(max(seconds) * 1e3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    n, width = options.cells, options.features
    kinds = rng.integers(0, CLASSES, n)
    # as many directions that mean something as a network's features have
    mix = rng.normal(size=(32, width)).astype(np.float32)
    hidden = rng.normal(size=(n, 32)) + 1.5 * rng.normal(size=(CLASSES, 32))[kinds]
    values = hidden.astype(np.float32) @ mix + rng.normal(size=(n, width)).astype(np.float32)
    ids = tuple(f"{k:016x}" for k in range(n))
    names = {k: f"class {k}" for k in range(CLASSES)}
    out: dict[str, Any] = {"cells": n, "features": width}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        FeatureTable(ids, tuple(f"f{k}" for k in range(width)), values).save(path)
        del values, hidden
        held = {ids[-1 - k]: int(kinds[-1 - k]) for k in range(HELD)}
        worker = WorkerProcess("latency")
        try:
            base = SuggestRequest(str(path), {}, held, names, n=4)
            wait, used, _ = ask(worker, base)
            out["first_question_ms"] = round(wait * 1e3)
            for label, count in (("cold", 0), ("20_labels", 20), ("200_labels", 200)):
                waits, works = [], []
                for k in range(options.rounds):
                    many = k % 4 if label == "cold" else count + k
                    labelled = {ids[j]: int(kinds[j]) for j in range(many)}
                    asked = pack_rows(np.arange(n) >= many)  # as from the window: what is left
                    request = SuggestRequest(str(path), labelled, held, names, asked, n=4)
                    wait, after, here = ask(worker, request)
                    waits.append(wait)
                    works.append(after - used + here)
                    used = after
                # the first makes the groups, or the axes
                out[label] = {"wait": spread(waits[1:]), "cpu": spread(works[1:])}
        finally:
            worker.stop()
    print(json.dumps(out) if options.json else json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
