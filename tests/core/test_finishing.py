"""Which image to finish next."""

from __future__ import annotations

import pickle

import pytest

from napari_cellal.active.images import OpenBoxes, rank_images
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Review, Split
from napari_cellal.io.store import Project
from napari_cellal.workflows import finishing


def first(proposals, labels=None):
    return rank_images(proposals, labels or {})[0].image_id


def test_doubtful_boxes_come_before_sure_ones():
    assert first({"sure": {1: OpenBoxes(20, 1.0)}, "doubt": {1: OpenBoxes(20, 12.0)}}) == "doubt"


def test_classes_with_few_labels_come_first():
    same = OpenBoxes(20, 5.0)
    assert first({"red": {1: same}, "rare": {2: same}}, {1: 400, 2: 3}) == "rare"


def test_several_classes_teach_more_than_one():
    mixed = {1: OpenBoxes(10, 4.0), 2: OpenBoxes(10, 4.0)}
    assert first({"one": {1: OpenBoxes(20, 8.0)}, "mixed": mixed}, {1: 9, 2: 9}) == "mixed"


def test_more_of_the_same_is_not_worth_its_work():
    alike = {"small": {1: OpenBoxes(40, 20.0)}, "crowded": {1: OpenBoxes(4000, 200.0)}}
    assert first(alike) == "small"


def test_nothing_to_doubt_is_nothing_to_finish():
    assert rank_images({}, {}) == ()
    assert rank_images({"sure": {1: OpenBoxes(9, 0.0)}}, {}) == ()


@pytest.fixture
def project(tmp_path):
    """Five images: i0 sure, i1 doubtful, i2 doubtful and finished, i3 held out, i4 reviewed."""
    scores = (0.99, 0.55, 0.5, 0.5, 0.5)
    with Project.create(tmp_path / "p", ["A", "B"]) as made:
        made.add_images(
            [
                ImageRecord(
                    f"i{k}", f"i{k}.tif", (1, 99, 99), "uint8", ("g",),
                    split=Split.VAL if k == 3 else Split.TRAIN, finished=k == 2,
                )
                for k in range(5)
            ]
        )  # fmt: skip
        cells = []
        for k, score in enumerate(scores):
            for j in range(6):
                box = (9.0 * j, 0.0, 9.0 * j + 8, 8.0)
                review = Review.CONFIRMED if k == 4 else Review.OPEN
                at = "2026-01-01" if k == 4 else None
                cells.append(
                    Cell(
                        f"c{k}{j}", f"i{k}", box, 1 + j % 2, Origin.MODEL, review,
                        Proposal(box, 1, score, "m"), "me", at, "",
                    )
                )  # fmt: skip
        made.history.do(edit_of("filled", [(None, c) for c in cells]))
        yield made


def test_only_open_training_images_are_named(project):
    request = pickle.loads(pickle.dumps(finishing.request_images(project)))
    assert request.labels == {1: 3, 2: 3}
    found = run_job(finishing.images_to_finish(request))
    assert [w.image_id for w in found] == ["i1", "i0"]
    assert (found[0].open, found[0].classes) == (6, 2)
    assert found[0].doubtful == pytest.approx(6 * 0.9)
