"""Boxes and masks from COCO's JSON, and to it: one file for all images.

COCO counts from 0 and gives a corner and the size, so sides are kept exactly. Masks come as
polygons, or as run lengths, compressed or not; a box that is not given is taken around the
mask. They go out as compressed run lengths.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

from .carried import carried_values, read_carried
from .colors import color_of
from .intake import MAX_COORDINATE, Intake
from .losses import UNCLASSED, Losses
from .names import class_name_of, clean_name, distinct_paths, image_name_of
from .outlines import mask_of_pieces
from .report import ExportReport, ImportedImage, ImportReport, Problem, counted
from .rle import counts_of_mask, mask_of_counts
from .source import UnreadableError, annotation_files, number, numbers, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportClass, ExportImage, ReadOptions

FILE_NAME = "annotations.json"
CARRIED = "attributes"
NO_CLASS = "without_class"


def coco_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the JSON files that files and folders stand for."""
    return annotation_files(paths, (".json",))


def read_coco(
    paths: Iterable[str | Path] | str | Path, _options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of COCO files and a report of all that was not taken as it stands.

    Annotations of images that the file does not list are left out and counted; those of a
    category that it does not list come in without a class.
    """
    files = coco_files(paths)
    images: list[ImportedImage] = []
    problems: list[Problem] = []
    colors: dict[str, str] = {}
    for file in files:
        yield Progress(0, 0, f"Reading {file.name}")
        reader = _Reader(file)
        try:
            reader.load(read_json(file))
        except UnreadableError as error:
            reader.problem(error.kind, f"the file {error}; skipped.")
            problems += reader.problems
            continue
        for k, key in enumerate(reader.images):
            if k % 50 == 0:
                yield Progress(k, len(reader.images), f"Reading {file.name}")
            images.append(reader.image(key))
        problems += reader.problems
        colors |= reader.colors
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(1, 1, "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems), colors)


class _Reader:
    """Reads one file and collects its problems."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.images: dict[str, dict[str, Any]] = {}
        self.colors: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._boxes: dict[str, list[dict[str, Any]]] = {}

    def problem(self, kind: str, what: str) -> None:
        self.problems.append(Problem(self.file.name, f"{self.file.name}: {what}", kind))

    def load(self, data: Any) -> None:
        """Sort a file's content by image."""
        if not isinstance(data, dict) or not isinstance(data.get("images"), list):
            what = "lists no images, as COCO does"
            if isinstance(data, list) and data and isinstance(data[0], dict) and "bbox" in data[0]:
                what = "holds detections without the list of their images"
            raise UnreadableError(what)
        for item in _objects(data.get("categories")):
            name = class_name_of(item.get("name"))
            self._names[_key(item.get("id"))] = name
            if color := color_of(item.get("color")):
                self.colors[name] = color
        listed = _objects(data["images"])
        self.images = {_key(item.get("id")): item for item in listed}
        if len(self.images) < len(listed):
            what = counted(len(listed) - len(self.images), "image has", "images have")
            self.problem("same-id", f"{what} the id of another one; left out.")
        self._boxes = {key: [] for key in self.images}
        dangling = 0
        for item in _objects(data.get("annotations")):
            key = _key(item.get("image_id"))
            if key in self._boxes:
                self._boxes[key].append(item)
            else:
                dangling += 1
        if dangling:
            self.problem(
                "dangling",
                f"{counted(dangling, 'box belongs', 'boxes belong')} to images that the file does "
                "not list; skipped.",
            )

    def image(self, key: str) -> ImportedImage:
        """Return one image with its boxes."""
        item = self.images[key]
        name, parents = image_name_of(item.get("file_name"))
        height, width = number(item.get("height")), number(item.get("width"))
        known = 0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE
        size = (int(height), int(width)) if known else None
        intake = Intake(self.file, name or key, size, within=name or f"image {key}")
        if not name:
            intake.report("no-name", "it has no file name; taken for its id.")
        crowds = unlisted = 0
        reviews = False
        for k, box in enumerate(self._boxes.pop(key), 1):
            sides, mask = _shape(box, intake, k)
            if sides is None:
                continue
            outlined = not box.get("bbox")
            category = _key(box.get("category_id"))
            unlisted += category not in self._names
            is_crowd = number(box.get("iscrowd")) == 1
            crowds += is_crowd and not outlined
            mask = None if is_crowd else mask  # of several cells
            extra = box.get(CARRIED)
            carried = read_carried(extra)
            reviews = reviews or bool(carried.get("status"))
            name = self._names.get(category, "")
            if isinstance(extra, dict) and extra.get(NO_CLASS) is True:
                name = ""
            intake.take(k, sides, name, mask=mask, **_scored(box, carried))
        if unlisted:
            what = f"{counted(unlisted, 'box', 'boxes')} of a category that the file does not list"
            intake.report("unknown-class", f"{what}; imported without a class.")
        if crowds:
            what = f"{counted(crowds, 'box', 'boxes')} marked as a crowd"
            intake.report("crowd", f"{what} may hold several cells; look at them.")
        finished = item.get("finished") is True
        image = intake.image(verified=finished, parents=parents, reviews=reviews or finished)
        self.problems += intake.problems
        return image


def _scored(box: dict[str, Any], carried: dict[str, Any]) -> dict[str, Any]:
    score = number(box.get("score"))
    if "score" not in carried and 0 <= score <= 1:
        carried["score"] = score
    return carried


def _shape(item: dict[str, Any], intake: Intake, k: int) -> tuple[Box | None, Mask | None]:
    """Return (y0, x0, y1, x1) of an annotation, as given or around its mask, and the mask."""
    boxed = isinstance(item.get("bbox"), list) and item["bbox"]
    box = mask = None
    try:
        box, mask = _outline(item.get("segmentation"))
    except ValueError as error:
        if not boxed:
            intake.skip("bad-mask", f"box {k} has a damaged mask ({error})")
            return None, None
        intake.report("bad-mask", f"box {k} has a damaged mask ({error}); only the box was taken.")
    if boxed:
        x, y, w, h = numbers(item["bbox"], 4)
        return (y, x, y + h, x + w), mask
    if box is None:
        intake.skip("no-box", f"annotation {k} has neither box nor mask")
    return box, mask


def _outline(outline: object) -> tuple[Box | None, Mask | None]:
    """Return the box around a segmentation, and its mask.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    if isinstance(outline, dict):
        size = [int(v) if v == v and abs(v) < 1e9 else 0 for v in numbers(outline.get("size"), 2)]
        counts = outline.get("counts")
        if not isinstance(counts, str | list):
            raise ValueError("it has no run lengths")
        mask = mask_of_counts(counts, *size)
        return (None if mask is None else mask.box), mask
    if not isinstance(outline, list):
        return None, None
    flat = [outline] if outline and not isinstance(outline[0], list) else outline
    rings = [
        [(number(x), number(y)) for x, y in zip(part[0::2], part[1::2], strict=False)]
        for part in flat
        if isinstance(part, list)
    ]
    points = [point for ring in rings for point in ring]
    if not points:
        return None, None
    xs, ys = zip(*points, strict=True)
    if any(v != v for v in (*xs, *ys)):
        raise ValueError("a corner is no number")
    box = (min(ys), min(xs), max(ys), max(xs))
    within = max(map(abs, box)) <= MAX_COORDINATE
    # COCO's polygons are pieces; it knows no holes
    return box, mask_of_pieces([[ring] for ring in rings]) if within else None


def _objects(items: object) -> list[dict[str, Any]]:
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def _key(value: object) -> str:
    """Return an id as text: some programs write 1 in one place and "1" in another."""
    return clean_name(value)


def write_coco(
    out: str | Path, images: Sequence[ExportImage], classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
    """Return a report of the COCO file written to ``out``, a ``.json`` file or a folder.

    What COCO has no field for stands in ``attributes`` (status, reviewer, model, note), where
    other programs pass it over; ``finished`` and ``split`` in each image, ``color`` in each
    category.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    file = Path(out) if Path(out).suffix.lower() == ".json" else Path(out) / FILE_NAME
    names = [c.name for c in classes]
    names += [b.class_name for image in images for b in image.boxes if b.class_name]
    losses = Losses("COCO", ("class", "score", "review", "note", "finished", "mask"))
    for image in images:
        losses.add_image(image)
    if losses.counts["class"]:
        names.append(UNCLASSED)
    ids = {name: k for k, name in enumerate(dict.fromkeys(names), 1)}
    colors = {c.name: c.color for c in classes}
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [
        {"id": k, "name": name} | ({"color": colors[name]} if name in colors else {})
        for name, k in ids.items()
    ]
    for k, (image, path) in enumerate(zip(images, distinct_paths(images), strict=True), 1):
        if k % 50 == 1:
            yield Progress(k - 1, len(images), f"Writing {image.name}")
        row = {"id": k, "file_name": path, "height": image.shape[1], "width": image.shape[2]}
        content["images"].append(row | {"finished": image.finished, "split": image.split})
        for box in image.boxes:
            number_ = len(content["annotations"]) + 1
            content["annotations"].append(_annotation(box, number_, k, ids, image.shape[1:]))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(content, separators=(",", ":")))
    except OSError as error:
        raise AnnotationError(
            f"{file} cannot be written ({error.strerror or error}): choose another place."
        ) from error
    return ExportReport((file,), len(images), len(content["annotations"]), losses.lines())


def _annotation(
    cell: ExportBox, k: int, image_id: int, ids: dict[str, int], shape: tuple[int, int]
) -> dict[str, Any]:
    y0, x0, y1, x1 = cell.box
    row: dict[str, Any] = {
        "id": k,
        "image_id": image_id,
        "category_id": ids[cell.class_name or UNCLASSED],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
        "segmentation": [],
    }
    if cell.mask is not None:
        counts = counts_of_mask(cell.mask, *shape)
        row |= {"area": cell.mask.area, "segmentation": {"size": list(shape), "counts": counts}}
    carried = carried_values(cell)
    if "score" in carried:
        row["score"] = carried.pop("score")
    if not cell.class_name:
        carried[NO_CLASS] = True
    return row | ({CARRIED: carried} if carried else {})
