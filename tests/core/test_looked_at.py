"""Which cells the learner looks at in a project of too many."""

from __future__ import annotations

import pytest

from napari_cellal.core import gestures
from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Split, Status, new_id
from napari_cellal.io.store import Project
from napari_cellal.workflows import learning, looked_at, pools


@pytest.fixture
def project(tmp_path):
    """Forty images of ten cells; one of them is empty, and one has only rejected cells."""
    with Project.create(tmp_path / "p", ["A", "B"]) as made:
        splits = (Split.TRAIN, Split.VAL)
        made.add_images(
            ImageRecord(f"i{k:02}", f"{k}.tif", (1, 99, 99), "uint8", ("g",), split=splits[k % 2])
            for k in range(40)
        )
        for k in range(1, 40):
            box = (1.0, 2.0, 9.0, 9.0)
            said = Proposal(box, 1, 0.5, "m")
            cells = [
                Cell(new_id(), f"i{k:02}", box, 1, Origin.MODEL, proposed=said) for _ in range(10)
            ]
            made.history.do(edit_of("found", [(None, c) for c in cells]))
        made.history.do(gestures.remove(made.cells.of_image("i39"), "me"))
        yield made


def test_few_cells_are_all_looked_at(project):
    assert looked_at.images_looked_at(project, 380) is None
    assert looked_at.cells_looked_at(project, None) == (380, 380)
    requests = looked_at.requests_without_cells(project)
    assert len(requests) == 38  # the empty one and the one of rejected cells are not
    filled = list(looked_at.with_cells(project.folder, requests))
    assert filled == learning.measure_requests(project)


def test_of_many_cells_those_of_some_images(project):
    chosen = looked_at.images_looked_at(project, 100)
    assert len(chosen) == 10
    assert looked_at.images_looked_at(project, 100) == chosen  # the same each time
    assert looked_at.cells_looked_at(project, chosen) == (100, 380)
    splits = [project.images[key].split for key in chosen]
    assert splits.count(Split.TRAIN) == splits.count(Split.VAL) == 5  # as in the whole project
    assert set(looked_at.images_looked_at(project, 200)) > set(chosen)
    assert list(chosen) == sorted(chosen)
    project.settings = project.settings.model_copy(update={"seed": 1})
    assert looked_at.images_looked_at(project, 100) != chosen


def test_images_with_labels_come_first(project):
    chosen = looked_at.images_looked_at(project, 100)
    others = [key for key in project.images if key not in chosen and key not in ("i00", "i39")]
    by_split = [k for s in Split for k in others if project.images[k].split is s]
    labelled = [*by_split[:4], *by_split[-4:]]
    for key in labelled:
        project.history.do(gestures.accept(project.cells.of_image(key)[:1], "me"))
    now = looked_at.images_looked_at(project, 100)
    assert set(labelled) < set(now)
    assert len(now) == 10
    assert set(now) - set(labelled) < set(chosen)
    project.history.undo()
    assert labelled[-1] not in looked_at.images_looked_at(project, 100)
    for key in others:
        project.history.do(gestures.accept(project.cells.of_image(key)[:1], "me"))
    assert len(looked_at.images_looked_at(project, 100)) == 10


def test_the_pool_is_of_these_images(project):
    chosen = looked_at.images_looked_at(project, 100)
    pool = pools.Pool(project, chosen)
    asked = {*pool.candidates, *pool.checks}
    mine = {c.cell_id for key in chosen for c in project.cells.of_image(key)}
    assert asked == mine
    assert pool.candidates
    assert pool.checks
    other = next(key for key in project.images if key not in chosen and key != "i00")
    (cell, *_) = project.cells.of_image(other)
    edit = gestures.give_class([cell], 2, "B", "me")
    project.history.do(edit)
    pool.follow(edit)
    assert {**pool.labelled, **pool.holdout} == {cell.cell_id: 2}


def test_rows_read_beside_the_window_are_those_of_the_project(project):
    requests = looked_at.requests_without_cells(project, ["i05", "i39"])
    (found,) = looked_at.with_cells(project.folder, requests)
    cells = project.cells.of_image("i05")
    assert found.cell_ids == tuple(c.cell_id for c in cells)
    assert found.boxes == tuple(c.box for c in cells)
    assert all(c.status is Status.REJECTED for c in project.cells.of_image("i39"))
