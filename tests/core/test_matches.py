"""From the squares of a confusion matrix to cells, and figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from napari_cellal.core.records import Cell, Detections, Review
from napari_cellal.evaluate.intervals import wilson_interval
from napari_cellal.evaluate.matches import (
    NOTHING,
    confusion_of,
    match_boxes_of,
    match_classes,
    tally,
)
from napari_cellal.evaluate.metrics import evaluate_boxes
from napari_cellal.evaluate.tables import (
    class_lines,
    joined,
    macro_f1,
    mix_ups,
    source_lines,
    totals_of,
)

A, B, C, D = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 70), (80, 0, 90, 10)


def cell(cell_id, box, class_id, image_id="i"):
    return Cell(cell_id, image_id, box, class_id, review=Review.CONFIRMED)


def found(*rows, image_id="i"):
    boxes, scores, classes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(image_id, boxes, scores, classes, "m")


CELLS = [cell("a", A, 1), cell("b", B, 2), cell("c", C, None)]


def test_every_square_leads_to_its_cells():
    said = found((A, 0.9, 2), (D, 0.8, 1), (C, 0.7, 1), (B, 0.3, 2))
    matches = match_boxes_of(said, "i", CELLS, score=0.5)
    assert [(m.cell_id, m.true, m.said, m.score) for m in matches] == [
        ("a", 1, 2, 0.9),
        ("b", 2, NOTHING, 0),
        ("c", None, 1, 0.7),
        (None, NOTHING, 1, 0.8),
    ]
    assert [m.box for m in matches] == [A, B, C, D]
    table = confusion_of(tally(matches), [1, 2], boxes=True)
    assert table.rows == (1, 2, None, NOTHING)
    assert table.columns == (1, 2, NOTHING)
    assert table.counts.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert table.shares().sum(axis=1) == pytest.approx([1, 1, 1, 1])
    lower = match_boxes_of(said, "i", CELLS, score=0.2)
    assert lower[1].said == 2  # what scores 0.3 counts now
    right = match_boxes_of(said, "i", [cell("a", A, 2), *CELLS[1:]])
    assert right[0].square == (2, 2)  # the label was mended; the answer is the same


def test_nothing_found_and_nothing_there():
    assert [m.said for m in match_boxes_of(None, "i", CELLS)] == [NOTHING] * 3
    (alone,) = match_boxes_of(found((A, 0.9, None)), "i", [])
    assert alone.square == (NOTHING, None)
    assert match_boxes_of(found(), "i", []) == ()
    flat = (5, 5, 5, 9)
    assert match_boxes_of(found((flat, 0.9, 1)), "i", [cell("z", flat, 1)]) == ()


def test_classes_of_cells():
    cells = [*CELLS, cell("d", D, 2)]
    said = {"a": ((1, 0.8), (2, 0.2)), "b": ((1, 0.6),), "c": ((1, 0.9),)}
    matches = match_classes(said, cells)
    assert [(m.cell_id, m.true, m.said, m.score) for m in matches] == [
        ("a", 1, 1, 0.8),
        ("b", 2, 1, 0.6),
    ]  # c has no class to compare with, d no answer
    table = confusion_of(tally(matches), [1, 2], boxes=False)
    assert table.counts.tolist() == [[1, 0], [1, 0]]
    one, two = class_lines(table)
    assert (one.precision, one.recall, one.f1, one.support) == (0.5, 1, pytest.approx(2 / 3), 1)
    assert (two.recall, two.said) == (0, 0)
    assert macro_f1((one, two)) == pytest.approx(1 / 3)


def test_the_matrix_is_that_of_evaluate():
    rng = np.random.default_rng(0)
    truth, predictions, tallies = {}, [], []
    for k in range(12):
        corner = rng.uniform(0, 200, (10, 2))
        boxes = [tuple(row) for row in np.hstack([corner, corner + 25]).tolist()]
        classes = rng.integers(1, 4, 10).tolist()
        moved = [tuple(v + rng.normal(0, 4) for v in box) for box in boxes[2:]]
        rows = [(b, s, int(c)) for b, s, c in zip(
            [*moved, A], rng.random(9), rng.integers(1, 4, 9), strict=True)]  # fmt: skip
        image_id = str(k)
        truth[image_id] = (boxes, classes)
        predictions.append(found(*rows, image_id=image_id))
        cells = [
            cell(f"{k}.{j}", b, c, image_id)
            for j, (b, c) in enumerate(zip(boxes, classes, strict=True))
        ]
        tallies.append(tally(match_boxes_of(predictions[-1], image_id, cells, 0.3)))
    measured = evaluate_boxes(predictions, truth, [1, 2, 3], score=0.3)
    table = confusion_of(joined(tallies), [1, 2, 3], boxes=True)
    assert table.counts.tolist() == [list(row) for row in measured.confusion]
    assert table.counts.sum() > 100


def test_totals_and_mix_ups():
    first = tally(match_boxes_of(found((A, 0.9, 1), (D, 0.9, 1)), "i", CELLS[:2]))
    second = tally(match_boxes_of(found((A, 0.9, 2), (B, 0.9, 2), (D, 0.9, 1)), "j", CELLS[:2]))
    t = totals_of([first, second])
    assert (t.images, t.cells, t.answers, t.found, t.right) == (2, 4, 5, 3, 2)
    assert (t.precision, t.recall, t.f1) == pytest.approx((3 / 5, 3 / 4, 6 / 9))
    assert t.classed_right == pytest.approx(2 / 3)
    assert t.count_error == pytest.approx(0.5)  # 2 for 2 cells, 3 for 2
    table = confusion_of(joined([first, second]), [1, 2], boxes=True)
    worst = mix_ups(table)
    assert (worst[0].true, worst[0].said, worst[0].cells) == (NOTHING, 1, 2)
    assert worst[0].share == pytest.approx(2 / 3)  # of three boxes said to be 1
    assert {(m.true, m.said) for m in worst[1:]} == {(1, 2), (2, NOTHING)}
    assert totals_of([]).f1 == 0


def test_a_good_total_hides_no_bad_source():
    good = {(1, 1): 95, (1, 2): 5}
    bad = {(1, 1): 10, (1, 2): 10}
    tallies = {"a": tally([]) + type(tally([]))(good), "b": type(tally([]))(bad)}
    worst, best = source_lines(tallies, {"a": "plate 1", "b": "plate 2"})
    assert (worst.source, worst.is_worse) == ("plate 2", True)
    assert (best.source, best.is_worse) == ("plate 1", False)
    assert worst.totals.classed_right == 0.5
    (alone,) = source_lines({"a": tallies["a"]}, {"a": "plate 1"})
    assert not alone.is_worse


@pytest.mark.parametrize(
    ("right", "total"), [(0, 1), (1, 1), (0, 40), (40, 40), (3, 7), (950, 1000)]
)
def test_wilson_is_that_of_scipy(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, total) == pytest.approx((expected.low, expected.high), abs=1e-9)
