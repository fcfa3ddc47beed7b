"""Masks of the regions of label images, and cells to such images.

Each value of a label image is a cell, 0 is background. It says nothing of classes; those
that this program writes come with a table ``labels.csv`` that does.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cellal.core.errors import AnnotationError, ImageError
from napari_cellal.core.masks import Mask, mask_of
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic
from napari_cellal.io.image_files import IMAGE_SUFFIXES
from napari_cellal.io.pixels import probe_image, read_pixels

from .intake import Intake
from .losses import Losses
from .names import Outlets, class_name_of, distinct_paths
from .report import ExportReport, ImportedImage, ImportReport, Problem, ReadOptions, counted
from .source import UnreadableError, annotation_files, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportClass, ExportImage

MAX_PIXELS = 250_000_000
MAX_REGIONS = 200_000
TABLE = "labels.csv"
FOLDERS = frozenset({"labels", "label", "masks", "mask"})
_MASK = re.compile(r"(.+?)[ _-](cp_masks?|masks?|labels?|seg|instances?)", re.IGNORECASE)


def label_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the label images that files and folders stand for.

    Of a folder those in folders called ``labels`` or ``masks``, else those whose names end
    so (``_labels``, ``_masks``, ``_cp_masks``, ``_seg``).
    """
    found: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        files = annotation_files(path, IMAGE_SUFFIXES)
        if Path(path).is_dir():
            inside = [f for f in files if FOLDERS & {p.lower() for p in _folders(f, Path(path))}]
            files = inside or [f for f in files if _MASK.fullmatch(f.stem)]
        found.update(dict.fromkeys(files))
    return list(found)


def _folders(file: Path, root: Path) -> tuple[str, ...]:
    return (root.name, *file.relative_to(root).parent.parts)


def read_labels(
    paths: Iterable[str | Path] | str | Path, options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of label images, mask and box of each value, and a report.

    A folder in which `label_files` finds none is taken to hold label images only.
    """
    places = [paths] if isinstance(paths, str | Path) else list(paths)
    files = label_files(places) or annotation_files(places, IMAGE_SUFFIXES)
    split = options is not None and options.split_parts
    classes = _Classes()
    images: list[ImportedImage] = []
    problems: list[Problem] = []
    for k, file in enumerate(files):
        yield Progress(k, len(files), f"Reading {file.name}")
        intake = Intake(file, file.stem)
        try:
            labels = _pixels(file)
            regions = label_masks(labels, split_parts=split)
        except UnreadableError as error:
            intake.report(error.kind, f"the file {error}; skipped.")
            problems += intake.problems
            continue
        except ImageError as error:
            problems.append(Problem(file.name, str(error), "malformed"))
            continue
        intake.size = (labels.shape[0], labels.shape[1])
        names = classes.of(file)
        for value, mask in regions:
            intake.put(value, mask.box, names.get(value, ""), mask=mask)
        masked = _MASK.fullmatch(file.stem)
        other = (masked[1],) if masked else ()
        images.append(intake.image(parents=file.parent.parts[-4:], other_names=other))
        problems += intake.problems
    problems += classes.problems
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(len(files), len(files), "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems))


def _pixels(file: Path) -> NDArray[Any]:
    """Return [Y, X] of a label image, whole numbers.

    Raises
    ------
    UnreadableError
        If it is a picture and no label image, or too large.
    ImageError
        If it cannot be read.
    """
    info = probe_image(file)
    n_channels, height, width = info.shape
    if n_channels != 1:
        raise UnreadableError(f"has {n_channels} channels, so it is a picture and no label image")
    if height * width > MAX_PIXELS:
        raise UnreadableError("is too large for a label image read at once", "too-large")
    labels: NDArray[Any] = read_pixels(file)[0]
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels).all() and (labels == np.rint(labels)).all()
        if not whole or abs(labels).max() > 2**31:
            raise UnreadableError("holds numbers that are not whole, so they name no cells")
        labels = labels.astype(np.int64)
    return labels


def label_masks(labels: NDArray[Any], *, split_parts: bool = False) -> list[tuple[int, Mask]]:
    """Return (value, mask) of every region of a label image, by rising value.

    Parameters
    ----------
    labels : [Y, X], whole numbers
        Values of 0 and less are background.
    split_parts : bool
        Whether parts of one value that do not touch, not even at a corner, are regions of
        their own. They share the value.

    Raises
    ------
    UnreadableError
        If there are more than 200,000 regions: then it is a picture.
    """
    from scipy import ndimage

    if not labels.size or labels.max() <= 0:
        return []
    if labels.max() > 4 * MAX_REGIONS or labels.min() < 0:
        values, places = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
        labels = places.reshape(labels.shape).astype(np.int32)
        if values[0] != 0:  # no background at all
            values, labels = np.concatenate([[0], values]), labels + 1
    else:
        values = np.arange(labels.max() + 1)
    if len(values) > 4 * MAX_REGIONS + 1:
        raise UnreadableError(_TOO_MANY.format(len(values)), "too-large")
    result: list[tuple[int, Mask]] = []
    for k, place in enumerate(ndimage.find_objects(labels), 1):
        if place is None:
            continue
        inside = labels[place] == k
        parts = [inside]
        if split_parts:
            pieces, n = ndimage.label(inside, np.ones((3, 3)))
            parts = [pieces == piece for piece in range(1, n + 1)]
        masks = (mask_of(part, place[0].start, place[1].start) for part in parts)
        result += [(int(values[k]), mask) for mask in masks if mask is not None]
        if len(result) > MAX_REGIONS:
            raise UnreadableError(_TOO_MANY.format(len(result)), "too-large")
    return result


_TOO_MANY = "has {:,} regions or more, so it is a picture and no label image"


class _Classes:
    """The classes of labels, from the table beside or above them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._tables: dict[Path, dict[tuple[str, int], str]] = {}

    def of(self, file: Path) -> dict[int, str]:
        """Return {value: class name} for a label image."""
        for folder in (file.parent, *file.resolve().parents[1:4]):
            if folder not in self._tables:
                self._tables[folder] = self._read(folder / TABLE)
            if table := self._tables[folder]:
                names = {str(Path(*file.parts[-n:])) for n in range(1, min(len(file.parts), 6))}
                names = {n.replace("\\", "/") for n in names}
                return {value: name for (f, value), name in table.items() if f in names}
        return {}

    def _read(self, file: Path) -> dict[tuple[str, int], str]:
        if not file.is_file():
            return {}
        try:
            rows = csv.DictReader(io.StringIO(read_text(file), newline=""))
            return {(row["file"], int(row["label"])): class_name_of(row["class"]) for row in rows}
        except (UnreadableError, csv.Error, KeyError, ValueError, TypeError):
            what = f"{file.name}: it is damaged, so the classes of labels are not taken from it."
            self.problems.append(Problem(file.name, what, "malformed"))
            return {}


def write_labels(
    out: str | Path, images: Sequence[ExportImage], _classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
    """Return a report of ``labels/*.tif``, one an image, and ``labels.csv`` in a folder.

    A cell is its mask, or its box where it has none, in a value of its own, smaller ones over
    larger ones, from 1 in the order of the cells; the table gives file, label, class and cell.

    Raises
    ------
    AnnotationError
        If the folder cannot be written to.
    """
    folder = Path(out)
    losses = Losses("A label image", ("class", "mask"))
    outlets = Outlets(".tif")
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "label", "class", "cell_id"])
    written: list[Path] = []
    problems: list[Problem] = []
    boxes = changed = 0
    try:
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        for k, (image, path) in enumerate(zip(images, distinct_paths(images), strict=True)):
            yield Progress(k, len(images), f"Writing {image.name}")
            if image.shape[1] * image.shape[2] > MAX_PIXELS:
                what = f"{image.name}: too large for a label image; left out."
                problems.append(Problem(image.name, what, "too-large"))
                continue
            losses.add_image(image)
            cells = [_drawn(cell, image.shape) for cell in image.boxes]
            losses.counts["rounded"] += sum(
                _window(m) != tuple(c.box) for m, c in zip(cells, image.boxes, strict=True)
            )
            labels = _draw(cells, image.shape)
            there = dict(label_masks(labels))
            changed += sum(there.get(n) != mask for n, mask in enumerate(cells, 1))
            name = outlets.of(path)
            for n, cell in enumerate(image.boxes, 1):
                if n in there:
                    table.writerow([name, n, cell.class_name or "", cell.cell_id])
                    boxes += 1
            file = folder / "labels" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, labels, compression="zlib", metadata=None)
            write_atomic(file, buffer.getvalue())
            written.append(file)
        write_atomic(folder / TABLE, text.getvalue().encode("utf-8", "replace"))
        written.append(folder / TABLE)
    except OSError as error:
        raise AnnotationError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder."
        ) from error
    lost = losses.lines()
    if changed:
        lost += (f"{counted(changed, 'box', 'boxes')} partly or wholly covered by others.",)
    return ExportReport(tuple(written), len(images), boxes, lost, tuple(problems))


def _drawn(cell: ExportBox, shape: tuple[int, int, int]) -> Mask | None:
    """Return what is drawn of a cell; None where nothing of it lies in the image."""
    if cell.mask is not None:
        return cell.mask.cut((0, 0, shape[1], shape[2]))
    y0, x0, y1, x1 = (round(v) for v in cell.box)
    y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, shape[1]), min(x1, shape[2])
    return mask_of(np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), np.bool_), y0, x0)


def _window(mask: Mask | None) -> tuple[float, ...]:
    return () if mask is None else mask.box


def _draw(cells: Sequence[Mask | None], shape: tuple[int, int, int]) -> NDArray[Any]:
    labels = np.zeros(shape[1:], np.uint16 if len(cells) < 2**16 else np.uint32)
    there = [(k, mask) for k, mask in enumerate(cells, 1) if mask is not None]
    for k, mask in sorted(there, key=lambda item: -item[1].area):
        y0, x0, y1, x1 = mask.window
        labels[y0:y1, x0:x1][mask.bits()] = k
    return labels
