from __future__ import annotations

from dataclasses import replace

import pytest

from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, new_id
from napari_cellal.io.store import Project
from napari_cellal.ui.session import Session


def proposal(image_id: str, box, class_id=1, score=0.9) -> Cell:
    made = Proposal(box, class_id, score, "test")
    return Cell(new_id(), image_id, box, class_id, Origin.MODEL, proposed=made)


def grid_cells(image_id: str, n: int) -> list[Cell]:
    return [
        proposal(
            image_id,
            (float(i // 40 * 20), float(i % 40 * 20), i // 40 * 20 + 12.0, i % 40 * 20 + 15.0),
        )
        for i in range(n)
    ]


@pytest.fixture
def project(tmp_path):
    project = Project.create(tmp_path / "p", ["RBC", "WBC"])
    blank = ImageRecord("one", "one.png", (3, 400, 800), "uint8", ("r", "g", "b"), True)
    project.add_images([blank, replace(blank, image_id="two", path="two.png")])
    yield project
    project.close()


@pytest.fixture
def session(project):
    project.history.do(edit_of("detected", [(None, c) for c in grid_cells("one", 3)]))
    session = Session()
    session.open_project(project)
    return session
