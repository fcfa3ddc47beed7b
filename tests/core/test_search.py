"""Lists of the whole project's cells: the database's answer against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.filters import NOT_REJECTED, REVIEWED, WAITING, CellFilter
from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Review, Status
from napari_cellal.io.store import Project
from napari_cellal.io.store.search import ORDERS, cell_states, find_cells

NAMES = {"i0": "Plate A_01.tif", "i1": "plate b_02.tif", "i2": "other.tif"}


def some_cells():
    cells = []
    reviews = tuple(Review)
    for k in range(60):
        box = (float(k), 0.0, k + 9.0, 9.0)
        class_id = (None, 1, 2)[k % 3]
        origin = tuple(Origin)[k % 5 % 3]
        proposed = None
        if origin is Origin.MODEL:
            proposed = Proposal(box, class_id, round((k * 37 % 60) / 60, 3), "m")
        review = Review.CONFIRMED if origin is Origin.PERSON else reviews[k % 4]
        at = None if review is Review.OPEN else f"2026-01-{1 + k * 7 % 28:02}"
        note = "a Burst cell" if k % 11 == 0 else ""
        cells.append(
            Cell(f"c{k:02}", f"i{k % 3}", box, class_id, origin, review, proposed, "me", at, note)
        )
    return cells


@pytest.fixture
def project(tmp_path):
    with Project.create(tmp_path / "p", ["A", "B"]) as made:
        records = [
            ImageRecord(key, f"{key}.tif", (1, 99, 99), "uint8", ("g",), title=name)
            for key, name in NAMES.items()
        ]
        made.add_images(records)
        made.history.do(edit_of("filled", [(None, c) for c in some_cells()]))
        yield made


def belongs(c: Cell, f: CellFilter) -> bool:
    text = f.text.strip().lower()
    return (
        c.status in f.statuses
        and (f.class_ids is None or c.class_id in f.class_ids)
        and (f.image_ids is None or c.image_id in f.image_ids)
        and (f.cell_ids is None or c.cell_id in f.cell_ids)
        and not (c.status is Status.PROPOSED and c.score is not None and c.score < f.min_score)
        and (text in NAMES[c.image_id].lower() or text in c.note.lower())
    )


@pytest.mark.parametrize(
    "wanted",
    [
        CellFilter(),
        CellFilter(statuses=tuple(Status)),
        CellFilter(statuses=WAITING, min_score=0.4),
        CellFilter(statuses=REVIEWED, class_ids=(2,)),
        CellFilter(class_ids=(None,)),
        CellFilter(class_ids=(1, None)),
        CellFilter(image_ids=("i1",)),
        CellFilter(image_ids=()),
        CellFilter(text=" PLATE "),
        CellFilter(text="burst"),
        CellFilter(text="'; DROP TABLE cells"),
        CellFilter(cell_ids=("c01", "c07", "c59", "gone")),
        CellFilter(image_ids=("i0", "i2"), class_ids=(1,), text="o", min_score=0.2),
    ],
)
def test_a_filter_lets_through_what_it_says(project, wanted):
    found = find_cells(project.folder, wanted, "image", NAMES)
    assert sorted(found) == [c.cell_id for c in some_cells() if belongs(c, wanted)]


def test_orders(project):
    rows = {c.cell_id: c for c in some_cells()}

    def found(order):
        return [rows[k] for k in find_cells(project.folder, CellFilter(), order, NAMES)]

    by_image = [c.image_id for c in found("image")]
    assert by_image == sorted(by_image)
    scores = [c.score for c in found("score")]
    known = [s for s in scores if s is not None]
    assert known
    assert scores == sorted(known) + [None] * (len(scores) - len(known))
    classes = [c.class_id or 99 for c in found("class")]
    assert classes == sorted(classes)
    times = [c.reviewed_at for c in found("reviewed")]
    known = [t for t in times if t is not None]
    assert times == sorted(known, reverse=True) + [None] * (len(times) - len(known))
    for order in ORDERS:
        assert sorted(c.cell_id for c in found(order)) == sorted(
            k for k, c in rows.items() if c.status in NOT_REJECTED
        )


def test_what_is_written_is_found_at_once(project):
    (old,) = [c for c in some_cells() if c.cell_id == "c01"]
    project.history.do(edit_of("x", [(old, replace(old, class_id=2, note="seen"))]))
    assert find_cells(project.folder, CellFilter(text="seen"), "image", NAMES) == ["c01"]
    project.history.undo()
    assert find_cells(project.folder, CellFilter(text="seen"), "image", NAMES) == []


def test_states_of_every_cell(project):
    rows = {c.cell_id: c for c in some_cells() if c.status is not Status.REJECTED}
    found = {key: rest for key, *rest in cell_states(project.folder)}
    assert found == {k: [c.image_id, c.class_id, c.status.value] for k, c in rows.items()}


def test_a_project_that_is_gone_is_an_error_in_words(tmp_path):
    with pytest.raises(ProjectError):
        find_cells(tmp_path / "none.cellal", CellFilter(), "image", NAMES)
