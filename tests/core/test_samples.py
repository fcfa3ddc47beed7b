"""Drawn images are what they say they are; BCCD is found, checked and unpacked safely."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.io.exchange.voc import read_voc
from napari_cellal.io.pixels import probe_image, read_pixels
from napari_cellal.io.samples import bccd
from napari_cellal.io.samples.fluorescence import FIELD_CHANNELS, FIELD_CLASSES, make_field
from napari_cellal.io.samples.layout import load_layout
from napari_cellal.io.samples.smears import SMEAR_CLASSES, WHITE_SUBTYPES, make_smear
from napari_cellal.io.samples.write import write_samples

if TYPE_CHECKING:
    from napari_cellal.io.samples.drawing import SyntheticImage

SMALL = (160, 200)


def smear(seed: int) -> SyntheticImage:
    return make_smear(seed, SMALL, cell_px=24)


def field(seed: int) -> SyntheticImage:
    return make_field(seed, SMALL, cell_px=26)


@pytest.mark.parametrize("make", [smear, field])
def test_the_truth_fits_the_picture(make) -> None:
    classes: Counter[str] = Counter()
    for seed in range(4):
        image = make(seed)
        height, width = image.pixels.shape[1:]
        n = len(image.boxes)
        classes += Counter(image.class_names)
        assert image.boxes.dtype == np.float32
        assert image.labels.dtype == np.int32
        assert image.labels.shape == (height, width)
        assert len(image.class_names) == n > 3
        assert image.labels.max() <= n
        assert (image.boxes[:, :2] >= 0).all()
        assert (image.boxes[:, 2:] <= (height, width)).all()
        assert (image.boxes[:, 2:] - image.boxes[:, :2] >= 2).all()
        for k in range(1, n + 1):
            rows, cols = np.nonzero(image.labels == k)
            if rows.size:  # else wholly under another cell
                y0, x0, y1, x1 = image.boxes[k - 1]
                assert y0 <= rows.min()
                assert rows.max() < y1
                assert x0 <= cols.min()
                assert cols.max() < x1
    assert set(classes) == set(SMEAR_CLASSES if make is smear else FIELD_CLASSES)


def test_boxes_of_cells_that_do_not_overlap_are_tight() -> None:
    image = field(1)
    for k, box in enumerate(image.boxes, 1):
        rows, cols = np.nonzero(image.labels == k)
        tight = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        assert tuple(box) == tight


@pytest.mark.parametrize("make", [smear, field])
def test_a_seed_gives_one_image(make) -> None:
    first, again, other = make(3), make(3), make(4)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.pixels, other.pixels)


def test_smears_look_like_blood() -> None:
    counts: Counter[str] = Counter()
    for seed in range(3):
        image = make_smear(seed)
        counts += Counter(image.class_names)
        assert image.pixels.shape == (3, 480, 640)
        assert image.pixels.dtype == np.uint8
        red, green, _ = image.pixels.astype(float)
        ground = image.labels == 0
        assert 180 < green[ground].mean() < 245
        assert (red - green)[~ground].mean() > (red - green)[ground].mean() + 15
        for name, subtype in zip(image.class_names, image.subtypes, strict=True):
            assert (subtype in WHITE_SUBTYPES) == (name == "WBC")
        # White cells hold the darkest stain.
        white = [k for k, name in enumerate(image.class_names, 1) if name == "WBC"]
        if white:
            inside = np.isin(image.labels, white)
            assert np.percentile(red[inside], 10) < np.percentile(red[~inside], 1)
    assert 12 <= counts["RBC"] / 3 <= 28


def test_fields_use_sixteen_bits_and_differ_by_channel() -> None:
    image = make_field(2, (260, 348))
    assert image.pixels.dtype == np.uint16
    assert image.channels == FIELD_CHANNELS
    assert image.pixels.max() > 1000
    dna, er = image.pixels[0].astype(float), image.pixels[1].astype(float)
    inside = image.labels > 0
    assert dna[inside].mean() > 2 * dna[~inside].mean()
    assert np.corrcoef(dna[inside], er[inside])[0, 1] < 0.5


@pytest.mark.parametrize(
    ("kind", "channels"), [("smear", ("red", "green", "blue")), ("fluorescence", FIELD_CHANNELS)]
)
def test_written_samples_come_back(tmp_path: Path, kind: str, channels: tuple[str, ...]) -> None:
    files = write_samples(tmp_path, kind, 5, 7, shape=SMALL, cell_px=24)  # type: ignore[arg-type]
    layout = load_layout(tmp_path)
    assert layout.images == files
    assert len(layout.annotations) == 5
    assert probe_image(files[2]).channels == channels
    make = make_smear if kind == "smear" else make_field
    truth = make(9, SMALL, cell_px=24)
    np.testing.assert_array_equal(read_pixels(files[2]), truth.pixels)
    images, report = run_job(read_voc(layout.annotations))
    assert not report.of_kind("malformed")
    assert images[2].verified
    assert images[2].image_name == files[2].name
    np.testing.assert_array_equal(np.float32([b.box for b in images[2].boxes]), truth.boxes)
    splits = layout.splits
    assert sorted(splits["trainval"]) == sorted(splits["train"] + splits["val"])
    names = splits["train"] + splits["val"] + splits["test"]
    assert sorted(names) == sorted(Path(f.name).stem for f in files)
    assert all(splits.values())


def test_layout_in_vocs_folders_one_level_down(tmp_path: Path) -> None:
    root = tmp_path / "BCCD"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").write_bytes(b"x")
    (root / "Annotations" / "a.xml").write_text("<annotation/>")
    (root / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    (tmp_path / "example.jpg").write_bytes(b"x")
    for folder in (root, tmp_path):
        layout = load_layout(folder)
        assert [p.name for p in layout.images] == ["a.jpg"]
        assert [p.name for p in layout.annotations] == ["a.xml"]
        assert layout.splits == {"test": ["a"]}
    (tmp_path / "empty").mkdir()
    for bad in ("empty", "gone"):
        with pytest.raises(CellalError, match=bad):
            load_layout(tmp_path / bad)


# --- BCCD -------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, str]:
    """A folder in BCCD's layout and its digest."""
    root = tmp_path / "data" / "bccd" / "BCCD"
    for part, name in (
        ("JPEGImages", "B_1.jpg"),
        ("Annotations", "B_1.xml"),
        ("ImageSets/Main", "test.txt"),
    ):
        (root / part).mkdir(parents=True)
        (root / part / name).write_bytes(name.encode())
    return root, bccd.digest_of(root)


def packed(root: Path, path: Path, *extra: str) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for file in root.rglob("*.*"):
            out.write(file, f"BCCD_Dataset-abc/BCCD/{file.relative_to(root).as_posix()}")
        for name in extra:
            out.writestr(name, "evil")
    return path


def test_bccd_is_found_where_the_environment_says(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = tiny
    for folder in (root.parent.parent, root.parent, root):
        monkeypatch.setenv("NAPARI_CELLAL_DATA", str(folder))
        assert bccd.find_bccd() == root
        assert run_job(bccd.fetch_bccd(tmp_path / "cache")) == root
    assert not (tmp_path / "cache").exists()


def test_bccd_is_found_beside_the_working_folder(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = tiny
    monkeypatch.delenv("NAPARI_CELLAL_DATA", raising=False)
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "data").rename(shared / "data")
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    found = bccd.find_bccd()
    assert found is not None
    assert found.resolve() == (shared / "data" / "bccd" / root.name).resolve()


def test_unpacking_takes_only_bccds_own_files(tiny: tuple[Path, str], tmp_path: Path) -> None:
    root, digest = tiny
    archive = packed(
        root,
        tmp_path / "a.zip",
        "BCCD_Dataset-abc/BCCD/Annotations/../../../../evil.xml",
        "/etc/evil.xml",
        "BCCD_Dataset-abc/BCCD/JPEGImages/evil.exe",
    )
    target = tmp_path / "deep" / "er" / "out"
    bccd.unpack_bccd(archive, target, digest)
    assert bccd.digest_of(target) == digest
    assert not list(tmp_path.rglob("evil*"))


def test_other_data_are_refused(tiny: tuple[Path, str], tmp_path: Path) -> None:
    root, digest = tiny
    (root / "Annotations" / "B_1.xml").write_text("changed")
    archive = packed(root, tmp_path / "a.zip")
    with pytest.raises(CellalError):
        bccd.unpack_bccd(archive, tmp_path / "out", digest)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(CellalError):
        bccd.unpack_bccd(archive, tmp_path / "out2", digest)


@pytest.mark.parametrize("works", [True, False])
def test_a_download_is_whole_or_leaves_nothing(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    import pooch

    root, digest = tiny
    archive = packed(root, tmp_path / "a.zip")

    def retrieve(url: str, known_hash: None, fname: str, path: Path, downloader: object) -> None:
        if not works:
            raise OSError("no network")
        (path / fname).write_bytes(archive.read_bytes())

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(bccd, "find_bccd", lambda: None)
    monkeypatch.setattr(bccd.unpack_bccd, "__defaults__", (digest,))
    cache = tmp_path / "cache"
    if works:
        folder = run_job(bccd.fetch_bccd(cache))
        assert bccd.digest_of(folder) == digest
        assert [p.name for p in cache.iterdir()] == ["BCCD"]
    else:
        with pytest.raises(CellalError):
            run_job(bccd.fetch_bccd(cache))
        assert not list(cache.iterdir())


def test_a_download_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    import pooch

    running, stop = threading.Event(), threading.Event()

    def retrieve(*_: object, downloader: pooch.HTTPDownloader) -> None:
        running.set()
        while not stop.wait(0.01):
            downloader.progressbar.update(1)  # what stops it

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(bccd, "find_bccd", lambda: None)
    before = threading.active_count()
    job = bccd.fetch_bccd(tmp_path / "cache")
    next(job)
    assert running.wait(5)
    try:
        job.close()
        assert threading.active_count() == before
        assert not list((tmp_path / "cache").iterdir())
    finally:
        stop.set()
