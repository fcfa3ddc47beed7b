"""The shipped detector beside the same network run as torchvision runs one, on BCCD's test split.

python benchmarks/plain_detection.py BCCD [--images 24] [--model DIR] [--json]

``plain, 800``: torchvision's own resizing with its default of 800 px and its RoIAlign, one picture
at a time, the network as it was trained; ``plain, own size``: the same at the size that the
detector was made for.
``flips``: ours with mirrored looks. Times are the CPU's, of one thread, so that other work on the
machine counts little; the ways take turns at every image.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import detector_speed as bench
from napari_cellal.core.records import Detections
from napari_cellal.detect import faster_rcnn
from napari_cellal.detect.predict import first_scale
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.settings import PredictSettings
from napari_cellal.detect.shipped import FOLDER, class_map
from napari_cellal.detect.weights import load_model, network_settings
from napari_cellal.evaluate.metrics import evaluate_boxes
from napari_cellal.io.reading import read_plane
from plain_training import plain_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


BCCD_PX = (480, 640)


def plain(folder: Path, side: int | None) -> Callable[..., Detections]:
    """Return a network in torchvision's own way, with pictures of this short side."""
    import torch  # after the package, which tells OpenMP how to wait
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    from napari_cellal.networks.normalization import Normalization

    with patch.object(faster_rcnn, "cell_pool", plain_pool):
        record, network = load_model(folder)
    if side is None:
        side = round(first_scale(network_settings(record), BCCD_PX) * min(BCCD_PX))
    norm = Normalization.from_dict(record.normalization)
    network.transform = GeneralizedRCNNTransform(side, 1333, list(norm.mean), list(norm.std))
    network.limit(PredictSettings(keep_score=0.05))
    network.eval()  # the new transform too, or boxes stay in its own px

    def detect(pixels: np.ndarray, *, image_id: str) -> Detections:
        with torch.inference_mode():
            (found,) = network([torch.from_numpy(norm.to_unit(pixels))])
        boxes = found["boxes"][:, [1, 0, 3, 2]].tolist()
        ids = tuple(record.class_ids[k - 1] for k in found["labels"].tolist())
        return Detections(
            image_id, tuple(map(tuple, boxes)), tuple(found["scores"].tolist()), ids, "plain"
        )

    return detect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bccd", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--model", type=Path, default=FOLDER, help="a detector of BCCD's classes")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    ids: dict[str, int] = {}
    images = bench.bccd(a.bccd, "test", ids)[: a.images]
    known = {k: k for k in ids.values()}  # a model of the project has its classes
    if a.model == FOLDER:
        pairs = class_map((k, n) for n, k in ids.items())
        known = {theirs: ours for ours, theirs in pairs.items()}
    truth = {i.path: (i.boxes, [known[c] for c in i.class_ids]) for i in images}
    low = PredictSettings(keep_score=0.05)
    ways: dict[str, Callable[..., Detections]] = {
        "ours": load_detector(a.model, "cpu", low).detect,
        "plain, own size": plain(a.model, None),
        "plain, 800": plain(a.model, 800),
        "flips": load_detector(a.model, "cpu", low.model_copy(update={"flips": True})).detect,
    }
    found: dict[str, list[Detections]] = {way: [] for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    before = bench.load()
    for k, image in enumerate([images[0], *images]):  # the first warms up
        pixels = read_plane(image.path, image.plane)
        for way, detect in ways.items():
            begun = time.process_time()
            result = detect(pixels, image_id=image.path)
            if k:
                seconds[way].append(time.process_time() - begun)
                found[way].append(result)
    result: dict[str, Any] = {"images": len(images), "load": [before, bench.load()]}
    for way, rows in found.items():
        measured = evaluate_boxes(rows, truth, sorted(set(known.values())))
        result[way] = {
            "cpu_ms": round(1e3 * statistics.median(seconds[way]), 1),
            "map50": bench.rounded(measured.map50),
            "map5095": bench.rounded(measured.map5095),
        }
    print(json.dumps(result, indent=None if a.json else 1))


if __name__ == "__main__":
    main()
