"""Training a classifier in the window, without code: from labels or a folder to classed boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog
from test_docks import show
from test_evaluate import choose, measure
from test_train import LONG_MS, _labelled, labelled  # noqa: F401  fixtures

from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ModelRecord, Origin, Proposal, Review, Split
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.io.store import Project
from napari_cellal.networks import unfinished
from napari_cellal.ui import jobs
from napari_cellal.ui.widgets import data_page
from napari_cellal.workflows import classifying, pacing, patches

BRIGHT, DARK = 230, 20
OLDER = ModelRecord("older", "classifier", "resnet18", (1, 2), ("odd", "even"), ())


@pytest.fixture
def person(sit_down, labelled):  # noqa: F811
    return sit_down(labelled, "Train")


def picture(value, rng):
    pixels = rng.normal(120, 8, (32, 32, 3))
    yy, xx = np.mgrid[:32, :32] - 16
    pixels[yy**2 + xx**2 < 100] = value
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def pictures(tmp_path):
    """A folder with a table: two classes, one broken picture, one that is not there."""
    place, rng = tmp_path / "pictures", np.random.default_rng(0)
    place.mkdir()
    rows = ["filename,label"]
    for kind, value in (("bright", BRIGHT), ("dark", DARK)):
        for k in range(20):
            picture(value, rng).save(place / f"{kind}{k}.png")
            rows.append(f"{kind}{k}.png,{kind}")
    (place / "labels.csv").write_text("\n".join([*rows, "lost.png,dark"]) + "\n")
    (place / "dark3.png").write_bytes(b"no picture")
    return place


def turn_to_classifiers(person):
    dock = show(person, "Train")
    person.push(dock.kinds.button(1))
    person.wait(dock.classifier.isVisible)
    assert not dock.detector.isVisible()
    return dock


def be_quick(part, steps):
    """Choose a training that takes seconds."""
    choose(part.choices.start.box, "scratch")
    fields = part.choices.form.fields
    for name, value in {"steps": steps, "batch_size": 4, "validate_every": 2}.items():
        fields[name].setValue(value)
    part.choices.view.fields["size_px"].setValue(32)


def take_folder(person, part, place, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(place))
    choose(part.choices.source.box, "folder")
    person.wait(lambda: part.choices.source.found is not None)


def classifiers(person):
    return [m for m in person.session.project.models if m.kind == "classifier"]


def with_open_boxes(person):
    """Have a detector without classes propose two boxes; return their ids."""
    project = person.session.project
    key = person.session.image_id
    made = []
    for k in range(2):
        box = (10.0, 10.0 + 50 * k, 40.0, 40.0 + 50 * k)
        proposed = Proposal(box, None, 0.9, "classical", ())
        made.append(Cell(f"open{k}", key, box, None, Origin.MODEL, Review.OPEN, proposed=proposed))
    project.history.do(edit_of("boxes", [(None, cell) for cell in made]))
    return [c.cell_id for c in made]


# -- the whole of it -----------------------------------------------------------------------


def test_from_confirmed_cells_to_classed_boxes(person):
    project = person.session.project
    opened = with_open_boxes(person)
    dock = turn_to_classifiers(person)
    part = dock.classifier
    lessons = part.choices.source.lessons(project)
    assert sum(lessons.of("train").values()) + sum(lessons.of("val").values()) == len(
        project.cells.labels()
    )
    (unseen,) = set(lessons.of("train")) - set(lessons.of("val"))
    assert any(unseen in text for text in lessons.warnings())  # no held-out image shows one

    person.push(part.choices.name)
    QTest.keyClicks(part.choices.name, "my cells")
    be_quick(part, 4)
    dock.ensureWidgetVisible(part.start)
    person.push(part.start)
    person.wait(lambda: part.plot.losses, LONG_MS)

    show(person, "Review")  # she goes on labelling
    person.canvas.setFocus()
    person.press("Tab", "2")
    person.agree()
    person.press("Ctrl+Z")

    said = len(person.told)
    person.wait(lambda: part.summary.model is not None, LONG_MS)
    assert len(person.told) > said  # another dock is in front
    assert [s for s, _ in part.plot.losses] == [1, 2, 3, 4]
    assert [s for s, _ in part.plot.scores] == [2, 4]
    (model,) = classifiers(person)
    assert model.name == "my cells"
    assert model.trained_on["steps"] == 4
    assert person.workspace.model_name(model.model_id) == "my cells"

    # it gives classes in Detect, Learn and here
    detect = show(person, "Detect")
    with_it = detect.class_with
    person.wait(with_it.isVisible)
    assert with_it.model.currentData() == model.model_id
    labels = {c.cell_id: c.class_id for c in project.cells.labels()}
    detect.ensureWidgetVisible(with_it.run)
    said = len(person.told)
    person.push(with_it.run)
    person.wait(lambda: all(person.cell(key).class_id for key in opened), LONG_MS)
    person.wait(lambda: len(person.told) > said)
    for key in opened:
        cell = person.cell(key)
        assert cell.proposed.model_id == f"classical+{model.model_id}"
        assert cell.review is Review.OPEN
        assert cell.proposed.score == 0.9
    assert {c.cell_id: c.class_id for c in project.cells.labels()} == labels
    person.agree()
    person.canvas.setFocus()
    person.press("Ctrl+Z")
    assert all(person.cell(key).class_id is None for key in opened)
    person.press("Ctrl+Shift+Z")
    assert all(person.cell(key).class_id for key in opened)
    learn = show(person, "Learn")
    assert learn.class_with.model.currentData() == model.model_id

    # what it says is explained, over the cell
    review = show(person, "Review")
    why = review.why
    cell = person.cell(opened[0])
    person.session.go_to(cell)
    person.wait(lambda: person.session.current == cell)
    review.ensureWidgetVisible(why.ask)
    person.push(why.ask)
    person.wait(lambda: why.found is not None, LONG_MS)
    layers = person.viewer.layers
    heat = why.heat.layer
    assert layers.index(heat) < layers.index(person.layer)
    assert layers.selection.active is person.layer  # the keys stay with the boxes
    low, high = heat.extent.world
    assert np.all(low < np.array(cell.box[:2]))
    assert np.all(high > np.array(cell.box[2:]) - 1)
    assert {n.cell_id for n in why.found.neighbours} <= set(labels)
    assert len(why.strip.names) == 3
    person.wait(lambda: all(why.strip.pictures))
    review.ensureWidgetVisible(why.close_)
    person.push(why.close_)
    assert heat not in layers
    person.agree()

    # a detector is asked too
    choose(why.by, SHIPPED)
    assert why.of.findText("nucleus") > 0
    person.push(why.ask)
    person.wait(lambda: why.found is not None, LONG_MS)
    assert why.found.record.model_id == SHIPPED
    person.push(why.close_)

    # and is measured, by the cells' own intensities if that is wanted
    evaluate = measure(person, model.model_id)
    assert evaluate.table.counts.sum() == len(labels)
    worth = {k: evaluate.figures[k] for k in ("roc_auc", "average_precision", "calibration_error")}
    assert all(0 <= value <= 1 for value in worth.values())
    worst = evaluate.worst
    wrong = [worst.list.item(k) for k in range(worst.list.count())]
    assert wrong  # four steps of training do not reach far
    person.wait(worst.isVisible)
    evaluate.ensureWidgetVisible(worst.rest)
    person.push(worst.rest)
    person.wait(lambda: not worst.bar.busy and not wrong[0].icon().isNull(), LONG_MS)
    QTest.mouseClick(
        worst.list.viewport(), Qt.MouseButton.LeftButton,
        pos=worst.list.visualItemRect(wrong[0]).center(),
    )  # fmt: skip
    cell = person.cell(wrong[0].data(Qt.ItemDataRole.UserRole))
    person.wait(lambda: person.session.current == cell)
    said = dict(evaluate.counting.answers.classes[cell.cell_id])
    person.canvas.setFocus()
    person.press(str(max(said, key=said.get)))  # the model was right after all
    person.wait(lambda: person.cell(cell.cell_id).class_id != cell.class_id)
    person.wait(
        lambda: {k: evaluate.figures[k] for k in worth} != worth and not evaluate._stale, LONG_MS
    )
    assert cell.cell_id not in [
        worst.list.item(k).data(Qt.ItemDataRole.UserRole) for k in range(worst.list.count())
    ]
    person.agree()
    before = evaluate.counting.answers
    show(person, "Evaluate")
    assert evaluate.choices.own_range.isVisible()
    person.push(evaluate.choices.own_range)
    person.push(evaluate.measure)
    person.wait(lambda: evaluate.counting.answers not in (before, None), LONG_MS)
    assert evaluate.counting.answers.request.classes.own_range
    assert evaluate.counting.answers.classes != before.classes
    choose(evaluate.model, SHIPPED)
    assert not evaluate.choices.own_range.isVisible()


def test_from_a_folder_with_flaws_to_a_model_in_use(person, pictures, monkeypatch):
    dock = turn_to_classifiers(person)
    part = dock.classifier
    take_folder(person, part, pictures, monkeypatch)
    lessons = part.choices.source.lessons(person.session.project)
    assert {s: sum(lessons.of(s).values()) for s in ("train", "val", "test")} == {
        "train": 32,
        "val": 4,
        "test": 4,
    }
    assert any("lost.png" in text for text in lessons.warnings())
    person.session.project.add_model(OLDER)
    be_quick(part, 4)
    dock.ensureWidgetVisible(part.start)
    person.push(part.start)
    person.wait(lambda: part.summary.model is not None, LONG_MS)
    person.wait(part.summary.isVisible)
    assert [f.key for f in part.summary.model.failures] == ["dark3.png"]
    (_, model) = classifiers(person)
    project = person.session.project
    assert model.name == "pictures"  # of the folder, where none was typed
    assert classifying.choose_classifier(project) == "older"  # nobody said otherwise
    dock.ensureWidgetVisible(part.summary.use)
    person.push(part.summary.use)
    assert classifying.choose_classifier(project) == model.model_id
    assert part.class_with.model.currentData() == model.model_id
    before = {c.name for c in project.active_classes}
    dock.ensureWidgetVisible(part.summary.add_classes)
    assert model.start in part.summary._line.text()
    person.push(part.summary.add_classes)
    assert {c.name for c in project.active_classes} == before | {"bright", "dark"}
    dock.ensureWidgetVisible(part.summary.measure)
    person.push(part.summary.measure)
    evaluate = person.workspace.dock("Evaluate")
    person.wait(evaluate.isVisible)
    assert evaluate.model.currentData() == model.model_id


def test_stop_and_keep_makes_a_model_and_cancel_leaves_nothing(person, pictures, monkeypatch):
    monkeypatch.setattr(jobs, "CANCEL_PATIENCE_S", 0.0)
    dock = turn_to_classifiers(person)
    part = dock.classifier
    take_folder(person, part, pictures, monkeypatch)
    be_quick(part, 5000)
    person.push(part.start)
    person.wait(lambda: len(part.plot.losses) >= 3, LONG_MS)
    dock.ensureWidgetVisible(part.bar)
    person.push(part.bar.cancel)
    person.wait(lambda: not person.workspace.jobs.running)
    assert classifiers(person) == []
    assert list((person.session.project.folder / "models").iterdir()) == []
    assert part.summary.model is None

    dock.ensureWidgetVisible(part.start)
    person.push(part.start)
    person.wait(lambda: len(part.plot.losses) >= 3 and part.bar.keep.isVisible(), LONG_MS)
    dock.ensureWidgetVisible(part.bar.keep)
    person.push(part.bar.keep)
    person.wait(lambda: part.summary.model is not None, LONG_MS)
    (model,) = classifiers(person)
    assert 3 <= model.trained_on["steps"] < 5000


def test_a_learning_rate_is_found_and_put_into_the_form(person, pictures, monkeypatch):
    dock = turn_to_classifiers(person)
    part = dock.classifier
    take_folder(person, part, pictures, monkeypatch)
    be_quick(part, 4)
    person.push(part.choices.advanced.fold)
    dock.ensureWidgetVisible(part.choices.advanced.find_rate)
    person.push(part.choices.advanced.find_rate)
    person.wait(part.choices.advanced.rates.isVisible, LONG_MS)
    found = part.choices.form.changes()["learning_rate"]
    assert 0 < found < 1
    assert classifiers(person) == []


def test_the_time_is_measured_here_and_the_start_is_known(person, pictures, monkeypatch):
    dock = turn_to_classifiers(person)
    part, choices = dock.classifier, dock.classifier.choices
    take_folder(person, part, pictures, monkeypatch)
    person.wait(lambda: choices.start.here is not None, LONG_MS)
    be_quick(part, 40)
    person.wait(choices.measure.isVisible, LONG_MS)  # the device is known
    kind, settings = choices.kind, choices.settings()
    assert pacing.estimate_s(kind, settings) is None
    person.push(choices.measure)
    person.wait(lambda: not choices.measure.isVisible(), LONG_MS)
    assert pacing.estimate_s(kind, settings) > 0
    assert person.workspace.device_name in choices._time.text()
    assert classifiers(person) == []
    choices.form.fields["batch_size"].setValue(8)  # that costs: nothing is known
    person.wait(choices.measure.isVisible)
    choose(choices.form.fields["head"], "svm")  # fitted in one go: no steps to measure
    assert not choices.measure.isVisible()


@pytest.fixture
def cut_off(labelled):  # noqa: F811
    """What a training leaves on disk that was ended with its window; the checkpoint is damaged."""
    with Project.open(labelled) as project:
        request = classifying.request_classifier(
            patches.of_project(project), project.folder / "models", start="scratch", steps=2,
            batch_size=4, view={"size_px": 32}, name="begun before",
        )  # fmt: skip
    file = unfinished.file_of(request)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    unfinished.describe(request)
    return file


def test_a_training_that_was_cut_off_is_offered_and_goes_on(cut_off, person):
    dock = turn_to_classifiers(person)
    part = dock.classifier
    person.wait(part.cut_off.isVisible)
    dock.ensureWidgetVisible(part.cut_off)
    person.push(part.cut_off.go_on)
    person.wait(lambda: not part.cut_off.isVisible())
    person.wait(lambda: part.summary.model is not None, LONG_MS)
    (model,) = classifiers(person)
    assert (model.name, model.trained_on["steps"]) == ("begun before", 2)
    assert not cut_off.parent.exists()


# -- what does not go well -----------------------------------------------------------------


def test_one_class_is_told_before_anything_is_trained(person, tmp_path, monkeypatch):
    place, rng = tmp_path / "one", np.random.default_rng(0)
    (place / "dark").mkdir(parents=True)
    for k in range(4):
        picture(DARK, rng).save(place / "dark" / f"{k}.png")
    dock = turn_to_classifiers(person)
    part = dock.classifier
    take_folder(person, part, place, monkeypatch)
    assert any(
        "dark" in text for text in part.choices.source.lessons(person.session.project).warnings()
    )
    person.push(part.start)
    person.wait(lambda: any(error and "dark" in text for text, error in person.told))
    assert not part.bar.busy


def test_a_class_of_two_cells_is_learned_and_told(person, pictures, monkeypatch):
    rng = np.random.default_rng(1)
    table = pictures / "labels.csv"
    for k in range(2):
        picture(125, rng).save(pictures / f"rare{k}.png")
        table.write_text(f"{table.read_text()}rare{k}.png,rare\n")
    dock = turn_to_classifiers(person)
    part = dock.classifier
    take_folder(person, part, pictures, monkeypatch)
    lessons = part.choices.source.lessons(person.session.project)
    assert lessons.of("train")["rare"] == 2
    assert sum("rare" in text for text in lessons.warnings()) >= 1


def test_the_data_are_seen_before_a_training(person, pictures, monkeypatch):
    opened = []
    monkeypatch.setattr(data_page.QDesktopServices, "openUrl", lambda url: opened.append(url))
    dock = show(person, "Train")
    dock.ensureWidgetVisible(dock.choices.data.see)
    person.push(dock.choices.data.see)  # a detector's: the project's labels
    person.wait(lambda: opened, LONG_MS)
    page = Path(opened[-1].toLocalFile()).read_text(encoding="utf-8")
    assert "Platelets" in page
    part = turn_to_classifiers(person).classifier
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(pictures))
    choose(part.choices.source.box, "folder")
    person.wait(lambda: part.choices.source.found is not None)
    dock.ensureWidgetVisible(part.choices.data.see)
    person.push(part.choices.data.see)
    person.wait(lambda: len(opened) == 2, LONG_MS)
    page = Path(opened[-1].toLocalFile()).read_text(encoding="utf-8")
    assert "bright" in page
    assert "lost.png" in page  # what was left out, and why
    person.agree()


def test_without_a_classifier_the_detector_in_use_is_explained(person):
    review = show(person, "Review")
    why = review.why
    person.wait(why.isVisible)
    assert not why.by.isVisible()  # there is no other
    cell = person.session.cells()[0]
    person.session.go_to(cell)
    person.wait(lambda: person.session.current == cell)
    review.ensureWidgetVisible(why.ask)
    person.push(why.ask)
    person.wait(lambda: why.found is not None, LONG_MS)
    assert why.found.method == "gradient-activation"
    low, high = why.heat.layer.extent.world
    assert np.all(low < np.array(cell.box[:2]) + 1)
    assert np.all(high > np.array(cell.box[2:]) - 1)
    person.agree()


def test_a_folder_without_pictures_is_told_and_the_rest_goes_on(person, tmp_path, monkeypatch):
    dock = turn_to_classifiers(person)
    part = dock.classifier
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(empty))
    choose(part.choices.source.box, "folder")
    person.wait(lambda: any(error for _, error in person.told))
    said = len(person.told)
    person.push(part.start)  # says what is lacking
    assert len(person.told) == said + 1
    choose(part.choices.source.box, "cells")
    assert part.choices.source.problem(person.session.project) == ""


def test_held_out_labels_alone_are_not_enough(person):
    project = person.session.project
    project.set_split(list(project.images), Split.VAL)
    dock = turn_to_classifiers(person)
    part = dock.classifier
    said = len(person.told)
    person.push(part.start)
    assert len(person.told) == said + 1
    assert not part.bar.busy


def test_a_model_that_knows_none_of_the_classes_is_told(person):
    with_open_boxes(person)
    person.session.project.add_model(OLDER)
    detect = show(person, "Detect")
    person.wait(detect.class_with.isVisible)
    detect.ensureWidgetVisible(detect.class_with.run)
    person.push(detect.class_with.run)
    person.wait(lambda: any(error for _, error in person.told))
    assert not detect.class_with.bar.busy
    person.session.project.add_model(
        replace(OLDER, model_id="two", class_names=("RBC", "WBC"), channels=("a", "b"))
    )
    choose(detect.class_with.model, "two")
    said = len(person.told)
    person.push(detect.class_with.run)  # it was made for two channels
    person.wait(lambda: len(person.told) > said)
    assert not detect.class_with.bar.busy
