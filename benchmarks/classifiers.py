"""How well classifiers tell cells apart: fine-tuned, features and a head, on another microscope.

    python benchmarks/classifiers.py fine --size 128 --steps 520
    python benchmarks/classifiers.py heads [--body vgg16 --start imagenet]
    python benchmarks/classifiers.py domains --steps 520
    python benchmarks/classifiers.py planted

Each experiment is one line of JSON in ``out/classifiers.jsonl``; those that are there are not run
again. Real images and weights lie in ``../shared``; ``--start imagenet`` downloads weights.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.classify.predict import load, predict
from napari_cellal.classify.requests import ClassifierRequest, Patch
from napari_cellal.classify.settings import ClassifySettings, ViewSettings
from napari_cellal.classify.train import train_classifier
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.evaluate.metrics import evaluate_classes
from napari_cellal.io.patch_folder import read_patch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHARED = Path(__file__).resolve().parents[2] / "shared"
CENTER = 0.72  # of a pbc_cells picture: the cell and a margin
STARTS = {"mobilenet_v2": SHARED / "weights" / "mobilenet_v2_imagenet_features.safetensors"}


class Results:
    """Lines of JSON, each with a name."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.is_file() else []
        self.known = {row["name"]: row for row in map(json.loads, lines)}

    def run(self, name: str, experiment: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return an experiment's figures; run it unless they are there."""
        if name not in self.known:
            wall, cpu = time.perf_counter(), time.process_time()
            figures = experiment()
            row = {
                "name": name,
                **figures,
                "seconds": round(time.perf_counter() - wall, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
            }
            with self._file.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.known[name] = row
        print(json.dumps(self.known[name]), flush=True)
        return self.known[name]


class Teller:
    """Prints what is said, now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, step: Progress) -> None:
        looked = getattr(step.item, "val_f1", None) is not None
        if looked or time.monotonic() - self._last > 60:
            self._last = time.monotonic()
            print(f"  {step.done}/{step.total} {step.message}", flush=True)


def pbc(data: Path) -> tuple[list[Patch], tuple[str, ...]]:
    """Return the single cells with their split, and the class names; ids count from 1."""
    folder = read_patch_folder(data / "pbc_cells")
    names = folder.class_names
    patches = [
        Patch(r.name, r.path, tuple(names.index(x) + 1 for x in r.labels), split=r.split)
        for r in folder.rows
    ]
    return patches, names


def measured(folder: str, patches: Sequence[Patch], device: str, **more: Any) -> dict[str, Any]:
    """Return accuracy, macro F1 and the confusion table of a model on patches."""
    model = load(Path(folder), device, **more)
    found = run_job(predict(model, patches), Teller())
    ids = model.record.class_ids
    rows = np.stack([found[p.key] for p in patches if p.key in found])
    true = [p.class_ids[0] for p in patches if p.key in found]
    said = [ids[k] for k in rows.argmax(axis=1)]
    m = evaluate_classes(true, said, rows, ids)
    names = dict(zip(ids, model.record.class_names, strict=True))
    return {
        "accuracy": round(m.accuracy, 4),
        "interval": [round(v, 4) for v in m.interval],
        "macro_f1": round(m.macro_f1, 4),
        "f1": {names[c]: round(r.f1, 3) for c, r in m.per_class.items()},
        "confusion": m.confusion,
        "cells": m.cells,
    }


def trained(
    a: argparse.Namespace,
    patches: Sequence[Patch],
    names: Sequence[str],
    settings: dict[str, Any],
    view: dict[str, Any],
    model_id: str,
) -> str:
    """Return the folder of a model, trained unless it is there."""
    folder = Path(a.output).parent / "models" / model_id
    if folder.is_dir():
        return str(folder)
    start = a.start or str(STARTS.get(a.body, "imagenet"))
    request = ClassifierRequest(
        tuple(patches),
        tuple(range(1, len(names) + 1)),
        tuple(names),
        str(folder.parent),
        architecture=a.body,
        start=start,
        device=a.device,
        settings=ClassifySettings(seed=a.seed, **settings),
        view=ViewSettings(size_px=a.size, **view),
        model_id=model_id,
    )
    return run_job(train_classifier(request), Teller()).folder


def course(a: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a fine-tuning."""
    return {
        "steps": a.steps,
        "learning_rate": a.rate,
        "validate_every": max(20, a.steps // 8),
        "patience": 8,
        "cache_mb": 4000,
    }


def fine(a: argparse.Namespace, results: Results) -> None:
    """Fine-tune on the 2,080 training cells of pbc_cells and measure on the 800 test cells."""
    patches, names = pbc(a.data)
    test = [p for p in patches if p.split == "test"]
    name = f"fine-{a.body}-{a.size}px-{a.steps}-seed{a.seed}"

    def experiment() -> dict[str, Any]:
        folder = trained(a, patches, names, course(a), {"center": CENTER}, name)
        return {"model": folder, **measured(folder, test, a.device)}

    results.run(name, experiment)


def heads(a: argparse.Namespace, results: Results) -> None:
    """Frozen features with each head, with the background and without."""
    patches, names = pbc(a.data)
    test = [p for p in patches if p.split == "test"]
    for mask in (False, True):
        for head in ("logistic", "svm", "random_forest"):
            name = f"head-{a.body}-{a.size}px-{head}{'-masked' * mask}"
            view = {"center": CENTER, "mask_background": mask}

            def experiment(
                head: str = head, view: dict[str, Any] = view, name: str = name
            ) -> dict[str, Any]:
                folder = trained(a, patches, names, {"head": head}, view, name)
                return measured(folder, test, a.device)

            results.run(name, experiment)


def main() -> None:
    """Run the experiments that were asked for."""
    commands = {"fine": fine, "heads": heads}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=commands)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--body", default="mobilenet_v2")
    parser.add_argument("--start", help="imagenet, scratch or a file")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, px")
    parser.add_argument("--steps", type=int, default=520)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", default="out/classifiers.jsonl")
    a = parser.parse_args()
    commands[a.experiment](a, Results(Path(a.output)))


if __name__ == "__main__":
    main()
