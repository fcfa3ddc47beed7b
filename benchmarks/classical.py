"""Score the classical detector on the sample data, class-blind at IoU 0.5.

python benchmarks/classical.py [--data DIR] [--every N] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.io import imread
from skimage.measure import regionprops

from napari_cellal.detect.classical import find_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Example = tuple[np.ndarray, bool, np.ndarray]  # pixels [C, Y, X], rgb, boxes [N, 4]
REPOSITORY = Path(__file__).resolve().parents[1]


def read_plane(path: Path) -> tuple[np.ndarray, bool]:
    """Return pixels [C, Y, X] and whether they are colour; grey saved as colour is one channel."""
    image = imread(path)
    if image.ndim == 2:
        return image[None], False
    planes = np.moveaxis(image[..., :3], -1, 0)
    if (planes == planes[0]).all():
        return planes[:1], False
    return planes, True


def read_voc(path: Path) -> np.ndarray:
    """Return the boxes of a Pascal VOC file (1-based), those without area left out."""
    keys = ("ymin", "xmin", "ymax", "xmax")
    corners = [
        [float(box.findtext(key, "nan")) for key in keys]
        for box in ElementTree.parse(path).iter("bndbox")
    ]
    boxes = np.array(corners).reshape(-1, 4)
    return (boxes - [1, 1, 0, 0])[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def read_yolo(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the boxes of a YOLO file in px of an image of that (Y, X) shape."""
    rows = np.loadtxt(path, ndmin=2).reshape(-1, 5)
    _, x, y, wide, high = rows.T
    boxes = np.stack([y - high / 2, x - wide / 2, y + high / 2, x + wide / 2], axis=1)
    return boxes * [*shape, *shape]


def bccd_test(data: Path) -> Iterator[Example]:
    """Yield BCCD's test split with its own, incomplete boxes."""
    folder = data / "bccd/BCCD"
    for name in (folder / "ImageSets/Main/test.txt").read_text().split():
        pixels, rgb = read_plane(folder / f"JPEGImages/{name}.jpg")
        yield pixels, rgb, read_voc(folder / f"Annotations/{name}.xml")


def bccd_relabelled(data: Path) -> Iterator[Example]:
    """Yield BCCD images of train and val with complete boxes."""
    for row in rows_of(data / "bccd_relabelled/index.csv"):
        name = row["bccd_id"]
        pixels, rgb = read_plane(data / f"bccd/BCCD/JPEGImages/{name}.jpg")
        yield pixels, rgb, read_yolo(data / f"bccd_relabelled/labels/{name}.txt", pixels.shape[1:])


def txl_smears(data: Path) -> Iterator[Example]:
    """Yield smears of another hospital, never used for any constant of the detector."""
    folder = data / "txl_pbc_smears"
    for row in rows_of(folder / "index.csv"):
        pixels, rgb = read_plane(next((folder / "images").glob(row["name"] + ".*")))
        yield pixels, rgb, read_yolo(folder / f"labels/{row['name']}.txt", pixels.shape[1:])


def dsb2018(kind: str, *, unseen: bool = False) -> Callable[[Path], Iterator[Example]]:
    """Return a reader of one kind of nuclei images; `unseen`: those the weights did not see."""

    def read(data: Path) -> Iterator[Example]:
        folder = data / "dsb2018_subset"
        rows = [row for row in rows_of(folder / "index.csv") if row["kind"] == kind]
        for row in rows[1::2] if unseen else rows:
            pixels, rgb = read_plane(next((folder / "images").glob(row["name"] + "*")))
            labels = imread(next((folder / "labels").glob(row["name"] + "*")))
            boxes = np.array([region.bbox for region in regionprops(labels)])
            yield pixels, rgb, boxes.reshape(-1, 4)

    return read


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


DATASETS: dict[str, Callable[[Path], Iterator[Example]]] = {
    "bccd_test": bccd_test,
    "bccd_relabelled": bccd_relabelled,
    "dsb2018_fluorescence": dsb2018("fluo"),
    "dsb2018_fluorescence_unseen": dsb2018("fluo", unseen=True),
    "dsb2018_stained": dsb2018("stain"),
    "dsb2018_stained_unseen": dsb2018("stain", unseen=True),
    "dsb2018_brightfield": dsb2018("gray-bright"),
    "txl_pbc_smears": txl_smears,
}


def count_matches(boxes: np.ndarray, truth: np.ndarray) -> int:
    """Return one-to-one matches at IoU 0.5, the best-scored box choosing first."""
    free = np.ones(len(truth), bool)
    for box in boxes:
        low, high = np.maximum(box[:2], truth[:, :2]), np.minimum(box[2:], truth[:, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        both = np.prod(box[2:] - box[:2]) + np.prod(truth[:, 2:] - truth[:, :2], axis=1)
        iou = np.where(free, shared / (both - shared), 0)
        if iou.size and iou.max() >= 0.5:
            free[iou.argmax()] = False
    return int((~free).sum())


def score(examples: Iterator[Example], every: int) -> dict[str, Any]:
    """Return the figures of one data set."""
    hits = found = true = 0
    seconds = []
    for index, (pixels, rgb, truth) in enumerate(examples):
        if index % every:
            continue
        start = time.perf_counter()
        boxes, _ = find_cells(pixels, rgb=rgb)
        seconds.append(time.perf_counter() - start)
        hits += count_matches(boxes, truth)
        found += len(boxes)
        true += len(truth)
    return {
        "images": len(seconds),
        "cells": true,
        "precision": round(hits / max(found, 1), 3),
        "recall": round(hits / max(true, 1), 3),
        "f1": round(2 * hits / max(found + true, 1), 3),
        "seconds_median": round(float(np.median(seconds)), 3),
        "seconds_p95": round(float(np.quantile(seconds, 0.95)), 3),
    }


def main() -> None:
    """Print one line a data set, or one JSON object."""
    default = os.environ.get("NAPARI_CELLAL_DATA", REPOSITORY.parent / "shared/data")
    parser = argparse.ArgumentParser(description="classical detector, class-blind, IoU 0.5")
    parser.add_argument("--data", type=Path, default=Path(default), help="sample data folder")
    parser.add_argument("--every", type=int, default=1, help="take every Nth image")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name, read in DATASETS.items():
        try:
            results[name] = score(read(chosen.data), chosen.every)
        except FileNotFoundError as missing:
            results[name] = {"missing": str(missing.filename)}
        if not chosen.json:
            line = "  ".join(f"{key} {value}" for key, value in results[name].items())
            print(f"{name:28s} {line}", flush=True)
    if chosen.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
