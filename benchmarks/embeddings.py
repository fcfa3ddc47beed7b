"""What features are worth: test accuracy of a linear model on few and on all labels, and speed.

python benchmarks/embeddings.py [--data pbc,subtypes,wells] [--sets quick,deep:shipped,...]
    [--draws 5] [--json]

pbc: 8 classes of single white cells, their official split; the box is the middle 256 px. subtypes:
5 subtypes of white cells in TXL-PBC smears, a random half to learn from. wells: from which of
three wells (treatments) a cell of BBBC022 is, 5 channels, one site to learn from, one to test.
Real images from ../shared/data or NAPARI_CELLAL_DATA. One thread; seconds are of the processor, so
that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import tifffile
import torch
from imageio.v3 import imread
from scipy.ndimage import find_objects
from sklearn.linear_model import LogisticRegression

from napari_cellal.active.matrix import Scaling
from napari_cellal.core.progress import run_job
from napari_cellal.features.view import image_levels
from napari_cellal.workflows.describing import describers

RGB = ("red", "green", "blue")
FEW = (50, 100, 200, 400)
STRENGTHS = (0.01, 0.1, 1.0)


def data_folder() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("NAPARI_CELLAL_DATA", default))


def picture(path):
    return np.ascontiguousarray(np.moveaxis(imread(path)[..., :3], -1, 0))


def pbc(folder):
    """Yield pixels, boxes, class names, is-test, channels of each image."""
    with open(folder / "pbc_cells" / "labels.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "val":
                continue
            pixels = picture(folder / "pbc_cells" / row["filename"])
            y, x = (pixels.shape[1] - 256) / 2, (pixels.shape[2] - 256) / 2
            box = np.array([(y, x, y + 256, x + 256)])
            yield pixels, box, [row["label"]], [row["split"] == "test"], RGB


def subtypes(folder):
    """The same of the smears that hold exactly one white cell."""
    root = folder / "txl_pbc_smears"
    rng = np.random.default_rng(0)
    with open(root / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            lines = (root / "labels" / f"{row['name']}.txt").read_text().splitlines()
            white = [line.split()[1:] for line in lines if line.split()[0] == "0"]
            if len(white) != 1:
                continue
            pixels = picture(root / "images" / f"{row['name']}.jpg")
            x, y, w, h = (float(v) for v in white[0])
            size = np.tile(pixels.shape[1:], 2)
            box = np.array([(y - h / 2, x - w / 2, y + h / 2, x + w / 2)]) * size
            yield pixels, box, [row["pbc_class"]], [rng.random() < 0.5], RGB


def wells(folder):
    """The same of Cell Painting: cells' boxes by the machine-made labels, wells as classes."""
    root = folder / "cellpainting_bbbc022"
    for path in sorted((root / "stacks").glob("*.ome.tiff")):
        labels = tifffile.imread(root / "labels" / path.name)[0]
        boxes = np.array(
            [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in find_objects(labels) if s],
            float,
        )
        well, site = path.name.split("_")[1:3]
        test = site.startswith("site2")
        channels = ("H33342", "conA", "SYTO14", "WGA_Phall", "MitoTDR")
        yield tifffile.imread(path), boxes, [well] * len(boxes), [test] * len(boxes), channels


DATA = {"pbc": pbc, "subtypes": subtypes, "wells": wells}


def features(images, describer):
    """Return float32[N, F], and cells a second of the processor."""
    rows, seconds, cells = [], 0.0, 0
    for pixels, boxes, _, _, channels in images:
        begin = time.process_time()
        levels = image_levels(pixels)
        rgb = channels == RGB
        rows.append(describer.rows(pixels, boxes, rgb=rgb, channels=channels, levels=levels))
        seconds += time.process_time() - begin
        cells += len(boxes)
    return np.vstack(rows), cells / seconds


def accuracies(values, names, test, draws):
    """Return {number of labels: test accuracy}, the mean over draws of the labels.

    The strength of the penalty is the best of three for each number, the same for all draws.
    """
    values = Scaling.of(values).apply(values)
    train = np.flatnonzero(~test)
    found = {}
    for n in (*(k for k in FEW if k < len(train)), len(train)):
        by_strength = []
        for strength in STRENGTHS[: 2 if n == len(train) else 3]:
            right = []
            for seed in range(draws if n < len(train) else 1):
                chosen = np.random.default_rng(seed).permutation(train)[:n]
                model = LogisticRegression(C=strength, max_iter=300, class_weight="balanced")
                model.fit(values[chosen], names[chosen])
                right.append((model.predict(values[test]) == names[test]).mean())
            by_strength.append(np.mean(right))
        found[n] = round(float(max(by_strength)), 3)
    return found


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default="pbc,subtypes,wells")
    p.add_argument("--sets", default="quick,deep:shipped,quick+deep:shipped")
    p.add_argument("--draws", type=int, default=5)
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(1)
    report = {}
    for data in a.data.split(","):
        images = list(DATA[data](data_folder()))
        names = np.array([name for image in images for name in image[2]])
        test = np.array([is_test for image in images for is_test in image[3]])
        print(f"{data}: {len(names)} cells, {test.sum()} to test", file=sys.stderr)
        known = {}
        for joined in a.sets.split(","):
            for name in joined.split("+"):
                if name not in known:
                    known[name] = features(images, run_job(describers(name, "cpu"))[0])
            parts = [known[name] for name in joined.split("+")]
            values = np.hstack([v for v, _ in parts])
            speed = 1 / sum(1 / s for _, s in parts)
            found = accuracies(values, names, test, a.draws)
            report[f"{data} {joined}"] = {"features": values.shape[1], "cells_s": speed} | {
                str(n): v for n, v in found.items()
            }
            line = ", ".join(f"{n}: {v:.3f}" for n, v in found.items())
            print(f"{data} {joined}: {values.shape[1]} features, {speed:.0f} cells/s; {line}",
                  file=sys.stderr, flush=True)  # fmt: skip
    if a.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
