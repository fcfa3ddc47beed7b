"""What is doubled, cut or lost at the seams of a large image's parts and tiles.

python benchmarks/seams.py [--side 10000] [--cell-px 60] [--model DIR] [--json]

A drawn smear of 10,000 x 10,000 px with known cells, in a tiled TIFF, is searched as the window
searches a large image. Every network errs; what counts is how much more often it errs at
cells that the border of a part or of a tile crosses than at the others of the same image.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from detector_speed import load
from napari_cellal.core.progress import run_job
from napari_cellal.detect import jobs, large
from napari_cellal.detect.requests import ImageRequest
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import FOLDER
from napari_cellal.detect.tiles import tiles_of
from napari_cellal.io import planes
from napari_cellal.io.samples.smears import make_smear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.core.progress import Progress
    from napari_cellal.core.records import Detections
    from napari_cellal.detect.predict import TorchDetector

    Seam = tuple[int, float, float, float]

DRAWINGS = 8  # each is shown in eight positions
BLOCK_PX = 1000
NEAR_PX = 8.0  # a cell this near to a seam may be taken for cut


def draw(path: Path, side: int, cell_px: float) -> NDArray[np.float64]:
    """Write the image; return its cells (y0, x0, y1, x1) but those cut where drawings meet."""
    rng = np.random.default_rng(0)
    drawings = [make_smear(k, (BLOCK_PX, BLOCK_PX), cell_px=cell_px) for k in range(DRAWINGS)]
    image = np.zeros((side, side, 3), np.uint8)
    rows = []
    for y in range(0, side, BLOCK_PX):
        for x in range(0, side, BLOCK_PX):
            drawing = drawings[int(rng.integers(DRAWINGS))]
            pixels, boxes = drawing.pixels, drawing.boxes.astype(float)
            if rng.random() < 0.5:
                pixels, boxes = pixels.transpose(0, 2, 1), boxes[:, [1, 0, 3, 2]]
            for axis in range(2):
                if rng.random() < 0.5:
                    pixels = np.flip(pixels, axis + 1)
                    boxes = boxes.copy()
                    boxes[:, [axis, axis + 2]] = BLOCK_PX - boxes[:, [axis + 2, axis]]
            shown = image[y : y + BLOCK_PX, x : x + BLOCK_PX]
            shown[:] = pixels.transpose(1, 2, 0)[: shown.shape[0], : shown.shape[1]]
            ends = np.array(shown.shape[:2])
            inside = (boxes[:, :2] > 2).all(1) & (boxes[:, 2:] < ends - 2).all(1)
            rows.append(boxes[inside] + np.array([y, x, y, x]))
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", compression="zlib")
    return np.concatenate(rows)


def seams_of(detector: TorchDetector, side: int) -> dict[str, list[Seam]]:
    """Return the borders of parts and of tiles as (axis, where, from, to), px."""
    found: dict[str, list[Seam]] = {"part": [], "tile": []}

    def add(kind: str, y0: float, x0: float, y1: float, x1: float) -> None:
        for axis, at, low, high in (
            (0, y0, x0, x1),
            (0, y1, x0, x1),
            (1, x0, y0, y1),
            (1, x1, y0, y1),
        ):
            if 0 < at < side:
                found[kind].append((axis, at, low, high))

    scale = detector._fitted[1] or detector._shape.scale
    near_px = max(2.0, 1.5 / scale)  # as in predict.TorchDetector._search_tiles
    overlap = int(np.ceil(detector._shape.largest_box_px + 2 * near_px)) + 1
    for part in large.parts_of((side, side), large.PART_PX, detector.margin_px):
        add("part", *part.core)
        y, x, y1, x1 = part.window
        for t in tiles_of((y1 - y, x1 - x), max(1, int(detector._tile_px / scale)), overlap):
            add("tile", y + t.y0, x + t.x0, y + t.y1, x + t.x1)
    return found


def touched(boxes: NDArray[Any], seams: list[Seam]) -> NDArray[np.bool_]:
    """Return bool[N]: which boxes a seam crosses, or passes by."""
    result = np.zeros(len(boxes), bool)
    for axis, at, low, high in seams:
        other = 1 - axis
        result |= (
            (boxes[:, axis] - NEAR_PX < at)
            & (boxes[:, axis + 2] + NEAR_PX > at)
            & (boxes[:, other] < high)
            & (boxes[:, other + 2] > low)
        )
    return result


def overlaps(truth: NDArray[Any], boxes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return int[N], boxes by cell at IoU 0.5, and float[M], each box's best IoU with a cell."""
    hits, best = np.zeros(len(truth), int), np.zeros(len(boxes))
    order = np.argsort(boxes[:, 0])
    tops = boxes[order, 0]
    tallest = float((boxes[:, 2] - boxes[:, 0]).max(initial=0))
    for k, cell in enumerate(truth):
        near = order[slice(*np.searchsorted(tops, [cell[0] - tallest, cell[2]]))]
        b = boxes[near]
        sides = np.minimum(cell[2:], b[:, 2:]) - np.maximum(cell[:2], b[:, :2])
        common = sides.clip(0).prod(1)
        iou = common / ((cell[2:] - cell[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1) - common)
        hits[k] = int((iou >= 0.5).sum())
        best[near] = np.maximum(best[near], iou)
    return hits, best


def errors(truth: NDArray[Any], found: Detections, score: float, seams: dict[str, Any]) -> Any:
    """Return how often cells are missed or doubled, and boxes are no cell, by where they lie."""
    boxes = np.asarray([b for b, s in zip(found.boxes, found.scores, strict=True) if s >= score])
    hits, best = overlaps(truth, boxes)
    # where drawings meet nothing is known of the cells
    edge = np.minimum(boxes % BLOCK_PX, BLOCK_PX - boxes % BLOCK_PX).min(1) < 40
    edge |= (boxes[:, :2] // BLOCK_PX != boxes[:, 2:] // BLOCK_PX).any(1)
    boxes, best = boxes[~edge], best[~edge]
    result: dict[str, Any] = {"cells": len(truth), "boxes": len(found)}
    at_part, at_tile = (touched(truth, seams[kind]) for kind in ("part", "tile"))
    box_part, box_tile = (touched(boxes, seams[kind]) for kind in ("part", "tile"))
    for name, cells, mine in (
        ("part borders", at_part, box_part),
        ("tile borders", at_tile & ~at_part, box_tile & ~box_part),
        ("elsewhere", ~at_tile & ~at_part, ~box_tile & ~box_part),
    ):
        result[name] = {
            "cells": int(cells.sum()),
            "missed": int((hits[cells] == 0).sum()),
            "doubled": int((hits[cells] > 1).sum()),
            "boxes that are no cell": int((best[mine] < 0.5).sum()),
        }
    rate = {
        name: (row["missed"] + row["doubled"] + row["boxes that are no cell"])
        / max(1, row["cells"])
        for name, row in result.items()
        if isinstance(row, dict)
    }
    extra = sum(
        max(0.0, rate[name] - rate["elsewhere"]) * result[name]["cells"]
        for name in ("part borders", "tile borders")
    )
    result["errors in 100 cells"] = {name: round(100 * value, 2) for name, value in rate.items()}
    result["seam errors in 100 cells of the image"] = round(100 * extra / len(truth), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--cell-px", type=float, default=60.0)
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--score", type=float, default=0.4)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    before = load()
    kept: list[TorchDetector] = []
    make = jobs.load_detector

    def kept_detector(*args: Any, **more: Any) -> Any:
        kept.append(make(*args, **more))
        return kept[0]

    planes._LARGE_PLANE = 0  # in parts also where the image would fit the memory
    jobs.load_detector = kept_detector  # to ask it for its tiles afterwards

    def tell(step: Progress) -> None:
        print(f"{time.perf_counter() - begun:6.0f} s  {step.message}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "smear.tif")
        truth = draw(path, a.side, a.cell_px)
        drawn_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun = time.perf_counter()
        request = ImageRequest("a", str(path), rgb=True)
        settings = PredictSettings(keep_score=0.3)
        found = run_job(jobs.detect_images([request], a.model, "cpu", settings), tell)["a"]
        seconds = time.perf_counter() - begun
    result = {
        "load": [before, load()],
        "seconds": round(seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_mb_while_drawing": round(drawn_mb),
        **errors(truth, found, a.score, seams_of(kept[0], a.side)),
    }
    if a.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:40} {value}")


if __name__ == "__main__":
    main()
