"""Train MobileNetV2 and ResNet-50 on BCCD with a CUDA GPU; write AP, speed and weights to $OUT.

python benchmarks/gpu.py DIR [--minutes 3] [--batch 8]     at most 10 minutes in all
python benchmarks/gpu.py --smoke                           on the CPU, with drawn pictures

DIR holds JPEGImages, Annotations and ImageSets. $OUT/gpu.json gets the figures after each
step; $OUT/NAME_half.safetensors the weights in half precision, for ``--start FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

import detector_speed as bench
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.networks.model_files import WEIGHTS

ARCHITECTURES = ("mobilenet_v2", "resnet50")


def drawn(folder: Path) -> tuple[dict[str, list[bench.TrainImage]], list[str]]:
    """Return small drawn splits."""
    rows = {"train": (4, 0), "val": (1, 1), "test": (2, 2)}
    splits = {
        name: bench.draw_pictures(folder, n, (160, 192), seed, 4)
        for name, (n, seed) in rows.items()
    }
    return splits, list(bench.NAMES)


def halved(model: str, path: Path) -> None:
    """Write a model's weights in half precision."""
    tensors = load_file(Path(model) / WEIGHTS)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bccd", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, each architecture")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--start", default="scratch")
    parser.add_argument("--smoke", action="store_true")
    a = parser.parse_args()
    if not a.smoke and a.bccd is None:
        parser.error("give BCCD's folder, or --smoke")
    device = "cpu" if a.smoke else "cuda"
    out = Path(os.environ.get("OUT") or tempfile.mkdtemp())
    settings = TrainSettings(
        steps=2 if a.smoke else 1_000_000,
        minutes=None if a.smoke else a.minutes,
        batch_size=2 if a.smoke else a.batch,
        learning_rate=a.rate,
        validate_every=150,
    )
    results: dict[str, Any] = {}

    def keep(key: str, value: Any) -> None:
        """Write what there is, so that a run cut short leaves something."""
        results[key] = value
        (out / "gpu.json").write_text(json.dumps(results, indent=2))
        print(key, json.dumps(value), flush=True)

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        splits, names = drawn(Path(name)) if a.smoke else bench.splits_of(a.bccd)
        for architecture in ARCHITECTURES:
            trained = bench.trained_and_scored(
                splits,
                names,
                f"{name}/models",
                settings,
                architecture=architecture,
                start=a.start,
                device=device,
            )
            halved(trained["model"], out / f"{architecture}_half.safetensors")
            keep(f"trained_{architecture}", trained)
        for architecture in ARCHITECTURES[: 1 if a.smoke else None]:
            few = {"pictures": 2, "epochs": 1, "n": 1} if a.smoke else {}
            keep(f"speed_{architecture}", bench.speed(architecture, device, **few))
    keep("seconds", round(time.perf_counter() - begun, 1))
    print(out)


if __name__ == "__main__":
    main()
