"""Boxes from Pascal VOC files, as LabelImg, Roboflow and BCCD write them.

VOC counts pixels from 1 and its last pixel belongs to the box; ours count from 0 and end
before y1, x1. So ``xmin..xmax`` becomes ``xmin - 1..xmax`` and width is kept. Some programs
write VOC from 0 all the same. A file cannot say which it is, so every file is read as VOC
defines it; where a coordinate is 0 the box is cut at the edge and the file is reported,
because all of its boxes may then lie one pixel off.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from napari_cellal.core.geometry import iou_matrix
from napari_cellal.core.progress import Progress
from napari_cellal.io.image_files import natural_key

from .report import ImportedBox, ImportedImage, ImportReport, Problem, counted
from .voc_write import write_voc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from xml.etree.ElementTree import Element

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.progress import Job

__all__ = ["read_image_sets", "read_voc", "voc_files", "write_voc"]

MAX_FILE_BYTES = 50_000_000
MAX_COORDINATE = 1e7  # px; beyond any slide, so a typing error
DOUBLED_IOU = 0.8
TRUE = ("1", "true", "yes")


def voc_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the XML files that files and folders stand for, each once, in natural order.

    Of a folder in VOC's layout only ``Annotations`` is searched.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            folder = path / "Annotations" if (path / "Annotations").is_dir() else path
            inside = (p for p in folder.rglob("*") if p.suffix.lower() == ".xml" and p.is_file())
            files = sorted((p for p in inside if not p.name.startswith(".")), key=natural_key)
        else:
            files = [path]
        found.update(dict.fromkeys(files))
    return list(found)


def read_voc(
    paths: Iterable[str | Path] | str | Path, *, classes: Collection[str] | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of VOC files and a report of all that was not taken as it stands.

    A file that cannot be read is reported and the rest goes on. Boxes without height or
    width are left out; two boxes of one class that overlap by more than 0.8 are both kept
    and reported.

    Parameters
    ----------
    paths : path or paths
        XML files, or folders that hold them.
    classes : collection of str, optional
        The classes wanted; boxes of others are left out and reported.
    """
    files = voc_files(paths)
    images: list[ImportedImage] = []
    problems: list[Problem] = []
    for k, file in enumerate(files):
        yield Progress(k, len(files), f"Reading {file.name}")
        reader = _Reader(file, classes)
        image = reader.read()
        problems += reader.problems
        if image is not None:
            images.append(image)
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(len(files), len(files), "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems))


def read_image_sets(folder: str | Path) -> dict[str, list[str]]:
    """Return {"train": names, ...} of ``ImageSets/Main/*.txt``; names have no suffix.

    ``folder`` is the one that holds ``ImageSets``. The lists of single classes
    (``cell_train.txt``) are passed over; a sign behind a name is dropped.
    """
    sets: dict[str, list[str]] = {}
    for name in ("train", "val", "trainval", "test"):
        file = Path(folder) / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            lines = file.read_text("utf-8-sig", errors="replace").splitlines()
            # Two columns are name and -1, 0 or 1; a lone column may hold spaces.
            sets[name] = [_without_sign(line.strip()) for line in lines if line.strip()]
    return sets


def _without_sign(line: str) -> str:
    name, _, sign = line.rpartition(" ")
    return name.strip() if name.strip() and sign in ("-1", "0", "1") else line


class _Reader:
    """Reads one file and collects its problems."""

    def __init__(self, file: Path, classes: Collection[str] | None) -> None:
        self.file = file
        self.classes = classes
        self.problems: list[Problem] = []
        self._skipped: list[tuple[str, str]] = []  # (kind, what) until the rest is counted
        self._from_zero = False

    def report(self, kind: str, what: str) -> None:
        self.problems.append(Problem(self.file.name, f"{self.file.name}: {what}", kind))

    def read(self) -> ImportedImage | None:
        root = self._parse()
        if root is None:
            return None
        size = self._size(root)
        boxes: list[tuple[int, ImportedBox]] = []
        unknown: dict[str, int] = {}
        for number, item in enumerate(root.findall("object"), 1):
            name = (item.findtext("name") or "").strip()
            if not name:
                self._skipped.append(("no-class", f"box {number} has no class"))
            elif self.classes is not None and name not in self.classes:
                unknown[name] = unknown.get(name, 0) + 1
            elif (box := self._box(item, number, size)) is not None:
                boxes.append((number, ImportedBox(box, name, *_marks(item))))
        for kind, what in self._skipped:
            self.report(kind, f"{what}; skipped. The other {len(boxes)} were imported.")
        for name, n in unknown.items():
            self.report(
                "unknown-class",
                f"{counted(n, 'box', 'boxes')} of class '{name}', which this project does not "
                "have; skipped. Add the class and import again.",
            )
        if self._from_zero:
            self.report(
                "zero-based",
                "some coordinates are 0, so the program that wrote it may count from 0; "
                "its boxes may lie 1 px off.",
            )
        self._find_doubled(boxes)
        return ImportedImage(
            self.file,
            self._image_name(root),
            size,
            tuple(box for _, box in boxes),
            (root.get("verified") or "").strip().lower() in TRUE,
        )

    def _parse(self) -> Element | None:
        n_bytes = -1
        try:
            n_bytes = self.file.stat().st_size
            if n_bytes > MAX_FILE_BYTES:
                self.report("too-large", f"{n_bytes / 1e6:.0f} MB is too large for boxes; skipped.")
                return None
            root: Element = ElementTree.parse(self.file, forbid_dtd=True).getroot()
            if root.tag == "annotation":
                return root
            what = f"holds <{root.tag[:40]}> and no VOC annotation"
        except FileNotFoundError:
            what = "was not found"
        except PermissionError:
            what = "may not be read"
        except DefusedXmlException:
            what = "defines entities of its own, which annotations never do"
        except (OSError, ParseError, ValueError, LookupError):
            what = "is empty" if n_bytes == 0 else "is damaged or no XML"
        self.report("malformed", f"the file {what}; skipped.")
        return None

    def _image_name(self, root: Element) -> str:
        # The name alone: folders in <filename>, like <folder> and <path>, are those of
        # another person's computer at best.
        name = (root.findtext("filename") or "").replace("\\", "/").rsplit("/", 1)[-1].strip()
        if name in ("", ".", "..") or "\0" in name:
            self.report("no-name", "it does not name its image; taken for that of its own name.")
            return self.file.stem
        return name

    def _size(self, root: Element) -> tuple[int, int] | None:
        height, width = (_number(root.findtext(f"size/{k}")) for k in ("height", "width"))
        if not (0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE):
            self.report("no-size", "it does not say how large its image is.")
            return None
        return int(height), int(width)

    def _box(self, item: Element, number: int, size: tuple[int, int] | None) -> Box | None:
        element = item.find("bndbox")
        if element is None:
            self._skipped.append(("no-box", f"object {number} has no box"))
            return None
        y0, x0, y1, x1 = (_number(element.findtext(k)) for k in ("ymin", "xmin", "ymax", "xmax"))
        # NaN fails every comparison.
        if not all(abs(v) <= MAX_COORDINATE for v in (y0, x0, y1, x1)):
            self._skipped.append(("bad-number", f"box {number} has a side that is no number"))
            return None
        # By VOC's count a box of equal sides is 1 px wide; it is a slip of the mouse.
        if y0 == y1 or x0 == x1:
            missing = "height" if y0 == y1 else "width"
            self._skipped.append(("zero-area", f"box {number} has no {missing}"))
            return None
        if y0 > y1 or x0 > x1:
            self.report("reversed", f"box {number} runs backwards; turned round.")
            y0, x0, y1, x1 = min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1)
        return self._inside((y0 - 1, x0 - 1, y1, x1), number, size)

    def _inside(self, box: Box, number: int, size: tuple[int, int] | None) -> Box | None:
        height, width = size or (math.inf, math.inf)
        y0, x0, y1, x1 = box
        cut = (max(y0, 0.0), max(x0, 0.0), min(y1, height), min(x1, width))
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            self._skipped.append(("outside", f"box {number} lies outside the image"))
            return None
        if y0 < -1 or x0 < -1 or y1 > height or x1 > width:
            self.report("outside", f"box {number} reaches out of the image; cut at its edge.")
        elif cut != box:
            self._from_zero = True
        return cut

    def _find_doubled(self, boxes: list[tuple[int, ImportedBox]]) -> None:
        if len(boxes) < 2:
            return
        overlap = iou_matrix([b.box for _, b in boxes], [b.box for _, b in boxes])
        for i, j in np.argwhere(np.triu(overlap > DOUBLED_IOU, k=1)):
            (a, first), (b, second) = boxes[i], boxes[j]
            if first.class_name == second.class_name:
                self.report(
                    "doubled",
                    f"boxes {a} and {b} ({first.class_name}) are nearly the same; both were "
                    "kept: delete one.",
                )


def _marks(item: Element) -> tuple[bool, bool]:
    difficult, truncated = (
        (item.findtext(k) or "").strip().lower() in TRUE for k in ("difficult", "truncated")
    )
    return difficult, truncated


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
