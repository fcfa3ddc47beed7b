"""Trainings on drawn fluorescence fields of five channels: what jitter brings, what masks cost.

python benchmarks/drawn_fields.py jitter [--steps 40] [--seeds 0 1]
python benchmarks/drawn_fields.py masks [--steps 20]

``jitter`` trains with and without ``channel_jitter`` on 6 fields of half size and measures on 8
others, as they are and as another day's staining would give them: each channel with a gain of 0.5
to 2 and a gamma of 0.8 to 1.25 of its own. ``masks`` times the presets fast and masks on the same
6 fields of full size, one after the other, twice; the first two steps of each warm up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import numpy as np

from napari_cellal.core.masks import mask_of
from napari_cellal.core.progress import run_job
from napari_cellal.detect.presets import find_preset
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import TrainImage, TrainRequest
from napari_cellal.detect.train import train_detector
from napari_cellal.evaluate.metrics import evaluate_boxes
from napari_cellal.io.samples.fluorescence import CELL_PX, FIELD_CHANNELS, FIELD_CLASSES, make_field
from napari_cellal.networks.points import TrainPoint

IDS = dict(zip(FIELD_CLASSES, range(1, 9), strict=False))


class Fields:
    """Drawn fields by the names that a training knows them under."""

    def __init__(self, numbers: range, share: float) -> None:
        size = (round(520 * share), round(696 * share))
        self.drawn = {str(n): make_field(n, size, cell_px=CELL_PX * share) for n in numbers}

    def read(self, path: str, _plane: object) -> np.ndarray:
        return self.drawn[path].pixels

    def images(self) -> tuple[TrainImage, ...]:
        return tuple(
            TrainImage(
                name,
                tuple(tuple(map(float, box)) for box in field.boxes),
                tuple(IDS[k] for k in field.class_names),
                masks=tuple(mask_of(field.labels == k + 1) for k in range(len(field.boxes))),
            )
            for name, field in self.drawn.items()
        )


def train(fields: Fields, folder: str, preset: str, **changes: object) -> tuple[str, list[float]]:
    """Return the model's folder, and CPU seconds at each step's end."""
    chosen = find_preset(preset)
    request = TrainRequest(
        fields.images(),
        tuple(IDS.values()),
        tuple(IDS),
        folder,
        channels=FIELD_CHANNELS,
        architecture=chosen.architecture,
        start="shipped",
        device="cpu",
        settings=chosen.settings.model_copy(update=changes),
    )
    ends: list[float] = []

    def hear(step: object) -> None:
        if isinstance(getattr(step, "item", None), TrainPoint):
            ends.append(time.process_time())

    return run_job(train_detector(request, reader=fields.read), hear).folder, ends


def restained(pixels: np.ndarray, number: int) -> np.ndarray:
    """Return a field as another day's staining would give it."""
    rng = np.random.default_rng([number, 7])
    top = pixels.reshape(len(pixels), -1).max(axis=1)[:, None, None].astype(float)
    gain = np.exp(rng.uniform(-np.log(2), np.log(2), (len(pixels), 1, 1)))
    gamma = np.exp(rng.uniform(-np.log(1.25), np.log(1.25), (len(pixels), 1, 1)))
    return np.clip((pixels / top) ** gamma * gain * top, 0, 65535).astype(np.uint16)


def map50(folder: str, fields: Fields, *, other_day: bool) -> float:
    detector = load_detector(folder, "cpu")
    found, truth = [], {}
    for image in fields.images():
        pixels = fields.read(image.path, None)
        pixels = restained(pixels, int(image.path)) if other_day else pixels
        found.append(detector.detect(pixels, image_id=image.path))
        truth[image.path] = (image.boxes, image.class_ids)
    figures = evaluate_boxes(found, truth, {k: name for name, k in IDS.items()})
    return float(figures.map50 or 0)


def jitter(steps: int, seeds: list[int]) -> None:
    test = Fields(range(1000, 1008), 0.5)
    print("| channel_jitter | seed | mAP50 as drawn | another staining |\n|---|---|---|---|")
    for seed in seeds:
        fields = Fields(range(100 * seed, 100 * seed + 6), 0.5)
        for amount in (0.0, 0.2):
            with tempfile.TemporaryDirectory() as folder:
                model, _ = train(
                    fields, folder, "fast", steps=steps, seed=seed, channel_jitter=amount
                )
                scores = [map50(model, test, other_day=day) for day in (False, True)]
            print(f"| {amount} | {seed} | {scores[0]:.3f} | {scores[1]:.3f} |", flush=True)


def masks(steps: int) -> None:
    fields = Fields(range(6), 1.0)
    print("| preset | CPU s a step, median | load |\n|---|---|---|")
    for preset in ("fast", "masks") * 2:
        with tempfile.TemporaryDirectory() as folder:
            _, ends = train(fields, folder, preset, steps=steps)
        seconds = statistics.median(np.diff(ends)[1:])
        print(f"| {preset} | {seconds:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["jitter", "masks"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    a = parser.parse_args()
    if a.what == "jitter":
        jitter(a.steps or 40, a.seeds)
    else:
        masks(a.steps or 20)


if __name__ == "__main__":
    main()
