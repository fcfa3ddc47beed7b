import time
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta

import pytest

from napari_cellal.core.records import (
    CLASS_COLORS,
    Cell,
    Detections,
    ImageRecord,
    Origin,
    Proposal,
    Review,
    Status,
    local_time,
    new_id,
    now,
)

BOX = (1.0, 2.0, 11.0, 12.0)
SAME = Proposal(BOX, 1, 0.9, "m", ((1, 0.9), (2, 0.1)))
OTHER_BOX = replace(SAME, box=(1.0, 2.0, 11.0, 12.5))
OTHER_CLASS = replace(SAME, class_id=2)
NO_CLASS = replace(SAME, class_id=None)
PROPOSALS = [None, SAME, OTHER_BOX, OTHER_CLASS, NO_CLASS]


def cell(origin: Origin, review: Review, proposed: Proposal | None = None) -> Cell:
    return Cell("c", "i", BOX, 1, origin, review, proposed)


# What is shown for (origin, review) without a proposal, the same proposal, another one.
TABLE = {
    (Origin.MODEL, Review.OPEN): ("proposed", "proposed", "proposed"),
    (Origin.MODEL, Review.CONFIRMED): ("confirmed", "confirmed", "corrected"),
    (Origin.MODEL, Review.REJECTED): ("rejected", "rejected", "rejected"),
    (Origin.MODEL, Review.UNSURE): ("unsure", "unsure", "unsure"),
    (Origin.IMPORT, Review.OPEN): ("imported", "imported", "imported"),
    (Origin.IMPORT, Review.CONFIRMED): ("confirmed", "confirmed", "corrected"),
    (Origin.IMPORT, Review.REJECTED): ("rejected", "rejected", "rejected"),
    (Origin.IMPORT, Review.UNSURE): ("unsure", "unsure", "unsure"),
    (Origin.PERSON, Review.OPEN): ("drawn", "drawn", "drawn"),
    (Origin.PERSON, Review.CONFIRMED): ("drawn", "drawn", "drawn"),
    (Origin.PERSON, Review.REJECTED): ("rejected", "rejected", "rejected"),
    (Origin.PERSON, Review.UNSURE): ("unsure", "unsure", "unsure"),
}


def test_the_table_is_complete() -> None:
    assert set(TABLE) == {(o, r) for o in Origin for r in Review}
    assert {name for row in TABLE.values() for name in row} == {s.value for s in Status}


@pytest.mark.parametrize(("origin", "review"), TABLE, ids=lambda v: v.value)
def test_status(origin: Origin, review: Review) -> None:
    none, same, other = TABLE[origin, review]
    assert cell(origin, review).status == none
    assert cell(origin, review, SAME).status == same
    # A detector that gives no classes is not corrected by a first class.
    assert cell(origin, review, NO_CLASS).status == same
    for proposal in (OTHER_BOX, OTHER_CLASS):
        assert cell(origin, review, proposal).status == other


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("review", Review)
@pytest.mark.parametrize("proposed", PROPOSALS)
@pytest.mark.parametrize("class_id", [None, 1])
def test_only_confirmed_cells_with_a_class_are_labels(
    origin: Origin, review: Review, proposed: Proposal | None, class_id: int | None
) -> None:
    row = replace(cell(origin, review, proposed), class_id=class_id)
    assert row.is_label == (review is Review.CONFIRMED and class_id is not None)


def test_score_is_the_models() -> None:
    assert cell(Origin.PERSON, Review.OPEN).score is None
    assert cell(Origin.MODEL, Review.CONFIRMED, SAME).score == 0.9


def test_records_are_values() -> None:
    one, two = cell(Origin.MODEL, Review.OPEN, SAME), cell(Origin.MODEL, Review.OPEN, SAME)
    assert one == two
    assert len({one, two}) == 1
    with pytest.raises(FrozenInstanceError):
        one.class_id = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        SAME.score = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("path", ["a/b/cells 01.tif", "C:\\data\\cells 01.tif", "cells 01.tif"])
def test_image_name(path: str) -> None:
    assert ImageRecord("i", path, (1, 4, 4), "uint8", ("gray",)).name == "cells 01.tif"


@pytest.mark.parametrize(
    ("path", "group", "place", "source"),
    [
        ("P1_A01.tif", "P1/A01", {"plate": "P1", "well": "A01"}, "P1"),  # not a source a well
        ("b/1_A01.tif", "HUVEC-01/1/A01", {"batch": "HUVEC-01", "plate": "1"}, "HUVEC-01/1"),
        ("a.png", "patient 3", {}, "patient 3"),
        ("east/day 1/a.png", "", {}, "east/day 1"),
        ("/data/east/day 1/a.png", "", {}, "east/day 1"),
        ("C:\\data\\east\\day 1\\a.png", "", {}, "east/day 1"),
        ("a.png", "", {}, ""),
    ],
)
def test_the_source_of_an_image(path: str, group: str, place: dict[str, str], source: str) -> None:
    image = ImageRecord("i", path, (1, 2, 2), "uint8", ("gray",), group=group, place=place)
    assert image.source == source


def test_ids_are_short_hexadecimal_and_differ() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids)


def test_now_is_utc() -> None:
    assert datetime.fromisoformat(now()).utcoffset() == timedelta(0)


def test_colors_differ() -> None:
    assert len(set(CLASS_COLORS)) == len(CLASS_COLORS) >= 8


def test_detections_count_their_boxes() -> None:
    assert len(Detections("i", (), (), (), "m")) == 0
    assert len(Detections("i", (BOX, BOX), (0.9, 0.8), (1, None), "m")) == 2


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
@pytest.mark.parametrize(
    ("zone", "shown"), [("UTC0", "2026-03-01 23:30"), ("XYZ-2", "2026-03-02 01:30")]
)
def test_times_are_shown_where_the_person_is(
    monkeypatch: pytest.MonkeyPatch, zone: str, shown: str
) -> None:
    with monkeypatch.context() as here:
        here.setenv("TZ", zone)
        time.tzset()
        assert local_time("2026-03-01T23:30:59.123+00:00") == shown
    time.tzset()
    assert local_time("") == ""
