"""Smaller copies of large images: made once, block by block, the same as from the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_cellal.core.errors import ImageError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import WHOLE
from napari_cellal.io import planes, pyramids

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """A tiled TIFF that counts as large, and its pixels."""
    values = np.random.default_rng(0).integers(0, 60000, (2, 530, 700)).astype(np.uint16)
    path = tmp_path / "big.ome.tif"
    tifffile.imwrite(path, values, tile=(64, 64), compression="zlib", metadata={"axes": "CYX"})
    monkeypatch.setattr(planes, "_LARGE_PLANE", 1000)
    monkeypatch.setattr(pyramids, "_SMALL_PX", 50)
    monkeypatch.setattr(pyramids, "_BLOCK_PX", 256)
    monkeypatch.setattr(planes, "read_pixels", None)  # never all of it
    return path, values


def test_copies_are_the_means_of_what_they_stand_for(
    tmp_path: Path, big: tuple[Path, np.ndarray]
) -> None:
    path, values = big
    assert pyramids.needs_pyramid(path, WHOLE)
    folder = run_job(pyramids.make_pyramid(path, WHOLE, tmp_path))
    first, *rest = pyramids.open_pyramid(folder)
    inner = values[:, :528, :700].reshape(2, 132, 4, 175, 4).mean(axis=(2, 4))
    assert first.shape == (2, 133, 175)
    np.testing.assert_allclose(first[:, :132].compute(), inner, atol=0.51)
    assert [a.shape[1:] for a in rest] == [(67, 88), (34, 44)]
    assert all(a.dtype == np.uint16 for a in rest)
    np.testing.assert_allclose(rest[-1].compute().mean(), values.mean(), rtol=0.01)


def test_the_window_gets_them_behind_the_full_size(
    tmp_path: Path, big: tuple[Path, np.ndarray]
) -> None:
    path, values = big
    assert len(pyramids.all_levels(path, WHOLE, tmp_path)) == 1
    run_job(pyramids.make_pyramid(path, WHOLE, tmp_path))
    levels = pyramids.all_levels(path, WHOLE, tmp_path)
    assert [a.shape[1] for a in levels] == [530, 133, 67, 34]
    np.testing.assert_array_equal(levels[0][1, 500:, :9].compute(), values[1, 500:, :9])


def test_they_are_made_once_and_a_stopped_job_leaves_nothing(
    tmp_path: Path, big: tuple[Path, np.ndarray]
) -> None:
    path, values = big
    job = pyramids.make_pyramid(path, WHOLE, tmp_path)
    for _ in range(3):
        next(job)
    job.close()
    assert list((tmp_path / "pyramids").iterdir()) == []
    folder = run_job(pyramids.make_pyramid(path, WHOLE, tmp_path))
    steps: list[object] = []
    assert run_job(pyramids.make_pyramid(path, WHOLE, tmp_path), steps.append) == folder
    assert steps == []
    tifffile.imwrite(path, values + 1, tile=(64, 64), metadata={"axes": "CYX"})
    assert run_job(pyramids.make_pyramid(path, WHOLE, tmp_path)) != folder


def test_no_copies_and_nowhere_to_put_them(tmp_path: Path, big: tuple[Path, np.ndarray]) -> None:
    assert pyramids.open_pyramid(tmp_path / "none.zarr") == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match=r"big\.ome\.tif"):
        run_job(pyramids.make_pyramid(big[0], WHOLE, tmp_path / "file"))
