"""QuPath's GeoJSON: outlines to boxes, classes and colours of several versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.geojson import read_geojson, write_geojson
from napari_cellal.io.exchange.report import ExportBox, ExportClass, ExportImage

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.io.exchange.report import ImportedImage, ImportReport

SQUARE = [[[5, 2], [15, 2], [15, 32], [5, 32], [5, 2]]]


def feature(coordinates: Any = SQUARE, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(folder: Path, content: Any) -> tuple[list[ImportedImage], ImportReport]:
    (folder / "slide 1.ome.tif.geojson").write_text(json.dumps(content))
    return run_job(read_geojson(folder))


def wrapped(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.mark.parametrize("content", [feature(), [feature()], wrapped(feature())])
def test_collections_lists_and_single_objects(tmp_path: Path, content: Any) -> None:
    (image,), report = read(tmp_path, content)
    assert image.image_name == "slide 1.ome.tif"
    assert [b.box for b in image.boxes] == [(2, 5, 32, 15)]
    assert not report.problems


def test_outlines_become_boxes_and_masks(tmp_path: Path) -> None:
    triangle = [[[5, 2], [50, 10], [20, 40], [5, 2]]]
    parts = [[[[60, 2], [70, 2], [70, 9]]], [[[65, 20], [90, 30.5], [60, 25]]]]
    (image,), report = read(
        tmp_path, wrapped(feature(triangle), feature(parts, "MultiPolygon"), feature(SQUARE))
    )
    assert [b.box for b in image.boxes] == [(2, 5, 40, 50), (2, 60, 30.5, 90), (2, 5, 32, 15)]
    assert not report.problems
    three, two, none = (b.mask for b in image.boxes)
    assert none is None
    assert three is not None
    assert [three.within((y, x, y + 1, x + 1)).item() for y, x in ((15, 25), (35, 45))] == [1, 0]
    assert two is not None
    assert [two.within((y, x, y + 1, x + 1)).item() for y, x in ((3, 68), (25, 70), (15, 70))] == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("classification", "name", "color"),
    [
        ({"name": "Tumor: Positive", "color": [255, 0, 16]}, "Tumor: Positive", "#FF0010"),
        ({"name": "RBC", "colorRGB": -16777200}, "RBC", "#000010"),
        ({"names": ["Tumor", "Positive"], "color": [1, 2]}, "Tumor: Positive", None),
        ("RBC", "RBC", None),
        (None, "", None),
        ({"name": 5, "color": [1, 2, 999]}, "5", None),
    ],
)
def test_classes_of_all_versions(
    tmp_path: Path, classification: Any, name: str, color: str | None
) -> None:
    (image,), report = read(tmp_path, feature(classification=classification))
    assert image.boxes[0].class_name == name
    assert report.colors.get(name) == color


@pytest.mark.parametrize("measured", [{"score": 0.5}, [{"name": "score", "value": 0.5}, 3, {}]])
def test_measurements_of_all_versions(tmp_path: Path, measured: Any) -> None:
    (image,), _ = read(tmp_path, feature(measurements=measured))
    assert image.boxes[0].score == 0.5


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (feature([5, 2], "Point"), "no-area"),
        (feature([[5, 2], [6, 3]], "LineString"), "no-area"),
        (feature([], "x" * 1000), "no-area"),
        (feature([]), "no-box"),
        (feature("SQUARE"), "no-box"),
        (feature([[[1, 2], [3]]]), "bad-number"),
        (feature([[[1, 2], [3, "x"]]]), "bad-number"),
        (feature([[[1, 2], [3, float("inf")]]]), "bad-number"),
        (feature([[[1, 2], [3, 2]]]), "zero-area"),
        ({"type": "Feature", "geometry": None}, "no-box"),
        (7, "no-box"),
    ],
)
def test_a_bad_object_is_left_out(tmp_path: Path, bad: Any, kind: str) -> None:
    (image,), report = read(tmp_path, wrapped(feature(), bad))
    assert len(image.boxes) == 1
    assert kind in report.counts()
    assert len(report.problems[0].sentence) < 200


@pytest.mark.parametrize("content", [{}, 5, {"type": "FeatureCollection"}, {"images": []}])
def test_json_of_another_kind(tmp_path: Path, content: Any) -> None:
    images, report = read(tmp_path, content)
    assert not images
    assert report.counts() == {"malformed": 1}


def test_what_qupath_reads(tmp_path: Path) -> None:
    box = ExportBox((2, 5, 32, 15), "RBC", 0.5, (("RBC", 0.5),), "proposed")
    image = ExportImage("a.tif", (3, 50, 80), (box,))
    run_job(write_geojson(tmp_path, [image], [ExportClass("RBC", "#0A0B0C")]))
    (one,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert one["geometry"]["coordinates"][0][0] == one["geometry"]["coordinates"][0][-1]
    assert one["properties"]["objectType"] == "annotation"
    assert one["properties"]["classification"] == {"name": "RBC", "color": [10, 11, 12]}
    assert one["properties"]["measurements"]["score"] == 0.5
    assert all(isinstance(v, str) for v in one["properties"]["metadata"].values())
