"""A step of training beside the same network trained as torchvision's own parts do it.

python benchmarks/plain_training.py BCCD [--preset fast] [--steps 8] [--json]

``plain``: torchvision's RoIAlign, norms on the pictures, float32, channels apart. Both learn from
the same pictures with the same starting weights, in turns; times are the CPU's, of one thread, of
the network and the optimizer alone. The losses must be alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import detector_speed as bench
from napari_cellal.core.progress import run_job
from napari_cellal.detect import faster_rcnn, lessons, train
from napari_cellal.detect.dataset import batches
from napari_cellal.detect.presets import find_preset
from napari_cellal.detect.requests import TrainRequest
from napari_cellal.io.reading import read_plane


def plain_pool(arch: Any, settings: Any, side: int) -> Any:
    """Return torchvision's own way of cutting regions out."""
    from torchvision.ops import MultiScaleRoIAlign

    levels = [str(k) for k in range(min(len(settings.anchor_sizes), len(arch.layers)))]
    return MultiScaleRoIAlign(levels, side, 2, canonical_scale=faster_rcnn._ROI_CANONICAL_PX)


def prepared(request: TrainRequest, *, plain: bool) -> tuple[Any, Any]:
    """Return what a training begins with, and what takes its steps."""
    import torch  # after the package, which tells OpenMP how to wait

    if not plain:
        ready = run_job(train.prepare(request, read_plane))
    else:
        with (
            patch.object(faster_rcnn, "cell_pool", plain_pool),
            patch.object(train, "fold_while_learning", lambda network: None),
        ):
            ready = run_job(train.prepare(request, read_plane))
        ready.network.to(memory_format=torch.contiguous_format)
    return ready, lessons.stepper_of(ready.network, ready.device, request.settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bccd", type=Path)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--start", default="shipped")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    ids: dict[str, int] = {}
    images = bench.bccd(a.bccd, "train", ids)[:20]
    preset = find_preset(a.preset)
    with tempfile.TemporaryDirectory() as folder:
        request = TrainRequest(
            tuple(images),
            tuple(ids.values()),
            tuple(ids),
            folder,
            architecture=preset.architecture,
            start=a.start,
            settings=preset.settings,
            device="cpu",
        )
        before = bench.load()
        ways = {way: prepared(request, plain=way == "plain") for way in ("ours", "plain")}
        shown = batches(ways["ours"][0].pictures, request.settings)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        losses: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(a.steps + 1):  # the first warms up
            batch = next(shown)
            for way, (_, stepper) in ways.items():
                single = patch.object(lessons, "autocast", lambda device: nullcontext())
                with single if way == "plain" else nullcontext():
                    begun = time.process_time()
                    loss = stepper.step(batch, 1e-5, number)
                if number:
                    seconds[way].append(time.process_time() - begun)
                    losses[way].append(round(loss, 3))
    result = {"load": [before, bench.load()], "preset": a.preset, "batch": len(batch)}
    for way in ways:
        each = statistics.median(seconds[way])
        result[way] = {"cpu_ms_a_step": round(1e3 * each), "losses": losses[way]}
    print(json.dumps(result, indent=None if a.json else 1))


if __name__ == "__main__":
    main()
