"""A file that was replaced by another of the same size and kind is noticed, and cheaply."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from PIL import Image

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import WHOLE, Plane
from napari_cellal.io import freshness
from napari_cellal.io.freshness import change_of
from napari_cellal.io.planes import open_levels, probe_plane, read_plane

if TYPE_CHECKING:
    from pathlib import Path


def picture(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    # BMP: equal in size whatever the content
    Image.fromarray(rng.integers(0, 255, (40, 50), np.uint8)).save(path)
    return path


def known(path: Path, plane: Plane = WHOLE) -> Plane:
    info = probe_plane(path, plane)
    return Plane(plane.scene, plane.t, plane.z, plane.files, info.fingerprint, info.stamp)


def later(path: Path, seconds: float = 10) -> None:
    now = path.stat()
    os.utime(path, (now.st_atime + seconds, now.st_mtime + seconds))


def test_another_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.bmp")
    plane = known(path)
    assert change_of(path, plane) is None
    size = path.stat().st_size
    picture(path, seed=1)
    later(path)
    assert path.stat().st_size == size
    said = change_of(path, plane)
    assert said is not None
    assert "a.bmp" in said
    for read in (read_plane, open_levels):
        with pytest.raises(ImageError, match=r"a\.bmp"):
            read(path, plane)
    assert read_plane(path, Plane()).shape == (1, 40, 50)  # nothing was said of its content
    picture(path)
    later(path, 20)
    assert change_of(path, plane) is None


def test_content_is_read_only_where_size_or_time_differ_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "a.bmp")
    plane = known(path)
    opened: list[Path] = []
    plain = freshness.open_image

    def count(file: Path, **options: int):
        opened.append(file)
        return plain(file, **options)

    monkeypatch.setattr(freshness, "open_image", count)
    for _ in range(3):
        assert change_of(path, plane) is None
    assert opened == []
    later(path)  # copied or touched: another time, the same content
    for _ in range(3):
        assert change_of(path, plane) is None
    assert opened == [path]
    for _ in range(2):
        assert change_of(path, Plane(fingerprint=plane.fingerprint)) is None  # an older project
    assert opened == [path]


def test_a_file_that_is_gone_is_left_to_the_reader(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.bmp")
    plane = known(path)
    path.unlink()
    assert change_of(path, plane) is None
    with pytest.raises(ImageError, match=r"a\.bmp"):
        read_plane(path, plane)


def test_any_channels_file_counts(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"c{k}.bmp", k) for k in range(3)]
    plane = known(files[0], Plane(files=tuple(map(str, files))))
    assert change_of(files[0], plane) is None
    picture(files[2], 9)
    later(files[2])
    assert change_of(files[0], plane) is not None


def test_an_ome_zarr_is_a_file_too(tmp_path: Path) -> None:
    def write(seed: int) -> None:
        group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        pixels = np.random.default_rng(seed).integers(0, 255, (1, 30, 40), np.uint8)
        group.create_array("0", data=pixels, chunks=(1, 30, 40))
        axes = [{"name": name, "type": "space"} for name in "yx"]
        axes.insert(0, {"name": "c", "type": "channel"})
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}
        ]}]  # fmt: skip

    write(0)
    plane = known(tmp_path / "a.zarr")
    assert change_of(tmp_path / "a.zarr", plane) is None
    write(1)
    for file in (tmp_path / "a.zarr").iterdir():
        if file.is_file():
            later(file)
    assert change_of(tmp_path / "a.zarr", plane) is not None
