"""Orders of cells that the measured features give."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_cellal.active import learner, order
from napari_cellal.active.matrix import load_matrix
from napari_cellal.active.requests import OrderRequest
from napari_cellal.core.progress import run_job
from napari_cellal.features.table import FeatureTable


def order_cells(request):
    return run_job(order.order_cells(request))


NAMES = {1: "A", 2: "B"}


@pytest.fixture
def table(tmp_path):
    """Two clouds of 30 cells each; cells 0..29 are A, 30..59 are B."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (60, 5)).astype(np.float32)
    values[30:, :4] += 12
    ids = tuple(f"c{k:02}" for k in range(60))
    path = tmp_path / "features.npz"
    FeatureTable(ids, tuple("abcde"), values).save(path)
    return str(path), ids, values


def truth(ids):
    return {key: 1 if k < 30 else 2 for k, key in enumerate(ids)}


def test_the_doubtful_come_first(table):
    path, ids, _ = table
    labelled = {key: k for key, k in truth(ids).items() if int(key[1:]) % 3 == 0}
    result = order_cells(OrderRequest(path, "doubt", labelled, NAMES))
    assert sorted(result.cell_ids) == list(ids)
    best = result.probabilities.max(axis=1)
    assert (np.diff(best) >= 0).all()
    row = result.cell_ids.index("c45")
    assert result.class_ids[int(result.probabilities[row].argmax())] == 2


def test_the_gallery_hears_the_learner_that_asks(table):
    path, ids, _ = table
    labelled = {key: k for key, k in truth(ids).items() if int(key[1:]) % 7 == 0}
    result = order_cells(OrderRequest(path, "alike", labelled, NAMES, like="c00"))
    matrix = load_matrix(path)
    rows = [matrix.row_of[key] for key in sorted(labelled)]
    model = learner.fit(matrix.points[rows], [labelled[key] for key in sorted(labelled)])
    said = learner.probabilities(model, matrix.points, (1, 2))
    place = [matrix.row_of[key] for key in result.cell_ids]
    np.testing.assert_allclose(result.probabilities, said[place], atol=1e-6)


def test_without_labels_the_odd_ones_come_first(table):
    path, ids, _ = table
    result = order_cells(OrderRequest(path, "doubt", {}, NAMES))
    assert sorted(result.cell_ids) == list(ids)
    assert result.probabilities is None
    assert result.note


def test_wrong_labels_come_first(table):
    path, ids, _ = table
    labelled = {key: k for key, k in truth(ids).items() if int(key[1:]) % 2 == 0}
    labelled |= {"c04": 2, "c50": 1}  # mistaken
    result = order_cells(OrderRequest(path, "mislabels", labelled, NAMES))
    assert set(result.cell_ids[:2]) == {"c04", "c50"}
    assert set(result.cell_ids[: len(labelled)]) == set(labelled)
    wrong = result.probabilities[result.cell_ids.index("c04")]  # by a learner not shown its label
    assert result.class_ids[int(wrong.argmax())] == 1


@pytest.mark.parametrize("labelled", [{}, {"c01": 1}, {"c01": 1, "c02": 1}, {"c01": 1, "c31": 2}])
def test_too_few_labels_to_judge(table, labelled):
    path, ids, _ = table
    result = order_cells(OrderRequest(path, "mislabels", labelled, NAMES))
    assert sorted(result.cell_ids) == list(ids)
    assert result.note  # or the order would be a riddle


@pytest.mark.parametrize("wrong", [{}, {"c04": 2}])
def test_only_an_order_that_finds_nothing_is_explained(table, wrong):
    path, ids, _ = table
    result = order_cells(OrderRequest(path, "mislabels", truth(ids) | wrong, NAMES))
    assert bool(result.note) is not bool(wrong)
    for name in ("doubt", "group", "alike"):
        assert not order_cells(OrderRequest(path, name, truth(ids), NAMES, like="c00")).note


def test_the_like_of_a_cell_come_first(table):
    path, ids, _ = table
    result = order_cells(OrderRequest(path, "alike", {}, NAMES, like="c40"))
    assert result.cell_ids[0] == "c40"
    assert {int(key[1:]) >= 30 for key in result.cell_ids[:20]} == {True}
    gone = order_cells(OrderRequest(path, "alike", {}, NAMES, like="gone"))
    assert gone.cell_ids == ids


def test_groups_stand_together(table):
    path, ids, _ = table
    result = order_cells(OrderRequest(path, "group", {}, NAMES))
    assert sorted(result.cell_ids) == list(ids)
    is_second = [int(key[1:]) >= 30 for key in result.cell_ids]
    assert sum(a != b for a, b in pairwise(is_second)) == 1
    again = order_cells(OrderRequest(path, "group", {}, NAMES))
    assert again.cell_ids == result.cell_ids
