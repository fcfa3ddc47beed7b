from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from napari_cellal.active import learner as learners
from napari_cellal.active.calibration import Tempered, reliability
from napari_cellal.active.choices import Context
from napari_cellal.active.diversity import nearest
from napari_cellal.active.matrix import Matrix, load_matrix
from napari_cellal.active.rare import hunted_class
from napari_cellal.active.requests import SuggestRequest, pack_rows
from napari_cellal.active.simulate import METRICS, simulate
from napari_cellal.active.softmax import SelfTraining
from napari_cellal.active.strategies import STRATEGIES
from napari_cellal.active.suggest import PoolView, predict_all, run_suggest, suggest
from napari_cellal.core.errors import ModelError, ProjectError
from napari_cellal.core.progress import run_job
from napari_cellal.features.table import FeatureTable

NAMES = {1: "RBC", 2: "WBC", 3: "Platelets"}


def blobs(sizes=(200, 25, 15), features=6, spread=0.5, seed=0):
    """Features and class ids 1, 2, ... of well separated groups of unequal size."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(0, 4, (len(sizes), features))
    labels = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    order = rng.permutation(len(labels))
    values = centers[labels - 1] + rng.normal(0, spread, (len(labels), features))
    return values[order], labels[order]


def ids_of(count):
    return tuple(f"c{k}" for k in range(count))


def context_of(values, labels, n=1, classes=NAMES, seed=0):
    matrix = Matrix(ids_of(len(values)), values)
    rows = np.array(sorted(labels), np.intp)
    known = np.array([labels[r] for r in rows], np.int64)
    model = learners.fit(matrix.points[rows], known)
    candidates = np.setdiff1d(np.arange(len(values)), rows)
    return Context(matrix, candidates, rows, known, classes, model, n, seed)


@pytest.fixture
def request_on_disk(tmp_path):
    values, labels = blobs()
    path = tmp_path / "features.npz"
    FeatureTable(ids_of(len(values)), ids_of(6), values.astype(np.float32)).save(path)
    one_each = {f"c{np.flatnonzero(labels == c)[0]}": int(c) for c in NAMES}
    return SuggestRequest(str(path), one_each, class_names=NAMES), labels


def test_a_constant_column_and_an_absurd_value_do_no_harm():
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[:, 1] = 7.3
    values[0, 2] = np.inf
    values[1, 2] = np.nan
    matrix = Matrix(ids_of(50), values)
    assert np.isfinite(matrix.values).all()
    assert (matrix.values[:, 1] == 0).all()
    assert np.isfinite(matrix.components).all()


@pytest.mark.parametrize("estimator", learners.ESTIMATORS)
def test_every_estimator_learns_and_gives_probabilities(estimator):
    values, labels = blobs()
    matrix = Matrix(ids_of(len(values)), values)
    model = learners.fit(matrix.points[::4], labels[::4], estimator=estimator)
    p = learners.probabilities(model, matrix.points, (3, 1, 2))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (np.array([3, 1, 2])[p.argmax(axis=1)] == labels).mean() > 0.95


@pytest.mark.parametrize("labels", [[], [1], [2, 2, 2]])
def test_fewer_than_two_classes_make_no_model(labels):
    values = np.zeros((len(labels), 4))
    model = learners.fit(values, np.array(labels, np.int64))
    assert model is None
    np.testing.assert_allclose(learners.probabilities(model, np.zeros((5, 4)), (1, 2)), 0.5)


def test_unknown_names_are_said_so():
    with pytest.raises(ModelError, match="logistic"):
        learners.fit(np.zeros((2, 2)), np.array([1, 2]), estimator="oracle")
    values, _ = blobs()
    pool = PoolView(Matrix(ids_of(len(values)), values), np.arange(len(values)))
    with pytest.raises(ModelError, match="automatic"):
        suggest(pool, {}, "oracle")


def test_a_relabelled_cell_counts_with_its_new_label_only():
    values, labels = blobs()
    pool = PoolView(Matrix(ids_of(len(values)), values), np.arange(len(values)))
    rows = {int(np.flatnonzero(labels == c)[0]): int(c) for c in NAMES}
    red = next(row for row, c in rows.items() if c == 1)
    honest = suggest(pool, rows, "margin", n=5, classes=NAMES)
    suggest(pool, rows | {red: 3}, "margin", n=5, classes=NAMES)  # a slip of the finger
    corrected = suggest(pool, rows, "margin", n=5, classes=NAMES)
    assert corrected.cell_ids == honest.cell_ids
    np.testing.assert_array_equal(corrected.probabilities, honest.probabilities)
    model = learners.fit(
        pool.matrix.points[list(rows)], np.array([2 if r == red else c for r, c in rows.items()])
    )
    assert 1 not in model.estimator.classes_


def line_context(n=1):
    """Two labelled ends of a line and candidates between them; the middle is in doubt."""
    values = np.array([[0.0], [10.0], [1.0], [5.0], [9.0], [8.0], [2.0]])
    values = np.hstack([values, np.zeros_like(values)])
    return context_of(values, {0: 1, 1: 2}, n, {1: "RBC", 2: "WBC"})


@pytest.mark.parametrize(
    "name", ["margin", "entropy", "uncertainty", "automatic", "diverse", "density", "ranked"]
)
def test_doubt_picks_the_middle(name):
    context = line_context()
    choice = STRATEGIES[name](context)
    assert context.candidates[choice.positions].tolist() == [3]
    assert "RBC" in choice.reasons[0]
    assert "WBC" in choice.reasons[0]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_every_strategy_gives_n_different_candidates_with_reasons(name, n):
    context = line_context(n)
    choice = STRATEGIES[name](context)
    assert len(choice.positions) == len(choice.scores) == len(choice.reasons) == n
    assert len(set(choice.positions.tolist())) == n
    assert all(choice.reasons)


def test_margin_orders_by_doubt():
    context = line_context(5)
    choice = STRATEGIES["margin"](context)
    assert (np.diff(choice.scores) <= 0).all()
    assert set(context.candidates[choice.positions[-2:]]) == {2, 4}  # nearest to the ends


def test_a_diverse_batch_is_not_the_same_cell_over_and_over():
    # 30 copies of one doubtful cell, one doubtful cell elsewhere
    rng = np.random.default_rng(0)
    ends = np.array([[-5.0, 0.0], [5.0, 0.0]])
    copies = np.tile([[0.0, -3.0]], (30, 1)) + rng.normal(0, 1e-3, (30, 2))
    values = np.vstack([ends, copies, [[0.3, 3.0]]])
    context = context_of(values, {0: 1, 1: 2}, 4, {1: "a", 2: "b"})
    assert 32 in context.candidates[STRATEGIES["automatic"](context).positions]


@pytest.mark.parametrize("seed", range(5))
def test_cold_start_finds_every_group_without_labels(seed):
    values, labels = blobs(seed=seed)
    pool = PoolView(Matrix(ids_of(len(values)), values), np.arange(len(values)))
    asked: dict[int, int] = {}
    for _ in range(4):  # groups are 83, 10 and 6 % of the cells
        found = suggest(pool, asked, "automatic", classes=NAMES, seed=seed)
        asked[int(found.indices[0])] = int(labels[found.indices[0]])
    assert set(asked.values()) == {1, 2, 3}


def test_a_cold_batch_covers_the_groups():
    values, labels = blobs()
    pool = PoolView(Matrix(ids_of(len(values)), values), np.arange(len(values)))
    found = suggest(pool, {}, n=6, classes=NAMES)
    assert set(labels[found.indices]) == {1, 2, 3}
    np.testing.assert_allclose(found.probabilities, 1 / 3)
    assert found.neighbours == ((),) * 6


def test_cold_start_ends_though_a_class_never_occurs():
    values, labels = blobs((60, 60))
    rows = {k: int(labels[k]) for k in range(20)}
    context = context_of(values, rows, classes=NAMES)
    choice = STRATEGIES["automatic"](context)
    assert "RBC" in choice.reasons[0]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("cold", [True, False])
def test_labelled_and_holdout_cells_are_never_suggested(request_on_disk, name, cold):
    request, labels = request_on_disk
    held = {f"c{k}": int(labels[k]) for k in range(100, 200)}
    shown = {f"c{k}" for k in range(220)}
    candidates = pack_rows(np.arange(len(labels)) < 220)
    labelled = {} if cold else {f"c{k}": int(labels[k]) for k in range(100)}
    request = replace(
        request, labelled=labelled, holdout=held, candidates=candidates, strategy=name, n=500
    )
    found = run_suggest(request).suggestions
    assert set(found.cell_ids) == shown - set(labelled) - set(held)
    assert len(found) == len(set(found.cell_ids))


def test_a_cell_both_labelled_and_holdout_is_not_learned_from(request_on_disk):
    request, labels = request_on_disk
    held = {f"c{k}": int(labels[k]) for k in range(50)}
    clean = run_suggest(replace(request, labelled=_without(request.labelled, held), holdout=held))
    leaky = run_suggest(replace(request, labelled=dict(request.labelled) | held, holdout=held))
    assert leaky.labels == clean.labels
    assert leaky.suggestions.cell_ids == clean.suggestions.cell_ids


def _without(labelled, held):
    return {c: k for c, k in labelled.items() if c not in held}


def test_holdout_score(request_on_disk):
    request, labels = request_on_disk
    held = {f"c{k}": int(labels[k]) for k in range(100, 200) if f"c{k}" not in request.labelled}
    score = run_suggest(replace(request, holdout=held)).holdout
    assert score.cells == len(held)
    assert score.low < score.accuracy <= score.high + 1e-9
    assert score.accuracy > 0.95
    assert score.macro_f1 > 0.9
    wrong = {c: k % 3 + 1 for c, k in held.items()}
    assert run_suggest(replace(request, holdout=wrong)).holdout.accuracy < 0.1
    assert run_suggest(replace(request, labelled={}, holdout=held)).holdout is None
    assert run_suggest(request).holdout is None


def test_the_same_request_gives_the_same_answer_and_pickles(request_on_disk):
    request, _ = request_on_disk
    request = pickle.loads(pickle.dumps(replace(request, n=5)))
    a, b = run_suggest(request), pickle.loads(pickle.dumps(run_suggest(request)))
    assert a.suggestions.cell_ids == b.suggestions.cell_ids
    np.testing.assert_array_equal(a.suggestions.probabilities, b.suggestions.probabilities)
    turned = replace(request, labelled=dict(reversed(request.labelled.items())))
    assert run_suggest(turned).suggestions.cell_ids == a.suggestions.cell_ids


def test_neighbours_are_labelled_and_nearest_first(request_on_disk):
    request, labels = request_on_disk
    labelled = {f"c{k}": int(labels[k]) for k in range(60)}
    found = run_suggest(replace(request, labelled=labelled, strategy="random", n=20)).suggestions
    for row, near in zip(found.indices, found.neighbours, strict=True):
        assert len(near) == 3
        assert set(near) <= set(labelled)
        assert labelled[near[0]] == labels[row]  # the groups lie far apart


def test_predict_all_leaves_out_labelled_and_holdout(request_on_disk):
    request, labels = request_on_disk
    held = {f"c{k}": int(labels[k]) for k in range(5) if f"c{k}" not in request.labelled}
    found = predict_all(replace(request, holdout=held))
    assert set(found) == set(ids_of(len(labels))) - set(request.labelled) - set(held)
    right = [found[f"c{k}"][0][0] == labels[k] for k in range(len(labels)) if f"c{k}" in found]
    assert np.mean(right) > 0.95
    for ranks in found.values():
        p = [v for _, v in ranks]
        assert p == sorted(p, reverse=True)
        assert sum(p) == pytest.approx(1)
    assert predict_all(replace(request, labelled={"c0": 1})) == {}


def test_an_empty_pool_and_a_missing_table(request_on_disk, tmp_path):
    request, labels = request_on_disk
    nothing = pack_rows(np.zeros(len(labels), bool))
    result = run_suggest(replace(request, candidates=nothing))
    assert len(result.suggestions) == 0
    assert result.remaining == 0
    with pytest.raises(ProjectError):
        run_suggest(replace(request, features_path=str(tmp_path / "none.npz")))
    FeatureTable((), ("x",), np.zeros((0, 1), np.float32)).save(tmp_path / "empty.npz")
    empty = run_suggest(SuggestRequest(str(tmp_path / "empty.npz"), {}, class_names=NAMES))
    assert len(empty.suggestions) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_pool_of_a_few_cells(tmp_path, count):
    FeatureTable(ids_of(count), ("x",), np.zeros((count, 1), np.float32)).save(tmp_path / "t.npz")
    request = SuggestRequest(str(tmp_path / "t.npz"), {}, class_names=NAMES, n=9)
    assert set(run_suggest(request).suggestions.cell_ids) == set(ids_of(count))


def test_the_matrix_is_made_once_until_the_file_changes(request_on_disk):
    request, _ = request_on_disk
    first = load_matrix(request.features_path)
    assert load_matrix(request.features_path) is first
    FeatureTable(("a",), ("x",), np.ones((1, 1), np.float32)).save(request.features_path)
    assert load_matrix(request.features_path).cell_ids == ("a",)


def easy_and_close(seed=3):
    """Two classes that overlap among many easy cells of a third: where doubt pays."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [500, 50, 50])
    centers = np.zeros((3, 8))
    centers[1:, 0] = 6
    centers[1, 1], centers[2, 1] = 1.6, -1.6
    values = centers[labels] + rng.normal(size=(600, 8))
    return values, labels


@pytest.mark.parametrize("start", ["cold", 2])
def test_doubt_beats_random_where_most_cells_are_easy(start):
    values, labels = easy_and_close()
    result = run_job(
        simulate(
            values,
            labels,
            # doubt alone never hears of a class that its first labels lack
            strategies=("automatic", "random") + (("margin",) if start == 2 else ()),
            seeds=3,
            steps=12,  # by 16 random picks have caught up: the classes overlap
            start=start,
            metric="macro_f1",
            targets=(0.9,),
        )
    )
    last = {name: line[-1]["mean"] for name, line in result.curves.items()}
    needed = result.labels_to["0.9"]
    for name in set(last) - {"random"}:
        assert last[name] > last["random"] + 0.02
        assert needed[name] < needed["random"]


def ring_task(seed):
    """Two classes that pass into each other among many easy cells of a third."""
    rng = np.random.default_rng(seed)
    easy = rng.normal([-8, 0], 1.0, (500, 2))
    near = rng.uniform([0, -3], [6, 3], (160, 2))
    values = np.vstack([easy, near])
    labels = np.r_[np.zeros(500, int), 1 + (near[:, 0] + 0.5 * near[:, 1] > 3)]
    return values, labels


@pytest.mark.parametrize("start", ["cold", 2])
def test_doubt_beats_random_where_classes_have_no_gap(start):
    last, needed = {}, {}
    # three tasks: on one, four random draws may all be lucky
    for task in (3, 4, 5):
        values, labels = ring_task(task)
        result = run_job(
            simulate(
                values,
                labels,
                strategies=("automatic", "random") + (("margin",) if start == 2 else ()),
                seeds=4,
                steps=30,
                start=start,
                metric="macro_f1",
                targets=(0.9,),
            )
        )
        for name, line in result.curves.items():
            last.setdefault(name, []).append(line[-1]["mean"])
            reached = result.labels_to["0.9"][name]
            needed.setdefault(name, []).append(30 if reached is None else reached)
    for name in set(last) - {"random"}:
        assert np.mean(last[name]) > np.mean(last["random"]) + 0.02
        assert np.mean(needed[name]) < np.mean(needed["random"])


@pytest.mark.parametrize("labels", [40, 60])
def test_unlabelled_cells_are_left_aside_where_they_mislead(labels):
    """Evenly spread classes: at most a little worse than without; groups: much better."""
    plain, chosen = [], []
    for seed in range(4):
        values, truth = ring_task(seed)
        matrix = Matrix([str(k) for k in range(len(values))], values)
        order = np.random.default_rng(seed).permutation(len(values))
        rows, rest = np.sort(order[:labels]), np.sort(order[labels:])
        for found, unlabelled in ((plain, None), (chosen, matrix.points[rest])):
            model = SelfTraining(unlabelled).fit(matrix.points[rows], truth[rows])
            guess = model.predict(matrix.points[rest])
            found.append(f1_score(truth[rest], guess, average="macro"))
    assert np.mean(chosen) > np.mean(plain) - 0.03


def test_unlabelled_cells_are_used_where_they_help():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 900)
    values = 0.6 * rng.normal(size=(3, 30))[truth] + rng.normal(size=(900, 30))
    matrix = Matrix([str(k) for k in range(900)], values)
    x = matrix.points
    model = SelfTraining(x[30:]).fit(x[:30], truth[:30])
    plain = SelfTraining(None).fit(x[:30], truth[:30])
    assert model.guesses_help_
    assert not plain.guesses_help_
    right = [(m.predict(x[30:]) == truth[30:]).mean() for m in (plain, model)]
    assert right[1] > right[0] + 0.04


def test_the_learner_is_the_same_for_classes_in_another_order():
    values, truth = ring_task(1)
    x = Matrix([str(k) for k in range(len(values))], values).points
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(x))
        rows, rest = np.sort(order[:24]), order[24:]
        a = SelfTraining(x[rest]).fit(x[rows], truth[rows])
        b = SelfTraining(x[rest]).fit(x[rows], 9 - truth[rows])
        assert a.guesses_help_ == b.guesses_help_
        assert (a.predict(x[rest]) == 9 - b.predict(x[rest])).mean() > 0.99


def test_simulation_is_deterministic_and_json():
    values, labels = easy_and_close()
    settings = {"seeds": 2, "steps": 12, "strategies": ("automatic", "random")}
    a = run_job(simulate(values, labels, **settings)).to_json()
    b = run_job(simulate(values, labels, **settings)).to_json()
    assert a == b
    assert json.loads(json.dumps(a))["curves"]["random"][0]["labels"] == 0
    other = run_job(simulate(values, labels, **settings | {"seeds": [7, 8]})).to_json()
    assert other["curves"] != a["curves"]


def test_simulation_counts_batches_and_starts():
    values, labels = easy_and_close()
    mask = np.zeros(len(labels), bool)
    mask[::3] = True
    result = run_job(
        simulate(
            values,
            labels,
            seeds=1,
            steps=20,
            batch=5,
            start=2,
            holdout=mask,
            strategies=("margin",),
        )
    )
    assert [p["labels"] for p in result.curves["margin"]] == [6, 11, 16, 20]
    assert (result.holdout, result.pool) == (mask.sum(), (~mask).sum())


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "average_precision"])
def test_a_simulation_from_cold_starts_low_and_ends_high(metric):
    values, labels = blobs((150, 50))
    (line,) = run_job(
        simulate(values, labels, seeds=2, steps=10, metric=metric, strategies=("automatic",))
    ).curves.values()
    assert line[0]["labels"] == 0
    assert line[-1]["mean"] > 0.97 > line[0]["mean"]
    assert all(0 <= p["low"] <= p["mean"] <= p["high"] <= 1 for p in line)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "average_precision"])
def test_the_order_of_the_classes_does_not_matter(metric):
    values, labels = blobs((150, 50))
    curves = [
        run_job(simulate(values, ids, seeds=1, steps=8, metric=metric, strategies=("random",)))
        for ids in (labels, 1 - labels)
    ]
    first, swapped = (c.curves["random"] for c in curves)
    assert first[0]["mean"] == pytest.approx(swapped[0]["mean"])
    if metric == "accuracy":
        assert first[0]["mean"] == pytest.approx(0.5)  # chance


def test_metrics_equal_sklearns_where_nothing_is_tied():
    rng = np.random.default_rng(0)
    p, truth = rng.random((200, 4)), rng.integers(1, 4, 200)  # one class never occurs
    guess = p.argmax(axis=1)
    assert METRICS["accuracy"](truth, p, range(4)) == pytest.approx((guess == truth).mean())
    assert METRICS["macro_f1"](truth, p, range(4)) == pytest.approx(
        f1_score(truth, guess, labels=range(4), average="macro", zero_division=0)
    )


def test_a_class_that_is_nowhere_costs_no_f1():
    truth, p = np.array([1, 1, 2]), np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0, 1, 0]])
    assert METRICS["macro_f1"](truth, p, (1, 2, 3)) == 1


def test_average_precision_without_a_model_is_the_share_of_the_rarer_class():
    values, labels = blobs((150, 50))
    result = run_job(
        simulate(
            values, labels, seeds=1, steps=1, metric="average_precision", strategies=("random",)
        )
    )
    assert result.curves["random"][0]["mean"] == pytest.approx(0.25, abs=0.01)


def test_a_closed_simulation_stops_and_bad_settings_are_refused():
    values, labels = easy_and_close()
    job = simulate(values, labels)
    assert next(job).total > 0
    job.close()
    with pytest.raises(ValueError, match="metric"):
        run_job(simulate(values, labels, metric="beauty"))
    with pytest.raises(ValueError, match="two classes"):
        run_job(simulate(values, np.zeros(len(labels), int)))
    with pytest.raises(ValueError, match="mask"):
        run_job(simulate(values, labels, holdout=np.ones(len(labels), bool)))
    with pytest.raises(ModelError):
        run_job(simulate(values, labels, strategies=("oracle",)))


@pytest.mark.parametrize("name", ["typical", "herding"])
def test_cold_starts_cover_the_groups(name):
    values, labels = blobs((80, 60, 40))
    context = context_of(values, {}, n=6)
    assert set(labels[context.candidates[STRATEGIES[name](context).positions]]) == {1, 2, 3}


@pytest.mark.parametrize("found", [1, 3])
def test_rare_class_hunting_brings_more_of_it(found):
    values, labels = blobs((400, 300, 15), spread=1.0)
    rows = {int(r): int(c) for c in (1, 2) for r in np.flatnonzero(labels == c)[:10]}
    rows |= {int(r): 3 for r in np.flatnonzero(labels == 3)[:found]}
    context = context_of(values, rows, n=8)
    choice = STRATEGIES["rare"](context)
    assert np.mean(labels[context.candidates[choice.positions]] == 3) >= 0.75
    asked = replace(context, like=2)
    assert (labels[context.candidates[STRATEGIES["rare"](asked).positions]] == 2).all()


@pytest.mark.parametrize("like", [None, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_without_a_label_is_looked_for_among_the_unlike(like, seed):
    values, labels = blobs((400, 300, 10), spread=1.0, seed=seed)
    rows = {int(r): int(c) for c in (1, 2) for r in np.flatnonzero(labels == c)[:10]}
    context = replace(context_of(values, rows, n=8), like=like)
    asked = context.candidates[STRATEGIES["rare"](context).positions]
    assert 3 in labels[asked]
    assert len(set(asked.tolist())) == 8
    none = replace(context_of(values, {}, n=12), like=like)
    assert 3 in labels[none.candidates[STRATEGIES["rare"](none).positions]]


def test_automatic_leaves_the_typical_once_all_labels_are_of_one_class():
    values, labels = blobs((600, 8), spread=1.0)
    names = {1: "A", 2: "B"}
    rows: dict[int, int] = {}
    while 2 not in rows.values() and len(rows) < 40:
        context = context_of(values, rows, classes=names)
        row = context.candidates[STRATEGIES["automatic"](context).positions[0]]
        rows[int(row)] = int(labels[row])
    assert 2 in rows.values()
    common = {int(r): 1 for r in np.flatnonzero(labels == 1)[:8]}
    for choose, few in (("typical", 7), ("rare", 8)):
        context = context_of(values, dict(list(common.items())[:few]), n=3, classes=names)
        chosen = STRATEGIES["automatic"](context).positions
        assert chosen.tolist() == STRATEGIES[choose](context).positions.tolist()


def test_a_class_that_does_not_occur_is_not_looked_for_for_ever():
    values, labels = blobs((400, 300, 10), spread=1.0)
    common = np.flatnonzero(labels < 3)
    few = {int(r): int(labels[r]) for r in common[:60]}
    assert hunted_class(context_of(values, few)) is None
    many = {int(r): int(labels[r]) for r in common[:120]}
    rarest = min((1, 2), key=list(many.values()).count)
    assert hunted_class(context_of(values, many)) == rarest
    assert hunted_class(replace(context_of(values, many), like=3)) is None
    one = {r: c for r, c in many.items() if c == 1}
    assert hunted_class(context_of(values, one)) is None  # there is nothing to tell it from


@pytest.mark.parametrize(("points", "known"), [(1, 1), (20_000, 3), (9, 0), (0, 4)])
def test_the_nearest_label_is_found_block_by_block(points, known):
    rng = np.random.default_rng(points)
    a, b = (rng.normal(size=(n, 7)).astype(np.float32) for n in (points, known))
    true = np.array([np.linalg.norm(p - b, axis=1).min(initial=np.inf) for p in a])
    np.testing.assert_allclose(nearest(a, b), true, rtol=1e-3, atol=1e-2)


def test_the_detectors_doubt_is_a_score_near_a_half():
    values, _ = blobs((30, 30, 30))
    context = replace(
        context_of(values, {0: 1, 1: 2}, n=3),
        scores=np.array(
            [abs(row - 50) / 100 + 0.4 if 2 <= row < 80 else np.nan for row in range(90)],
            np.float32,
        ),
    )
    choice = STRATEGIES["detector"](context)
    assert set(context.candidates[choice.positions]) <= {59, 60, 61, 39, 40, 41}


def test_self_training_learns_from_cells_without_labels():
    values, labels = blobs((120, 120, 120), features=20, spread=3.0, seed=1)
    matrix = Matrix(ids_of(len(values)), values)
    alone, helped = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:2] for c in NAMES])
        rest = np.setdiff1d(np.arange(len(values)), rows)
        for found, others in ((alone, None), (helped, matrix.points[rest[::2]])):
            model = learners.fit(matrix.points[rows], labels[rows], unlabelled=others)
            found.append((model.predict(matrix.points[rest[1::2]]) == labels[rest[1::2]]).mean())
    assert np.mean(helped) > np.mean(alone) + 0.02


def test_self_training_does_not_push_out_a_rare_class():
    values, labels = blobs((400, 12), spread=0.8)
    matrix = Matrix(ids_of(len(values)), values)
    rows = np.concatenate([np.flatnonzero(labels == c)[:3] for c in (1, 2)])
    rest = np.setdiff1d(np.arange(len(values)), rows)
    model = learners.fit(matrix.points[rows], labels[rows], unlabelled=matrix.points[rest])
    guess = model.predict(matrix.points[rest])
    assert (guess[labels[rest] == 2] == 2).mean() > 0.8
    assert (guess[labels[rest] == 1] == 1).mean() > 0.95


def test_reliability_tells_true_from_boastful_probabilities():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 4000)
    truth = np.where(rng.random(4000) < sure, 1, 2)
    p = np.column_stack([sure, 1 - sure])
    honest = reliability(truth, p, (1, 2))
    boastful = reliability(truth, np.column_stack([sure**0.2, 1 - sure**0.2]), (1, 2))
    assert honest.error < 0.03
    assert boastful.error > 0.1
    assert sum(q.cells for q in honest.points) == 4000
    assert all(abs(q.sure - q.right) < 0.08 for q in honest.points)
    assert reliability(truth[:0], p[:0], (1, 2)) is None


def test_the_calibrated_svm_is_more_truthful_than_the_plain_one():
    values, labels = blobs((150, 150, 150), features=8, spread=4.0)
    matrix = Matrix(ids_of(len(values)), values)
    learn, check = np.arange(0, 450, 3), np.setdiff1d(np.arange(450), np.arange(0, 450, 3))
    plain = learners.MarginSVC(C=3.0, decision_function_shape="ovr")
    errors = [
        reliability(labels[check], m.predict_proba(matrix.points[check]), (1, 2, 3)).error
        for m in (
            plain.fit(matrix.points[learn], labels[learn]),
            Tempered(plain).fit(matrix.points[learn], labels[learn]),
        )
    ]
    assert errors[1] < errors[0]


def test_a_committees_choice_is_where_its_members_differ():
    values, labels = blobs((100, 100), features=4, spread=3.0)
    rows = {int(r): int(c) for c in (1, 2) for r in np.flatnonzero(labels == c)[:8]}
    context = context_of(values, rows, n=10, classes={1: "a", 2: "b"})
    known = context.matrix.points[context.labelled]
    votes = learners.fit_committee(known, context.labels).vote_proba(context.features)
    apart = votes[:, :, 0].max(axis=1) - votes[:, :, 0].min(axis=1)  # [candidates]
    chosen = STRATEGIES["committee"](context).positions
    assert apart[chosen].min() > np.median(apart)


@pytest.mark.parametrize("estimator", learners.ESTIMATORS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_two_cells_of_nan_and_constant_features_do_no_harm(tmp_path, name, estimator):
    values = np.full((6, 3), 7.0, np.float32)
    values[1, 0] = np.nan
    FeatureTable(ids_of(6), ("x", "y", "z"), values).save(tmp_path / "t.npz")
    request = SuggestRequest(
        str(tmp_path / "t.npz"), {"c0": 1, "c1": 2}, {}, NAMES, strategy=name, estimator=estimator
    )
    assert len(run_suggest(replace(request, n=9)).suggestions) == 4
    assert len(run_suggest(replace(request, labelled={"c0": 1}, n=9)).suggestions) == 5


def test_a_class_that_vanishes_and_an_image_removed_in_mid_loop(request_on_disk):
    request, labels = request_on_disk
    said = {f"c{k}": int(labels[k]) for k in range(40)}
    one_left = {c: 1 for c, k in said.items() if k == 1}
    result = run_suggest(replace(request, labelled=one_left))  # the others were taken back
    assert result.labels == len(one_left)
    assert len(result.suggestions) == 1
    retired = run_suggest(replace(request, labelled=said, class_names={1: "RBC"}))
    assert len(retired.suggestions) == 1
    gone = replace(  # cells of a removed image: no candidates any more, or not in the table
        request,
        labelled=said | {"gone": 2},
        candidates=pack_rows(np.isin(np.arange(len(labels)), range(40, 60))),
        n=50,
    )
    assert set(run_suggest(gone).suggestions.cell_ids) == {f"c{k}" for k in range(40, 60)}


@pytest.mark.parametrize("estimator", learners.ESTIMATORS)
def test_labels_in_another_order_give_the_same_learner(request_on_disk, estimator):
    request, labels = request_on_disk
    said = {f"c{k}": int(labels[k]) for k in range(30)}
    turned = dict(sorted(said.items(), key=lambda pair: pair[0][::-1]))
    results = [
        predict_all(replace(request, labelled=s, estimator=estimator)) for s in (said, turned)
    ]
    assert results[0] == results[1]


def test_cells_that_are_only_classed_teach_nothing(request_on_disk):
    request, labels = request_on_disk
    said = {f"c{k}": int(labels[k]) for k in range(40)}
    others = tuple(f"c{k}" for k in range(100, 240))
    asked = replace(request, labelled=said, candidates=pack_rows(np.arange(len(labels)) < 100))
    alone = predict_all(asked)
    beside = predict_all(replace(asked, others=others))
    assert set(beside) == set(alone) | set(others)
    assert {c: beside[c] for c in alone} == alone
