"""How well classifiers tell cells apart: fine-tuned, features and a head, on another microscope.

    python benchmarks/classifiers.py fine --size 128 --steps 520
    python benchmarks/classifiers.py heads [--body vgg16 --start imagenet]
    python benchmarks/classifiers.py domains --steps 520
    python benchmarks/classifiers.py planted [--only rxrx1]
    python benchmarks/classifiers.py domains --size 96 --steps 260 --only frozen-stain
    python benchmarks/classifiers.py few --size 96 --steps 260 --only seed0

Each experiment is one line of JSON in ``out/classifiers.jsonl``; those that are there are not run
again. Real images and weights lie in ``../shared``; ``--start imagenet`` downloads weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_cellal.classify.architectures import architecture as arch
from napari_cellal.classify.heads import as_probabilities, fit_head, head_scores, tempered
from napari_cellal.classify.lessons import targets_of
from napari_cellal.classify.network import Classifier, put_in
from napari_cellal.classify.pictures import Cutter, Pictures, seen
from napari_cellal.classify.predict import load, predict
from napari_cellal.classify.requests import ClassifierRequest, Patch
from napari_cellal.classify.settings import ClassifySettings, NetworkSettings, ViewSettings
from napari_cellal.classify.start import find_start
from napari_cellal.classify.train import embed, train_classifier
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.evaluate.classification import class_report
from napari_cellal.evaluate.metrics import evaluate_classes
from napari_cellal.features.crops import resample
from napari_cellal.io.exchange.voc import read_voc
from napari_cellal.io.patch_folder import read_patch_folder
from napari_cellal.networks.devices import choose_device
from napari_cellal.networks.normalization import Normalization
from napari_cellal.workflows.patches import of_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellal.classify.heads import Arrays
    from napari_cellal.core.geometry import Box

SHARED = Path(__file__).resolve().parents[2] / "shared"
NOISE = 0.05  # share of labels that are drawn by chance or turned round
PBC_PX = 360  # side of a pbc_cells picture
CENTER = 0.72  # of a pbc_cells picture: the cell and a margin
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = ("RBC", "WBC", "Platelets")
FIRST_KIND = 11  # a class id
STARTS = {"mobilenet_v2": SHARED / "weights" / "mobilenet_v2_imagenet_features.safetensors"}


class Results:
    """Lines of JSON, each with a name."""

    def __init__(self, file: Path, only: str = "") -> None:
        self._file = file
        self._only = only
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.is_file() else []
        self.known = {row["name"]: row for row in map(json.loads, lines)}

    def run(self, name: str, experiment: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return an experiment's figures; run it unless they are there, or it was not asked for."""
        if self._only not in name:
            return {}
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
        looked = getattr(step.item, "score", None) is not None
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
    first_id: int = 1,
) -> str:
    """Return the folder of a model, trained unless it is there; class ids from ``first_id`` on."""
    folder = Path(a.output).parent / "models" / model_id
    if folder.is_dir():
        return str(folder)
    start = a.start or str(STARTS.get(a.body, "imagenet"))
    request = ClassifierRequest(
        tuple(patches),
        tuple(range(first_id, len(names) + first_id)),
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


def features_of(a: argparse.Namespace, patches: Sequence[Patch], *, mask: bool) -> Arrays:
    """Return the features of every picture by a frozen body, and its 16x16 px; kept in a file."""
    file = Path(a.output).parent / f"features-{a.body}-{a.size}px{'-masked' * mask}.npz"
    if not file.is_file():
        device = choose_device(a.device)
        view = ViewSettings(size_px=a.size, center=CENTER, mask_background=mask)
        start = run_job(find_start(a.start or str(STARTS.get(a.body, "imagenet")), arch(a.body)))
        normal = Normalization("uint8", (0,) * 3, (255,) * 3, IMAGENET_MEAN, IMAGENET_STD)
        shape = NetworkSettings(norm="frozen")
        network = Classifier(a.body, 3, 2, a.size, shape, normal.mean, normal.std)
        put_in(network, start.state, start.words)
        pictures = Pictures(patches, Cutter(view), 4000)
        small = []
        for k in range(len(pictures)):
            shown = seen(pictures.raw(k), normal, view)
            small.append(resample(shown, 16, 16).ravel())
        job = embed(network.to(device), pictures, normal, view, device, Progress(0, 0))
        np.savez(file, features=run_job(job, Teller()), pixels=np.stack(small))
    with np.load(file) as kept:
        return dict(kept)


def heads(a: argparse.Namespace, results: Results) -> None:
    """Frozen features, or plain pixels, with each head; with the background and without."""
    patches, names = pbc(a.data)
    targets = targets_of(patches, range(1, len(names) + 1))
    splits = np.array([p.split for p in patches])
    for mask in (False, True):
        for kind, head in (
            ("pixels", "logistic"),
            ("features", "logistic"),
            ("features", "svm"),
            ("features", "random_forest"),
        ):
            name = f"head-{a.body}-{a.size}px-{kind}-{head}{'-masked' * mask}"

            def experiment(kind: str = kind, head: str = head, mask: bool = mask) -> dict[str, Any]:
                x = features_of(a, patches, mask=mask)[kind]
                train, val, test = (splits == s for s in ("train", "val", "test"))
                fitted = fit_head(head, x[train], targets[train], seed=a.seed)
                fitted = tempered(fitted, x[val], targets[val], multi_label=False)
                said = as_probabilities(head_scores(fitted, x[test]), multi_label=False)
                keys = [p.key for p in patches if p.split == "test"]
                m = class_report(keys, targets[test] > 0.5, said, names)
                return {
                    "accuracy": round(m.accuracy, 4),
                    "interval": [round(v, 4) for v in m.interval],
                    "macro_f1": round(m.macro_f1, 4),
                    "calibration_error": round(m.calibration_error or 0, 4),
                    "cells": m.cells,
                }

            results.run(name, experiment)


def txl(data: Path, names: Sequence[str]) -> list[Patch]:
    """Return the white cells of TXL-PBC whose subtype an expert gave, cut by their boxes.

    They are from the hospital of pbc_cells, none of them among these: other cells, the same
    microscope.
    """
    root = data / "txl_pbc_smears"
    patches = []
    with (root / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = next((root / "images").glob(f"{row['name']}.*"))
        lines = (root / "labels" / f"{row['name']}.txt").read_text().split("\n")
        white = [line.split() for line in lines if line.startswith("0 ")]
        if len(white) != 1:  # the subtype is the central cell's
            continue
        with Image.open(path) as image:
            width, height = image.size
        x, y, w, h = (float(v) for v in white[0][1:])
        box = ((y - h / 2) * height, (x - w / 2) * width, (y + h / 2) * height, (x + w / 2) * width)
        class_id = names.index(row["pbc_class"]) + 1
        patches.append(Patch(row["name"], str(path), (class_id,), box))
    return patches


def bccd(data: Path) -> list[Patch]:
    """Return BCCD's white cells, cut by their boxes; their subtype is not known."""
    root = data / "bccd" / "BCCD"
    patches = []
    images, _ = run_job(read_voc(root / "Annotations"))
    for image in images:
        path = str(root / "JPEGImages" / f"{image.file.stem}.jpg")
        for k, found in enumerate(image.boxes):
            if found.class_name == "WBC":
                patches.append(Patch(f"{image.file.stem}-{k}", path, (), found.box))
    return patches


def field_of(box: Box) -> Box:
    """Return the square around a box in which the cell is as large as those that were learned."""
    half = CENTER * PBC_PX / 2 / (1 + 2 * ViewSettings().context)
    y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return y - half, x - half, y + half, x + half


def domains(a: argparse.Namespace, results: Results) -> None:
    """Train on pbc_cells; test on TXL-PBC's white cells and on BCCD's, from another microscope.

    BCCD names no subtypes: what is measured there is the share that is classed as a white cell
    of any kind, neither platelet nor erythroblast.
    """
    patches, names = pbc(a.data)
    tests = {
        "own": [p for p in patches if p.split == "test"],
        "txl": [replace(p, box=field_of(p.box)) for p in txl(a.data, names) if p.box],
        "txl_by_box": txl(a.data, names),
    }
    whites = [k for k, name in enumerate(names) if name not in ("platelet", "erythroblast")]
    for norm in ("frozen", "group", "batch"):
        for stain in (True, False):
            words = f"{norm}-{'stain' if stain else 'plain'}"
            name = f"domains-{a.body}-{a.size}px-{a.steps}-{words}-seed{a.seed}"
            settings = course(a) | {"norm": norm}
            if not stain:
                settings |= {"stain_jitter": 0.0, "brightness_jitter": 0.0}

            def experiment(settings: dict[str, Any] = settings, name: str = name) -> dict[str, Any]:
                folder = trained(a, patches, names, settings, {"center": CENTER}, name)
                row: dict[str, Any] = {}
                for own_range in (False, True):
                    end = "_own_range" * own_range
                    for test, cells in tests.items():
                        said = measured(folder, cells, a.device, own_range=own_range)
                        row[test + end] = {k: said[k] for k in ("accuracy", "macro_f1", "cells")}
                    model = load(Path(folder), a.device, own_range=own_range)
                    found = run_job(predict(model, bccd(a.data)), Teller())
                    kinds = [int(p.argmax()) in whites for p in found.values()]
                    row[f"bccd{end}"] = {
                        "white": round(float(np.mean(kinds)), 4),
                        "cells": len(kinds),
                    }
                return row

            results.run(name, experiment)


def bccd_kinds(data: Path, lists: Sequence[str]) -> list[Patch]:
    """Return BCCD's cells of the images in its official lists, of the classes `KINDS`.

    Of red cells the first three of an image: else there were 11 for each white one. Ids count
    from `FIRST_KIND`: they are other classes than those of pbc_cells.
    """
    root = data / "bccd" / "BCCD"
    wanted = {
        name
        for part in lists
        for name in (root / "ImageSets" / "Main" / f"{part}.txt").read_text().split()
    }
    patches = []
    images, _ = run_job(read_voc(root / "Annotations"))
    for image in images:
        if image.file.stem not in wanted:
            continue
        path = str(root / "JPEGImages" / f"{image.file.stem}.jpg")
        red = 0
        for k, found in enumerate(image.boxes):
            if (
                found.class_name not in KINDS
                or min(found.box[2] - found.box[0], found.box[3] - found.box[1]) < 2
            ):
                continue
            red += found.class_name == "RBC"
            if found.class_name != "RBC" or red <= 3:
                class_id = KINDS.index(found.class_name) + FIRST_KIND
                patches.append(Patch(f"{image.file.stem}-{k}", path, (class_id,), found.box))
    return patches


def few(a: argparse.Namespace, results: Results) -> None:
    """Fifty labels of another microscope: what they bring to a model that knows its own.

    A is pbc_cells (eight kinds of single cells), B is BCCD (red cell, white cell, platelet;
    another microscope, other classes). The network is taught with 10 or 50 cells of B, drawn by the
    seed as many of each class, starting from the model of A or from ImageNet; or it stays as it is,
    with logistic regression on its features. Measured on the cells of BCCD's 72 test images.
    """
    patches, names = pbc(a.data)
    test = bccd_kinds(a.data, ["test"])
    pool = bccd_kinds(a.data, ["train", "val"])
    source = f"few-source-{a.body}-{a.size}px-{a.steps}"

    def of_a() -> str:
        return trained(a, patches, names, course(a), {"center": CENTER}, source)

    for seed in (0, 1, 2):
        for labels in (10, 50):
            for begun in ("A", "imagenet"):
                for head in ("logistic", "linear"):
                    name = f"few-{a.body}-{a.size}px-{labels}-{begun}-{head}-seed{seed}"

                    def experiment(
                        labels: int = labels,
                        begun: str = begun,
                        head: str = head,
                        seed: int = seed,
                        name: str = name,
                    ) -> dict[str, Any]:
                        rng = np.random.default_rng(seed)
                        drawn: list[Patch] = []
                        for k in range(len(KINDS)):
                            own = [p for p in pool if p.class_ids == (FIRST_KIND + k,)]
                            n = labels // 3 + (k < labels % 3)
                            drawn += [own[i] for i in rng.permutation(len(own))[:n]]
                        drawn = [replace(p, split="train") for p in drawn]
                        start = of_a() if begun == "A" else a.start
                        chosen = {**vars(a), "seed": seed, "start": start}
                        settings = {"steps": 60, "batch_size": 16, "learning_rate": a.rate}
                        folder = trained(
                            argparse.Namespace(**chosen), drawn, KINDS,
                            settings | {"head": head}, {}, name, FIRST_KIND,
                        )  # fmt: skip
                        return {"labels": len(drawn), **measured(folder, test, a.device)}

                    results.run(name, experiment)


def plant_patches(folder: Path, n: int, rng: np.random.Generator) -> None:
    """Write 96x96 patches and a table as PCam has them: a faint disc in the middle, or none."""
    lines = ["id,label"]
    (folder / "train").mkdir(parents=True)
    yy, xx = np.mgrid[:96, :96]
    for k in range(n):
        pixels = rng.normal(150, 25, (96, 96, 3))
        y, x = rng.uniform(36, 60, 2)
        label = k % 2
        pixels[(yy - y) ** 2 + (xx - x) ** 2 < 49] -= 60 * label * np.array([0.5, 1, 0.7])
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "train" / f"{k:05}.tif")
        lines.append(f"{k:05},{label ^ (rng.random() < NOISE)}")
    (folder / "train_labels.csv").write_text("\n".join(lines) + "\n")


def plant_sites(folder: Path, n: int, rng: np.random.Generator) -> None:
    """Write sites of six channels and a table as RxRx1 has them; the class is in channel 4."""
    lines = ["site_id,experiment,plate,well,site,sirna"]
    for k in range(n):
        experiment, well, label = f"HUVEC-{k % 8 + 1:02}", f"B{k // 8:03}", int(rng.integers(3))
        place = folder / experiment / "Plate1"
        place.mkdir(parents=True, exist_ok=True)
        for channel in range(1, 7):
            pixels = rng.normal(60, 15, (128, 128))
            for _ in range(12):  # cells; in channel 4 their size tells the class
                y, x = rng.integers(12, 116, 2)
                r = (3, 5, 8)[label] if channel == 4 else int(rng.choice((3, 5, 8)))
                yy, xx = np.mgrid[:128, :128]
                pixels[(yy - y) ** 2 + (xx - x) ** 2 < r * r] += 80
            file = place / f"{well}_s1_w{channel}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
        said = label if rng.random() >= NOISE else int(rng.integers(3))
        lines.append(f"{experiment}_{well},{experiment},1,{well},1,s{said}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")


def planted(a: argparse.Namespace, results: Results) -> None:
    """Two layouts with a planted signal and a twentieth of wrong labels, through the same path."""
    for kind, write, size in (("pcam", plant_patches, 96), ("rxrx1", plant_sites, 128)):
        name = f"planted-{kind}-{a.body}-{a.steps}-seed{a.seed}"

        def experiment(
            kind: str = kind, write: Any = write, size: int = size, name: str = name
        ) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                write(folder, 800, np.random.default_rng(a.seed))
                found = of_folder(folder, seed=a.seed)
                args = argparse.Namespace(**{**vars(a), "size": size})
                model = trained(
                    args, found.patches, list(found.class_names.values()), course(a), {}, name
                )
                return measured(model, found.of_split("test"), a.device)

        results.run(name, experiment)


def main() -> None:
    """Run the experiments that were asked for."""
    commands = {"fine": fine, "heads": heads, "domains": domains, "few": few, "planted": planted}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=commands)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--body", default="mobilenet_v2")
    parser.add_argument("--start", help="imagenet, scratch or a file")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, px")
    parser.add_argument("--steps", type=int, default=520)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default="", help="part of the name of the experiments to run")
    parser.add_argument("-o", "--output", default="out/classifiers.jsonl")
    a = parser.parse_args()
    commands[a.experiment](a, Results(Path(a.output), a.only))


if __name__ == "__main__":
    main()
