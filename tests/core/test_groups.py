"""One file a channel: which files are one image. No file is opened for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_cellal.core.errors import ImageError
from napari_cellal.io.groups import PRESETS, group_files, guess_pattern

HPA = [f"{i}_{c}.png" for i in ("0a1b", "f-2", "x_y") for c in ("red", "green", "blue", "yellow")]
RXRX1 = [
    f"{e}/Plate{p}/{w}_s{s}_w{c}.png"
    for e in ("HEPG2-01", "RPE-02")
    for p in (1, 2)
    for w in ("B02", "AA10")
    for s in (1, 2)
    for c in range(1, 7)
]


def paths(names: list[str]) -> list[Path]:
    return [Path("/data") / name for name in names]


def test_human_protein_atlas() -> None:
    grouping = group_files(paths(sorted(HPA)), "hpa")
    assert grouping.channels == ("microtubules", "protein", "nucleus", "reticulum")
    assert [g.name for g in grouping.groups] == ["0a1b.png", "f-2.png", "x_y.png"]
    first = grouping.groups[0]
    assert [f.name for f in first.files] == [
        f"0a1b_{c}.png" for c in ("red", "green", "blue", "yellow")
    ]
    assert first.place == {"id": "0a1b"}
    assert not grouping.unmatched
    assert not grouping.problems


def test_rxrx1() -> None:
    grouping = group_files(paths(RXRX1), "rxrx1")
    assert len(grouping.complete) == 16
    assert len({g.name for g in grouping.groups}) == 16
    group = grouping.groups[-1]
    assert group.place == {"batch": "RPE-02", "plate": "2", "well": "AA10", "site": "2"}
    assert group.name == "RPE-02_Plate2_AA10_s2.png"
    assert [f.name for f in group.files] == [f"AA10_s2_w{c}.png" for c in range(1, 7)]


def test_plates() -> None:
    names = [
        f"my_plate_{w}_site{s}_Ch{c}.tif" for w in ("A14", "B2") for s in (1, 2) for c in (1, 2, 10)
    ]
    grouping = group_files(paths(names), "plate")
    assert grouping.channels == ("Ch1", "Ch2", "Ch10")
    assert grouping.groups[0].name == "my_plate_A14_site1.tif"
    assert grouping.groups[2].place == {"plate": "my_plate", "well": "B2", "site": "1"}
    other = group_files(paths(["AS_09125_050116030001_D03f00d0.tif"]), "plate")
    assert other.groups[0].place["well"] == "D03"


def test_what_is_missing_doubled_or_foreign_is_told() -> None:
    names = [*HPA[:7], "0a1b_RED.png", "notes.png", "0a1b_pink.png"]
    grouping = group_files(paths(names), "hpa")
    assert [g.name for g in grouping.complete] == ["0a1b.png"]
    assert grouping.groups[1].missing == ("reticulum",)
    assert [f.name for f in grouping.unmatched] == ["notes.png", "0a1b_pink.png"]
    assert len(grouping.problems) == 2
    assert "0a1b_RED.png" in grouping.problems[0]
    assert "reticulum" in grouping.problems[1]


@pytest.mark.parametrize(
    ("pattern", "name", "title", "place"),
    [
        ("{plate}_{well}_s{site}_w{channel}.tif", "p_1_A01_s2_wDAPI.TIF", "p_1_A01_s2.TIF",
         {"plate": "p_1", "well": "A01", "site": "2"}),
        ("{channel}/{plate}_{well}", "DAPI/x_A01.png", "x_A01.png",
         {"plate": "x", "well": "A01"}),
        ("{batch}/{well}/c{channel}", "b7/C12/c3.png", "b7_C12.png",
         {"batch": "b7", "well": "C12"}),
        ("{well}-{channel}-z{z}.tif", "A01-gfp-z3.tif", "A01-z3.tif", {"well": "A01", "z": "3"}),
        ("{id}.{channel:dapi|gfp}", "exp (1).v2.gfp.tif", "exp (1).v2.tif",
         {"id": "exp (1).v2"}),
        ("{channel}.tif", "gfp.tif", "data.tif", {}),
    ],
)  # fmt: skip
def test_a_pattern_of_ones_own(pattern: str, name: str, title: str, place: dict[str, str]) -> None:
    (group,) = group_files(paths([name]), pattern).groups
    assert (group.name, group.place) == (title, place)


def test_folders_tell_images_apart() -> None:
    names = [f"day{d}/A01_{c}.tif" for d in (1, 2) for c in ("a", "b")]
    assert len(group_files(paths(names), "{well}_{channel}").complete) == 2


@pytest.mark.parametrize(
    "pattern",
    ["", "{well}.tif", "{well}_{color}_{channel}", "{well}_{well}_{channel}", "{well_{channel}",
     "{channel}}", "{}_{channel}", "bccd"],
)  # fmt: skip
def test_a_pattern_that_makes_no_sense(pattern: str) -> None:
    with pytest.raises(ImageError, match="pattern") as caught:
        group_files(paths(HPA), pattern)
    assert "\n" not in str(caught.value)


def test_layouts_are_recognised() -> None:
    assert guess_pattern(paths(HPA)) == "hpa"
    assert guess_pattern(paths(RXRX1)) == "rxrx1"
    assert guess_pattern(paths([f"p_A01_site1_Ch{c}.tif" for c in range(5)])) == "plate"
    assert guess_pattern(paths([f"BloodImage_{k:05}.jpg" for k in range(40)])) is None
    assert guess_pattern(paths([f"p_A01_s{s}_w1.tif" for s in range(9)])) is None
    assert set(PRESETS) == {"plate", "hpa", "rxrx1"}
