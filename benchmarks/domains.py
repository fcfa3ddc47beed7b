"""What other labels and another microscope do to a detector of blood cells.

python benchmarks/domains.py --data DIR [--steps 600] [--start FILE] [--only NAME] [--json]

skipped  BCCD leaves a third of its red cells without a box; a re-annotation of its train and
         val images has them. Trained once on BCCD's own boxes and once on the complete ones
         (official train images), this is the share of the red cells that BCCD skipped which each
         finds in the val images.
domain   Trained on BCCD's train images alone, and on everything that the shipped detector
         learned from, tested on smears of another hospital and microscope (TXL-PBC).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import shipped_data as data
from detector_speed import load, train
from napari_cellal.core.geometry import iou_matrix
from napari_cellal.core.progress import run_job
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.requests import ImageRequest, TrainImage
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.evaluate.metrics import evaluate_boxes

if TYPE_CHECKING:
    from napari_cellal.core.records import Detections

SMEARS = data.CLASSES[:3]
SCORE, IOU = 0.5, 0.5


def as_training(picture: data.Picture, *, complete: bool | None = None) -> TrainImage:
    """Return a picture with its boxes as the training takes it."""
    return TrainImage(
        str(picture.path),
        tuple(tuple(map(float, box)) for box in picture.boxes),
        tuple(int(label) + 1 for label in picture.labels),
        picture.complete if complete is None else complete,
        rgb=True,
    )


def search(model: str, pictures: list[data.Picture]) -> dict[str, Detections]:
    """Return what a model finds."""
    requests = [ImageRequest(str(p.path), str(p.path), rgb=True) for p in pictures]
    return run_job(detect_images(requests, model, "cpu"))


def figures(found: dict[str, Detections], pictures: list[data.Picture]) -> dict[str, Any]:
    """Return AP of each class, and class-blind recall, precision and F1."""
    truth = {str(p.path): (p.boxes, [int(k) + 1 for k in p.labels]) for p in pictures}
    m = evaluate_boxes(list(found.values()), truth, (1, 2, 3), score=SCORE)
    return {
        "images": m.images,
        "cells": m.cells,
        "map50": round(m.map50, 3),
        "map5095": round(m.map5095, 3),
        "interval": [round(v, 3) for v in m.interval or ()],
        "ap50": {SMEARS[c - 1]: round(v.ap50, 3) for c, v in m.per_class.items()},
        "recall": round(m.blind.recall, 3),
        "precision": round(m.blind.precision, 3),
        "f1": round(m.blind.f1, 3),
    }


def found_share(boxes: np.ndarray, found: Detections) -> np.ndarray:
    """Return bool[N]: which boxes have a detection on them."""
    sure = np.asarray(found.boxes, float).reshape(-1, 4)[np.asarray(found.scores) >= SCORE]
    if not len(sure) or not len(boxes):
        return np.zeros(len(boxes), bool)
    return iou_matrix(boxes, sure).max(axis=1) >= IOU


def skipped(a: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Return the share of skipped red cells that each of two trainings finds."""
    own = {s: {p.path: p for p in data.bccd(a.data, s)} for s in ("train", "val")}
    complete = {p.path: p for p in data.relabelled(a.data)}
    both = [path for path in own["train"] if path in complete]
    held = [path for path in own["val"] if path in complete]
    result: dict[str, Any] = {"train_images": len(both), "val_images": len(held)}
    for name, labels in (("BCCD's boxes", own["train"]), ("complete boxes", complete)):
        model = run(a, [as_training(labels[path], complete=True) for path in both], folder)
        found = search(model, [complete[path] for path in held])
        red, known = [], []
        for path in held:
            cells = complete[path].boxes[complete[path].labels == 0]
            theirs = own["val"][path].boxes
            boxed = iou_matrix(cells, theirs).max(axis=1) >= IOU
            hit = found_share(cells, found[str(path)])
            red += hit[~boxed].tolist()
            known += hit[boxed].tolist()
        result[name] = {
            "skipped_red_cells": len(red),
            "found": round(float(np.mean(red)), 3),
            "boxed_red_cells": len(known),
            "boxed_found": round(float(np.mean(known)), 3),
            "against_complete": figures(found, [complete[path] for path in held]),
        }
    return result


def domain(a: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Return what trainings without and with other smears reach on TXL-PBC's val and test."""
    held = data.txl(a.data, ("val", "test"))
    alone = [as_training(p, complete=True) for p in data.bccd(a.data, "train")]
    every = [as_training(p) for p in data.training(a.data) if not p.source.startswith("dsb")]
    result: dict[str, Any] = {}
    for name, images in (("BCCD alone", alone), ("BCCD, complete boxes and TXL-PBC", every)):
        model = run(a, images, folder)
        result[name] = {"train_images": len(images), **figures(search(model, held), held)}
    return result


def run(a: argparse.Namespace, images: list[TrainImage], folder: str) -> str:
    """Return the folder of a detector trained on the images."""
    settings = TrainSettings(steps=a.steps, seed=a.seed)
    model, _ = train(images, SMEARS, folder, settings, start=a.start, device="cpu")
    return model.folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--start", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("skipped", "domain"))
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    result: dict[str, Any] = {"load": load(), "steps": a.steps, "start": a.start}
    with tempfile.TemporaryDirectory() as folder:
        for part in (skipped, domain):
            if a.only in (None, part.__name__):
                result[part.__name__] = part(a, folder)
    print(json.dumps(result, indent=None if a.json else 1))


if __name__ == "__main__":
    main()
