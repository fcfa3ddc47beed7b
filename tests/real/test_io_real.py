"""Readers on real files: BCCD, Cell Painting, DSB2018 and multi-channel odds and ends."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Plane
from napari_cellal.io.exchange.report import ExportBox, ExportImage
from napari_cellal.io.exchange.voc import read_voc, write_voc
from napari_cellal.io.groups import group_files
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import probe_image, read_pixels
from napari_cellal.io.planes import open_levels, probe_plane, read_plane
from napari_cellal.io.samples.bccd import DIGEST, digest_of, find_bccd
from napari_cellal.io.samples.layout import SampleLayout, load_layout

pytestmark = pytest.mark.real

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def data(name: str) -> Path:
    """Return a data set's folder, or skip."""
    for root in (os.environ.get("NAPARI_CELLAL_DATA"), SHARED):
        if root and (Path(root) / name).is_dir():
            return Path(root) / name
    pytest.skip(f"{name} is neither in NAPARI_CELLAL_DATA nor in {SHARED}")


@pytest.fixture(scope="module")
def layout() -> SampleLayout:
    folder = find_bccd()
    if folder is None:
        pytest.skip(f"BCCD is neither in NAPARI_CELLAL_DATA nor in {SHARED}")
    return load_layout(folder)


def test_bccd_is_the_bccd_we_know(layout: SampleLayout) -> None:
    assert digest_of(layout.images[0].parents[1]) == DIGEST


def test_bccd_comes_in_with_its_known_faults(layout: SampleLayout) -> None:
    assert len(layout.images) == len(layout.annotations) == 364
    images, report = run_job(read_voc(layout.annotations, classes=["RBC", "WBC", "Platelets"]))
    assert (report.files, report.images, report.boxes) == (364, 364, 4886)
    assert report.counts() == {"zero-area": 2, "doubled": 8}
    assert {p.file for p in report.of_kind("zero-area")} == {
        "BloodImage_00338.xml",
        "BloodImage_00343.xml",
    }
    assert {p.file[11:16] for p in report.of_kind("doubled")} == {
        "00013",
        "00020",
        "00100",
        "00104",
        "00251",
        "00284",
        "00331",
        "00403",
    }
    counts = Counter(box.class_name for image in images for box in image.boxes)
    assert counts == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    assert [image.image_name for image in images] == [p.name for p in layout.images]


def test_bccd_splits(layout: SampleLayout) -> None:
    sizes = {name: len(names) for name, names in layout.splits.items()}
    assert sizes == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    parts = [set(layout.splits[k]) for k in ("train", "val", "test")]
    assert set.union(*parts) == {p.stem for p in layout.images}


def test_bccd_goes_out_and_in_again_exactly(layout: SampleLayout, tmp_path: Path) -> None:
    images, _ = run_job(read_voc(layout.annotations))
    exports = []
    for image in images:
        assert image.size is not None
        boxes = tuple(
            ExportBox(b.box, b.class_name, difficult=b.difficult, truncated=b.truncated)
            for b in image.boxes
        )
        exports.append(ExportImage(image.image_name, (3, *image.size), boxes))
    report = run_job(write_voc(tmp_path, exports))
    assert (report.boxes, report.lost, report.problems) == (4886, (), ())
    again, _ = run_job(read_voc(tmp_path))
    for first, second in zip(images, again, strict=True):
        assert second.boxes == first.boxes
        assert (second.image_name, second.size) == (first.image_name, first.size)


def test_bccd_pictures(layout: SampleLayout) -> None:
    infos = [probe_image(path) for path in layout.images[::9]]
    assert {(i.shape, i.dtype, i.rgb) for i in infos} == {((3, 480, 640), "uint8", True)}
    assert len({i.fingerprint for i in infos}) == len(infos)


def test_cell_painting_stacks() -> None:
    folder = data("cellpainting_bbbc022")
    stacks = image_files(folder / "stacks")
    assert len(stacks) == 6
    for path in stacks:
        info = probe_image(path)
        assert (info.shape, info.dtype, info.rgb) == ((5, 520, 696), "uint16", False)
        assert (info.n_t, info.n_z, info.n_scenes) == (1, 1, 1)
        assert info.pixel_size_um == pytest.approx(0.656)
        assert len(info.channels) == 5
        assert info.channels[0].startswith("H33342")
        assert info.channels[4].startswith("MitoTDR")
    pixels = read_pixels(stacks[0])
    name = stacks[0].name.removesuffix(".ome.tiff")
    for k in range(5):
        loose = read_pixels(folder / "channels" / f"{name}_Ch{k + 1}.tif")
        np.testing.assert_array_equal(pixels[k], loose[0])


def test_dsb2018_grey_is_one_channel_and_stain_is_three() -> None:
    folder = data("dsb2018_subset")
    kinds: dict[str, set[int]] = {}
    rows = (folder / "index.csv").read_text().splitlines()[1:]
    for name, _, width, height, kind, *_ in (row.split(",") for row in rows):
        info = probe_image(folder / "images" / f"{name}.png")
        assert info.shape[1:] == (int(height), int(width))
        assert read_pixels(folder / "images" / f"{name}.png").shape == info.shape
        kinds.setdefault(kind, set()).add(info.shape[0])
    assert kinds.pop("stain") == {3}
    assert set.union(*kinds.values()) == {1}


@pytest.mark.parametrize(
    ("name", "shape", "n_t", "size_um"),
    [
        ("neuron-4Ch", (4, 623, 502), 1, 0.1241),
        ("neocortex-3Ch", (3, 1112, 402), 1, None),
        ("scratch-assay-labeled-10T-2Ch", (4, 210, 576), 10, None),
    ],
)
def test_multichannel_axes(
    name: str, shape: tuple[int, int, int], n_t: int, size_um: float | None
) -> None:
    path = data("multichannel_extras") / "ndev" / f"{name}.tiff"
    info = probe_image(path)
    assert (info.shape, info.n_t, info.n_z, info.rgb) == (shape, n_t, 1, False)
    if size_um:
        assert info.pixel_size_um == pytest.approx(size_um)
        assert info.channels == ("AF647", "AF568", "AF488", "DAPI")
    whole = tifffile.imread(path)
    for t in {0, n_t - 1}:
        want = whole[:, t] if n_t > 1 else whole
        np.testing.assert_array_equal(read_pixels(path, t=t), want)
        np.testing.assert_array_equal(open_levels(path, Plane(t=t))[0].compute(), want)


def test_loose_channels_are_one_grey_plane_each() -> None:
    folder = data("multichannel_extras") / "cellprofiler_human"
    files = image_files(folder)
    assert len(files) == 3
    for path in files:
        assert probe_image(path).shape == (1, 512, 512)
        np.testing.assert_array_equal(read_pixels(path)[0], tifffile.imread(path))


def test_cell_painting_opens_alike_as_stacks_and_as_loose_channels() -> None:
    folder = data("cellpainting_bbbc022")
    stacks = image_files(folder / "stacks")
    grouping = group_files(image_files(folder / "channels"), "plate")
    assert len(grouping.complete) == len(grouping.groups) == len(stacks) == 6
    assert not grouping.unmatched
    for group in grouping.complete:
        (stack,) = (s for s in stacks if s.name.startswith(Path(group.name).stem + "."))
        plane = Plane(files=tuple(map(str, group.files)))
        info, other = probe_plane(group.files[0], plane), probe_image(stack)
        assert (info.shape, info.dtype) == (other.shape, other.dtype) == ((5, 520, 696), "uint16")
        np.testing.assert_array_equal(read_plane(group.files[0], plane), read_pixels(stack))
        assert set(group.place) == {"plate", "well", "site"}
    preview = group_files(image_files(data("multichannel_extras")), "plate")
    (human,) = preview.groups
    assert (len(human.files), human.place["well"]) == (3, "D03")
    assert len(preview.unmatched) == 3
