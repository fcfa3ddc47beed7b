"""Figures of classes against values computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_cellal.core.reliability import calibration_error, reliability
from napari_cellal.evaluate.classification import class_report

TRUE = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1, 2]]
SAID = np.array(
    [[.8, .1, .1], [.6, .3, .1], [.2, .7, .1], [.1, .8, .1], [.5, .4, .1], [.1, .2, .7]]
)  # fmt: skip
KEYS = list("abcdef")


def test_figures_of_single_classes():
    r = class_report(KEYS, TRUE, SAID, ["x", "y", "z"], sources=["p", "p", "p", "q", "q", "q"])
    assert r.confusion == ((2, 1, 0), (1, 1, 0), (0, 0, 1))
    assert r.accuracy == pytest.approx(4 / 6)
    x, y, z = (r.per_class[k] for k in "xyz")
    assert (x.precision, x.recall, x.f1, x.support) == pytest.approx((2 / 3, 2 / 3, 2 / 3, 3))
    assert (y.precision, y.recall, y.f1) == pytest.approx((0.5, 0.5, 0.5))
    assert (z.f1, z.roc_auc, z.average_precision) == (1, 1, 1)
    assert r.macro_f1 == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    assert r.weighted_f1 == pytest.approx((3 * 2 / 3 + 2 * 0.5 + 1) / 6)
    # of the 9 pairs (x, not x): c has .2 and e .5
    assert x.roc_auc == pytest.approx(8 / 9)
    low, high = x.recall_interval
    assert 0 < low < 2 / 3 < high < 1
    assert (r.confused[0].true, r.confused[0].predicted) == ("y", "x")
    assert r.confused[0].share == 0.5
    assert [row.key for row in r.losses[:2]] == ["c", "e"]
    assert r.losses[0].loss == pytest.approx(-np.log(0.2))
    assert r.losses[0].predicted == ("y",)
    assert r.per_source["p"].accuracy == pytest.approx(2 / 3)
    assert r.per_source["q"].cells == 3
    assert json.loads(json.dumps(r.to_json()))["cells"] == 6


def test_calibration_is_the_gap_between_said_and_right():
    points = reliability(np.array([0.95, 0.95, 0.55, 0.55]), np.array([1, 1, 1, 0], bool))
    assert [(p.confidence, p.right, p.n) for p in points] == [
        (pytest.approx(0.55), 0.5, 2),
        (pytest.approx(0.95), 1.0, 2),
    ]
    assert calibration_error(points) == pytest.approx(0.05)
    assert calibration_error(()) is None


def test_several_classes_a_cell():
    true = np.array([[1, 1], [0, 1], [0, 0]], bool)
    said = np.array([[0.9, 0.6], [0.2, 0.3], [0.1, 0.2]])
    r = class_report(list("abc"), true, said, ["x", "y"], multi_label=True)
    assert r.accuracy == pytest.approx(2 / 3)
    assert r.per_class["y"].recall == 0.5
    assert r.confusion == ()
    assert r.losses[0].key == "b"
    assert r.losses[0].loss == pytest.approx(-np.log(0.8 * 0.3))


def test_a_class_that_never_occurs_counts_for_nothing():
    r = class_report(KEYS[:2], TRUE[:2], SAID[:2], ["x", "y", "z"])
    assert r.macro_f1 == 1
    assert r.per_class["y"].average_precision is None
    assert r.per_class["x"].roc_auc is None
    assert r.roc_auc is None


def test_where_all_cells_are_of_one_class_there_is_nothing_to_rank():
    r = class_report(list("ab"), [[1, 0], [1, 0]], np.array([[0.1, 0.9], [0.2, 0.8]]), ["x", "y"])
    assert (r.accuracy, r.average_precision, r.roc_auc) == (0, None, None)


def test_no_cells_and_wrong_shapes():
    empty = class_report([], np.zeros((0, 2), bool), np.zeros((0, 2)), ["x", "y"])
    assert (empty.accuracy, empty.cells, empty.calibration_error) == (0, 0, None)
    with pytest.raises(ValueError, match="3 cells"):
        class_report(list("abc"), TRUE[:2], SAID[:2], ["x", "y", "z"])
