"""What a person does to cells: the rows before and after, and what is then shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from napari_cellal.core import gestures
from napari_cellal.core.records import Cell, Origin, Proposal, Review, Status

if TYPE_CHECKING:
    from napari_cellal.core.history import Edit

BOX = (10.0, 20.0, 30.0, 44.0)
OTHER = (11.0, 20.0, 33.0, 44.0)


def proposed(cell_id: str = "p", class_id: int | None = 1) -> Cell:
    said = Proposal(BOX, class_id, 0.8, "m")
    return Cell(cell_id, "i", BOX, class_id, Origin.MODEL, proposed=said)


def imported(cell_id: str = "q", class_id: int | None = 1) -> Cell:
    return Cell(cell_id, "i", BOX, class_id, Origin.IMPORT)


def drawn(cell_id: str = "d", class_id: int | None = 1) -> Cell:
    return Cell(cell_id, "i", BOX, class_id, Origin.PERSON, Review.CONFIRMED, None, "ann", "t")


def reviewed(cell: Cell, review: Review) -> Cell:
    return replace(cell, review=review, reviewed_by="ann", reviewed_at="t")


def only(edit: Edit) -> Cell | None:
    """Return the one row that an edit makes."""
    (row,) = edit.after.values()
    return row


def test_giving_the_proposed_class_confirms() -> None:
    cell = proposed(class_id=1)
    edit = gestures.give_class([cell], 1, "RBC", "ann")
    row = only(edit)
    assert row is not None
    assert edit.before == {"p": cell}
    assert (row.class_id, row.review, row.status) == (1, Review.CONFIRMED, Status.CONFIRMED)
    assert row.reviewed_by == "ann"
    assert row.reviewed_at is not None
    assert row.proposed == cell.proposed
    assert row.is_label
    assert edit.by == "ann"


def test_giving_another_class_corrects() -> None:
    row = only(gestures.give_class([proposed(class_id=1)], 2, "WBC", "ann"))
    assert row is not None
    assert (row.class_id, row.status) == (2, Status.CORRECTED)


def test_giving_a_class_to_an_unclassed_proposal_corrects_nothing() -> None:
    row = only(gestures.give_class([proposed(class_id=None)], 2, "WBC", "ann"))
    assert row is not None
    assert row.status is Status.CONFIRMED
    assert row.is_label


@pytest.mark.parametrize("review", [Review.UNSURE, Review.REJECTED])
def test_giving_a_class_takes_back_unsure_and_rejected(review: Review) -> None:
    row = only(gestures.give_class([reviewed(proposed(), review)], 1, "RBC", "ann"))
    assert row is not None
    assert row.status is Status.CONFIRMED


def test_the_label_counts_and_names() -> None:
    one = gestures.give_class([proposed()], 1, "Reticulocyte", "ann").label
    many = gestures.give_class([proposed(str(k)) for k in range(7)], 1, "Reticulocyte", "ann").label
    assert "Reticulocyte" in one
    assert "1" in one
    assert "7" in many


def test_accepting_keeps_box_and_class() -> None:
    cell = proposed(class_id=2)
    row = only(gestures.accept([cell], "ann"))
    assert row is not None
    assert (row.box, row.class_id, row.status) == (BOX, 2, Status.CONFIRMED)


def test_accepting_an_imported_cell_confirms_it() -> None:
    row = only(gestures.accept([imported()], "ann"))
    assert row is not None
    assert (row.status, row.origin) == (Status.CONFIRMED, Origin.IMPORT)


def test_accepting_without_a_class_is_no_label() -> None:
    row = only(gestures.accept([proposed(class_id=None)], "ann"))
    assert row is not None
    assert row.review is Review.CONFIRMED
    assert not row.is_label


def test_accepting_what_is_confirmed_does_nothing() -> None:
    assert not gestures.accept([reviewed(proposed(), Review.CONFIRMED), drawn()], "ann")


def test_unsure_is_no_label_and_stays() -> None:
    edit = gestures.mark_unsure([drawn()], "ann")
    row = only(edit)
    assert row is not None
    assert row.status is Status.UNSURE
    assert not row.is_label
    assert not gestures.mark_unsure([row], "ann")


def test_removing_a_proposal_rejects_it_and_keeps_the_row() -> None:
    row = only(gestures.remove([proposed()], "ann"))
    assert row is not None
    assert (row.status, row.reviewed_by) == (Status.REJECTED, "ann")


def test_removing_an_imported_cell_rejects_it() -> None:
    row = only(gestures.remove([imported()], "ann"))
    assert row is not None
    assert row.status is Status.REJECTED


def test_removing_a_drawn_cell_deletes_it() -> None:
    edit = gestures.remove([drawn()], "ann")
    assert edit.before == {"d": drawn()}
    assert edit.after == {"d": None}


def test_removing_both_kinds_is_one_edit() -> None:
    edit = gestures.remove([proposed(), drawn()], "ann")
    assert edit.after["d"] is None
    assert edit.after["p"] is not None


def test_removing_what_is_rejected_does_nothing() -> None:
    assert not gestures.remove([reviewed(proposed(), Review.REJECTED)], "ann")


@pytest.mark.parametrize("review", [Review.CONFIRMED, Review.REJECTED, Review.UNSURE])
def test_reopening_forgets_the_review(review: Review) -> None:
    row = only(gestures.reopen([reviewed(proposed(), review)], "ann"))
    assert row == proposed()


def test_reopening_leaves_drawn_and_open_cells_alone() -> None:
    assert not gestures.reopen([drawn(), proposed(), imported()], "ann")


def test_drawing_adds_confirmed_cells_of_the_person() -> None:
    edit = gestures.draw("i", [(30.0, 44.0, 10.0, 20.0), OTHER], 2, "ann")
    rows = [row for row in edit.after.values() if row is not None]
    assert list(edit.before.values()) == [None, None]
    assert [r.box for r in rows] == [BOX, OTHER]
    assert {r.status for r in rows} == {Status.DRAWN}
    assert {r.image_id for r in rows} == {"i"}
    assert len({r.cell_id for r in rows}) == 2
    assert all(r.is_label and r.reviewed_by == "ann" for r in rows)


def test_drawing_without_a_class_is_no_label() -> None:
    row = only(gestures.draw("i", [BOX], None, "ann"))
    assert row is not None
    assert not row.is_label


def test_moving_corrects_and_keeps_what_the_model_said() -> None:
    row = only(gestures.move([(proposed(), OTHER)], "ann"))
    assert row is not None
    assert (row.box, row.status) == (OTHER, Status.CORRECTED)
    assert row.proposed == proposed().proposed


def test_moving_to_the_same_place_does_nothing() -> None:
    assert not gestures.move([(proposed(), BOX)], "ann")
    backwards = (BOX[2], BOX[3], BOX[0], BOX[1])
    assert not gestures.move([(proposed(), backwards)], "ann")


def test_moving_some_leaves_the_others_out() -> None:
    edit = gestures.move([(proposed("a"), OTHER), (proposed("b"), BOX)], "ann")
    assert set(edit.after) == {"a"}


def test_joined_edits_are_one_with_one_inverse() -> None:
    parts = [
        gestures.give_class([proposed("a")], 2, "WBC", "ann"),
        gestures.remove([drawn("b")], "ann"),
        gestures.draw("i", [OTHER], 1, "ann"),
    ]
    edit = gestures.join("all", parts, "ann")
    assert len(edit.after) == 3
    assert edit.before["a"] == proposed("a")
    assert edit.after["b"] is None
    back = edit.inverse()
    assert back.after == edit.before
    assert back.before == edit.after


def test_finishing_touches_the_image_only() -> None:
    edit = gestures.finish_image("i", "one.png", [], "ann")
    assert edit.finished == {"i": (False, True)}
    assert not edit.after
    assert edit
    assert "one.png" in edit.label
    assert edit.inverse().finished == {"i": (True, False)}
    assert gestures.reopen_image("i", "one.png", "ann").finished == {"i": (True, False)}


def test_finishing_accepts_the_open_cells_and_no_others() -> None:
    unsure = replace(proposed("b"), review=Review.UNSURE)
    edit = gestures.finish_image("i", "one.png", [proposed("a"), unsure], "ann")
    assert edit.after.keys() == {"a"}
    assert edit.after["a"].review is Review.CONFIRMED
    assert edit.finished == {"i": (False, True)}


@pytest.mark.parametrize(
    "gesture", [gestures.accept, gestures.mark_unsure, gestures.remove, gestures.reopen]
)
def test_nothing_chosen_is_nothing_done(gesture) -> None:
    assert not gesture([], "ann")
