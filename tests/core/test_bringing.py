"""Boxes of other layers into an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_cellal.core.errors import AnnotationError, StaleEditError
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Review, Status
from napari_cellal.io.store import Project
from napari_cellal.workflows.bringing import bring_boxes, find_label_masks

A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0), (40.0, 40.0, 50.0, 50.0)


@pytest.fixture
def project(tmp_path):
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        project.add_images([ImageRecord("i", "i.png", (1, 60, 80), "uint8", ("gray",))])
        yield project


def put(project, *cells):
    project.history.do(edit_of("put", [(None, c) for c in cells]))


def bring(project, *boxes):
    edit, known = bring_boxes(project, "i", boxes, "mine")
    project.history.do(edit)
    return {c.box: c for c in project.cells.of_image("i")}, known


def test_boxes_come_open_without_a_class_and_are_undone_together(project):
    rows, known = bring(project, A, B)
    assert known == 0
    assert {(c.status, c.class_id, c.note) for c in rows.values()} == {
        (Status.IMPORTED, None, "mine")
    }
    project.history.undo()
    assert project.cells.of_image("i") == []


def test_what_a_person_reviewed_stays_and_proposals_give_way(project):
    kept = Cell("kept", "i", A, 1, Origin.PERSON, Review.CONFIRMED)
    no = Cell("no", "i", C, None, Origin.MODEL, Review.REJECTED)
    idea = Cell("idea", "i", B, None, Origin.MODEL, proposed=Proposal(B, None, 0.5, "m"))
    put(project, kept, no, idea)
    rows, known = bring(project, (1.0, 0.0, 11.0, 10.0), B, C)
    assert known == 2
    assert rows[A] == kept
    assert rows[C] == no
    assert rows[B].origin is Origin.IMPORT
    assert len(rows) == 3


def test_bringing_twice_changes_nothing(project):
    bring(project, A, B)
    rows, known = bring(project, A, B)
    assert (len(rows), known) == (2, 2)


def test_boxes_are_cut_at_the_border_and_left_out_beyond_it(project):
    rows, _ = bring(project, (50.0, 70.0, 90.0, 99.0), (100.0, 100.0, 120.0, 120.0))
    assert list(rows) == [(50.0, 70.0, 60.0, 80.0)]


def test_each_value_of_a_label_image_is_a_box():
    labels = np.zeros((60, 80), np.uint16)
    labels[0:10, 0:10], labels[20:30, 40:55] = 3, 7
    masks = run_job(find_label_masks(labels))
    assert [m.box for m in masks] == [A, (20.0, 40.0, 30.0, 55.0)]


def test_a_picture_is_no_label_image(monkeypatch):
    monkeypatch.setattr("napari_cellal.io.exchange.labels.MAX_REGIONS", 10)
    with pytest.raises(AnnotationError):
        run_job(find_label_masks(np.arange(100).reshape(10, 10)))


def test_a_cell_confirmed_meanwhile_makes_the_edit_stale(project):
    idea = Cell("idea", "i", B, None, Origin.MODEL, proposed=Proposal(B, None, 0.5, "m"))
    put(project, idea)
    edit, _ = bring_boxes(project, "i", [B], "mine")
    sure = replace(idea, review=Review.CONFIRMED)
    project.history.do(edit_of("sure", [(idea, sure)]))
    with pytest.raises(StaleEditError):
        project.history.do(edit)
    assert project.cells.of_image("i") == [sure]
