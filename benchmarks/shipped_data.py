"""The images that the shipped detector learns from, and those kept back to measure it.

Learned from: BCCD's train and val images (with the complete boxes of their re-annotation where
there are such, else as incomplete images), TXL-PBC's own train split, three of four images of
the Data Science Bowl subset. Never: BCCD's test split, TXL-PBC's val and test, the fourth
images, Cell Painting.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.progress import run_job
from napari_cellal.core.records import WHOLE
from napari_cellal.io.exchange.labels import label_masks
from napari_cellal.io.exchange.voc import read_image_sets, read_voc
from napari_cellal.io.reading import read_plane

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("RBC", "WBC", "Platelets", "nucleus")
_TXL = {0: 1, 1: 0, 2: 2}  # their numbers are those of WBC, RBC, Platelets


@dataclass(frozen=True)
class Picture:
    """An image with its boxes (y0, x0, y1, x1), px, and their places in ``CLASSES``."""

    source: str
    path: Path
    boxes: np.ndarray
    labels: np.ndarray
    complete: bool = True

    def pixels(self) -> np.ndarray:
        """Return [C, Y, X]: three channels, or one of fluorescence."""
        return read_plane(str(self.path), WHOLE)[:3]


def _picture(source: str, path: Path, rows: list[tuple], *, complete: bool = True) -> Picture:
    boxes = np.asarray([row[0] for row in rows], np.float32).reshape(-1, 4)
    labels = np.asarray([row[1] for row in rows], np.int64)
    good = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return Picture(source, path, boxes[good], labels[good], complete)


def yolo(file: Path, path: Path) -> list[tuple]:
    """Return ((y0, x0, y1, x1), label) of every line of a file with TXL-PBC's class numbers."""
    height, width = read_plane(str(path), WHOLE).shape[1:]
    rows = []
    for line in file.read_text().splitlines():
        number, cx, cy, w, h = (float(part) for part in line.split())
        box = (cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2)
        sides = (height, width, height, width)
        rows.append((tuple(v * s for v, s in zip(box, sides, strict=True)), _TXL[int(number)]))
    return rows


def bccd(data: Path, split: str) -> list[Picture]:
    """Return BCCD's images with BCCD's own boxes."""
    folder = data / "bccd/BCCD"
    names = set(read_image_sets(folder)[split])
    files = sorted(f for f in (folder / "Annotations").glob("*.xml") if f.stem in names)
    read, _ = run_job(read_voc(files))
    return [
        _picture(
            "bccd",
            folder / "JPEGImages" / f"{one.file.stem}.jpg",
            [(b.box, CLASSES.index(b.class_name)) for b in one.boxes],
            complete=False,
        )
        for one in read
    ]


def relabelled(data: Path) -> list[Picture]:
    """Return the BCCD train and val images that were labelled again, completely."""
    images = data / "bccd/BCCD/JPEGImages"
    files = sorted((data / "bccd_relabelled/labels").glob("*.txt"))
    paths = [images / f"{f.stem}.jpg" for f in files]
    return [_picture("bccd_relabelled", p, yolo(f, p)) for f, p in zip(files, paths, strict=True)]


def txl(data: Path, splits: tuple[str, ...]) -> list[Picture]:
    """Return smears of another hospital by TXL-PBC's own splits."""
    folder = data / "txl_pbc_smears"
    with (folder / "index.csv").open() as file:
        names = sorted(row["name"] for row in csv.DictReader(file) if row["txl_split"] in splits)
    paths = [folder / "images" / f"{name}.jpg" for name in names]
    return [_picture("txl", p, yolo(folder / "labels" / f"{p.stem}.txt", p)) for p in paths]


def dsb(data: Path, *, held_out: bool) -> list[Picture]:
    """Return nuclei of the Data Science Bowl; every fourth image of a kind is held out."""
    folder = data / "dsb2018_subset"
    with (folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda r: (int(r["width"]), r["name"])):
        kinds.setdefault(row["kind"], []).append(row["name"])
    pictures = []
    for kind, names in sorted(kinds.items()):
        for k, name in enumerate(names):
            if (k % 4 == 1) is held_out:
                boxes = _nuclei(folder / "labels" / f"{name}.tif")
                pictures.append(_picture(f"dsb {kind}", folder / "images" / f"{name}.png", boxes))
    return pictures


def _nuclei(file: Path) -> list[tuple]:
    import tifffile

    labels = tifffile.imread(file)
    plane = labels if labels.ndim == 2 else labels[2]  # of Cell Painting: cell, cyto, nucleus
    return [(mask.box, 3) for _, mask in label_masks(plane.astype(np.int64))]


def cell_painting(data: Path) -> list[Picture]:
    """Return the nuclei's channel of Cell Painting fields; their labels are machine-made."""
    folder = data / "cellpainting_bbbc022"
    files = sorted((folder / "labels").glob("*.ome.tiff"))
    return [
        _picture(
            "cell painting",
            folder / "channels" / f"{f.name.removesuffix('.ome.tiff')}_Ch1.tif",
            _nuclei(f),
        )
        for f in files
    ]


def training(data: Path) -> list[Picture]:
    """Return all that is learned from."""
    complete = relabelled(data)
    done = {p.path for p in complete}
    official = [p for split in ("train", "val") for p in bccd(data, split)]
    rest = [p for p in official if p.path not in done]
    return [*complete, *rest, *txl(data, ("train",)), *dsb(data, held_out=False)]


def held_out(data: Path) -> dict[str, list[Picture]]:
    """Return what the figures are measured on, by name."""
    nuclei = dsb(data, held_out=True)
    return {
        "BCCD test": bccd(data, "test"),
        "TXL-PBC val + test": txl(data, ("val", "test")),
        "DSB fluorescence": [p for p in nuclei if p.source == "dsb fluo"],
        "DSB stained, brightfield": [p for p in nuclei if p.source != "dsb fluo"],
        "Cell Painting": cell_painting(data),
    }
