"""Boxes from Pascal VOC files, as LabelImg, Roboflow and BCCD write them.

VOC counts pixels from 1 and its last pixel belongs to the box; ours count from 0 and end
before y1, x1. So ``xmin..xmax`` becomes ``xmin - 1..xmax`` and width is kept. Some programs
write VOC from 0 all the same. A file cannot say which it is, so every file is read as VOC
defines it; where a coordinate is 0 the box is cut at the edge and the file is reported,
because all of its boxes may then lie one pixel off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from napari_cellal.core.progress import Progress

from .intake import MAX_COORDINATE, Intake
from .names import class_name_of, image_name_of
from .report import ImportedImage, ImportReport, Problem, counted
from .source import UnreadableError, annotation_files, number, read_bytes
from .voc_write import write_voc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from xml.etree.ElementTree import Element

    from napari_cellal.core.progress import Job

    from .report import ReadOptions

__all__ = ["read_image_sets", "read_voc", "read_voc_files", "voc_files", "write_voc"]

MAX_FILE_BYTES = 50_000_000
TRUE = ("1", "true", "yes")


def voc_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the XML files that files and folders stand for, each once, in natural order.

    Of a folder in VOC's layout only ``Annotations`` is searched.
    """
    return annotation_files(paths, (".xml",), "Annotations")


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
        problems += reader.intake.problems
        if image is not None:
            images.append(image)
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(len(files), len(files), "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems))


def read_voc_files(
    paths: Iterable[str | Path], _options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return `read_voc` of the files with all their classes."""
    return read_voc(paths)


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
        self.intake = Intake(file, file.stem)
        self._from_zero = False

    def read(self) -> ImportedImage | None:
        root = self._parse()
        if root is None:
            return None
        intake = self.intake
        intake.size = self._size(root)
        unknown: dict[str, int] = {}
        for k, item in enumerate(root.findall("object"), 1):
            name = class_name_of(item.findtext("name"))
            if not name:
                intake.skip("no-class", f"box {k} has no class")
            elif self.classes is not None and name not in self.classes:
                unknown[name] = unknown.get(name, 0) + 1
            else:
                self._take(item, k, name)
        for name, n in unknown.items():
            intake.report(
                "unknown-class",
                f"{counted(n, 'box', 'boxes')} of class '{name}', which this project does not "
                "have; skipped. Add the class and import again.",
            )
        if self._from_zero:
            intake.report(
                "zero-based",
                "some coordinates are 0, so the program that wrote it may count from 0; "
                "its boxes may lie 1 px off.",
            )
        # The name alone: folders in <filename>, like <folder> and <path>, are those of
        # another person's computer at best.
        intake.image_name, parents = image_name_of(root.findtext("filename"))
        if not intake.image_name:
            intake.report("no-name", "it does not name its image; taken for that of its own name.")
            intake.image_name = self.file.stem
        verified = (root.get("verified") or "").strip().lower() in TRUE
        return intake.image(verified=verified, parents=parents)

    def _parse(self) -> Element | None:
        try:
            content = read_bytes(self.file, MAX_FILE_BYTES)
            root: Element = ElementTree.fromstring(content, forbid_dtd=True)
            if root.tag == "annotation":
                return root
            what, kind = f"holds <{root.tag[:40]}> and no VOC annotation", "malformed"
        except UnreadableError as error:
            what, kind = str(error), error.kind
        except DefusedXmlException:
            what, kind = "defines entities of its own, which annotations never do", "malformed"
        except (ParseError, ValueError, LookupError):
            what, kind = "is damaged or no XML", "malformed"
        self.intake.report(kind, f"the file {what}; skipped.")
        return None

    def _size(self, root: Element) -> tuple[int, int] | None:
        height, width = (number(root.findtext(f"size/{k}")) for k in ("height", "width"))
        if not (0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE):
            self.intake.report("no-size", "it does not say how large its image is.")
            return None
        return int(height), int(width)

    def _take(self, item: Element, k: int, name: str) -> None:
        element = item.find("bndbox")
        if element is None:
            self.intake.skip("no-box", f"object {k} has no box")
            return
        # By VOC's count a box of equal sides is 1 px wide; it is a slip of the mouse.
        raw = self.intake.sides(
            k, [number(element.findtext(tag)) for tag in ("ymin", "xmin", "ymax", "xmax")]
        )
        if raw is None:
            return
        y0, x0, y1, x1 = raw
        self._from_zero |= -1 <= min(y0, x0) - 1 < 0
        difficult, truncated = (
            (item.findtext(tag) or "").strip().lower() in TRUE for tag in ("difficult", "truncated")
        )
        self.intake.put(
            k,
            (y0 - 1, x0 - 1, y1, x1),
            name,
            slack=(1, 0),
            difficult=difficult,
            truncated=truncated,
        )
