"""Projections, one file a channel, and lazy levels: every reader gets the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import WHOLE, Plane, Projection
from napari_cellal.io.planes import (
    open_levels,
    probe_plane,
    read_plane,
    read_plane_region,
    sharpest_z,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """An OME-TIFF and its uint16 [T, Z, C, Y, X]."""
    values = np.random.default_rng(0).integers(0, 60000, (3, 4, 2, 40, 50)).astype(np.uint16)
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, values, metadata={"axes": "TZCYX"}, compression="zlib", tile=(16, 16))
    return path, values


def consistent(path: Path, plane: Plane) -> np.ndarray:
    """Return the pixels after checking that whole, region and lazy readers agree."""
    pixels = read_plane(path, plane)
    (lazy,) = open_levels(path, plane)
    assert lazy.shape == pixels.shape == probe_plane(path, plane).shape
    assert lazy.dtype == pixels.dtype
    np.testing.assert_array_equal(lazy.compute(), pixels)
    np.testing.assert_array_equal(lazy[1, 5:30:3, 7].compute(), pixels[1, 5:30:3, 7])
    np.testing.assert_array_equal(lazy[::-1, [3, 1]].compute(), pixels[::-1, [3, 1]])
    part = read_plane_region(path, plane, (3, 4, 20, 33), channels=slice(1, 2))
    np.testing.assert_array_equal(part, pixels[1:2, 3:20, 4:33])
    return pixels


def test_projections(stack: tuple[Path, np.ndarray]) -> None:
    path, values = stack
    np.testing.assert_array_equal(consistent(path, Plane(t=1, z=2)), values[1, 2])
    got = consistent(path, Plane(t=1, z=Projection.MAX))
    np.testing.assert_array_equal(got, values[1].max(axis=0))
    got = consistent(path, Plane(t=2, z=Projection.MEAN))
    np.testing.assert_array_equal(got, np.rint(values[2].mean(axis=0)))
    got = consistent(path, Plane(t=Projection.MAX, z=3))
    np.testing.assert_array_equal(got, values[:, 3].max(axis=0))
    got = consistent(path, Plane(t=Projection.MAX, z=Projection.MAX))
    np.testing.assert_array_equal(got, values.max(axis=(0, 1)))


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "ZYXC", "YXCZ"])
def test_any_order_of_axes(tmp_path: Path, axes: str) -> None:
    values = np.random.default_rng(1).integers(0, 255, (3, 5, 33, 44)).astype(np.uint8)  # CZYX
    order = ["CZYX".index(a) for a in axes]
    path = tmp_path / "a.tif"
    # ImageJ and OME fix the order; tifffile's own metadata keeps any
    tifffile.imwrite(path, values.transpose(order), photometric="minisblack",
                     planarconfig=None, metadata={"axes": axes})  # fmt: skip
    np.testing.assert_array_equal(consistent(path, Plane(z=2)), values[:, 2])


def test_the_sharpest_plane(tmp_path: Path) -> None:
    from scipy.ndimage import gaussian_filter

    scene = np.random.default_rng(2).integers(0, 4000, (2, 64, 64)).astype(float)
    blurred = [gaussian_filter(scene, (0, s, s)) for s in (3, 2, 1, 0, 1.5)]
    values = np.stack(blurred).astype(np.uint16) + 50
    values[0] += 5000  # bright is not sharp
    tifffile.imwrite(tmp_path / "f.ome.tif", values, metadata={"axes": "ZCYX"})
    assert sharpest_z(tmp_path / "f.ome.tif", WHOLE, 5) == 3


def test_one_file_a_channel(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 255, (4, 30, 40)).astype(np.uint8)
    files = []
    for k, plane in enumerate(values):
        files.append(tmp_path / f"c{k}.png")
        if k == 2:  # a stain saved as a blue picture
            colored = np.zeros((30, 40, 3), np.uint8)
            colored[..., 2] = plane
            Image.fromarray(colored).save(files[-1])
        else:
            Image.fromarray(plane).save(files[-1])
    plane = Plane(files=tuple(map(str, files)))
    np.testing.assert_array_equal(consistent(files[0], plane), values)
    info = probe_plane(files[0], plane, ("a", "b", "c", "d"))
    assert info.channels == ("a", "b", "c", "d")
    before = info.fingerprint
    Image.fromarray(255 - values[3]).save(files[3])
    assert probe_plane(files[0], plane).fingerprint != before


def test_channels_that_do_not_fit_together(tmp_path: Path) -> None:
    small, wide = np.zeros((9, 9), np.uint8), np.zeros((9, 12), np.uint8)
    Image.fromarray(small).save(tmp_path / "a.png")
    Image.fromarray(wide).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", small.astype(np.uint16))
    tifffile.imwrite(tmp_path / "d.ome.tif", np.zeros((2, 9, 9), np.uint8),
                     metadata={"axes": "CYX"})  # fmt: skip
    for other in ("b.png", "c.tif", "d.ome.tif", "none.png"):
        files = (str(tmp_path / "a.png"), str(tmp_path / other))
        for read in (probe_plane, read_plane):
            with pytest.raises(ImageError, match=other.replace(".", r"\.") + r"|a\.png"):
                read(tmp_path / "a.png", Plane(files=files))


def test_a_large_picture_is_read_by_its_tiles(tmp_path: Path) -> None:
    """30,000 x 30,000 px of which one tile was written: 900 MB that nobody reads."""
    path = tmp_path / "big.tif"
    tile = np.full((1024, 1024), 7, np.uint8)
    empty = np.zeros((1024, 1024), np.uint8)
    n = -(-30_000 // 1024)
    tiles = (tile if k == n + 1 else empty for k in range(n * n))
    tifffile.imwrite(path, tiles, shape=(30_000, 30_000), dtype=np.uint8, tile=(1024, 1024),
                     compression="zstd")  # fmt: skip
    (lazy,) = open_levels(path, WHOLE)
    assert lazy[0, 1020:1030, 1020:1030].compute().sum() == 7 * 36
