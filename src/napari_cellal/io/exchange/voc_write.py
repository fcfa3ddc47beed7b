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

from .losses import UNCLASSED, Losses
from .names import Outlets
from .report import ExportReport, Problem, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportClass, ExportImage

# What XML 1.0 cannot hold, lone surrogates of undecodable file names among it.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_voc(
    folder: str | Path, images: Iterable[ExportImage], _classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
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
        self.boxes = 0
        self.losses = Losses("VOC", ("finished",))
        self._outlets = Outlets(".xml")

    def write(self, image: ExportImage) -> None:
        name = image.name.replace("\\", "/").replace("/", "_")  # folders of a title
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
        return ExportReport(
            tuple(self.files),
            len(self.files),
            self.boxes,
            self.losses.lines(),
            tuple(self.problems),
        )

    def _file_name(self, image_name: str) -> str:
        name = self._outlets.of(image_name)
        wanted = Outlets(".xml").of(image_name)
        if name != wanted:
            what = f"{image_name} is described here, because {wanted} is another image's."
            self.problems.append(Problem(name, f"{name}: {what}", "renamed"))
        return name

    def _add_box(self, root: ElementTree.Element, cell: ExportBox, height: int, width: int) -> bool:
        y0, x0, y1, x1 = (round(v) for v in cell.box)
        low = (max(x0, 0) + 1, max(y0, 0) + 1)
        high = (min(x1, width), min(y1, height))
        if high[0] <= low[0] or high[1] <= low[1]:
            return False
        self.boxes += 1
        self.losses.add(cell)
        self.losses.counts["rounded"] += (y0, x0, y1, x1) != tuple(cell.box)
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
