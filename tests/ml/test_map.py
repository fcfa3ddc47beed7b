"""Cells laid out in the plane."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.active.layout import places
from napari_cellal.active.matrix import Matrix
from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.features.table import FeatureTable
from napari_cellal.workflows import mapping


def clouds(n=40):
    """Return n cells a cloud, three clouds far from each other in five dimensions."""
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0, 0, 0, 0], [9, 0, 9, 0, 0], [0, 9, 0, 9, 0]])
    values = np.concatenate([m + rng.normal(0, 1, (n, 5)) for m in middles])
    return tuple(f"c{k}" for k in range(3 * n)), values.astype(np.float32)


@pytest.mark.parametrize("how", ["pca", "umap"])
def test_what_looks_alike_lies_together(how):
    ids, values = clouds()
    found = places(Matrix(ids, values), how, 0)
    assert found.shape == (120, 2)
    assert found.dtype == np.float32
    assert np.allclose(found.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(found.std(axis=0), 1, atol=1e-3)
    groups = np.repeat([0, 1, 2], 40)
    far = ((found[:, None] - found[None]) ** 2).sum(axis=2)
    np.fill_diagonal(far, np.inf)
    assert (groups[far.argmin(axis=1)] == groups).mean() > 0.97
    assert np.array_equal(places(Matrix(ids, values), how, 0), found)


@pytest.mark.parametrize("how", ["pca", "umap"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_cells(how, n):
    ids, values = clouds()
    found = places(Matrix(ids[:n], values[:n]), how, 0)
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()
    one = places(Matrix(ids[:n], values[:n, :1]), how, 0)
    assert one.shape == (n, 2)


def test_no_such_layout():
    with pytest.raises(ModelError):
        places(Matrix(("a",), np.zeros((1, 2))), "round", 0)


@pytest.mark.parametrize("how", ["pca", "umap"])
def test_a_map_is_kept_until_the_features_change(tmp_path, monkeypatch, how):
    ids, values = clouds()
    file = tmp_path / "features.npz"
    FeatureTable(ids, tuple("abcde"), values).save(file)
    first = run_job(mapping.make_map(str(file), how, 0, tmp_path))
    assert first.cell_ids == ids
    (kept,) = tmp_path.glob("map-*.npz")
    monkeypatch.setattr("napari_cellal.active.layout.places", lambda *_: 1 / 0)
    again = run_job(mapping.make_map(str(file), how, 0, tmp_path))
    assert np.array_equal(again.places, first.places)
    with pytest.raises(ZeroDivisionError):  # another seed is another map
        run_job(mapping.make_map(str(file), how, 1, tmp_path))
    kept.write_bytes(b"damaged")
    with pytest.raises(ZeroDivisionError):
        run_job(mapping.make_map(str(file), how, 0, tmp_path))


def test_old_maps_go(tmp_path):
    ids, values = clouds()
    file = tmp_path / "features.npz"
    FeatureTable(ids, tuple("abcde"), values).save(file)
    for seed in range(mapping.KEPT + 3):
        run_job(mapping.make_map(str(file), "pca", seed, tmp_path))
    assert len(list(tmp_path.glob("map-*.npz"))) == mapping.KEPT


def test_a_map_is_shown_though_it_cannot_be_kept(tmp_path):
    ids, values = clouds()
    file = tmp_path / "features.npz"
    FeatureTable(ids, tuple("abcde"), values).save(file)
    (tmp_path / "cache").write_text("no folder")
    found = run_job(mapping.make_map(str(file), "pca", 0, tmp_path / "cache"))
    assert found.places.shape == (len(ids), 2)
