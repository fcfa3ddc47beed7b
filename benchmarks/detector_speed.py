"""How long training and detection take, beside a plain torchvision detector; BCCD's AP.

python benchmarks/detector_speed.py [--architecture mobilenet_v2] [--device cpu] [--json]
python benchmarks/detector_speed.py --bccd DIR [--minutes 8] [--start FILE] [--images N] ...

The first trains 45 drawn pictures of 512x512 px with 14 cells each, through the same job that
the window runs, and detects in one of 640x480 px. The second trains on BCCD's own train
split (DIR holds JPEGImages, Annotations, ImageSets) and scores on its test split.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.io import imsave

from napari_cellal.core.progress import run_job
from napari_cellal.detect import shipped, start
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import (
    ImageRequest,
    TrainedModel,
    TrainImage,
    TrainRequest,
)
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.detect.train import train_detector
from napari_cellal.evaluate.metrics import evaluate_boxes
from napari_cellal.io.exchange.voc import read_image_sets, read_voc
from napari_cellal.io.reading import read_plane
from napari_cellal.networks.points import TrainPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

RADII_PX = (24, 40, 12)  # red and white cells and platelets of BCCD, about
COLORS = ((205, 130, 130), (110, 70, 150), (130, 90, 170))
NAMES = ("red", "white", "platelet")
IDS = (1, 2, 3)
PICTURES, CELLS = 45, 14


def draw_cells(
    shape: tuple[int, int], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, ...]], list[int]]:
    """Return uint8[Y, X, 3], boxes (y0, x0, y1, x1) and class ids of discs on a bright ground."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = np.full((*shape, 3), (230, 215, 210), float)
    boxes, ids = [], []
    for _ in range(n):
        kind = int(rng.choice(3, p=(0.7, 0.1, 0.2)))
        radius = RADII_PX[kind] * rng.uniform(0.85, 1.15)
        cy, cx = (rng.uniform(radius, side - radius) for side in shape)
        inside = np.hypot(y - cy, x - cx) <= radius
        picture[inside] = 0.2 * picture[inside] + 0.8 * np.asarray(COLORS[kind])
        boxes.append((cy - radius, cx - radius, cy + radius, cx + radius))
        ids.append(IDS[kind])
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8), boxes, ids


def draw_pictures(
    folder: Path, n: int, shape: tuple[int, int], seed: int, cells: int = CELLS
) -> list[TrainImage]:
    """Write ``n`` pictures and return them with their boxes."""
    rng = np.random.default_rng(seed)
    images = []
    for k in range(n):
        picture, boxes, ids = draw_cells(shape, cells, rng)
        path = folder / f"{seed}_{k:02}.png"
        imsave(path, picture, check_contrast=False)
        images.append(TrainImage(str(path), tuple(boxes), tuple(ids), rgb=True))
    return images


def bccd(folder: Path, split: str, class_ids: dict[str, int]) -> list[TrainImage]:
    """Return one of BCCD's splits; ``class_ids`` gains the classes that are new."""
    names = set(read_image_sets(folder)[split])
    files = sorted(f for f in (folder / "Annotations").glob("*.xml") if f.stem in names)
    read, _ = run_job(read_voc(files))
    images = []
    for one in read:
        path = next((folder / "JPEGImages").glob(f"{one.file.stem}.*"))
        ids = [class_ids.setdefault(b.class_name, len(class_ids) + 1) for b in one.boxes]
        images.append(TrainImage(str(path), tuple(b.box for b in one.boxes), tuple(ids), rgb=True))
    return images


def train(
    images: Sequence[TrainImage],
    names: Sequence[str],
    folder: str,
    settings: TrainSettings,
    *,
    architecture: str = "mobilenet_v2",
    start: str = "scratch",
    device: str = "auto",
    val_images: Sequence[TrainImage] = (),
) -> tuple[TrainedModel, list[float]]:
    """Return the model and when each step ended, seconds from the beginning of training.

    The first of the times is 0: the end of all preparations.
    """
    request = TrainRequest(
        tuple(images),
        tuple(range(1, len(names) + 1)),
        tuple(names),
        folder,
        tuple(val_images),
        ("red", "green", "blue"),
        architecture,
        start,
        device,
        settings,
    )
    ready = begun = last = time.perf_counter()
    ends: list[float] = []
    said = begun
    job = train_detector(request)
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            return stop.value, [0.0, *(end - ready for end in ends)] if ends else []
        if isinstance(step.item, TrainPoint):
            if not ends:
                ready = last
            ends.append(time.perf_counter())
        last = time.perf_counter()
        if last - said > 20:
            said = last
            print(f"{last - begun:6.0f} s  {step.message}", file=sys.stderr, flush=True)


def score(model: str, images: Sequence[TrainImage], names: Sequence[str], device: str) -> Any:
    """Return AP and seconds of a model on images that it has not seen."""
    begun = time.perf_counter()
    requests = [ImageRequest(i.path, i.path, rgb=True) for i in images]
    found = run_job(detect_images(requests, model, device))
    seconds = time.perf_counter() - begun
    truth = {i.path: (i.boxes, i.class_ids) for i in images}
    result = evaluate_boxes(list(found.values()), truth, range(1, len(names) + 1))
    per_class = {names[c - 1]: m for c, m in result.per_class.items()}
    return {
        "images": len(images),
        "seconds_an_image_with_reading": round(seconds / len(images), 4),
        "map50": rounded(result.map50),
        "map5095": rounded(result.map5095),
        "map50_interval": [rounded(v) for v in result.interval or ()],
        "ap50": {name: rounded(m.ap50) for name, m in per_class.items()},
        "cells": {name: m.support for name, m in per_class.items()},
    }


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def wait(device: str) -> None:
    """Wait until a GPU has done what it was told."""
    import torch

    if torch.cuda.is_available() and device != "cpu":
        torch.cuda.synchronize()


def detection_times(detector: TorchDetector, pixels: np.ndarray, n: int) -> dict[str, float]:
    """Return median and p95, ms, of ``n`` detections after three to warm up."""
    times = []
    for k in range(n + 3):
        begun = time.perf_counter()
        detector.detect(pixels, image_id="a")
        times += [time.perf_counter() - begun] if k >= 3 else []
    return quantiles_ms(times)


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    p95 = float(np.percentile(seconds, 95))
    return {
        "median_ms": rounded(1e3 * statistics.median(seconds), 1),
        "p95_ms": round(1e3 * p95, 1),
    }


def plain_torchvision(
    images: Sequence[TrainImage], pixels: np.ndarray, device: str, steps: int, n: int
) -> dict[str, Any]:
    """Return the same figures for torchvision's own fast detector with its default settings."""
    import torch  # after the package, which tells OpenMP how to wait
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

    torch.manual_seed(0)
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    network = fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None, num_classes=len(NAMES) + 1
    ).to(place)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def example(image: TrainImage) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        plane = torch.from_numpy(read_plane(image.path, image.plane)).float() / 255
        boxes = torch.tensor(image.boxes)[:, [1, 0, 3, 2]].float().to(place)
        return plane.to(place), {"boxes": boxes, "labels": torch.tensor(image.class_ids).to(place)}

    times = []
    network.train()
    for k in range(steps + 1):
        begun = time.perf_counter()
        pictures, targets = zip(
            *(example(images[j % len(images)]) for j in (2 * k, 2 * k + 1)), strict=True
        )
        loss = sum(network(list(pictures), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait(device)
        times.append(time.perf_counter() - begun)
    network.eval()
    plane = torch.from_numpy(pixels).float().to(place) / 255
    found = []
    with torch.inference_mode():
        for _ in range(n + 3):
            begun = time.perf_counter()
            network([plane])
            wait(device)
            found.append(time.perf_counter() - begun)
    step_s = statistics.median(times[1:])
    return {
        "epoch_s": round(step_s * math.ceil(PICTURES / 2), 1),
        "epoch_from_steps": steps,
        "detect_640x480": quantiles_ms(found[3:]),
    }


def speed(
    architecture: str, device: str, *, pictures: int = PICTURES, epochs: int = 2, n: int = 20
) -> dict[str, Any]:
    """Return seconds an epoch and ms a detection, from random weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = draw_pictures(folder, pictures, (512, 512), 0)
        per_epoch = math.ceil(pictures / TrainSettings().batch_size)
        settings = TrainSettings(steps=epochs * per_epoch)
        begun = time.perf_counter()
        model, ends = train(
            images, NAMES, f"{name}/models", settings, architecture=architecture, device=device
        )
        whole = time.perf_counter() - begun
        detector = load_detector(model.folder, device)
        assert isinstance(detector, TorchDetector)
        picture = draw_pictures(folder, 1, (480, 640), 1, 40)[0]
        pixels = read_plane(picture.path, picture.plane)
        looks = detection_times(detector, pixels, n)
        marks = ends[::per_epoch]
        return {
            "architecture": architecture,
            "device": model.record.trained_on["device"],
            "network": dict(model.record.settings["network"]),
            "epoch_s": [round(b - a, 1) for a, b in pairwise(marks)],
            "whole_job_s": round(whole, 1),
            "detect_640x480": looks,
            "cells_found": len(detector.detect(pixels, image_id="a")),
            "plain_torchvision": plain_torchvision(images, pixels, device, 4 if n > 5 else 1, n),
        }


def splits_of(folder: Path) -> tuple[dict[str, list[TrainImage]], list[str]]:
    """Return BCCD's splits and class names."""
    ids: dict[str, int] = {}
    splits = {split: bccd(folder, split, ids) for split in ("train", "val", "test")}
    return splits, list(ids)


def trained_and_scored(
    splits: dict[str, list[TrainImage]],
    names: Sequence[str],
    folder: str,
    settings: TrainSettings,
    *,
    architecture: str,
    start: str,
    device: str,
) -> dict[str, Any]:
    """Return what a detector, trained on one split, scores on another; it stays in ``folder``."""
    model, ends = train(
        splits["train"],
        names,
        folder,
        settings,
        architecture=architecture,
        start=start,
        device=device,
        val_images=splits["val"],
    )
    return {
        "architecture": architecture,
        "start": model.record.start,
        "device": model.record.trained_on["device"],
        "settings": dict(model.record.settings["train"]),
        "network": dict(model.record.settings["network"]),
        "steps": len(ends) - 1,
        "train_s": round(ends[-1], 1),
        "train_images_a_second": round(settings.batch_size * (len(ends) - 1) / ends[-1], 2),
        "stopped": model.record.trained_on["stopped"],
        "validation": dict(model.record.metrics),
        "test": score(model.folder, splits["test"], names, device),
        "model": model.folder,
    }


def load() -> list[float]:
    """Return how busy the machine is, where the system says so."""
    return [round(v, 2) for v in os.getloadavg()] if hasattr(os, "getloadavg") else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="mobilenet_v2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bccd", type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--start", default="scratch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of minutes, so that it can be repeated")
    parser.add_argument("--images", type=int, help="train on this many, drawn by the seed")
    parser.add_argument("--keep", default="", metavar="DIR", help="where to keep BCCD's model")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument(
        "--shipped", type=Path, metavar="DIR", help="another detector in the shipped one's place"
    )
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    before = load()
    if a.shipped:
        # e.g. one made without BCCD, to see what labels are worth where nothing alike was seen
        shipped.FOLDER = start.FOLDER = a.shipped
    if a.bccd:
        splits, names = splits_of(a.bccd)
        if a.images:
            rng = np.random.default_rng(a.seed)
            drawn = rng.permutation(len(splits["train"]))[: a.images]
            splits["train"] = [splits["train"][k] for k in sorted(drawn)]
            splits["val"] = []  # a person with so few holds none back
        settings = TrainSettings(steps=a.steps or 1_000_000, seed=a.seed)
        if not a.steps:
            settings = settings.model_copy(update={"minutes": a.minutes})
        if a.rate:
            settings = settings.model_copy(update={"learning_rate": a.rate})
        with tempfile.TemporaryDirectory() as temporary:
            result = trained_and_scored(
                splits,
                names,
                a.keep or temporary,
                settings,
                architecture=a.architecture,
                start=a.start,
                device=a.device,
            )
    else:
        result = speed(a.architecture, a.device)
    result = {"load_before": before, "load_after": load(), **result}
    if a.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:22} {value}")


if __name__ == "__main__":
    main()
