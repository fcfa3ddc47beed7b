"""QuPath's objects as boxes and masks, and cells to QuPath: one GeoJSON file an image.

Coordinates are x, y in px of the full-resolution image, from 0, so sides are kept exactly. A
mask goes out as polygons along the pixels' edges.
Source: QuPath's documentation of its GeoJSON
(https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

from .carried import carried_values, read_carried
from .colors import color_of
from .intake import MAX_COORDINATE, Intake
from .losses import Losses
from .names import Outlets, class_name_of, distinct_paths, image_name_of
from .outlines import mask_of_rings, rings_of_mask
from .report import ExportReport, ImportedImage, ImportReport, Problem, counted
from .source import UnreadableError, annotation_files, number, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.masks import Mask
    from napari_cellal.core.progress import Job

    from .report import ExportBox, ExportClass, ExportImage, ReadOptions

PROBABILITY = "probability "
"""Before the class's name, in QuPath's list of measurements."""


def geojson_files(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return the GeoJSON files that files and folders stand for."""
    return annotation_files(paths, (".geojson",))


def read_geojson(
    paths: Iterable[str | Path] | str | Path, _options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the images of GeoJSON files and a report of all that was not taken as it stands.

    An outline that is no upright rectangle gives box and mask. A file is about the image of
    its own name, unless it says otherwise.
    """
    files = geojson_files(paths)
    images: list[ImportedImage] = []
    problems: list[Problem] = []
    colors: dict[str, str] = {}
    for k, file in enumerate(files):
        yield Progress(k, len(files), f"Reading {file.name}")
        intake = Intake(file, file.stem)
        try:
            data = read_json(file)
            features = _features(data)
        except UnreadableError as error:
            intake.report(error.kind, f"the file {error}; skipped.")
            problems += intake.problems
            continue
        said = data if isinstance(data, dict) else {}
        name, parents = image_name_of(said.get("image"))
        intake.image_name = name or intake.image_name
        height, width = number(said.get("height")), number(said.get("width"))
        if 0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE:
            intake.size = (int(height), int(width))
        reviews = _take(features, intake, colors)
        finished = said.get("finished") is True
        images.append(
            intake.image(
                verified=finished,
                reviews=reviews or finished,
                parents=parents or file.parent.parts[-4:],
            )
        )
        problems += intake.problems
    boxes = sum(len(image.boxes) for image in images)
    yield Progress(len(files), len(files), "Annotations read")
    return images, ImportReport(len(files), len(images), boxes, tuple(problems), colors)


def _features(data: Any) -> list[Any]:
    if isinstance(data, dict) and data.get("type") == "Feature":
        return [data]
    if isinstance(data, dict) and data.get("type") == "FeatureCollection":
        data = data.get("features")
    if not isinstance(data, list):
        raise UnreadableError("holds no list of objects, as QuPath's GeoJSON does")
    return data


def _take(features: list[Any], intake: Intake, colors: dict[str, str]) -> bool:
    """Take every object; return whether any tells what a person said about it."""
    others: Counter[str] = Counter()
    reviews = False
    for k, feature in enumerate(features, 1):
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            intake.skip("no-box", f"object {k} has no outline")
            continue
        geometry = feature["geometry"]
        kind = geometry.get("type")
        if kind not in ("Polygon", "MultiPolygon"):
            others[kind if kind in _NO_AREA else "object of an unknown kind"] += 1
            continue
        points = list(_points(geometry.get("coordinates")))
        if not points:
            intake.skip("no-box", f"object {k} has no corners")
            continue
        xs, ys = zip(*points, strict=True)
        broken = any(v != v for v in (*xs, *ys))
        box = (float("nan"),) * 4 if broken else (min(ys), min(xs), max(ys), max(xs))
        own = feature.get("properties")
        properties = own if isinstance(own, dict) else {}
        name, color = _class(properties)
        if color:
            colors[name] = color
        carried = _carried(properties)
        reviews = reviews or "status" in carried
        intake.take(k, box, name, mask=_mask(geometry, points, box), **carried)
    for kind, n in others.items():
        intake.report("no-area", f"{counted(n, kind)} left out: no area to put a box around.")
    return reviews


_NO_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")


def _points(coordinates: object) -> Iterator[tuple[float, float]]:
    """Yield (x, y) of every corner, however deeply the rings are nested."""
    left = [coordinates]
    while left:
        item = left.pop()
        if not isinstance(item, list) or not item:
            continue
        if isinstance(item[0], list):
            left += item
        else:
            yield number(item[0]), number(item[1]) if len(item) > 1 else float("nan")


def _mask(geometry: dict[str, Any], points: list[tuple[float, float]], box: Box) -> Mask | None:
    """Return the mask of an outline; None of a rectangle, which is its box, and of a broken one."""
    if _is_rectangle(points, box) or not all(abs(v) <= MAX_COORDINATE for v in box):
        return None
    coordinates = geometry.get("coordinates")
    pieces = [coordinates] if geometry["type"] == "Polygon" else coordinates
    if not isinstance(pieces, list):
        return None
    rings = [ring for piece in pieces if isinstance(piece, list) for ring in piece]
    return mask_of_rings([list(_points(ring)) for ring in rings])


def _is_rectangle(points: list[tuple[float, float]], box: Box) -> bool:
    y0, x0, y1, x1 = box
    corners = {(x0, y0), (x0, y1), (x1, y0), (x1, y1)}
    return len(points) <= 5 and set(points) == corners


def _class(properties: dict[str, Any]) -> tuple[str, str]:
    said = properties.get("classification")
    if isinstance(said, str):
        return class_name_of(said), ""
    if not isinstance(said, dict):
        return "", ""
    name = said.get("name")
    names = said.get("names")
    if not name and isinstance(names, list):  # since QuPath 0.6
        name = ": ".join(n for n in names if isinstance(n, str))
    return class_name_of(name), color_of(said.get("color", said.get("colorRGB")))


def _carried(properties: dict[str, Any]) -> dict[str, Any]:
    measured = properties.get("measurements")
    if isinstance(measured, list):  # before QuPath 0.4
        pairs = [m for m in measured if isinstance(m, dict) and isinstance(m.get("name"), str)]
        measured = {m["name"]: m.get("value") for m in pairs}
    measured = measured if isinstance(measured, dict) else {}
    metadata = properties.get("metadata")
    values: dict[str, Any] = dict(metadata) if isinstance(metadata, dict) else {}
    values["score"] = measured.get("score")
    values["probabilities"] = {
        name.removeprefix(PROBABILITY): p
        for name, p in measured.items()
        if name.startswith(PROBABILITY)
    }
    found = read_carried(values)
    return found if found.get("probabilities") else found | {"probabilities": ()}


def write_geojson(
    out: str | Path, images: Sequence[ExportImage], classes: Sequence[ExportClass] = ()
) -> Job[ExportReport]:
    """Return a report of the GeoJSON files written into a folder, one an image.

    Score and probabilities are QuPath measurements, review state and reviewer its metadata.

    Raises
    ------
    AnnotationError
        If the folder cannot be written to.
    """
    folder = Path(out)
    colors = {c.name: [int(c.color[k : k + 2], 16) for k in (1, 3, 5)] for c in classes}
    losses = Losses("GeoJSON", ("class", "score", "review", "note", "finished", "mask"))
    outlets = Outlets(".geojson")
    written: list[Path] = []
    boxes = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k, (image, path) in enumerate(zip(images, distinct_paths(images), strict=True)):
            yield Progress(k, len(images), f"Writing {image.name}")
            losses.add_image(image)
            content = {
                "type": "FeatureCollection",
                "image": path,
                "height": image.shape[1],
                "width": image.shape[2],
                "finished": image.finished,
                "features": [_feature(cell, colors) for cell in image.boxes],
            }
            file = folder / outlets.of(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(content, separators=(",", ":")))
            written.append(file)
            boxes += len(image.boxes)
    except OSError as error:
        raise AnnotationError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder."
        ) from error
    return ExportReport(tuple(written), len(images), boxes, losses.lines())


def _geometry(cell: ExportBox) -> dict[str, Any]:
    if cell.mask is None:
        y0, x0, y1, x1 = cell.box
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        return {"type": "Polygon", "coordinates": [ring]}
    pieces = rings_of_mask(cell.mask)
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _feature(cell: ExportBox, colors: dict[str, list[int]]) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "annotation"}
    if cell.class_name:
        properties["classification"] = {
            "name": cell.class_name,
            "color": colors.get(cell.class_name, [153, 153, 153]),
        }
    carried = carried_values(cell)
    measured = {"score": carried.pop("score")} if "score" in carried else {}
    said = carried.pop("probabilities", {})
    measured |= {f"{PROBABILITY}{name}": p for name, p in said.items()}
    if measured:
        properties["measurements"] = measured
    if carried:
        properties["metadata"] = carried
    return {
        "type": "Feature",
        "geometry": _geometry(cell),
        "properties": properties,
    }
