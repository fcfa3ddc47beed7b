"""What a training on few images of BCCD brings: draws x numbers of images x starts, as a table.

python benchmarks/few_images.py BCCD --out FILE.jsonl [--images 5 20] [--draws 5]
    [--start shipped DIR ...] [--set learning_rate=2e-4 ...] [--on test] [--table]

BCCD holds JPEGImages, Annotations and ImageSets. Images are drawn from its train split by the
number of the draw, which is the training's seed too; nothing is held out. ``--start`` takes
``shipped``, or the folder of a detector that stands in its place (one that has not seen BCCD, say;
see `train_shipped.py`), or imagenet, coco, scratch. Every run adds a line to FILE; those that are
there already are not run again, so a script that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from detector_speed import load, score, splits_of, train
from napari_cellal.detect import shipped, start
from napari_cellal.detect.presets import find_preset, for_images
from napari_cellal.detect.settings import TrainSettings

OWN = shipped.FOLDER


def placed(name: str) -> str:
    """Return what a training is told to start from, with a folder in the shipped one's place."""
    folder = Path(name) if Path(name, "card.json").is_file() else OWN
    shipped.FOLDER = start.FOLDER = folder
    shipped.shipped_record.cache_clear()
    return name if folder == OWN else "shipped"


def changes(words: list[str]) -> dict[str, Any]:
    """Return {setting: value} of ``setting=value``; values are JSON, or words."""
    result = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            result[key] = json.loads(value)
        except json.JSONDecodeError:
            result[key] = value
    return result


def one_run(splits: Any, names: Any, key: dict[str, Any]) -> dict[str, Any]:
    """Return a line: what one draw came to."""
    rng = np.random.default_rng(key["draw"])
    drawn = rng.permutation(len(splits["train"]))[: key["images"]]
    images = [splits["train"][k] for k in sorted(drawn)]
    told = placed(key["start"])
    usual = find_preset("fast").settings
    if told == shipped.SHIPPED:
        usual = for_images(usual, key["images"])  # as `workflows.training` does
    settings = TrainSettings.model_validate(
        {**usual.model_dump(), "seed": key["draw"], **key["set"]}
    )
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        model, ends = train(images, names, folder, settings, start=told, device=key["device"])
        return {
            **key,
            **score(model.folder, splits[key["on"]], names, key["device"]),
            "images": key["images"],
            "steps": len(ends) - 1,
            "train_s": round(ends[-1], 1),
            "load": [before, load()],
        }


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print means and standard deviations over the draws, one row a start, number and settings."""
    groups = defaultdict(list)
    for line in lines:
        told = " ".join(f"{k}={v}" for k, v in line["set"].items()) or "as they are"
        groups[line["start"], line["images"], told, line["on"]].append(line)
    print("| start | images | settings | on | draws | steps, s | mAP50 | mAP50:95 | by class |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (begun, n, told, on), rows in sorted(groups.items()):
        by_class = ", ".join(
            f"{statistics.mean(r['ap50'][name] for r in rows):.3f}" for name in rows[0]["ap50"]
        )
        seconds = statistics.median(r["train_s"] for r in rows)
        print(
            f"| {Path(begun).parent.name or begun} | {n} | {told} | {on} | {len(rows)} "
            f"| {rows[0]['steps']}, {seconds:.0f} | {spread([r['map50'] for r in rows])} "
            f"| {spread([r['map5095'] for r in rows])} | {by_class} |"
        )


def spread(values: list[float]) -> str:
    sd = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{sd}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bccd", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--draws", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--start", nargs="+", default=["shipped"])
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--on", choices=["val", "test"], default="test")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    a = parser.parse_args()
    splits, names = splits_of(a.bccd)
    wanted = [
        {
            "start": begun,
            "images": n,
            "draw": draw,
            "on": a.on,
            "device": a.device,
            "set": changes(a.set),
        }
        for draw in a.draws
        for n in a.images
        for begun in a.start
    ]
    for key in [] if a.table else wanted:
        if not any(key.items() <= line.items() for line in kept(a.out)):
            line = one_run(splits, names, key)
            with a.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    print_table(kept(a.out))


if __name__ == "__main__":
    main()
