"""Boxes from YOLO's text files, and boxes to them: one file an image, one line a box.

A line holds the class's number, then centre and size as shares of the image's width and
height. A detector's output adds a score; segmentation sets give an outline's corners
instead, of which the box is taken.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

from .intake import Intake
from .losses import UNCLASSED, Losses
from .names import Outlets, class_name_of, distinct_paths, short
from .report import ExportReport, ImportedImage, ImportReport, Problem
from .source import UnreadableError, annotation_files, number, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportClass, ExportImage, ReadOptions

MAX_FILE_BYTES = 20_000_000
MAX_NAMES_BYTES = 100_000
SLACK = 0.002
"""Shares: half a pixel of 250; what rounding to few digits brings about."""
_NO_LABELS = re.compile(
    r"(classes|train|val|valid|test|trainval|licen[cs]e|readme.*|sources|requirements|notes)\.txt",
    re.IGNORECASE,
)
_ROBOFLOW = re.compile(r"(.+)_(jpe?g|png|bmp|tiff?)\.rf\.[0-9a-zA-Z]+")


def yolo_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the label files that files and folders stand for.

    Of a folder with folders called ``labels`` in it only those are searched.
    """
    found: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        files = annotation_files(path, (".txt",))
        if Path(path).is_dir():
            inside = [
                f
                for f in files
                if "labels" in f.relative_to(path).parts and f.name != "classes.txt"
            ]
            if not inside and (Path(path) / "labels").is_dir():
                continue  # labels of another kind
            files = inside or [f for f in files if not _NO_LABELS.fullmatch(f.name)]
        found.update(dict.fromkeys(files))
    return list(found)


def read_yolo(
    paths: Iterable[str | Path] | str | Path, _options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of YOLO files, boxes as shares of them, and a report.

    The classes' names are those of ``classes.txt``, ``obj.names`` or a YAML file with
    ``names``, beside the labels or up to two folders above.
    """
    files = yolo_files(paths)
    names = _Names()
    images: list[ImportedImage] = []
    problems: list[Problem] = []
    for k, file in enumerate(files):
        yield Progress(k, len(files), f"Reading {file.name}")
        intake = Intake(file, file.name.removesuffix(file.suffix), relative=True)
        try:
            text = read_text(file, MAX_FILE_BYTES, may_be_empty=True)
        except UnreadableError as error:
            intake.report(error.kind, f"the file {error}; skipped.")
            problems += intake.problems
            continue
        if text.strip():
            _read_lines(text, intake, names.of(file.parent))
        roboflow = _ROBOFLOW.fullmatch(intake.image_name)
        other = (f"{roboflow[1]}.{roboflow[2]}",) if roboflow else ()
        images.append(intake.image(parents=file.parent.parts[-4:], other_names=other))
        problems += intake.problems
    problems += names.problems
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(len(files), len(files), "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems))


def _read_lines(text: str, intake: Intake, names: dict[int, str]) -> None:
    unnamed: dict[int, int] = {}
    for k, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        values = [number(w) for w in words]
        class_id = int(values[0]) if 0 <= values[0] < 1e6 and values[0] == int(values[0]) else -1
        polygon = len(values) >= 7 and len(values) % 2 == 1
        if class_id < 0 or not (len(values) in (5, 6) or polygon):
            intake.skip("malformed", f"line {k} is no class with a box ({short(line.strip(), 30)})")
            continue
        sides = values[1:] if polygon else values[1:5]
        if any(v != v for v in sides):
            intake.skip("bad-number", f"box {k} has a side that is no number")
            continue
        if not all(-SLACK <= v <= 1 + SLACK for v in sides):
            intake.skip("out-of-range", f"box {k} has values outside 0 to 1, so no shares of it")
            continue
        if class_id not in names:
            unnamed[class_id] = unnamed.get(class_id, 0) + 1
        if polygon:
            xs, ys = sides[0::2], sides[1::2]
            raw = (min(ys), min(xs), max(ys), max(xs))
        else:
            cx, cy, w, h = sides
            raw = (cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2)
        box = intake.sides(k, raw)
        if box is not None:
            score = values[5] if len(values) == 6 and 0 <= values[5] <= 1 else None
            name = names.get(class_id, f"class {class_id}")
            intake.put(k, box, name, slack=(SLACK, SLACK), score=score)
    if names and unnamed:
        which = ", ".join(str(c) for c in sorted(unnamed)[:10])
        intake.report(
            "unknown-class", f"the list of classes has none for {which}; called 'class {which}'."
        )


class _Names:
    """Finds the names of classes for a folder of labels, each folder looked at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._of: dict[Path, dict[int, str] | None] = {}

    def of(self, folder: Path) -> dict[int, str]:
        """Return {number: name} of the nearest list at or above a folder of labels."""
        for place in (folder, *folder.resolve().parents[:2]):
            names = self._in(place)
            if names:
                return names
        if folder not in self._of or self._of[folder] is not None:
            self._of[folder] = None
            what = "no list of classes (classes.txt, obj.names or data.yaml) was found; classes "
            what += "are called by their numbers."
            name = folder.name or str(folder)
            self.problems.append(Problem(name, f"{name}: {what}", "no-names"))
        return {}

    def _in(self, folder: Path) -> dict[int, str]:
        if folder not in self._of:
            self._of[folder] = {}
            files = [folder / "classes.txt", folder / "obj.names", *sorted(folder.glob("*.names"))]
            files += sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
            for file in files:
                if file.is_file() and (names := self._read(file)):
                    self._of[folder] = names
                    break
        return self._of[folder] or {}

    def _read(self, file: Path) -> dict[int, str]:
        try:
            text = read_text(file, MAX_NAMES_BYTES)
            if file.suffix not in (".yaml", ".yml"):
                lines = [line.strip() for line in text.splitlines()]
                return {k: class_name_of(line) for k, line in enumerate(lines) if line}
            content = yaml.safe_load(text)
        except (UnreadableError, yaml.YAMLError, ValueError, RecursionError):
            what = f"{file.name}: it is damaged, so the names of classes are not taken from it."
            self.problems.append(Problem(file.name, what, "malformed"))
            return {}
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict):
            return {}
        found = {int(number(k)): class_name_of(v) for k, v in names.items() if 0 <= number(k) < 1e6}
        return {k: name for k, name in found.items() if name}


def write_yolo(
    out: str | Path, images: Sequence[ExportImage], classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
    """Return a report of ``labels/*.txt``, ``classes.txt`` and ``data.yaml`` in a folder.

    Shares have 8 digits: a thousandth of a pixel in an image of 100,000.

    Raises
    ------
    AnnotationError
        If the folder cannot be written to.
    """
    folder = Path(out)
    losses = Losses("YOLO", ())
    for image in images:
        losses.add_image(image)
    names = [c.name for c in classes]
    names += [b.class_name for image in images for b in image.boxes if b.class_name]
    if losses.counts["class"]:
        names.append(UNCLASSED)
    names = list(dict.fromkeys(names))
    numbers = {name: k for k, name in enumerate(names)}
    written: list[Path] = []
    boxes = 0
    outlets = Outlets(".txt")
    try:
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        for k, (image, path) in enumerate(zip(images, distinct_paths(images), strict=True)):
            yield Progress(k, len(images), f"Writing {image.name}")
            file = folder / "labels" / outlets.of(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = [_line(b, image.shape, numbers[b.class_name or UNCLASSED]) for b in image.boxes]
            write_atomic(file, "".join(lines))
            written.append(file)
            boxes += len(lines)
        tidy = [class_name_of(name) or UNCLASSED for name in names]
        listed = yaml.safe_dump(
            {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(tidy))},
            allow_unicode=True,
            sort_keys=False,
        )
        for name, text in (("classes.txt", "\n".join(tidy) + "\n"), ("data.yaml", listed)):
            write_atomic(folder / name, text)
            written.append(folder / name)
    except OSError as error:
        raise AnnotationError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder."
        ) from error
    return ExportReport(tuple(written), len(images), boxes, losses.lines())


def _line(cell: ExportBox, shape: tuple[int, int, int], class_number: int) -> str:
    y0, x0, y1, x1 = cell.box
    _, height, width = shape
    shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{class_number} " + " ".join(f"{v:.8f}" for v in shares) + "\n"
