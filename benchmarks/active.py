"""How few labels active learning needs, and how long a suggestion takes.

python benchmarks/active.py [--seeds 20] [--json] [--network imagenet] \
    [--only rbc_wbc,three,subtypes,latency,speed,eight,deep_subtypes,rare,rare_measured] [--on val]

Reads real images from ../shared/data or NAPARI_CELLAL_DATA. Every learning curve starts
from no labels at all, asks one cell at a time, and is measured after each answer on
hold-out cells that nothing has learned from: BCCD's official test images; a third of the
white cells of TXL-PBC, drawn by each seed; the test split of the PBC cells, or with
`--on val` their val split. `eight`, `rare` and `deep_subtypes` look at the cells through a
network (see `load_embedder`) and ask four at a time (`--batch` for `eight`). What the network
says of the PBC cells is kept in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # figures are for one core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from defusedxml import ElementTree
from imageio.v3 import imread

from napari_cellal.active import learner as learners
from napari_cellal.active.matrix import Matrix
from napari_cellal.active.requests import SuggestRequest
from napari_cellal.active.simulate import Simulation, simulate
from napari_cellal.active.suggest import PoolView, run_suggest, suggest, unlabelled_points
from napari_cellal.core.progress import run_job
from napari_cellal.features.measure import measure_cells
from napari_cellal.features.table import FeatureTable

CLASSES = ("RBC", "WBC", "Platelets")
RGB = ("red", "green", "blue")


def data_folder() -> Path:
    """Return where the sample data lies."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("NAPARI_CELLAL_DATA", default))


def picture(path: Path) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(imread(path)[..., :3], -1, 0))


def bccd(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return features, class names, is-test, and cells measured a second."""
    root = folder / "bccd" / "BCCD"
    values, names, test, seconds = [], [], [], 0.0
    for split in ("trainval", "test"):
        for image in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            pixels = picture(root / "JPEGImages" / f"{image}.jpg")
            tree = ElementTree.parse(root / "Annotations" / f"{image}.xml")
            boxes = []
            for item in tree.iter("object"):
                corner = {k.tag: float(k.text) for k in item.find("bndbox")}
                # VOC counts from 1 and includes both ends
                box = (corner["ymin"] - 1, corner["xmin"] - 1, corner["ymax"], corner["xmax"])
                if corner["ymax"] > corner["ymin"] and corner["xmax"] > corner["xmin"]:
                    boxes.append(box)
                    names.append(item.find("name").text)
                    test.append(split == "test")
            begin = time.process_time()
            values.append(measure_cells(pixels, boxes, rgb=True, channels=RGB)[1])
            seconds += time.process_time() - begin
    return np.vstack(values), np.array(names), np.array(test), len(names) / seconds


def white_cell_boxes(folder: Path) -> tuple[list[Any], list[str]]:
    """Return (file, box) and subtype of the white cells of images that hold exactly one."""
    root = folder / "txl_pbc_smears"
    cells, names = [], []
    with open(root / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            path = root / "images" / f"{row['name']}.jpg"
            lines = (root / "labels" / f"{row['name']}.txt").read_text().splitlines()
            white = [line.split() for line in lines if line.split()[0] == "0"]
            if len(white) != 1:
                continue
            cx, cy, w, h = (float(v) for v in white[0][1:])
            _, height, width = picture(path).shape
            box = (
                (cy - h / 2) * height, (cx - w / 2) * width,
                (cy + h / 2) * height, (cx + w / 2) * width,
            )  # fmt: skip
            cells.append((path, box))
            names.append(row["pbc_class"])
    return cells, names


def white_cells(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return measurements and subtype of those cells."""
    cells, names = white_cell_boxes(folder)
    values = [measure_cells(picture(p), [box], rgb=True, channels=RGB)[1] for p, box in cells]
    return np.vstack(values), np.array(names)


def deep_features(cells: list[tuple[Path, tuple[float, ...] | None]], network: str) -> np.ndarray:
    """Return what a network says of one cell a picture; without a box, of the middle 256 px."""
    from napari_cellal.detect.eyes import load_embedder
    from napari_cellal.features.view import image_levels

    eye = run_job(load_embedder(network))
    rows = []
    for path, box in cells:
        pixels = picture(path)
        _, height, width = pixels.shape
        y, x = height / 2, width / 2
        side = 106  # with the margin of a tenth on each side: 254 px
        rows.append(
            eye.rows(
                pixels,
                np.array([box or (y - side, x - side, y + side, x + side)]),
                rgb=True,
                channels=RGB,
                levels=image_levels(pixels),
            )
        )
    return np.vstack(rows)


def eight_classes(folder: Path, network: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, class ids and splits of the PBC single cells."""
    with open(folder / "pbc_cells" / "labels.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    from napari_cellal.detect import embed, eyes
    from napari_cellal.features import view

    source = [Path(m.__file__).read_bytes() for m in (embed, eyes, view)]
    made_by = hashlib.sha256(b"".join([*source, network.encode(), Path(__file__).read_bytes()]))
    kept = Path(tempfile.gettempdir()) / f"pbc-{made_by.hexdigest()[:12]}.npy"
    if kept.exists():
        values = np.load(kept)
    else:
        cells = [(folder / "pbc_cells" / r["filename"], None) for r in lines]
        values = deep_features(cells, network)
        np.save(kept, values)
    ids = np.unique([r["label"] for r in lines], return_inverse=True)[1]
    return values, ids, np.array([r["split"] for r in lines])


def whole_pool(values: np.ndarray, ids: np.ndarray, split: np.ndarray, on: str) -> dict[str, float]:
    """Return the accuracy of each learner on a split, with every training label."""
    train, test = split == "train", split == on
    matrix = Matrix([str(k) for k in range(train.sum())], values[train])
    found = {}
    for name in ("self_training", "logistic"):
        model = learners.fit(matrix.points, ids[train], estimator=name)
        guess = model.predict(matrix.place(values[test]))
        found[name] = round(float((guess == ids[test]).mean()), 4)
    return found


RARE_CAP, RARE_LOOK = 600, 12  # most labels asked for; labels between two looks at the learner


def rare_class(values: np.ndarray, ids: np.ndarray, split: np.ndarray, seeds: int, on: str) -> Any:
    """Return how many labels it takes to find nine in ten cells of a class that is 2 %.

    Nobody is told of one at first: ``first`` is when it is met. ``asked``: until nine in ten of
    the pool's own were asked about; random needs nine in ten of all. Of the measured split, at
    every twelfth label: ``ranked`` until the learner's order of it has nine in ten among cells
    of which half at least are so; ``told`` until its best guesses have. What was not reached
    within 600 counts 600, of ``asked`` nine in ten of the pool.
    """
    wanted = int(ids.max() + 1)
    found: dict[str, dict[str, list[float]]] = {}
    test = np.flatnonzero(split == on)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rare = seed % wanted
        others = np.flatnonzero((split == "train") & (ids != rare))
        few = rng.permutation(np.flatnonzero((split == "train") & (ids == rare)))
        few = few[: round(len(others) * 0.02 / 0.98)]
        rows = np.sort(np.concatenate([others, few]))
        matrix = Matrix([str(k) for k in rows], values[rows])
        truth = (ids[rows] == rare).astype(int)
        held = matrix.place(values[test])
        for name in ("rare", "automatic", "random"):
            met = hunt_down(matrix, truth, held, ids[test] == rare, name, seed)
            usual = {"first": RARE_CAP, "asked": 0.9 * len(rows), "ranked": RARE_CAP}
            if name == "random":
                met["asked"] = usual["asked"]
            for key, worst in (usual | {"told": RARE_CAP}).items():
                found.setdefault(name, {}).setdefault(key, []).append(met.get(key, worst))
            print(f"{seed} {name} {met}", file=sys.stderr, flush=True)
    return {
        "pool": len(rows),
        "mean_labels": {
            name: {k: round(float(np.mean(v)), 1) for k, v in of.items()}
            for name, of in found.items()
        },
        "median": {
            name: {k: float(np.median(v)) for k, v in of.items()} for name, of in found.items()
        },
        "worst": {name: {k: max(v) for k, v in of.items()} for name, of in found.items()},
    }


def rare_measured(
    features: np.ndarray, names: np.ndarray, test: np.ndarray, seeds: int
) -> dict[str, Any]:
    """Return the same of eight measured cells among 1,500 of BCCD: two classes, other features."""
    found: dict[str, Any] = {}
    for rare in ("WBC", "Platelets"):
        is_rare = names == rare
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            few = rng.permutation(np.flatnonzero(is_rare & ~test))[:8]
            others = rng.permutation(np.flatnonzero(~is_rare & ~test))[:1492]
            rows = np.sort(np.concatenate([others, few]))
            matrix = Matrix([str(k) for k in rows], features[rows])
            truth, held = is_rare[rows].astype(int), matrix.place(features[test])
            for name in ("rare", "automatic", "random"):
                met = hunt_down(matrix, truth, held, is_rare[test], name, seed)
                lines = found.setdefault(rare, {}).setdefault(name, {"first": [], "asked": []})
                for key, line in lines.items():
                    line.append(met.get(key))
    return found


def hunt_down(
    matrix: Matrix,
    truth: np.ndarray,
    held: np.ndarray,
    is_rare: np.ndarray,
    strategy: str,
    seed: int,
) -> dict[str, float]:
    """Return after how many labels each of the four things of `rare_class` was reached."""
    pool = PoolView(matrix, np.arange(len(truth)))
    labels: dict[int, int] = {}
    met: dict[str, float] = {}
    while len(labels) < RARE_CAP and len(met) < 4:
        chosen = suggest(pool, labels, strategy, 4, seed, {0: "other", 1: "rare"})
        labels |= {int(r): int(truth[r]) for r in chosen.indices}
        now = sum(labels.values())
        reached = {"first": now > 0, "asked": now >= 0.9 * truth.sum()}
        if len(labels) % RARE_LOOK == 0 and now and not {"ranked", "told"} <= met.keys():
            known = sorted(labels)
            model = learners.fit(
                matrix.points[known],
                truth[known],
                unlabelled=unlabelled_points(matrix, pool.rows, np.array(known), seed),
            )
            p = learners.probabilities(model, held, (0, 1))[:, 1]
            right = is_rare[np.argsort(-p, kind="stable")].cumsum()
            needed = int(np.searchsorted(right, 0.9 * is_rare.sum())) + 1
            guess = p > 0.5
            reached["ranked"] = right[needed - 1] >= 0.5 * needed
            reached["told"] = guess[is_rare].mean() >= 0.9 and is_rare[guess].mean() >= 0.5
        met = {k: len(labels) for k, yes in reached.items() if yes} | met
    return met


def curve(result: Simulation, at: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures worth keeping of a replay."""
    points = {
        name: {
            str(int(p["labels"])): {k: round(p[k], 4) for k in ("mean", "low", "high")}
            for p in line
            if p["labels"] in at
        }
        for name, line in result.curves.items()
    }
    return {
        "metric": result.metric,
        "seeds": result.seeds,
        "pool": result.pool,
        "holdout": result.holdout,
        "at_labels": points,
        "labels_to": result.labels_to,
        "worst_labels_to": result.worst_labels_to,
        "reached": result.reached,
    }


def latency(rounds: int = 60) -> dict[str, float]:
    """Return milliseconds of `run_suggest`: 10,000 cells x 60 features, 200 labels."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 5, 10_000)
    values = rng.normal(size=(10_000, 60)) + rng.normal(size=(5, 60))[kinds] * 0.6
    ids = tuple(f"{k:016x}" for k in range(10_000))
    names = {k: f"class {k}" for k in range(5)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        FeatureTable(ids, tuple(f"f{k}" for k in range(60)), values.astype(np.float32)).save(path)
        labelled = {ids[k]: int(kinds[k]) for k in range(200)}
        held = {ids[k]: int(kinds[k]) for k in range(9_000, 9_500)}
        begin = time.perf_counter()
        run_suggest(SuggestRequest(str(path), {}, held, names))
        first_cold = time.perf_counter() - begin
        times: dict[str, list[float]] = {"warm": [], "batch10": [], "cold_start": []}
        begin = time.perf_counter()
        run_suggest(SuggestRequest(str(path), labelled, held, names))
        first = time.perf_counter() - begin
        for k in range(rounds):
            # one more answer each time, as in use
            labelled[ids[200 + k]] = int(kinds[200 + k])
            few = {ids[j]: int(kinds[j]) for j in range(k % 4)}
            for key, labels, n in (
                ("warm", labelled, 1), ("batch10", labelled, 10), ("cold_start", few, 1),
            ):  # fmt: skip
                request = SuggestRequest(str(path), dict(labels), held, names, n=n)
                begin = time.perf_counter()
                run_suggest(request)
                times[key].append(time.perf_counter() - begin)
    out = {
        "first_call_ms": round(first_cold * 1e3, 1),  # reads, standardises, groups
        "first_call_with_labels_ms": round(first * 1e3, 1),
    }
    for key, seconds in times.items():
        out[f"{key}_p50_ms"] = round(float(np.median(seconds)) * 1e3, 1)
        out[f"{key}_p95_ms"] = round(float(np.quantile(seconds, 0.95)) * 1e3, 1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--only", default="speed,rbc_wbc,three,subtypes,latency")
    parser.add_argument("--on", choices=["test", "val"], default="test", help="of the PBC cells")
    parser.add_argument("--batch", type=int, default=4, help="labels between two fits of `eight`")
    parser.add_argument("--network", default="auto", help="auto, shipped, or a .safetensors file")
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    found: dict[str, Any] = {}

    def say(step: Any) -> None:
        print(f"\r{step.done}/{step.total} {step.message:60s}", end="", file=sys.stderr)

    def replay(features: np.ndarray, labels: np.ndarray, **settings: Any) -> Simulation:
        settings = {"strategies": ("automatic", "margin", "typical", "random")} | settings
        return run_job(simulate(features, labels, seeds=options.seeds, **settings), say)

    if wanted & {"speed", "rbc_wbc", "three", "rare_measured"}:
        features, names, test, rate = bccd(data_folder())
        found["cells_a_second"] = round(rate)
        if "rbc_wbc" in wanted:
            two = names != "Platelets"
            result = replay(
                features[two], (names[two] == "WBC").astype(int), holdout=test[two],
                pool_share=0.5, steps=100, metric="average_precision", targets=(0.9, 0.99),
                strategies=("automatic", "random"),
            )  # fmt: skip
            found["rbc_wbc"] = curve(result, (1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100))
        if "rare_measured" in wanted:
            found["rare_measured"] = rare_measured(features, names, test, options.seeds)
        if "three" in wanted:
            ids = np.array([CLASSES.index(n) for n in names])
            result = replay(
                features, ids, holdout=test, pool_share=0.5, steps=60, metric="macro_f1"
            )
            found["bccd_three_classes"] = curve(result, (3, 5, 10, 20, 30, 40, 60))
    if "subtypes" in wanted:
        features, names = white_cells(data_folder())
        ids = np.unique(names, return_inverse=True)[1]
        result = replay(features, ids, holdout=1 / 3, steps=120, metric="accuracy")
        found["white_cell_subtypes"] = curve(result, (5, 10, 20, 30, 40, 60, 80, 120))
    if wanted & {"eight", "rare"}:
        values, ids, split = eight_classes(data_folder(), options.network)
        if "eight" in wanted:
            found["eight_whole_train_split"] = whole_pool(values, ids, split, options.on)
            used = (split == "train") | (split == options.on)
            for name in ("self_training", "logistic"):
                result = replay(
                    values[used], ids[used], holdout=split[used] == options.on, steps=208,
                    batch=options.batch, estimator=name, strategies=("automatic", "random"),
                )  # fmt: skip
                found[f"eight_{name}"] = curve(result, (8, 16, 32, 48, 80, 120, 160, 208))
        if "rare" in wanted:
            found["rare"] = rare_class(values, ids, split, options.seeds, options.on)
    if "deep_subtypes" in wanted:
        cells, names = white_cell_boxes(data_folder())
        values, ids = (
            deep_features(cells, options.network),
            np.unique(names, return_inverse=True)[1],
        )
        result = replay(
            values, ids, holdout=1 / 3, steps=120, batch=4, strategies=("automatic", "random")
        )
        found["white_cell_subtypes_deep"] = curve(result, (8, 12, 20, 40, 60, 80, 120))
    if "latency" in wanted:
        found["run_suggest_10000x60"] = latency()
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(found))
    else:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
