"""Boxes to Pascal VOC files that LabelImg opens: one XML an image."""

from __future__ import annotations

import re
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

from .report import ExportReport, Problem, counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportImage

# What XML 1.0 cannot hold, lone surrogates of undecodable file names among it.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
UNCLASSED = "cell"


def write_voc(folder: str | Path, images: Iterable[ExportImage]) -> Job[ExportReport]:
    """Return a report of the XML files written into ``folder``, one an image.

    Sides are rounded to whole pixels, as LabelImg's are; a box that `read_voc` brought in
    comes out with the numbers it had. A box of less than 2 px is left out, because VOC's
    readers take it for empty.

    Raises
    ------
    AnnotationError
        If the folder cannot be written to.
    """
    folder = Path(folder)
    total = len(images) if isinstance(images, Sized) else 0
    writer = _Writer(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k, image in enumerate(images):
            yield Progress(k, total, f"Writing {image.name}")
            writer.write(image)
    except OSError as error:
        raise AnnotationError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder."
        ) from error
    return writer.report()


class _Writer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.problems: list[Problem] = []
        self.boxes = self.rounded = self.unclassed = self.scores = self.reviews = self.notes = 0
        self._taken: set[str] = set()

    def write(self, image: ExportImage) -> None:
        name = image.name.replace("\\", "/").rsplit("/", 1)[-1]
        file = self.folder / self._file_name(name)
        root = ElementTree.Element("annotation")
        if image.finished:
            root.set("verified", "yes")
        n_channels, height, width = image.shape
        _add(root, "folder", self.folder.name)
        _add(root, "filename", name)
        # No folders: those of one computer mean nothing on another.
        _add(root, "path", name)
        _add(_add(root, "source"), "database", "Unknown")
        size = _add(root, "size")
        for tag, value in (("width", width), ("height", height), ("depth", n_channels)):
            _add(size, tag, str(value))
        _add(root, "segmented", "0")
        thin = sum(not self._add_box(root, box, height, width) for box in image.boxes)
        if thin:
            what = f"{counted(thin, 'box', 'boxes')} of less than 2 px left out."
            self.problems.append(Problem(file.name, f"{file.name}: {what}", "too-thin"))
        ElementTree.indent(root, "\t")
        write_atomic(file, ElementTree.tostring(root, "unicode") + "\n")
        self.files.append(file)

    def report(self) -> ExportReport:
        reasons = (
            (self.rounded, "{} rounded to whole pixels."),
            (self.unclassed, f"{{}} without a class written as '{UNCLASSED}'."),
            (self.scores, "Scores and probabilities of {} left out: VOC has no place for them."),
            (self.reviews, "Review state and origin of {} left out: VOC has no place for them."),
            (self.notes, "Notes on {} left out: VOC has no place for them."),
        )
        lost = tuple(text.format(counted(n, "box", "boxes")) for n, text in reasons if n)
        return ExportReport(
            tuple(self.files), len(self.files), self.boxes, lost, tuple(self.problems)
        )

    def _file_name(self, image_name: str) -> str:
        stem = Path(image_name).stem or "image"
        choices = [f"{stem}.xml", f"{image_name}.xml"]
        # Case is no difference on Windows and macOS.
        free = [c for c in choices if c.casefold() not in self._taken]
        k = 2
        while not free:
            free = [c for c in (f"{stem}_{k}.xml",) if c.casefold() not in self._taken]
            k += 1
        self._taken.add(free[0].casefold())
        if free[0] != choices[0]:
            what = f"{image_name} is described here, because {choices[0]} is another image's."
            self.problems.append(Problem(free[0], f"{free[0]}: {what}", "renamed"))
        return free[0]

    def _add_box(self, root: ElementTree.Element, cell: ExportBox, height: int, width: int) -> bool:
        y0, x0, y1, x1 = (round(v) for v in cell.box)
        low = (max(x0, 0) + 1, max(y0, 0) + 1)
        high = (min(x1, width), min(y1, height))
        if high[0] <= low[0] or high[1] <= low[1]:
            return False
        self.boxes += 1
        self.rounded += (y0, x0, y1, x1) != tuple(cell.box)
        self.unclassed += not cell.class_name
        self.scores += cell.score is not None or bool(cell.probabilities)
        self.reviews += bool(cell.status or cell.reviewed_by)
        self.notes += bool(cell.note)
        item = _add(root, "object")
        _add(item, "name", cell.class_name or UNCLASSED)
        _add(item, "pose", "Unspecified")
        _add(item, "truncated", str(int(cell.truncated)))
        _add(item, "difficult", str(int(cell.difficult)))
        box = _add(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (*low, *high), strict=True):
            _add(box, tag, str(value))
        return True


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    if text:
        child.text = NOT_XML.sub("?", text)
    return child
