"""What labels have brought and would bring: forecast, random control, slips."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.active import order
from napari_cellal.active.control import random_control
from napari_cellal.active.forecast import class_needs, forecast
from napari_cellal.active.mislabels import likely_mislabels
from napari_cellal.active.requests import OrderRequest, SuggestRequest
from napari_cellal.core.progress import run_job
from napari_cellal.features.table import FeatureTable

NAMES = {1: "RBC", 2: "WBC", 3: "Platelets"}


def curve(a, b, c, labels, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [(n, a - b * n**-c + noise * rng.normal()) for n in labels]


@pytest.mark.parametrize(("a", "b", "c"), [(0.99, 1.0, 0.5), (1.0, 2.0, 0.8), (0.96, 1.5, 0.7)])
def test_a_forecast_finds_the_labels_of_a_power_law(a, b, c):
    found = forecast(curve(a, b, c, range(20, 61, 4)))
    true = (b / (a - found.target)) ** (1 / c) - 60
    assert found.labels_to_go == pytest.approx(true, rel=0.15, abs=3)


def test_a_forecast_is_within_reach_though_the_curve_is_noisy():
    found = [forecast(curve(0.98, 1.2, 0.6, range(10, 61, 4), 0.01, s)) for s in range(10)]
    told = [f.labels_to_go for f in found if f.target == 0.9 and f.labels_to_go is not None]
    true = (1.2 / 0.08) ** (1 / 0.6) - 60
    assert len(told) >= 5
    assert 0.3 * true < np.median(told) < 3 * true


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0, 0.3)],
        [(10, 0.5), (20, 0.7)],
        [(n, 0.8) for n in (30, 31, 32, 33, 34)],  # too close together
        [(n, 0.3 + 0.6 * (k % 2)) for k, n in enumerate(range(10, 80, 5))],  # no curve at all
        [(n, 0.9 - n / 200) for n in range(10, 60, 5)],  # it falls
        [(n, float("nan")) for n in range(10, 60, 5)],
    ],
)
def test_a_forecast_says_nothing_where_nothing_can_be_said(points):
    assert forecast(points).labels_to_go is None


def test_a_flat_curve_says_that_labels_no_longer_help():
    assert forecast([(n, 0.93) for n in range(20, 101, 8)]).no_longer_helps
    assert not forecast(curve(0.99, 2.0, 0.6, range(20, 101, 8))).no_longer_helps
    assert not forecast([(n, 0.93) for n in range(4, 30, 4)]).no_longer_helps  # early still


def test_class_needs():
    assert class_needs({1: 12, 2: 3}, NAMES) == {
        "RBC": {"labels": 12, "needs": 0},
        "WBC": {"labels": 3, "needs": 5},
        "Platelets": {"labels": 0, "needs": 8},
    }


@pytest.fixture
def labelled(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 4, 300)
    values = rng.normal(0, 4, (4, 6))[labels] + rng.normal(0, 1.5, (300, 6))
    ids = tuple(f"c{k}" for k in range(300))
    path = tmp_path / "features.npz"
    FeatureTable(ids, tuple("abcdef"), values.astype(np.float32)).save(path)
    said = {f"c{k}": int(labels[k]) for k in range(80)}
    held = {f"c{k}": int(labels[k]) for k in range(200, 300)}
    return SuggestRequest(str(path), said, held, NAMES, n=10)


def test_the_control_rises_and_ends_where_the_learner_is(labelled):
    from napari_cellal.active.suggest import run_suggest

    points = run_job(random_control(labelled))
    assert points == run_job(random_control(labelled))
    assert [p.labels for p in points] == sorted({p.labels for p in points})
    assert points[-1].labels == 80
    assert points[-1].accuracy == pytest.approx(run_suggest(labelled).holdout.accuracy)
    assert points[0].accuracy < points[-1].accuracy


def test_without_a_hold_out_there_is_no_control(labelled):
    from dataclasses import replace

    assert run_job(random_control(replace(labelled, holdout={}))) == ()
    few = dict(list(labelled.labelled.items())[:5])
    assert run_job(random_control(replace(labelled, labelled=few))) == ()


def test_slips_are_found_first(labelled):
    slips = {f"c{k}" for k in (3, 17, 40, 61)}
    said = {c: (k % 3 + 1 if c in slips else k) for c, k in labelled.labelled.items()}
    held = dict(labelled.holdout)
    held["c250"] = held["c250"] % 3 + 1
    request = OrderRequest(labelled.features_path, "mislabels", said | held)
    found = likely_mislabels(request, 8)
    assert run_job(order.order_cells(request)).cell_ids[: len(found)] == tuple(
        m.cell_id for m in found
    )
    first = {m.cell_id for m in found[:5]}
    assert len(first & (slips | {"c250"})) >= 4
    for m in found[:4]:
        assert m.likely_id == (dict(labelled.labelled) | dict(labelled.holdout))[m.cell_id]
        assert m.likely_probability > m.probability


@pytest.mark.parametrize("said", [{}, {"c0": 1}, {f"c{k}": 1 for k in range(20)}, {"c1": 2}])
def test_few_labels_or_one_class_are_not_suspected(labelled, said):
    assert likely_mislabels(OrderRequest(labelled.features_path, "mislabels", said), 8) == ()


def test_a_plot_is_svg_that_holds_every_curve_and_escapes_names():
    from defusedxml import ElementTree

    from napari_cellal.active.figure import curves_svg

    line = [{"labels": n, "mean": 0.5, "low": 0.4, "high": 0.6} for n in (0, 10, 20)]
    tree = ElementTree.fromstring(curves_svg({"a<b": line, "c": line}, "T & U", "accuracy"))
    lines = tree.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(x.get("points").split()) for x in lines] == [3, 3]
    words = [x.text for x in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b", "c", "T & U"} <= set(words)
    ElementTree.fromstring(curves_svg({}, "", ""))  # nothing to draw is not an error


def test_the_published_measure_differs_from_the_true_one():
    from napari_cellal.active.simulate import METRICS

    truth = np.array([0] * 90 + [1] * 10)
    p = np.full((100, 2), [0.9, 0.1])
    p[85:95] = [0.2, 0.8]  # half of its guesses are right, half of the rarer class is found
    p[90:95] = [0.1, 0.9]  # the right ones are the surest
    true = METRICS["average_precision"](truth, p, (0, 1))
    said = METRICS["published_precision"](truth, p, (0, 1))
    assert said == pytest.approx(0.5 * 0.5 + 0.5 * 0.1)
    assert true == pytest.approx(0.5 + 0.5 * 0.1)


def test_a_replay_starts_from_random_labels_of_two_classes():
    from napari_cellal.active.simulate import simulate

    rng = np.random.default_rng(0)
    labels = (np.arange(100) < 15).astype(int)
    values = rng.normal(size=(100, 4)) + 3 * labels[:, None]
    result = run_job(
        simulate(values, labels, seeds=2, steps=8, start_labels=5, strategies=("random",))
    )
    counts = [p["labels"] for p in result.curves["random"]]
    assert counts == [5, 6, 7, 8]
    assert result.reliability["random"].points
