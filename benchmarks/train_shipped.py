"""Make the detector that is shipped with the package: train, measure, write.

python benchmarks/train_shipped.py train --data DIR --work DIR [--minutes 45]
python benchmarks/train_shipped.py write --data DIR --work DIR

``train`` can be killed at any time and goes on where it was when it is started again: every
step draws its pictures from its own number, and weights, their average, the optimizer and the
time spent are kept each half minute. It starts from MobileNetV2's ImageNet weights
(``--start``). ``write`` puts the averaged weights, in half precision, into the package, after
it has measured them on images that were never learned from.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

import shipped_data as data
from napari_cellal import __version__
from napari_cellal.core.records import ModelRecord
from napari_cellal.detect.augment import Sample, flipped, turned, zoomed_crop
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.registry import CLASSICAL, load_detector
from napari_cellal.detect.settings import NetworkSettings
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.evaluate.metrics import evaluate_boxes
from napari_cellal.networks.appearance import relit
from napari_cellal.networks.model_files import CARD, WEIGHTS, save_model
from napari_cellal.networks.normalization import Normalization

ARCHITECTURE = "mobilenet_v2"
NORMALIZATION = Normalization.of_each(3)
SHAPE = NetworkSettings(
    scale=0.733,
    anchor_sizes=((12.0, 18.0, 26.0), (36.0, 50.0, 70.0), (96.0, 130.0, 180.0)),
    aspect_ratios=(0.6, 1.0, 1.67),
    detections=500,
    norm="frozen",
    tile_px=640,
    largest_box_px=260.0,
    short_side_px=352.0,
    cell_px=(20.0, 110.0),
)
SHARES = {"bccd_relabelled": 0.4, "bccd": 0.08, "txl": 0.2, "dsb": 0.32}
CROP_PX, BATCH, RATE, WARMUP = 352, 2, 6e-4, 0.06
SMEAR_ZOOM = (0.5, 1.1)  # network px per image px of blood smears, before the image's own size
CELL_PX = (14.0, 60.0)  # network px; the median nucleus of an image is shown at such a size
SCORE = 0.5  # where recall and precision are read
FROZEN = ("0.", "1.", "2.")  # children of the body up to stride 4, as ImageNet left them


def unit(pixels: np.ndarray) -> np.ndarray:
    """Return uint8[3, Y, X], scaled as the detector will do it."""
    return np.round(NORMALIZATION.to_unit(pixels) * 255).astype(np.uint8)


class Drawer:
    """Random views of the training pictures, by their sources' shares."""

    def __init__(self, pictures: list[data.Picture]) -> None:
        """Pictures of a source that is not there leave their share to the others."""
        self._groups: dict[str, list[data.Picture]] = {}
        for picture in pictures:
            self._groups.setdefault(picture.source.split()[0], []).append(picture)
        self._kept: dict[Path, np.ndarray] = {}
        self._names = [name for name in SHARES if name in self._groups]
        shares = np.asarray([SHARES[name] for name in self._names])
        self._shares = shares / shares.sum()

    def view(self, rng: np.random.Generator) -> Sample:
        """Return one picture, cut, turned, in another light."""
        group = self._groups[self._names[rng.choice(len(self._names), p=self._shares)]]
        picture = group[int(rng.integers(len(group)))]
        if picture.path not in self._kept:
            self._kept[picture.path] = unit(picture.pixels())
        pixels = torch.from_numpy(self._kept[picture.path]).float() / 255
        sample = Sample(
            pixels,
            torch.from_numpy(np.ascontiguousarray(picture.boxes[:, [1, 0, 3, 2]])),
            torch.from_numpy(picture.labels + 1),
            torch.zeros(0, 4),
            picture.complete,
        )
        if picture.source.startswith("dsb"):
            sizes = np.sqrt((picture.boxes[:, 2:] - picture.boxes[:, :2]).prod(1))
            low, high = np.log(CELL_PX)
            zoom = float(np.clip(np.exp(rng.uniform(low, high)) / np.median(sizes), 0.4, 3.0))
        else:
            zoom = float(np.exp(rng.uniform(*np.log(SMEAR_ZOOM))))
        sample = zoomed_crop(sample, zoom, CROP_PX, rng)
        sample = turned(flipped(sample) if rng.random() < 0.5 else sample, int(rng.integers(4)))
        return dataclasses.replace(sample, pixels=self._lit(sample.pixels, picture.source, rng))

    @staticmethod
    def _lit(pixels: torch.Tensor, source: str, rng: np.random.Generator) -> torch.Tensor:
        grey = bool((pixels[0] == pixels[1]).all())
        pixels = relit(pixels.clamp(0, 1) ** float(np.exp(rng.uniform(-0.4, 0.4))), 0.2, rng)
        if grey or rng.random() < 0.08:
            pixels = pixels.mean(0, keepdim=True).expand(3, -1, -1)
        # dark nuclei on a bright ground are nuclei too
        if grey and source.startswith("dsb") and rng.random() < 0.25:
            pixels = 1 - pixels
        return pixels


def network_with(start: Path) -> torch.nn.Module:
    """Return the network with ImageNet's body."""
    from napari_cellal.detect.architectures import architecture
    from napari_cellal.detect.start import _from_path, put_in

    torch.manual_seed(0)
    n = NORMALIZATION
    network = build_detector(ARCHITECTURE, 3, len(data.CLASSES), SHAPE, n.mean, n.std)
    put_in(network, _from_path(start, architecture(ARCHITECTURE)), ())
    for name, parameter in network.backbone.body.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    return network


def rate_at(progress: float) -> float:
    """Return the learning rate: up in a straight line, down as a cosine."""
    if progress < WARMUP:
        return RATE * (0.04 + 0.96 * progress / WARMUP)
    rest = (progress - WARMUP) / (1 - WARMUP)
    return RATE * (0.003 + 0.997 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0))))


def training(a: argparse.Namespace) -> list[data.Picture]:
    """Return what is learned from."""
    return [p for p in data.training(a.data) if not (a.without and p.source.startswith(a.without))]


def train(a: argparse.Namespace) -> None:
    torch.set_num_threads(a.threads)
    a.work.mkdir(parents=True, exist_ok=True)
    drawer = Drawer(training(a))
    network = network_with(a.start)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learned if p.ndim > 1]},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=RATE,
        weight_decay=1e-4,
    )
    average = {k: v.clone() for k, v in network.state_dict().items()}
    step, seconds, skipped = 0, 0.0, 0
    file = a.work / "checkpoint.pt"
    if file.is_file():
        kept = torch.load(file, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        average, step, seconds = kept["average"], kept["step"], kept["seconds"]
    network.train()
    saved = last = time.monotonic()
    losses: list[float] = []
    while (progress := max(seconds / (60 * a.minutes), step / a.steps)) < 1:
        rng = np.random.default_rng([0, step])
        torch.manual_seed(step)  # the samplers of anchors and proposals
        batch = [drawer.view(rng) for _ in range(BATCH)]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        loss = sum(network([s.pixels for s in batch], [s.target() for s in batch]).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(learned, 5.0)
        if bool(norm.isfinite()):
            optimizer.step()
        else:
            skipped += 1
        step += 1
        decay = min(0.99, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        losses.append(float(loss.detach()))
        now = time.monotonic()
        seconds, last = seconds + now - last, now
        if step % 20 == 0:
            mean = sum(losses[-20:]) / len(losses[-20:])
            print(f"step {step} {seconds:.0f} s loss {mean:.3f} skipped {skipped}", flush=True)
        if now - saved > 30:
            saved = now
            keep(file, network, optimizer, average, step, seconds)
    keep(file, network, optimizer, average, step, seconds)
    print("done", flush=True)


def keep(file: Path, network, optimizer, average, step: int, seconds: float) -> None:
    """Write a checkpoint all at once."""
    torch.save(
        {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average,
            "step": step,
            "seconds": seconds,
        },
        file.with_suffix(".partial"),
    )
    os.replace(file.with_suffix(".partial"), file)


def record_of(steps: int, seconds: float, pictures: list[data.Picture]) -> ModelRecord:
    """Return the card, but for the figures."""
    ids = tuple(range(1, len(data.CLASSES) + 1))
    counts = {
        name: sum(int((p.labels == k).sum()) for p in pictures)
        for k, name in enumerate(data.CLASSES)
    }
    return ModelRecord(
        SHIPPED,
        "detector",
        ARCHITECTURE,
        ids,
        data.CLASSES,
        ("red", "green", "blue"),
        start="imagenet (MobileNetV2)",
        normalization=NORMALIZATION.as_dict(),
        settings={"network": SHAPE.model_dump(mode="json")},
        trained_on={
            "images": len(pictures),
            "images_by_source": dict(sorted(Counter(p.source for p in pictures).items())),
            "complete_images": sum(p.complete for p in pictures),
            "boxes": sum(counts.values()),
            "boxes_by_class": counts,
            "steps": steps,
            "batch_size": BATCH,
            "seconds": round(seconds),
            "device": "CPU, 1 thread",
        },
        versions={
            "napari-cellal": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
    )


def measured(model: str | Path, pictures: list[data.Picture], score: float) -> dict[str, Any]:
    """Return the figures of a model on one held-out set; cells and images are counted too."""
    detector = load_detector(model, "cpu")
    begun = time.perf_counter()
    found = [
        detector.detect(p.pixels(), image_id=str(p.path), rgb=len(p.pixels()) == 3)
        for p in pictures
    ]
    seconds = time.perf_counter() - begun
    truth = {str(p.path): (p.boxes, [int(k) + 1 for k in p.labels]) for p in pictures}
    present = sorted({k for _, ids in truth.values() for k in ids})
    m = evaluate_boxes(found, truth, present, score=score)
    numbers: dict[str, Any] = {
        "images": m.images,
        "cells": m.cells,
        "recall": m.blind.recall,
        "precision": m.blind.precision,
        "f1": m.blind.f1,
        "seconds_an_image": seconds / len(pictures),
    }
    if str(model) != CLASSICAL:
        numbers |= {"map50": m.map50, "map5095": m.map5095, "interval": list(m.interval or ())}
        numbers["ap50"] = {data.CLASSES[c - 1]: v.ap50 for c, v in m.per_class.items()}
        # of the cells that are found, those that get their own class
        numbers["class_recall"] = {data.CLASSES[c - 1]: v.recall for c, v in m.per_class.items()}
    return rounded(numbers)


def rounded(value: Any) -> Any:
    """Return figures with three digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


def write(a: argparse.Namespace) -> None:
    """Put the averaged weights into ``--to`` in half precision, measured."""
    torch.set_num_threads(a.threads)
    kept = torch.load(a.work / "checkpoint.pt", weights_only=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in kept["average"].items()}
    pictures = training(a)
    record = record_of(kept["step"], kept["seconds"], pictures)
    shutil.rmtree(a.work / SHIPPED, ignore_errors=True)
    save_model(record, state, a.work / SHIPPED)
    sets = data.held_out(a.data)
    record = dataclasses.replace(record, metrics=compare(a.work / SHIPPED, sets, a.only))
    shutil.rmtree(a.work / SHIPPED)
    save_model(record, state, a.work / SHIPPED)
    if a.to:
        a.to.mkdir(parents=True, exist_ok=True)
        for name in (CARD, WEIGHTS):
            shutil.copyfile(a.work / SHIPPED / name, a.to / name)
        (a.to / "MODEL_CARD.md").write_text(model_card(record, a.to), encoding="utf-8")


def compare(folder: Path, sets: dict[str, list[data.Picture]], only: str) -> dict[str, Any]:
    """Return the held-out figures of the new model, and those of the classical detector."""
    result: dict[str, Any] = {"score": SCORE}
    for name, pictures in sets.items():
        if only and only not in name:
            continue
        result[name] = {
            "shipped": measured(folder, pictures, SCORE),
            "classical": measured(CLASSICAL, pictures, 0.0),
        }
        print(name, json.dumps(result[name]), flush=True)
    return result


def model_card(record: ModelRecord, folder: Path) -> str:
    """Return the card for people."""
    rows = []
    for name, both in record.metrics.items():
        if name == "score":
            continue
        new, old = both["shipped"], both["classical"]
        low, high = new["interval"]
        by_class = ", ".join(f"{k} {v:.2f}" for k, v in new["ap50"].items())
        rates = (" | ".join(f"{new[k]:.2f}" for k in ("recall", "precision", "f1")),)
        rows.append(
            f"| {name} | {new['images']}, {new['cells']} | {rates[0]} | {new['map50']:.3f} "
            f"({low:.2f} to {high:.2f}) | {by_class} | "
            + ", ".join(f"{old[k]:.2f}" for k in ("recall", "precision", "f1"))
            + " |"
        )
    on = record.trained_on
    sources: Counter[str] = Counter()
    for source, n in on["images_by_source"].items():
        sources[source.split()[0]] += n
    weights = load_file(folder / WEIGHTS)
    return (
        (Path(__file__).parent / "shipped_card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=sum(v.numel() for v in weights.values()) / 1e6,
            size=(folder / WEIGHTS).stat().st_size / 1e6,
            steps=on["steps"],
            batch=on["batch_size"],
            crop=CROP_PX,
            minutes=on["seconds"] / 60,
            boxes=on["boxes"],
            by_class=", ".join(f"{n} {name}" for name, n in on["boxes_by_class"].items()),
            score=SCORE,
            rows="\n".join(rows),
            **sources,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "write"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="ImageNet weights of MobileNetV2")
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--without", default="", help="leave out sources that begin with this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--to", type=Path, help="where the package keeps the model")
    parser.add_argument("--only", default="", help="measure only sets with this in their name")
    a = parser.parse_args()
    {"train": train, "write": write}[a.what](a)


if __name__ == "__main__":
    main()
