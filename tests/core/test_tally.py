"""Counts kept in step with edits: against the database's own, after every kind of step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from napari_cellal.core import gestures
from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, new_id
from napari_cellal.io.store import Project


def records():
    return [ImageRecord(f"i{k}", f"{k}.tif", (1, 99, 99), "uint8", ("g",)) for k in range(4)]


def proposed(rng, image_id):
    y = float(rng.integers(0, 80))
    box = (y, 0.0, y + 9, 9.0)
    class_id = (None, 1, 2)[rng.integers(3)]
    said = Proposal(box, class_id, 0.5, "m")
    return Cell(new_id(), image_id, box, class_id, Origin.MODEL, proposed=said)


def agree(project):
    """Check every count against the rows themselves."""
    cells = [c for key in project.images for c in project.cells.of_image(key)]
    assert project.cells.counts() == Counter((c.status, c.class_id) for c in cells)
    by_image = project.cells.counts_by_image()
    for key in project.images:
        mine = Counter(c.status for c in cells if c.image_id == key)
        assert project.cells.counts_of(key) == mine == by_image.get(key, {})
    assert all(by_image.values())


@pytest.mark.parametrize("seed", range(3))
def test_counts_follow_whatever_is_done(tmp_path, seed):
    rng = np.random.default_rng(seed)
    with Project.create(tmp_path / "p", ["A", "B"]) as project:
        project.add_images(records())
        agree(project)
        history = project.history
        for _ in range(60):
            cells = [c for key in project.images for c in project.cells.of_image(key)]
            some = [cells[k] for k in rng.permutation(len(cells))[:5]]
            kind = rng.integers(9)
            if kind < 2 or not cells:
                image = f"i{rng.integers(4)}"
                history.do(edit_of("found", [(None, proposed(rng, image)) for _ in range(7)]))
            elif kind == 2:
                history.do(gestures.give_class(some, int(rng.integers(1, 3)), "A", "me"))
            elif kind == 3:
                history.do(gestures.remove(some, "me"))
            elif kind == 4:
                history.do(gestures.mark_unsure(some, "me"))
            elif kind == 5:
                history.do(edit_of("gone", [(c, None) for c in some]))
            elif kind == 6:  # to another image
                moved = [(c, replace(c, image_id=f"i{rng.integers(4)}")) for c in some]
                history.do(edit_of("moved", moved))
            elif kind == 7 and history.undo_label:
                history.undo()
            elif kind == 8 and history.redo_label:
                history.redo()
            agree(project)
        project.remove_images(["i1", "i2"])
        agree(project)
    with Project.open(tmp_path / "p.cellal") as project:
        agree(project)
