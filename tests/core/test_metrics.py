from __future__ import annotations

import json

import numpy as np
import pytest

from napari_cellal.core.records import Detections
from napari_cellal.evaluate.average_precision import (
    average_precisions,
    image_boxes,
    of_class,
    ranked,
)
from napari_cellal.evaluate.intervals import wilson_interval
from napari_cellal.evaluate.metrics import evaluate_boxes, evaluate_classes

A, B, C = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 70)


def found(image_id, *rows):
    """Detections from (box, score, class) rows."""
    boxes, scores, classes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(image_id, boxes, scores, classes, "m")


def test_a_perfect_detector():
    truth = {"i": ([A, B], [1, 2]), "j": ([C], [1])}
    m = evaluate_boxes(
        [found("i", (A, 0.9, 1), (B, 0.8, 2)), found("j", (C, 0.7, 1))], truth, [1, 2]
    )
    assert m.map50 == pytest.approx(1)
    assert m.map5095 == pytest.approx(1)
    assert m.interval == pytest.approx((1, 1))
    assert m.confusion == ((2, 0, 0), (0, 1, 0), (0, 0, 0))
    assert (m.blind.precision, m.blind.recall, m.blind.f1, m.blind.support) == (1, 1, 1, 3)
    assert (m.images, m.cells) == (2, 3)


def test_average_precision_by_hand():
    # ranked: hit, miss, hit of 2 cells. Precision 1 up to recall .5, then 2/3: of COCO's
    # 101 recall points 51 lie in 0..0.5
    truth = {"i": ([A, B], [1, 1])}
    m = evaluate_boxes([found("i", (A, 0.9, 1), (C, 0.8, 1), (B, 0.7, 1))], truth, [1])
    by_hand = (51 * 1 + 50 * 2 / 3) / 101
    assert m.map50 == pytest.approx(by_hand)
    assert m.blind_ap50 == pytest.approx(by_hand)
    assert m.per_class[1].precision == pytest.approx(2 / 3)


def test_a_loose_box_counts_at_half_but_not_above():
    # overlap 10 x 6 of union 100: IoU 0.6 passes 0.5, 0.55 and 0.6 of ten thresholds
    m = evaluate_boxes([found("i", ((0, 0, 6, 10), 0.9, 1))], {"i": ([A], [1])}, [1])
    assert m.map50 == pytest.approx(1)
    assert m.map5095 == pytest.approx(0.3)


def test_a_cell_found_twice_counts_once():
    m = evaluate_boxes([found("i", (A, 0.9, 1), (A, 0.8, 1))], {"i": ([A], [1])}, [1])
    assert m.per_class[1].precision == pytest.approx(0.5)
    assert m.per_class[1].recall == 1
    assert m.confusion == ((1, 0), (1, 0))


def test_wrong_class_missed_and_background_in_the_confusion():
    truth = {"i": ([A, B], [1, 2])}
    m = evaluate_boxes([found("i", (A, 0.9, 2), (C, 0.9, 1))], truth, [1, 2])
    assert m.confusion == ((0, 1, 0), (0, 0, 1), (1, 0, 0))
    assert m.blind.recall == pytest.approx(0.5)
    assert m.map50 == 0


def test_rates_cut_at_the_score_and_average_precision_does_not():
    truth = {"i": ([A], [1])}
    m = evaluate_boxes([found("i", (A, 0.3, 1))], truth, [1], score=0.5)
    assert m.blind.recall == 0
    assert m.map50 == pytest.approx(1)
    assert evaluate_boxes([found("i", (A, 0.3, 1))], truth, [1], score=0.2).blind.recall == 1


def test_a_detector_without_classes_is_scored_blind():
    m = evaluate_boxes([found("i", (A, 0.9, None))], {"i": ([A], [1])}, [1])
    assert m.blind.f1 == 1
    assert m.blind_ap50 == pytest.approx(1)
    assert m.map50 == 0


@pytest.mark.parametrize("predictions", [[], [found("i")], [found("elsewhere", (A, 0.9, 1))]])
def test_nothing_found(predictions):
    m = evaluate_boxes(predictions, {"i": ([A], [1]), "j": ([], [])}, [1, 2])
    assert m.map50 == 0
    assert m.per_class[2].ap50 is None  # no cell has that class: not the detector's fault
    assert m.confusion[0] == (0, 0, 1)


def test_nothing_to_find():
    m = evaluate_boxes([found("i", (A, 0.9, 1))], {"i": ([], [])}, [1])
    assert m.map50 is None
    assert m.interval is None
    assert m.blind.precision == 0
    assert m.confusion == ((0, 0), (1, 0))
    assert evaluate_boxes([], {}, [1]).map50 is None
    assert evaluate_boxes([], {}, []).map50 is None


def test_boxes_without_area_are_left_out():
    m = evaluate_boxes(
        [found("i", (A, 0.9, 1), ((5, 5, 5, 5), 0.95, 1))],
        {"i": ([A, (7, 7, 7, 7)], [1, 1])},
        [1],
    )
    assert m.map50 == pytest.approx(1)
    assert m.cells == 1


def scattered(seed=0, images=30):
    rng = np.random.default_rng(seed)
    truth, predictions = {}, []
    for k in range(images):
        corner = rng.uniform(0, 300, (12, 2))
        boxes = np.hstack([corner, corner + rng.uniform(20, 60, (12, 2))])
        classes = rng.integers(0, 3, 12)
        truth[str(k)] = (boxes, classes.tolist())
        kept = rng.random(12) < 0.8
        stray = rng.uniform(0, 300, (4, 2))
        guesses = np.vstack(
            [(boxes + rng.normal(0, 4, boxes.shape))[kept], np.hstack([stray, stray + 40])]
        )
        guessed = np.where(rng.random(len(guesses)) < 0.2, 0, np.r_[classes[kept], [1, 1, 2, 2]])
        rows = [
            (tuple(map(float, b)), float(s), int(c))
            for b, s, c in zip(guesses, rng.random(len(guesses)), guessed, strict=True)
        ]
        predictions.append(found(str(k), *rows))
    return predictions, truth


def test_own_and_coco_average_precision_agree():
    predictions, truth = scattered()
    m = evaluate_boxes(predictions, truth, [0, 1, 2])
    images = image_boxes(predictions, truth)
    for class_id in range(3):
        order = ranked([of_class(image, class_id) for image in images], 0.5)
        own = average_precisions(order, np.ones((1, len(images))))[0]
        assert own == pytest.approx(m.per_class[class_id].ap50, abs=1e-9)
    low, high = m.interval
    assert low < m.map50 < high


def test_more_than_a_hundred_boxes_an_image_count():
    boxes = [
        (20 * (k // 20), 20 * (k % 20), 20 * (k // 20) + 10, 20 * (k % 20) + 10) for k in range(300)
    ]
    rows = [(box, 1 - k / 1000, 1) for k, box in enumerate(boxes)]
    m = evaluate_boxes([found("i", *rows)], {"i": (boxes, [1] * 300)}, [1])
    assert m.map50 == pytest.approx(1)


def test_evaluating_is_quiet_and_json(capsys):
    predictions, truth = scattered(images=3)
    json.dumps(evaluate_boxes(predictions, truth, [0, 1, 2]).to_json())
    json.dumps(evaluate_classes([0, 1], [0, 1], [[1, 0], [0, 1]]).to_json())
    assert capsys.readouterr().out == ""


def test_classes_by_hand():
    true, guess = [0, 0, 0, 1], [0, 0, 1, 1]
    p = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    m = evaluate_classes(true, guess, p)
    assert m.accuracy == 0.75
    assert m.confusion == ((2, 1), (0, 1))
    assert m.per_class[0].f1 == pytest.approx(0.8)
    assert m.per_class[1].f1 == pytest.approx(2 / 3)
    assert m.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert m.per_class[1].average_precision == pytest.approx(0.5)  # ranked second of two
    assert m.interval == pytest.approx(wilson_interval(3, 4))


def test_classes_empty_and_absent():
    m = evaluate_classes([], [], class_ids=[0, 1])
    assert (m.accuracy, m.cells, m.interval) == (0.0, 0, (0.0, 1.0))
    m = evaluate_classes([0, 0], [0, 0], [[1, 0], [1, 0]], class_ids=[0, 1])
    assert m.macro_f1 == 1  # class 1 does not occur and does not count
    assert m.per_class[1].average_precision is None
    with pytest.raises(ValueError, match="known"):
        evaluate_classes([5], [0], class_ids=[0])


def test_wilson_interval_by_hand():
    # 8 of 10, from the formula with z = 1.96
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-3)
    assert high == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_a_standard_implementation(seed):
    """faster-coco-eval on the same boxes: many, near each other, of two classes."""
    pytest.importorskip("faster_coco_eval")
    from faster_coco_eval import COCO, COCOeval_faster

    rng = np.random.default_rng(seed)
    truth, predictions, images, annotations, results = {}, [], [], [], []
    for k in range(6):
        n = int(rng.integers(0, 12))
        corner, side = rng.uniform(0, 80, (n, 2)), rng.uniform(6, 20, (n, 2))
        boxes = np.concatenate([corner, corner + side], axis=1)
        ids = rng.integers(1, 3, n).tolist()
        truth[str(k)] = (boxes, ids)
        keep = rng.random(n) < 0.8
        moved = boxes[keep] + rng.normal(0, 1.0, (int(keep.sum()), 4))
        wrong = rng.uniform(0, 80, (3, 2))
        every = np.concatenate([moved, np.concatenate([wrong, wrong + 10], axis=1)])
        said = [i if rng.random() < 0.9 else 3 - i for i in np.asarray(ids, int)[keep].tolist()]
        said += [1, 2, 1]
        scores = rng.random(len(every))
        predictions.append(
            found(str(k), *zip(map(tuple, every.tolist()), scores.tolist(), said, strict=True))
        )
        images.append({"id": k, "width": 100, "height": 100})
        for (y0, x0, y1, x1), c in zip(boxes.tolist(), ids, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k,
                    "category_id": c,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
        for (y0, x0, y1, x1), c, score in zip(every.tolist(), said, scores.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            results.append({"image_id": k, "category_id": c, "bbox": box, "score": score})
    standard = COCO(
        {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }
    )
    evaluation = COCOeval_faster(standard, standard.loadRes(results), "bbox")
    evaluation.run()
    ours = evaluate_boxes(predictions, truth, [1, 2])
    assert ours.map5095 == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert ours.map50 == pytest.approx(evaluation.stats[1], abs=1e-6)
