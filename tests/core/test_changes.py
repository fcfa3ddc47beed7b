"""What a new model sees in another way than the old one, counted image by image."""

from __future__ import annotations

import pytest

from napari_cellal.core.records import Detections
from napari_cellal.evaluate.changes import ImageChange, above, changed_images, f1

A, B, C = (0.0, 0.0, 20.0, 20.0), (30.0, 30.0, 50.0, 50.0), (60.0, 60.0, 80.0, 80.0)
A_HARDLY = (0.0, 1.0, 20.0, 21.0)  # overlaps A by 0.90
A_ELSEWHERE = (0.0, 4.0, 20.0, 24.0)  # by 0.67


def found(*rows, image_id="i"):
    boxes, classes = zip(*rows, strict=True) if rows else ((), ())
    scores = tuple(0.9 - 0.1 * k for k in range(len(rows)))
    return Detections(image_id, boxes, scores, classes, "m")


def one(old, new, truth, **how):
    changes = changed_images({"i": found(*old)}, {"i": found(*new)}, {"i": truth}, **how)
    return changes[0] if changes else None


def test_nothing_is_told_of_an_image_that_both_see_alike():
    assert one([(A, 1)], [(A_HARDLY, 1)], ([A], [1])) is None


def test_each_kind_of_difference_is_counted():
    truth = ([A, B, C], [1, 1, 2])
    change = one([(A, 1), (B, 1)], [(A_ELSEWHERE, 1), (C, 2)], truth)
    assert change == ImageChange("i", new=1, lost=1, moved=1, reclassed=0, f1_old=0.8, f1_new=0.8)
    change = one([(A, 1)], [(A, 2)], truth)
    assert (change.reclassed, change.boxes) == (1, 1)
    assert change.gain == pytest.approx(-0.5)


def test_without_classes_another_class_is_no_change():
    assert one([(A, None)], [(A, 2)], ([A], [2]), classes=False) is None
    change = one([(A, None)], [(A, 2), (B, 1)], ([A, B], [2, 2]), classes=False)
    assert (change.new, change.reclassed, change.f1_new) == (1, 0, 1.0)
    assert change.f1_old == pytest.approx(2 / 3)


def test_the_image_that_gained_or_lost_most_comes_first():
    truth = {k: ([A, B], [1, 1]) for k in "abcd"}
    old = {k: found((A, 1), image_id=k) for k in "abcd"}
    new = {
        "a": found((A, 1), image_id="a"),
        "b": found((A, 1), (B, 1), image_id="b"),
        "c": found(image_id="c"),
        # "d" could not be searched
    }
    changes = changed_images(old, new, truth)
    assert [c.image_id for c in changes] == ["c", "b"]
    assert changes[0].gain == pytest.approx(-2 / 3)
    assert changes[1].gain == pytest.approx(1 / 3)


def test_f1_of_nothing():
    assert f1(found(), [], []) == 1
    assert f1(found(), [A], [1]) == 0
    assert f1(found((A, 1)), [], []) == 0


def test_boxes_above_a_score():
    assert above(found((A, 1), (B, 2), (C, 3)), 0.8).class_ids == (1, 2)


def test_the_numbers_go_into_json():
    change = ImageChange("i", 1, 2, 3, 4, 0.5, 0.75)
    assert change.as_dict() == {
        "new": 1,
        "lost": 2,
        "moved": 3,
        "reclassed": 4,
        "f1_old": 0.5,
        "f1_new": 0.75,
    }
