"""Measuring a model in the window, and the way from a figure to the cells it rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qtpy.QtTest import QTest
from test_docks import clipped, pale, show
from test_gallery import LEFT, NONE, click, ids_of, settled
from test_train import LONG_MS, _labelled, labelled  # noqa: F401  fixtures

from napari_cellal.core.history import Edit
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Detections, Review, Status
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.evaluate.matches import NOTHING, Match
from napari_cellal.ui import marked_place
from napari_cellal.workflows import detecting, evaluating, removing, scoring


@pytest.fixture
def person(sit_down, labelled):  # noqa: F811
    return sit_down(labelled, "Evaluate")


def choose(box, data):
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def measure(person, model, split=evaluating.ALL):
    """Push the button, and wait for the figures."""
    dock = show(person, "Evaluate")
    choose(dock.model, model)
    choose(dock.split, split)
    person.push(dock.measure)
    person.wait(lambda: dock.table is not None and not dock.bar.busy, LONG_MS)
    person.wait(dock.result.isVisible)
    return dock


def say(person, dock, found):
    """Let a model have said something; what it was asked is a detector's request."""
    project = person.session.project
    request = scoring.request_score(project, model=detecting.CLASSICAL, split=evaluating.ALL)
    answers = scoring.Answers(request, tuple(project.images), found, {}, {"map50": 0.5})
    dock._on_answers(answers, "something")
    person.wait(lambda: dock.table is not None)


def perfect(person, score=0.9):
    """Return detections that are the labels."""
    found = {}
    for key in person.session.project.images:
        cells = person.session.project.cells.of_image(key)
        boxes, classes = tuple(c.box for c in cells), tuple(c.class_id for c in cells)
        found[key] = Detections(key, boxes, (score,) * len(cells), classes, "m")
    return found


def count(dock, true, said):
    table = dock.table
    if true not in table.rows or said not in table.columns:
        return 0
    return int(table.counts[table.rows.index(true), table.columns.index(said)])


def click_square(dock, true, said):
    """Click a square of the matrix with the mouse."""
    dock.ensureWidgetVisible(dock.matrix)
    at = dock.table.rows.index(true), dock.table.columns.index(said)
    QTest.mouseClick(dock.matrix, LEFT, NONE, dock.matrix.rect_of(*at).center())


def test_from_a_square_to_the_gallery_to_a_mended_label(person):
    session = person.session
    dock = measure(person, "shipped")
    answers = dock.counting.answers
    assert set(answers.found) == set(session.project.images)
    right = dock.counting.on_square(1, 1)
    assert right  # the shipped detector finds red cells
    before = dock.table.counts.tolist()
    cell = person.cell(right[0].cell_id)
    session.go_to(cell)
    person.canvas.setFocus()
    person.press("2")  # a slip of the hand
    assert person.cell(cell.cell_id).class_id == 2
    person.wait(lambda: dock.table.counts.tolist() != before)
    n = count(dock, 2, 1)
    assert count(dock, 1, 1) == len(right) - 1

    click_square(dock, 2, 1)
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.isVisible() and settled(person))
    assert cell.cell_id in ids_of(person)
    assert len(ids_of(person)) == n
    assert person.workspace.batch.picked == ()  # nothing is changed by a stray key
    click(gallery, ids_of(person).index(cell.cell_id))
    person.press("1")
    assert person.cell(cell.cell_id).class_id == 1
    show(person, "Evaluate")
    person.wait(lambda: dock.table.counts.tolist() == before)
    assert dock.counting.answers is answers  # nothing was searched again
    person.agree()


def test_average_precision_follows_the_labels_without_a_search(person):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    person.wait(dock.result.isVisible)
    cell = next(c for c in person.rows().values() if c.class_id == 1)
    person.session.go_to(cell)
    person.canvas.setFocus()
    person.press("Delete")  # it is no cell after all
    assert person.cell(cell.cell_id).status is Status.REJECTED
    person.wait(lambda: count(dock, NOTHING, 1) == 1)
    person.wait(lambda: dock.figures.get("per_class"), LONG_MS)
    assert 0.5 < dock.figures["map50"] < 1
    assert dock.figures["cells"] == sum(c.is_label for c in person.rows().values())
    person.press("0")  # an image with a cell that is unsure says nothing about the model
    person.session.select([cell.cell_id])
    other = next(c for c in person.rows().values() if c.is_label)
    person.session.go_to(other)
    person.press("0")
    person.wait(lambda: other.image_id not in dock.counting.tallies)
    person.press("Ctrl+Z")
    person.wait(lambda: other.image_id in dock.counting.tallies)


def test_a_box_without_a_cell_can_become_one(person):
    dock = show(person, "Evaluate")
    found = perfect(person)
    gone = next(c for c in person.rows().values() if c.class_id == 1)
    person.session.go_to(gone)
    person.canvas.setFocus()
    person.press("Delete")
    say(person, dock, found)
    person.wait(dock.matrix.isVisible)
    n = len(person.rows())
    click_square(dock, NOTHING, 1)
    places = dock.places
    person.wait(places.isVisible)
    person.push(places.add_cell)
    assert person.told[-1][0]
    assert len(person.rows()) == n  # it says that one is to be chosen first
    item = places.list.visualItemRect(places.list.item(0)).center()
    QTest.mouseClick(places.list.viewport(), LEFT, NONE, item)
    person.wait_for_image()
    y, x = person.viewer.scene.camera.center[-2:]
    assert (y, x) == pytest.approx(
        ((gone.box[0] + gone.box[2]) / 2, (gone.box[1] + gone.box[3]) / 2), abs=1
    )
    layers = person.viewer.layers
    (mark,) = (layer for layer in layers if layer.name == marked_place.NAME)
    corners = mark.data[0]
    assert (*corners.min(axis=0), *corners.max(axis=0)) == pytest.approx(gone.box)
    assert layers.selection.active is not mark  # the keys still class cells
    dock.ensureWidgetVisible(places.add_cell)
    person.push(places.add_cell)
    person.wait(lambda: count(dock, NOTHING, 1) == 0)
    assert mark not in layers
    (drawn,) = [c for c in person.rows().values() if c.status is Status.DRAWN]
    assert (drawn.class_id, drawn.box) == (1, gone.box)
    assert places.list.count() == 0
    person.agree()


@pytest.mark.parametrize("at", [0, 1, 3])
def test_after_one_box_is_added_the_next_of_the_list_is_shown(person, monkeypatch, at):
    project = person.session.project
    key = next(iter(project.images))
    boxes = [(10.0 * k, 0.0, 10.0 * k + 8, 8.0) for k in range(4)]
    places = show(person, "Evaluate").places
    places.show_matches([Match(key, None, NOTHING, 1, 0.9, box) for box in boxes], "RBC")
    looked = []
    monkeypatch.setattr(person.session, "look_at", lambda _, box: looked.append(box))

    def marked():
        return [layer for layer in person.viewer.layers if layer.name == marked_place.NAME]

    places.list.setCurrentRow(at)
    places.add_cell.click()
    places.add_cell.click()
    assert len(marked()) == 1  # of the next one
    drawn = [c.box for c in person.rows().values() if c.status is Status.DRAWN]
    # what is added is what was looked at, and only that
    assert drawn == looked[:2]
    assert drawn[0] == boxes[at]
    person.viewer.layers.remove(marked()[0])  # a person may delete it
    places.list.setCurrentRow(1 - places.list.currentRow())
    assert len(marked()) == 1
    person.session.show_image(next(reversed(project.images)))
    assert not marked()


def test_missed_cells_and_the_score(person):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person, score=0.6))
    labels = [c for c in person.rows().values() if c.is_label]
    ones = {c.cell_id for c in labels if c.class_id == 1}
    person.wait(lambda: count(dock, 1, 1) == len(ones))
    dock.score.setValue(0.7)
    person.wait(lambda: count(dock, 1, NOTHING) == len(ones))
    pairs = dock.pairs.list
    item = pairs.item(0)  # missed cells, the most of all mistakes
    dock.ensureWidgetVisible(pairs)
    QTest.mouseClick(pairs.viewport(), LEFT, NONE, pairs.visualItemRect(item).center())
    person.wait(lambda: settled(person) and set(ids_of(person)) == ones)
    show(person, "Evaluate")
    dock.score.setValue(0.2)
    person.wait(lambda: count(dock, 1, 1) == len(ones))
    dock.ensureWidgetVisible(dock.shares)
    person.push(dock.shares)
    assert dock.matrix.text_of(0, 0) == "1.00"
    person.push(dock.shares)
    assert dock.matrix.text_of(0, 0) == str(len(ones))


def test_what_was_proposed_before_review(sit_down, detected):
    person = sit_down(detected, "Evaluate")
    session = person.session
    cells = list(person.rows().values())
    dock = show(person, "Evaluate")
    session.go_to(cells[0])
    person.press("2")
    person.wait(dock.page.isVisible)
    choose(dock.model, scoring.PROPOSED)
    choose(dock.split, evaluating.ALL)
    person.push(dock.measure)
    assert person.told[-1][1]  # the classical detector proposes no classes: it says so
    assert not dock.result.isVisible()


def test_what_was_proposed_has_no_probabilities_to_measure(sit_down, detected):
    person = sit_down(detected, "Evaluate")
    session = person.session
    before = person.rows()
    after = {
        key: replace(
            cell, class_id=1, review=Review.CONFIRMED, proposed=replace(cell.proposed, class_id=1)
        )
        for key, cell in before.items()
    }
    session.do(Edit("classed and confirmed", before, after))
    dock = show(person, "Evaluate")
    person.wait(dock.page.isVisible)
    choose(dock.model, scoring.PROPOSED)
    choose(dock.split, evaluating.ALL)
    person.push(dock.measure)
    person.wait(dock.result.isVisible, LONG_MS)
    person.wait(lambda: dock.table is not None)
    counted = dock.table.counts.copy()
    session.go_to(session.cells()[0])
    person.press("2")
    person.wait(lambda: (dock.table.counts != counted).any())
    person.wait(lambda: not dock._later.isActive())
    person.wait(lambda: not len(session.works) and not person.workspace.jobs.running, LONG_MS)
    assert dock.figures == {}


def test_nothing_is_finished(sit_down, detected):
    person = sit_down(detected, "Evaluate")
    dock = show(person, "Evaluate")
    person.press("Tab", "2")
    person.wait(dock.page.isVisible)
    person.push(dock.measure)
    assert person.told[-1][1]
    assert not dock.bar.busy


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_of_a_result_is_clipped(person, theme):
    person.viewer.theme = theme
    dock = show(person, "Evaluate")
    project = person.session.project
    project.add_classes(["A class with a rather long name", *(f"Class {k}" for k in range(9))])
    say(person, dock, perfect(person))
    person.wait(dock.matrix.isVisible)
    person.wait(lambda: clipped(dock) + pale(dock) == [])
    assert person.window.width() <= 1280
    assert dock.matrix.rect_of(0, len(dock.table.columns) - 1).right() < dock.matrix.width()


def test_another_project_takes_the_place(person, detected):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    person.open(detected)
    assert dock.counting.answers is None
    assert not dock.result.isVisible()


def test_a_report_is_written_of_what_is_shown(person, tmp_path):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    person.wait(dock.report.write.isVisible)
    file = tmp_path / "r.html"
    dock.report.write_to(str(file))  # what the file dialog ends in
    person.wait(lambda: not dock.report.bar.busy, LONG_MS)
    assert not person.told[-1][1]
    text = file.read_text(encoding="utf-8")
    for image in person.session.project.images.values():
        assert image.split.value in text
    dock.report.write_to(str(tmp_path / "no such folder" / "r.html"))
    person.wait(lambda: not dock.report.bar.busy, LONG_MS)
    assert person.told[-1][1]


def test_two_models_stand_side_by_side_and_follow_the_labels(person, tmp_path):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    person.wait(dock.against.compare.isVisible)
    assert not dock.against.only_first.isVisible()
    # the second misses the classes of all but red cells
    wrong = {
        key: replace(d, class_ids=tuple(1 for _ in d.class_ids))
        for key, d in perfect(person).items()
    }
    first = dock.counting.answers
    second = replace(first, found=wrong, figures={"map50": 0.25})
    choose(dock.against.model, first.request.model_id)
    dock.ensureWidgetVisible(dock.against.compare)
    told = len(person.told)
    person.push(dock.against.compare)  # with itself: told, and nothing is searched
    assert len(person.told) == told + 1
    assert not dock.against.bar.busy
    handed = person.workspace.jobs.run
    choose(dock.against.model, SHIPPED)

    def instead(title, call, request, **more):
        return (
            handed(title, said, second, lane="quick")
            if call is scoring.score
            else handed(title, call, request, **more)
        )

    person.workspace.jobs.run = instead
    dock.ensureWidgetVisible(dock.against.compare)
    person.push(dock.against.compare)
    person.wait(dock.against.only_first.isVisible, LONG_MS)
    person.workspace.jobs.run = handed
    others = [c for c in person.rows().values() if c.is_label and c.class_id != 1]
    assert set(dock.against._alone()[0]) == {c.cell_id for c in others}
    assert dock.against._alone()[1] == []
    assert "0.250" in dock.against._table.text()
    person.wait(lambda: clipped(dock) == [])
    dock.ensureWidgetVisible(dock.against.only_first)
    person.push(dock.against.only_first)
    gallery = person.workspace.dock("Gallery")
    person.wait(lambda: gallery.isVisible() and settled(person))
    assert set(ids_of(person)) == {c.cell_id for c in others}
    # a mended label moves the cell to the other side
    click(gallery, 0)
    cell_id = ids_of(person)[0]
    person.press("1")
    show(person, "Evaluate")
    person.wait(lambda: dock.against._alone()[1] == [cell_id])
    person.wait(lambda: "0.250" not in dock.against._table.text())  # that was of other labels

    file = tmp_path / "both.html"
    dock.report.write_to(str(file))
    person.wait(lambda: not dock.report.bar.busy, LONG_MS)
    assert file.read_text(encoding="utf-8").count('class="matrix"') == 2


def said(answers):
    """Give answers, as a job that measures does."""
    yield Progress(1, 1, "Measuring")
    return answers


def test_a_removed_image_leaves_the_figures(person):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    project = person.session.project
    gone = next(k for k in project.images if k != person.session.image_id)
    removing.remove_images(project, removing.look_at_removal(project, [gone]), with_reviewed=True)
    dock._show_figures()  # as when a class is renamed before the counts have followed
    person.wait(lambda: gone not in dock.counting.tallies)


def test_average_precision_of_other_labels_is_not_shown(person):
    dock = show(person, "Evaluate")
    say(person, dock, perfect(person))
    person.wait(dock.result.isVisible)
    assert "0.50" in dock._line.text()
    cell = next(c for c in person.rows().values() if c.class_id == 1)
    person.session.go_to(cell)
    person.canvas.setFocus()
    person.press("2")
    assert "0.50" not in dock._line.text()
    person.wait(lambda: not dock._stale, LONG_MS)
