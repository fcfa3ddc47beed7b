"""The command line's arguments."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from napari_cellal import __version__
from napari_cellal.core.records import Split

from . import (
    classifiers,
    exchange,
    images,
    labelling,
    models,
    projects,
    reporting,
    scanning,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _count(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _minutes(text: str) -> float:
    if not 0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError("must not be negative")
    return float(text)


def _rate(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError("must be above 0")
    return float(text)


def _score(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return float(text)


def _overlap(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError("must lie above 0, and at most at 1")
    return float(text)


def _shrink(text: str) -> float:
    if not 1 <= float(text) <= 16:
        raise argparse.ArgumentTypeError("must lie between 1 and 16")
    return float(text)


_PLANE_HELP = "N|each|max|mean"


def _plane(*words: str) -> Callable[[str], int | str]:
    def plane(text: str) -> int | str:
        return text if text in words else _count(text)

    return plane


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; ``run`` of what it gives is the command."""
    parser = argparse.ArgumentParser(
        "napari-cellal", description="Find cells, correct the machine, and be repaid at once."
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, does: str, *, project: bool = True) -> Any:
        p = subparsers.add_parser(name, help=does, description=does)
        p.set_defaults(run=run)
        if project:
            p.add_argument("project", help="a .cellal folder")
        p.add_argument("--json", action="store_true", help="print one JSON object")
        p.add_argument("--seed", type=_count, help="default: the project's")
        p.add_argument("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto")
        return p

    p = command(
        "demo", projects.demo, "the main job end to end, with a scripted person", project=False
    )
    p.add_argument("--data", default="synthetic", help="synthetic, bccd, or a VOC folder")
    p.add_argument("--project", help="keep the project here")
    p.add_argument("--headless", action="store_true", help="open no window")
    p.add_argument("--screenshot", help="write a picture of the window (PNG)")
    p.add_argument("--answers", type=_count, default=60)
    p.add_argument("--train-minutes", type=_minutes, default=2.0, help="0 trains no detector")
    p.add_argument("--preset", default="fast")
    p.add_argument("--start", default="auto")

    p = command("new", projects.new, "make a project")
    p.add_argument("--classes", action="append", default=[], help="A,B,C")

    p = command("add", images.add, "add images")
    p.add_argument("paths", nargs="+", help="image files and folders")
    p.add_argument(
        "--pattern",
        default="",
        help="one file a channel: plate, hpa, rxrx1, or e.g. '{plate}_{well}_s{site}_w{channel}'",
    )
    p.add_argument("--dry-run", action="store_true", help="only show the grouping")
    p.add_argument("--channels", default="", help="names for the channels, A,B,C")
    p.add_argument("--z", type=_plane("max", "mean", "focus", "each"), help=_PLANE_HELP + "|focus")
    p.add_argument("--t", type=_plane("max", "mean", "each"), help=_PLANE_HELP)
    p.add_argument(
        "--split", action="extend", nargs="+", default=[], help="train=FILE val=FILE test=FILE"
    )

    p = command("split", images.split, "say what images are for")
    p.add_argument("split", choices=[s.value for s in Split])
    p.add_argument("images", nargs="+", help="names of images, or patterns, e.g. 'A1_*'")

    p = command("refresh", images.refresh, "look for image files that have changed")
    p.add_argument("--accept", action="store_true", help="take changed files as they are now")

    p = command("remove", images.remove, "take images and their boxes out; no file is touched")
    p.add_argument("images", nargs="+", help="names of images, or patterns, e.g. 'A1_*'")
    p.add_argument(
        "--with-reviewed", action="store_true", help="also images with cells that a person reviewed"
    )

    exchange.add_import(command("import", exchange.import_, "bring annotations in"))

    p = command("info", projects.info, "what a project holds")
    p.add_argument("--images", action="store_true", help="also name every image")

    p = command("detect", models.detect, "propose boxes")
    p.add_argument("--model", default="auto", help="auto, shipped, classical, or a model's id")
    p.add_argument("--score", type=_score, default=0.0, help="keep proposals that score this")
    p.add_argument("--flips", action="store_true", help="look at each image mirrored too")
    p.add_argument(
        "--same-class-iou",
        type=_overlap,
        default=0.5,
        help="of boxes of one class that overlap by more the better is kept",
    )
    p.add_argument(
        "--any-class-iou", type=_overlap, default=0.7, help="the same for boxes of two classes"
    )
    p.add_argument(
        "--images", default="*", help="only these images: a name or a pattern, e.g. 'A1_*'"
    )

    scanning.add_scan(
        command("scan", scanning.scan, "search plates, folders and slides; can be broken off"),
        _score,
        _count,
    )

    exchange.add_measure(command("measure", exchange.measure, "write the table of measurements"))

    p = command("table", tables.table, "sum up: a line a cell, an image or a well")
    tables.add_table(p)
    p.add_argument("--score", type=_score, default=0.0, help="only proposals that score this")

    p = command("suggest", labelling.suggest, "the next cells to label")
    p.add_argument("-n", type=_count, default=10)
    p.add_argument("--strategy", default="automatic")
    p.add_argument(
        "--check-labels", action="store_true", help="also list labels that are probably slips"
    )
    p.add_argument(
        "--control", action="store_true", help="also replay random picks from the labels"
    )
    p.add_argument(
        "--images", action="store_true", help="which images to finish next, instead of cells"
    )
    p.add_argument("--like", default="", help="the class that --strategy rare looks for")
    p.add_argument("--estimator", default="self_training")
    exchange.add_features(p)

    p = command("label", labelling.label, "give a cell a class")
    p.add_argument("cell")
    p.add_argument("class_name", metavar="CLASS")

    p = command("review", labelling.review, "accept, reject, set aside or reopen cells")
    p.add_argument("action", choices=["accept", "reject", "unsure", "reopen"])
    p.add_argument("cells", nargs="+")

    p = command("train", models.train, "train a detector or a classifier", project=False)
    p.add_argument("kind", choices=["detector", "classifier"])
    p.add_argument("project", help="a .cellal folder; for a classifier also a folder of pictures")
    p.add_argument("--preset", help="default: fast; for a classifier simple")
    p.add_argument(
        "--start", default="auto", help="auto, shipped, coco, imagenet, scratch, a model, a file"
    )
    p.add_argument("--steps", type=_positive)
    p.add_argument("--minutes", type=_minutes, help="0 sets no limit")
    p.add_argument("--rate", type=_rate, help="learning rate")
    p.add_argument(
        "--find-rate", action="store_true", help="only look for a learning rate; trains nothing"
    )
    p.add_argument(
        "--composite",
        choices=["none", "pca", "colors"],
        default="none",
        help="what the network sees: all channels, or three made of them",
    )
    p.add_argument("--shrink", type=_shrink, help="smaller pictures, quicker")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of the training, e.g. optimizer=radam; may be given again",
    )
    classifying = p.add_argument_group("for a classifier")
    classifying.add_argument("--name", default="", help="what you call the model")
    classifying.add_argument("--labels", help="a table of the pictures' classes (CSV)")
    classifying.add_argument(
        "--head",
        choices=["linear", "logistic", "svm", "random_forest"],
        help="what learns: the network (linear), or one of these on its features",
    )
    classifying.add_argument("--norm", choices=["auto", "frozen", "group", "batch"])
    classifying.add_argument("--multi-label", action="store_true", help="several classes a cell")
    classifying.add_argument("--mask-background", action="store_true", help="the cell alone")
    classifying.add_argument("--size", type=_positive, help="side of the pictures, px")
    classifying.add_argument("--context", type=float, help="margin around a box, share of its side")
    classifying.add_argument(
        "--field", type=float, help="side of the square around a cell, image px: keeps its size"
    )
    classifying.add_argument("--center", type=float, help="share of a picture's side that is shown")
    classifying.add_argument(
        "--no-jitter", action="store_true", help="light, colour and stain stay as they are"
    )
    classifying.add_argument("--mixup", type=float, help="blend pictures in pairs, e.g. 0.2")
    classifying.add_argument(
        "--test-on",
        action="append",
        default=[],
        metavar="FOLDER|PROJECT",
        help="also measure on these, e.g. another microscope's; may be given again",
    )
    classifying.add_argument("-o", "--output", help="folder for the model")

    p = command("classify", classifiers.classify, "give open cells a classifier's classes")
    p.add_argument("--model", default="auto", help="auto, a model's id, or its folder")
    p.add_argument("--score", type=_score, default=0.0, help="only from this probability on")
    p.add_argument("--images", default="*", help="only these images: a name or a pattern")
    p.add_argument("--own-range", action="store_true", help="each cell by its own intensities")

    p = command("predict", classifiers.predict, "class the pictures of a folder", project=False)
    p.add_argument("model", help="a classifier's folder or card.json")
    p.add_argument("paths", nargs="+", help="pictures and folders")
    p.add_argument("-o", "--output", required=True, help="a table (CSV)")
    p.add_argument("--pattern", default="", help="for one file a channel, as in add")
    p.add_argument("--own-range", action="store_true", help="each picture by its own intensities")

    p = command("models", models.models, "the models there are; take one into use")
    p.add_argument("--use", metavar="MODEL", help="auto, shipped, classical, or a model's id")

    p = command("composite", models.composite, "map channels to colour, for all images alike")
    p.add_argument("--kind", choices=["colors", "pca"], default="colors")
    p.add_argument("--preset", default="", help="hpa, cellpainting5, cellpainting6")
    p.add_argument("--colors", default="", help="CHANNEL=COLOUR,...; #RRGGBB, a name, or none")
    p.add_argument("-o", "--output", help="write every image as a PNG into this folder")

    p = command("evaluate", models.evaluate, "measure a model against confirmed cells")
    p.add_argument("--model", default="auto")
    p.add_argument("--split", default="test", choices=[*(s.value for s in Split), "all"])
    p.add_argument("--score", type=_score, default=0.5)
    p.add_argument("--labels", help="for a classifier: a table of the pictures' classes (CSV)")
    p.add_argument(
        "--own-range", action="store_true", help="for a classifier: each picture by itself"
    )

    p = command("overview", reporting.overview, "a page of the data, before a model", project=False)
    p.add_argument("project", help="a .cellal folder, or a folder of pictures")
    p.add_argument("--no-pictures", action="store_true", help="no part of an image goes in")
    p.add_argument("-o", "--output", help="default: PROJECT-data.html")
    p.add_argument("--labels", help="for a folder: a table of the pictures' classes (CSV)")

    p = command("report", reporting.report, "write a measurement as one HTML page", project=False)
    p.add_argument("project", help="a .cellal folder; for a classifier also a folder of pictures")
    p.add_argument("--model", default="auto", help="auto, shipped, classical, or a model's id")
    p.add_argument("--against", default="", metavar="MODEL", help="a second one, side by side")
    p.add_argument("--split", default="test", choices=[*(s.value for s in Split), "all"])
    p.add_argument("--score", type=_score, default=0.5)
    p.add_argument("--no-pictures", action="store_true", help="no part of an image goes in")
    p.add_argument("-o", "--output", help="default: PROJECT-SPLIT.html")
    p.add_argument("--labels", help="for a folder: a table of the pictures' classes (CSV)")
    p.add_argument(
        "--own-range", action="store_true", help="for a classifier: each picture by itself"
    )

    p = command("explain", classifiers.explain, "on what an answer rests", project=False)
    p.add_argument("project", help="a .cellal folder, or a picture; * stands for its channels")
    p.add_argument("--cell", help="in a project: the cell's id")
    p.add_argument("--model", default="auto", help="auto, a classifier's id, or its folder")
    p.add_argument("--class", dest="class_name", default="", help="default: the model's answer")
    p.add_argument(
        "--own-range", action="store_true", help="for a classifier: by its own intensities"
    )
    p.add_argument("-o", "--output", help="write a picture (PNG)")

    p = command("simulate", labelling.simulate, "replay active learning on known labels")
    p.add_argument("--strategies", default="automatic,random")
    exchange.add_features(p)
    p.add_argument("--seeds", type=_positive, default=5)
    p.add_argument("--steps", type=_count, default=50)
    p.add_argument("--estimator", default="self_training")
    p.add_argument(
        "--metric", default="accuracy", choices=["accuracy", "macro_f1", "average_precision"]
    )
    p.add_argument("--batch", type=_positive, default=1, help="labels between two fits")
    p.add_argument("--start", type=_count, default=0, help="random labels to start from")
    p.add_argument("--plot", help="write the curves (SVG)")
    p.add_argument(
        "--published",
        action="store_true",
        help="as a published account: uncertainty against random, 5 labels to start, 298 more",
    )
    p.add_argument("--classes", default="", help="only these classes, A,B")

    exchange.add_export(command("export", exchange.export, "write boxes"))
    return parser
