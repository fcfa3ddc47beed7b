"""A detection run never changes what a person said, and keeps ids where it can."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from napari_cellal.core.geometry import Box, iou_matrix
from napari_cellal.core.reconcile import RunSummary, is_replaceable, merge_detections
from napari_cellal.core.records import Cell, Detections, Origin, Proposal, Review, Status

BOX = (10.0, 10.0, 30.0, 30.0)
NEAR = (11.0, 10.0, 31.0, 30.0)
FAR = (100.0, 100.0, 130.0, 130.0)


def found(*boxes: Box, classes=None, probabilities=(), model="new") -> Detections:
    scores = tuple(0.9 - 0.01 * k for k in range(len(boxes)))
    ids = tuple(classes) if classes else (1,) * len(boxes)
    return Detections("i", boxes, scores, ids, model, probabilities)


def cell(cell_id="c", box: Box = BOX, origin=Origin.MODEL, review=Review.OPEN, class_id=1) -> Cell:
    said = Proposal(box, class_id, 0.5, "old") if origin is Origin.MODEL else None
    by = None if review is Review.OPEN else "ann"
    return Cell(cell_id, "i", box, class_id, origin, review, said, by, by and "t")


SETTLED = [
    pytest.param(Origin.MODEL, Review.CONFIRMED, id="confirmed"),
    pytest.param(Origin.MODEL, Review.REJECTED, id="rejected"),
    pytest.param(Origin.MODEL, Review.UNSURE, id="unsure"),
    pytest.param(Origin.IMPORT, Review.OPEN, id="imported"),
    pytest.param(Origin.IMPORT, Review.REJECTED, id="imported and rejected"),
    pytest.param(Origin.PERSON, Review.CONFIRMED, id="drawn"),
]


def test_a_first_run_adds_proposals() -> None:
    edit, summary = merge_detections([], found(BOX, FAR, classes=(1, None)))
    rows = [row for row in edit.after.values() if row is not None]
    assert summary == RunSummary(new=2)
    assert [r.box for r in rows] == [BOX, FAR]
    assert [r.class_id for r in rows] == [1, None]
    assert {r.status for r in rows} == {Status.PROPOSED}
    assert [r.score for r in rows] == [0.9, 0.89]
    assert edit.by == "new"


def test_probabilities_come_along() -> None:
    p = ((1, 0.7), (2, 0.3))
    edit, _ = merge_detections([], found(BOX, probabilities=(p,)))
    (row,) = edit.after.values()
    assert row is not None
    assert row.proposed is not None
    assert row.proposed.probabilities == p


@pytest.mark.parametrize(("origin", "review"), SETTLED)
@pytest.mark.parametrize("box", [BOX, NEAR])
def test_what_a_person_said_wins(origin: Origin, review: Review, box: Box) -> None:
    row = cell(origin=origin, review=review, class_id=2)
    edit, summary = merge_detections([row], found(box))
    assert not edit
    assert summary == RunSummary(kept=1)


@pytest.mark.parametrize(("origin", "review"), SETTLED)
def test_what_a_person_said_is_not_lost(origin: Origin, review: Review) -> None:
    edit, summary = merge_detections([cell(origin=origin, review=review)], found())
    assert not edit
    assert summary == RunSummary()


def test_an_open_row_keeps_its_id_when_it_is_found_again() -> None:
    old = cell(class_id=1)
    edit, summary = merge_detections([old], found(NEAR, classes=(2,)))
    row = edit.after["c"]
    assert row is not None
    assert edit.before == {"c": old}
    assert summary == RunSummary(moved=1, reclassed=1)
    assert (row.box, row.class_id, row.score, row.status) == (NEAR, 2, 0.9, Status.PROPOSED)
    assert row.proposed is not None
    assert row.proposed.model_id == "new"


def test_an_open_row_that_is_not_found_again_goes() -> None:
    edit, summary = merge_detections([cell()], found(FAR))
    assert edit.after["c"] is None
    assert summary == RunSummary(new=1, lost=1)


def test_the_same_run_again_changes_nothing() -> None:
    first, _ = merge_detections([], found(BOX, FAR))
    rows = [row for row in first.after.values() if row is not None]
    edit, summary = merge_detections(rows, found(BOX, FAR))
    assert not edit
    assert summary == RunSummary(moved=2)


def test_an_open_row_beside_a_reviewed_one_gives_way() -> None:
    mine = cell("mine", review=Review.CONFIRMED)
    edit, summary = merge_detections([mine, cell("open", NEAR)], found(NEAR))
    assert edit.after == {"open": None}
    assert (summary.kept, summary.lost, summary.new) == (1, 1, 0)


def test_two_detections_on_a_reviewed_cell_are_both_that_cell() -> None:
    # a detector of several classes gives both: its boxes of different classes may overlap
    mine = cell("mine", review=Review.REJECTED)
    edit, summary = merge_detections([mine], found(BOX, NEAR, classes=(1, 2)))
    assert not edit
    assert summary == RunSummary(kept=1)


def test_the_overlap_that_counts_can_be_chosen() -> None:
    half = (10.0, 10.0, 30.0, 24.0)  # IoU 0.7
    rows = [cell(review=Review.CONFIRMED)]
    assert merge_detections(rows, found(half), iou=0.6)[1].new == 0
    assert merge_detections(rows, found(half), iou=0.8)[1].new == 1


def test_summaries_add_up() -> None:
    total = RunSummary(1, 2, 3, 4) + RunSummary(10, 20, 30, 40)
    assert total == RunSummary(11, 22, 33, 44)


def random_box(rng: random.Random) -> Box:
    y, x = rng.uniform(0, 90), rng.uniform(0, 90)
    return (y, x, y + rng.uniform(8, 25), x + rng.uniform(8, 25))


def jittered(rng: random.Random, box: Box) -> Box:
    y0, x0, y1, x1 = (v + rng.uniform(-2, 2) for v in box)
    return (y0, x0, max(y1, y0 + 1), max(x1, x0 + 1))


def random_cell(rng: random.Random, number: int) -> Cell:
    made = cell(
        f"c{number}",
        random_box(rng),
        rng.choice(list(Origin)),
        rng.choice(list(Review)),
        rng.choice([None, 1, 2]),
    )
    return replace(made, note=rng.choice(["", "odd"]))


@pytest.mark.parametrize("seed", range(60))
def test_runs_never_change_what_is_settled(seed: int) -> None:
    rng = random.Random(seed)
    rows = {c.cell_id: c for c in (random_cell(rng, k) for k in range(rng.randrange(25)))}
    settled = {key: row for key, row in rows.items() if not is_replaceable(row)}
    for _ in range(4):
        again = [jittered(rng, r.box) for r in rows.values() if rng.random() < 0.6]
        fresh = [random_box(rng) for _ in range(rng.randrange(12))]
        boxes = again + fresh
        rng.shuffle(boxes)
        run = found(*boxes, classes=[rng.choice([None, 1, 2]) for _ in boxes])
        n_open = len(rows) - len(settled)
        edit, summary = merge_detections(rows.values(), run)

        assert edit.before == {key: rows.get(key) for key in edit.after}
        assert not set(edit.after) & set(settled)
        for key, row in edit.after.items():
            if row is None:
                del rows[key]
            else:
                rows[key] = row
        assert {key: rows[key] for key in settled} == settled
        now_open = [r for r in rows.values() if is_replaceable(r)]
        assert all(r.proposed is not None and r.proposed.box == r.box for r in now_open)
        assert all(r.proposed is not None and r.proposed.model_id == "new" for r in now_open)
        assert len(now_open) == summary.new + summary.moved
        assert n_open == summary.moved + summary.lost
        overlap = iou_matrix([r.box for r in settled.values()], [r.box for r in now_open])
        assert not (overlap >= 0.5).any()


def test_of_what_is_found_again_it_is_told_what_changed() -> None:
    elsewhere = (14.0, 10.0, 34.0, 30.0)  # overlaps BOX by 0.67, NEAR does by 0.9
    rows = [cell("a"), cell("b", FAR)]
    _, same = merge_detections(rows, found(NEAR, FAR))
    assert same == RunSummary(moved=2)
    _, other = merge_detections(rows, found(elsewhere, FAR, classes=(1, 2)))
    assert other == RunSummary(moved=2, shifted=1, reclassed=1)
    assert same + other == RunSummary(moved=4, shifted=1, reclassed=1)
