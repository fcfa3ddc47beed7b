"""Boxes from CSV tables, and boxes to one: a line a box, columns told by their headings.

Sides are taken as edges counted from 0, as this program writes them. Tables that were made
from VOC files count from 1 and their last pixel belongs to the box: `ReadOptions.from_one`.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

from .carried import carried_values, read_carried
from .columns import CENTERED, CORNERS, box_roles, guess_columns, headings_of
from .intake import MAX_COORDINATE, Intake
from .losses import Losses
from .names import class_name_of, distinct_paths, image_name_of
from .report import ExportReport, ImportedImage, ImportReport, Problem, ReadOptions, counted
from .source import UnreadableError, annotation_files, number, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.progress import Job

    from .report import ExportClass, ExportImage

FILE_NAME = "annotations.csv"
MAX_ROWS = 2_000_000
TRUE = ("1", "true", "yes")
HEADINGS = (
    "filename", "cell_id", "cell_type", "xmin", "xmax", "ymin", "ymax", "image_id",
    "image_width", "image_height", "finished", "split", "status", "reviewed_by", "reviewed_at",
    "score", "model", "model_class", "probabilities", "note",
)  # fmt: skip
"""BCCD's layout, then what else is known."""

Row = tuple[int, dict[str, str]]


def table_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the tables that files and folders stand for."""
    return annotation_files(paths, (".csv", ".tsv"))


def read_table(
    paths: Iterable[str | Path] | str | Path, options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of tables and a report of all that was not taken as it stands.

    A line without any side of a box only names its image.
    """
    files = table_files(paths)
    images: list[ImportedImage] = []
    total = ImportReport(len(files), 0, 0)
    for file in files:
        yield Progress(0, 0, f"Reading {file.name}")
        reader = _Reader(file, options or ReadOptions())
        try:
            reader.load(read_text(file))
        except UnreadableError as error:
            reader.problem(error.kind, f"the file {error}; skipped.")
        for k, key in enumerate(reader.rows):
            if k % 50 == 0:
                yield Progress(k, len(reader.rows), f"Reading {file.name}")
            images.append(reader.image(key))
        total += ImportReport(
            0, 0, 0, tuple(reader.problems), {}, reader.columns, tuple(reader.headings)
        )
    total += ImportReport(0, len(images), sum(len(image.boxes) for image in images))
    yield Progress(1, 1, "Annotations read")
    return images, total


class _Reader:
    """Reads one table and collects its problems."""

    def __init__(self, file: Path, options: ReadOptions) -> None:
        self.file = file
        self.options = options
        self.problems: list[Problem] = []
        self.headings: list[str] = []
        self.columns: dict[str, str] = {}
        self.rows: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
        self._relative = False
        self._comma = False

    def problem(self, kind: str, what: str) -> None:
        self.problems.append(Problem(self.file.name, f"{self.file.name}: {what}", kind))

    def load(self, text: str) -> None:
        """Sort the lines by image."""
        head = text[:10_000].splitlines()[0]
        delimiter = max(",;\t", key=head.count)
        self._comma = delimiter == ";"  # then a comma may be the decimal sign
        lines = self._lines(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        try:
            _, first = next(lines)
        except StopIteration:
            raise UnreadableError("holds no line") from None
        self.headings, known, is_row = headings_of(first)
        self.columns = guess_columns(self.headings, known | dict(self.options.columns))
        used = {role: self.headings.index(h) for role, h in self.columns.items()}
        roles = box_roles(self.columns) or CORNERS
        nameless = 0
        largest = 0.0
        for number_, line in (*(((1, first),) if is_row else ()), *lines):
            row = {role: line[k].strip() if k < len(line) else "" for role, k in used.items()}
            key = image_name_of(row["image"])
            if not key[0]:
                nameless += 1
                continue
            self.rows.setdefault(key, []).append((number_, row))
            sides = [abs(self._number(row[r])) for r in roles]
            largest = max(largest, *(v for v in sides if v == v), 0.0)
        if nameless:
            self.problem("no-name", f"{counted(nameless, 'line')} without an image; skipped.")
        self._relative = 0 < largest <= 1
        if self._relative:
            self.problem("shares", "no side is larger than 1, so they are shares of the image.")

    def _lines(self, lines: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
        number_ = 0
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except csv.Error:
                self.problem("malformed", f"damaged behind line {number_}; the rest is left out.")
                return
            number_ += 1
            if number_ > MAX_ROWS:
                self.problem("too-large", f"only the first {MAX_ROWS:,} lines were read.")
                return
            if any(line):
                yield number_, line

    def _number(self, text: str) -> float:
        return number(text.replace(",", ".") if self._comma else text)

    def image(self, key: tuple[str, tuple[str, ...]]) -> ImportedImage:
        """Return one image with its boxes."""
        name, parents = key
        rows = self.rows[key]
        first = rows[0][1]
        height, width = (self._number(first.get(f"image_{k}", "")) for k in ("height", "width"))
        known = 0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE
        size = (int(height), int(width)) if known and not self._relative else None
        intake = Intake(self.file, name, size, within=name, relative=self._relative)
        roles = box_roles(self.columns) or CORNERS
        reviews = False
        for k, row in rows:
            if not any(row[role] for role in roles):
                continue
            carried = self._carried(row)
            reviews = reviews or "status" in carried
            box = intake.sides(k, self._sides([self._number(row[role]) for role in roles]))
            if box is not None:
                low = 1.0 if self.options.from_one else 0.0
                sides = (box[0] - low, box[1] - low, box[2], box[3])
                slack = (low + 0.01, 0.01)
                intake.put(k, sides, class_name_of(row.get("class")), slack=slack, **carried)
        finished = first.get("finished", "").lower() in TRUE
        image = intake.image(verified=finished, parents=parents, reviews=reviews or finished)
        self.problems += intake.problems
        return image

    def _sides(self, values: list[float]) -> Box:
        roles = box_roles(self.columns)
        a, b, c, d = values
        if roles == CORNERS:
            return (a, b, c, d)
        if roles == CENTERED:
            a, b = a - c / 2, b - d / 2
        return (a, b, a + c, b + d)

    def _carried(self, row: dict[str, str]) -> dict[str, Any]:
        values: dict[str, Any] = dict(row)
        if row.get("score"):
            values["score"] = self._number(row["score"])
        if row.get("probabilities"):
            try:
                values["probabilities"] = json.loads(row["probabilities"])
            except (ValueError, RecursionError):
                del values["probabilities"]
        found = read_carried(values)
        for mark in ("difficult", "truncated"):
            if row.get(mark, "").lower() in TRUE:
                found[mark] = True
        return found


def write_table(
    out: str | Path, images: Sequence[ExportImage], _classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
    """Return a report of the table written to ``out``, a ``.csv`` file or a folder.

    An image without cells has one line without a box.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    file = Path(out) if Path(out).suffix.lower() == ".csv" else Path(out) / FILE_NAME
    losses = Losses("CSV", ("class", "score", "review", "note", "finished"))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, HEADINGS, lineterminator="\n")
    table.writeheader()
    boxes = 0
    for k, (image, path) in enumerate(zip(images, distinct_paths(images), strict=True)):
        if k % 50 == 0:
            yield Progress(k, len(images), f"Writing {image.name}")
        losses.add_image(image)
        shared = {
            "filename": path,
            "image_id": image.image_id,
            "image_width": image.shape[2],
            "image_height": image.shape[1],
            "finished": int(image.finished),
            "split": image.split,
        }
        rows: list[dict[str, Any]] = []
        for cell in image.boxes:
            carried = carried_values(cell)
            if "probabilities" in carried:
                carried["probabilities"] = json.dumps(carried["probabilities"])
            y0, x0, y1, x1 = (int(v) if v == int(v) else float(v) for v in cell.box)
            sides = {"xmin": x0, "xmax": x1, "ymin": y0, "ymax": y1}
            named = {"cell_id": cell.cell_id, "cell_type": cell.class_name or ""}
            rows.append(shared | named | sides | carried)
        table.writerows(rows or [shared])
        boxes += len(rows)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, text.getvalue().encode("utf-8", "replace"))
    except OSError as error:
        raise AnnotationError(
            f"{file} cannot be written ({error.strerror or error}): choose another place."
        ) from error
    return ExportReport((file,), len(images), boxes, losses.lines())
