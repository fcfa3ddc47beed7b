"""Any microscope's images into a project: groups of files, scenes, planes, bad ones."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_cellal.cli import main
from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Plane, Projection, Split
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.requests import ImageFailure
from napari_cellal.io import planes, pyramids
from napari_cellal.io.planes import read_plane
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, detecting
from napari_cellal.workflows.adding import LookOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 255, shape).astype(np.uint8)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", ["cell"]) as project:
        yield project


def add(project: Project, *paths: Path, **options: Any) -> adding.Added:
    looked = run_job(adding.look_at_images(paths, LookOptions(**options)))
    return adding.add_looked(project, looked)


def pixels(project: Project, image_id: str) -> np.ndarray:
    return read_plane(project.image_path(image_id), project.plane(image_id))


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    """Two experiments of one plate, four wells and two sites each, six channels."""
    folder = tmp_path / "images"
    for experiment in ("HEPG2-01", "RPE-02"):
        plate = folder / experiment / "Plate1"
        plate.mkdir(parents=True)
        for well in ("B02", "B03", "C10", "C11"):
            for site in (1, 2):
                for channel in range(1, 7):
                    Image.fromarray(noise(12, 14)).save(plate / f"{well}_s{site}_w{channel}.png")
    return folder


def test_a_screen_is_grouped_and_keeps_its_places(project: Project, screen: Path) -> None:
    (screen / "RPE-02" / "Plate1" / "B02_s1_w4.png").unlink()
    Image.fromarray(noise(12, 15)).save(screen / "RPE-02" / "Plate1" / "B02_s2_w2.png")
    (screen / "readme.png").write_bytes(b"no picture")
    added = add(project, screen, pattern="rxrx1")
    assert len(added.records) == 14
    assert len(added.problems) == 3
    for part, name in zip(added.problems, ("B02_s1", "readme.png", "B02_s2_w2"), strict=True):
        assert name in part
    first = added.records[0]
    assert first.shape == (6, 12, 14)
    assert first.channels[0] == "nuclei"
    assert first.name == "HEPG2-01_Plate1_B02_s1.png"
    assert first.group == "HEPG2-01/1/B02"
    assert first.place == {"batch": "HEPG2-01", "plate": "1", "well": "B02", "site": "1"}
    stored = project.images[first.image_id]
    assert stored.files[5] == "images/HEPG2-01/Plate1/B02_s1_w6.png"
    got = pixels(project, first.image_id)
    for plane, file in zip(got, stored.files, strict=True):
        np.testing.assert_array_equal(plane, np.asarray(Image.open(screen.parent / file)))
    again = add(project, screen, pattern="rxrx1")
    assert (len(again.records), again.known) == (0, 14)


def test_the_sites_of_a_well_stay_on_one_side(project: Project, screen: Path) -> None:
    add(project, screen / "HEPG2-01", pattern="rxrx1")
    add(project, screen, pattern="rxrx1")
    sides: dict[str, set[Split]] = {}
    for record in project.images.values():
        sides.setdefault(record.group, set()).add(record.split)
    assert len(sides) == 8
    assert all(len(side) == 1 for side in sides.values())
    splits = [r.split for r in project.images.values()]
    assert 2 <= splits.count(Split.VAL) <= 4


def test_a_project_survives_reopening_with_all_of_it(tmp_path: Path, screen: Path) -> None:
    stack = tmp_path / "s.ome.tif"
    tifffile.imwrite(stack, noise(3, 2, 9, 9), metadata={"axes": "ZCYX"})
    with Project.create(tmp_path / "q", ["cell"]) as project:
        add(project, screen, pattern="rxrx1")
        add(project, stack, z="max")
        before = dict(project.images)
        planes = {key: project.plane(key) for key in before}
    with Project.open(tmp_path / "q.cellal") as project:
        assert dict(project.images) == before
        assert {key: project.plane(key) for key in before} == planes


@pytest.mark.parametrize(
    ("choice", "want"),
    [
        ("max", lambda v: v.max(axis=0)),
        ("mean", lambda v: np.rint(v.mean(axis=0))),
        (2, lambda v: v[2]),
        (None, lambda v: v[0]),
    ],
)
def test_a_choice_of_z_is_what_every_reader_gets(
    project: Project, tmp_path: Path, choice: Any, want: Callable[[np.ndarray], np.ndarray]
) -> None:
    values = noise(4, 2, 70, 60)
    tifffile.imwrite(tmp_path / "s.ome.tif", values, metadata={"axes": "ZCYX"})
    added = add(project, tmp_path / "s.ome.tif", z=choice)
    (record,) = added.records
    assert len(added.notes) == (1 if choice is None else 0)
    np.testing.assert_array_equal(pixels(project, record.image_id), want(values))
    seen: list[np.ndarray] = []

    def reader(path: str, plane: Plane) -> np.ndarray:
        seen.append(read_plane(path, plane))
        return seen[-1]

    request = detecting.request_detection(project, [record.image_id])
    run_job(detect_images(request.images, request.model, reader=reader))
    np.testing.assert_array_equal(seen[0], want(values))


def test_focus_and_each(project: Project, tmp_path: Path) -> None:
    values = np.full((2, 3, 40, 40), 100, np.uint8)
    values[0, 2, ::2] = 10
    values[1, 1, :, ::3] = 10
    tifffile.imwrite(tmp_path / "s.ome.tif", values, metadata={"axes": "TZYX"})
    one = add(project, tmp_path / "s.ome.tif", z="focus", t="each").records
    assert [(r.t, r.z, r.name) for r in one] == [(0, 0, "s.ome (t 0).tif"),
                                                 (1, 1, "s.ome (t 1).tif")]  # fmt: skip
    assert len({r.image_id for r in one}) == 2
    many = add(project, tmp_path / "s.ome.tif", z="each", t="max").records
    assert [(r.t, r.z) for r in many] == [(Projection.MAX, z) for z in range(3)]
    with pytest.raises(ImageError, match="z-plane 7"):
        raise ImageError(add(project, tmp_path / "s.ome.tif", z=7).problems[0])


def test_every_scene_is_an_image(project: Project, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "s.ome.tif") as tif:
        for size in (20, 30):
            tif.write(noise(size, 25), metadata={"axes": "YX"})
    records = add(project, tmp_path / "s.ome.tif").records
    assert [(r.scene, r.shape) for r in records] == [(0, (1, 20, 25)), (1, (1, 30, 25))]
    assert pixels(project, records[1].image_id).shape == (1, 30, 25)


def test_channels_are_named(project: Project, tmp_path: Path) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", noise(3, 9, 9), metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "c.tif", noise(9, 9))
    added = add(project, tmp_path, channels=("DNA", "ER", "AGP"))
    assert [r.channels for r in added.records] == [("DNA", "ER", "AGP")] * 2
    assert len(added.problems) == 1
    assert "c.tif" in added.problems[0]


def test_a_zarr_plate_keeps_its_wells(project: Project, tmp_path: Path) -> None:
    plate = tmp_path / "p.zarr"
    group = zarr.open_group(plate, mode="w", zarr_format=2)
    group.attrs["plate"] = {"name": "screen 7", "wells": [{"path": "B/2"}]}
    well = zarr.open_group(plate / "B/2", mode="w", zarr_format=2)
    well.attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    for field in "01":
        image = zarr.open_group(plate / "B/2" / field, mode="w", zarr_format=2)
        image.create_array("0", data=noise(2, 9, 9))
        axes = [{"name": a} for a in "cyx"]
        image.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    records = add(project, tmp_path).records
    assert [r.name for r in records] == ["p.zarr/B/2/0", "p.zarr/B/2/1"]
    assert records[1].place == {"plate": "screen 7", "well": "B2", "field": "1"}
    assert records[0].group == "screen 7/B2"


# -- images nobody wants ----------------------------------------------------------------------


def make_odd_images(folder: Path) -> dict[str, bool]:
    """Write images that are odd; return whether each can be used all the same."""
    gray = noise(40, 40)
    nan = gray.astype(np.float32)
    nan[3:9] = np.nan
    odd: dict[str, tuple[np.ndarray, bool]] = {
        "int32.tif": (gray.astype(np.int32) - 7, True),
        "uint32.tif": (gray.astype(np.uint32) * 70_000, True),
        "float64.tif": (gray.astype(np.float64), True),
        "nan.tif": (nan, True),
        "all nan.tif": (np.full((40, 40), np.nan, np.float32), True),
        "inf.tif": (np.where(gray > 9, np.inf, 1).astype(np.float32), True),
        "black.tif": (gray * 0, True),
        "white.tif": (gray * 0 + 255, True),
        "pixel.tif": (gray[:1, :1], True),
        "row.tif": (gray[:1], True),
        "naïve Zelle 細胞 \N{MICROSCOPE}.tif": (gray, True),
        "n" * 240 + ".tif": (gray + 1, True),
        "complex.tif": (gray.astype(np.complex64), False),
    }
    for name, (values, _) in odd.items():
        tifffile.imwrite(folder / name, values)
    with tifffile.TiffWriter(folder / "channels last.tif") as tif:
        for row in noise(100, 90, 5):
            tif.write(row, photometric="minisblack", contiguous=True)
    data = bytearray((folder / "black.tif").read_bytes())
    with tifffile.TiffFile(folder / "black.tif") as tif:
        tags = {code: tif.pages[0].tags[code].valueoffset for code in (256, 257)}
    for at in tags.values():
        data[at : at + 4] = (2_000_000_000).to_bytes(4, "little")
    (folder / "huge.tif").write_bytes(data)
    (folder / "loop").symlink_to(folder)
    (folder / "self.tif").symlink_to(folder / "self.tif")
    return {name: good for name, (_, good) in odd.items()} | {
        "channels last.tif": False,
        "huge.tif": False,
    }


def test_odd_images_get_a_sentence_and_the_rest_goes_on(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    expected = make_odd_images(folder)
    added = add(project, folder)
    assert {r.name for r in added.records} == {n for n, good in expected.items() if good}
    bad = [name for name, good in expected.items() if not good]
    assert len(added.problems) == len(bad)
    for problem in added.problems:
        assert any(name in problem for name in bad)
        assert "\n" not in problem
    request = detecting.request_detection(project, list(project.images))
    items: list[Any] = []
    run_job(detecting.detect(request), lambda step: items.append(step.item))
    results = [item for item in items if item is not None]
    assert len(results) == len(added.records)
    assert not [r for r in results if isinstance(r, ImageFailure)]


# -- the command line -------------------------------------------------------------------------


def test_the_grouping_is_shown_before_anything_is_added(
    tmp_path: Path, screen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "c.cellal"
    assert main(["new", str(project)]) == 0
    capsys.readouterr()
    assert (
        main(["add", str(project), str(screen), "--pattern", "rxrx1", "--dry-run", "--json"]) == 0
    )
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"channels", "images", "unmatched", "problems"}
    assert len(shown["images"]) == 16
    assert set(shown["images"][0]) == {"name", "place", "files", "missing"}
    with Project.open(project) as opened:
        assert not opened.images
    assert main(["add", str(project), str(screen), "--pattern", "rxrx1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 16
    wrong = ["add", str(project), str(screen), "--pattern", "{well}_{colour}"]
    assert main(wrong) == 1
    assert "colour" in capsys.readouterr().err


def test_a_large_flat_image_gets_smaller_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planes, "_LARGE_PLANE", 1000)
    monkeypatch.setattr(pyramids, "_SMALL_PX", 50)
    tifffile.imwrite(tmp_path / "flat.tif", noise(300, 400), tile=(64, 64))
    Image.fromarray(noise(40, 40)).save(tmp_path / "small.png")
    project = tmp_path / "c.cellal"
    assert main(["new", str(project)]) == 0
    assert main(["add", str(project), str(tmp_path / "flat.tif"), str(tmp_path / "small.png")]) == 0
    with Project.open(project) as opened:
        (made,) = (opened.cache_folder / "pyramids").iterdir()
        record = next(r for r in opened.images.values() if r.name == "flat.tif")
        assert made.name.startswith(record.fingerprint)


def test_images_of_a_renamed_folder_are_found_again(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        Image.fromarray(noise(12, 14)).save(folder / f"{name}.png")
    before = {r.image_id: r for r in add(project, folder).records}
    seen = {key: pixels(project, key) for key in before}
    shutil.copy(folder / "c.png", tmp_path / "c.png")
    folder = folder.rename(tmp_path / "photos 2026")
    (folder / "a.png").rename(folder / "first.png")
    shutil.copy(folder / "b.png", folder / "copy of b.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "c.png").rename(tmp_path / "photos" / "c.png")  # this one is still there
    Image.fromarray(noise(12, 14)).save(folder / "new.png")
    added = add(project, folder)
    assert (len(added.records), added.found, added.known) == (1, 2, 2)
    for key, record in before.items():
        assert np.array_equal(pixels(project, key), seen[key])
        assert project.images[key].split == record.split
    project.close()
    with Project.open(project.folder) as again:
        assert again.images == project.images


def test_a_renamed_group_of_files_is_found_again(project: Project, screen: Path) -> None:
    before = {r.image_id for r in add(project, screen, pattern="rxrx1").records}
    moved = screen.rename(screen.with_name("elsewhere"))
    added = add(project, moved, pattern="rxrx1")
    assert (len(added.records), added.found) == (0, len(before))
    assert all(pixels(project, key).shape == (6, 12, 14) for key in before)


def test_a_pattern_is_offered_where_files_look_like_one(project: Project, screen: Path) -> None:
    looked = run_job(adding.look_at_images([screen]))
    assert any("rxrx1" in note for note in looked.notes)
