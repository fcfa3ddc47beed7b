"""Training in the window: chosen, watched, stopped, judged, used and rolled back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from test_docks import show

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.core.records import ModelRecord, Split
from napari_cellal.detect.requests import TrainedModel
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.networks import unfinished
from napari_cellal.networks.unfinished import file_of
from napari_cellal.ui import jobs
from napari_cellal.ui.jobs import JobHandle
from napari_cellal.ui.settings_form import SettingsForm
from napari_cellal.ui.widgets import train_choices
from napari_cellal.workflows import adding, annotating, pacing, training
from napari_cellal.workflows.worker import Finished

LONG_MS = 120_000
"""The worker imports torch first, on a busy machine."""
CARD = ModelRecord("m1", "detector", "mobilenet_v2", (1,), ("RBC",), ("red", "green", "blue"))


@pytest.fixture(scope="session")
def _labelled(tmp_path_factory):
    place = tmp_path_factory.mktemp("labelled") / "here"
    write_samples(place / "smears", "smear", 3, 0, shape=(120, 160), cell_px=40)
    with Project.create(place / "smears.cellal", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([place / "smears"])))
        found, report = run_job(annotating.read_annotations([str(place / "smears")]))
        annotating.import_annotations(project, found, report, confirm=True, finished=True)
        first, second, third = project.images
        project.set_split([first, third], Split.TRAIN)
        project.set_split([second], Split.VAL)  # it shows red cells only
    return place


@pytest.fixture
def labelled(_labelled, tmp_path):
    """A project of three small smears, all finished, one of them held out."""
    return shutil.copytree(_labelled, tmp_path / "l") / "smears.cellal"


@pytest.fixture
def person(sit_down, labelled):
    return sit_down(labelled, "Train")


def train(person, steps, **settings):
    """Push the button after choosing a small training; return the dock."""
    dock = show(person, "Train")
    fields = dock.choices.form.fields
    quick = {"batch_size": 1, "crop_px": 96, "validate_every": 2}
    for name, value in {"steps": steps, **quick, **settings}.items():
        fields[name].setValue(value)
    person.push(dock.start)
    return dock


def trained(person):
    return [m for m in person.session.project.models if m.kind == "detector"]


# -- before --------------------------------------------------------------------------------


def test_what_it_learns_from_follows_the_labels(person):
    dock = show(person, "Train")
    project = person.session.project
    labels = dock.choices.learns_from.table
    before = labels.text()
    image = next(k for k, r in project.images.items() if r.split is Split.TRAIN)
    cell = next(c for c in project.cells.of_image(image) if c.class_id == 1)
    person.session.go_to(cell)
    person.press("2")
    person.wait(lambda: labels.text() != before)
    person.press("Ctrl+Z")
    person.wait(lambda: labels.text() == before)


def test_only_starts_that_fit_the_network_are_offered(person):
    choices = show(person, "Train").choices
    person.session.project.add_model(CARD)
    person.session.project.add_model(replace(CARD, model_id="r", architecture="resnet50"))

    def offered():
        return [choices.start.box.itemData(k) for k in range(choices.start.box.count())]

    assert offered() == ["auto", "shipped", "m1", "imagenet", "file", "scratch"]
    choices.preset.setCurrentIndex(choices.preset.findData("accurate"))
    choices.preset.activated.emit(choices.preset.currentIndex())
    assert offered() == ["auto", "r", "coco", "imagenet", "file", "scratch"]
    assert choices.settings().batch_size == 4  # the preset's


def test_what_the_training_starts_from_is_told(person):
    choices = show(person, "Train").choices
    person.wait(lambda: choices.start.here is not None, 60_000)
    person.session.project.add_model(replace(CARD, class_names=("blast",), class_ids=(1,)))
    start = choices.start

    def said(which, here):
        start.here = frozenset(here)
        start.box.setCurrentIndex(start.box.findData(which))
        start.box.activated.emit(start.box.currentIndex())
        return start._about.text()

    assert "blast" in said(CARD.model_id, ())
    assert "Platelets" in said("shipped", ())
    choices.preset.setCurrentIndex(choices.preset.findData("accurate"))
    choices.preset.activated.emit(choices.preset.currentIndex())
    for which in ("auto", "coco"):
        ways = [(), [("resnet50", "coco")], [("resnet50", "coco"), ("resnet50", "imagenet")]]
        texts = [said(which, here) for here in ways]
        assert len(set(texts)) == 2  # whether COCO's are here
        assert all(start._about.isVisibleTo(choices) for _ in texts)


def test_what_was_set_stays_until_it_is_taken_back(person):
    choices = show(person, "Train").choices
    person.push(choices.advanced.fold)
    steps = choices.form.fields["steps"]
    person.wait(steps.isVisible)
    steps.setValue(77)
    assert choices.settings().steps == 77
    person.session.finish_image()  # images, labels and models change: what was set stays
    person.session.project.add_model(CARD)
    assert choices.settings().steps == 77
    dock = show(person, "Train")
    dock.ensureWidgetVisible(choices.advanced.reset)
    person.push(choices.advanced.reset)
    usual = training.settings_for(person.session.project)
    assert choices.settings() == usual
    # more images are worth more steps, but what was set stays
    more = usual.model_copy(update={"steps": usual.steps + 9})
    choices.form.set_value(more)
    choices.form.fields["patience"].setValue(3)
    choices.count()
    assert choices.settings() == usual.model_copy(update={"patience": 3})
    assert choices.form.changes() == {"patience": 3}


def test_the_time_is_measured_here_and_remembered(person):
    dock = show(person, "Train")
    choices = dock.choices
    person.wait(choices.measure.isVisible, LONG_MS)  # the device is known
    choices.form.fields["crop_px"].setValue(96)
    kind, settings = choices.kind, choices.settings()
    assert pacing.estimate_s(kind, settings) is None
    person.push(choices.measure)
    person.wait(lambda: pacing.estimate_s(kind, settings) is not None, LONG_MS)
    person.wait(lambda: not choices.measure.isVisible())
    assert person.workspace.device_name in choices._time.text()
    assert not trained(person)
    choices.form.fields["steps"].setValue(2 * settings.steps)  # as quick a step as before
    doubled = pacing.estimate_s(choices.kind, choices.settings())
    assert doubled == pytest.approx(2 * pacing.estimate_s(kind, settings))
    choices.form.fields["batch_size"].setValue(8)  # that costs: nothing is known
    person.wait(choices.measure.isVisible)


def test_a_learning_rate_is_found_and_put_into_the_form(person, monkeypatch):
    from napari_cellal.networks.points import FoundRate, RatePoint

    def find(request):
        yield Progress(1, 1, "", RatePoint(1e-4, 1.0))
        points = (RatePoint(1e-4, 1.0), RatePoint(1e-3, 0.5), RatePoint(1e-2, 2.0))
        return FoundRate(points, 1e-4)

    jobs = person.workspace.jobs
    monkeypatch.setattr(jobs, "run", lambda title, _call, *args: finish(title, find, args))
    dock = show(person, "Train")
    choices = dock.choices
    person.push(choices.advanced.fold)
    assert choices.settings().learning_rate == 6e-4
    dock.ensureWidgetVisible(choices.advanced.find_rate)
    person.push(choices.advanced.find_rate)
    person.wait(lambda: choices.settings().learning_rate == 1e-4)
    person.wait(choices.advanced.rates.isVisible)
    assert len(choices.advanced.rates.points) == 3


def finish(title, find, args):
    """Return a handle of a job that is done in this process."""
    handle = JobHandle(title, find, args)
    value = run_job(find(*args))
    QTimer.singleShot(0, lambda: handle._deliver(Finished(value)))
    return handle


# -- the whole of it -----------------------------------------------------------------------


def test_train_judge_use_and_roll_back(person):
    project = person.session.project
    dock = train(person, 4)
    person.wait(lambda: dock.running.plot.losses, LONG_MS)
    assert dock.running.busy

    # she goes on labelling
    show(person, "Review")
    person.canvas.setFocus()
    person.press("Tab", "2")
    person.agree()
    assert person.session.current.class_id == 2
    person.press("Ctrl+Z")

    said = len(person.told)
    person.wait(lambda: dock.verdict.model is not None, LONG_MS)
    assert len(person.told) > said  # another dock is in front
    assert [s for s, _ in dock.running.plot.losses] == [1, 2, 3, 4]
    assert [s for s, _ in dock.running.plot.scores] == [2, 4]
    show(person, "Train")
    (model,) = trained(person)
    assert model.trained_on["preset"] == "fast"
    assert project.settings.detector == "auto"  # nobody said that it should be used

    images = dock.verdict.images
    if images.count():  # a click shows the image
        item = images.item(0)
        dock.ensureWidgetVisible(images)
        where = images.visualItemRect(item).center()
        person.session.show_image(next(reversed(project.images)))
        QTest.mouseClick(images.viewport(), Qt.MouseButton.LeftButton, pos=where)
        assert person.session.image_id == item.data(Qt.ItemDataRole.UserRole)

    dock.ensureWidgetVisible(dock.verdict.use)
    person.push(dock.verdict.use)
    assert project.settings.detector == model.model_id
    assert not dock.verdict.choice.isVisible()
    detect = show(person, "Detect")
    assert detect.model.currentData() == model.model_id

    show(person, "Train")
    table = dock.models.table
    rows = {table.item(k, 0).data(Qt.ItemDataRole.UserRole): k for k in range(table.rowCount())}
    assert set(rows) == {model.model_id, "shipped", "classical"}
    assert table.item(rows[model.model_id], 0).font().bold()
    dock.ensureWidgetVisible(dock.models.use)
    middle = table.visualItemRect(table.item(rows["shipped"], 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    person.push(dock.models.use)
    assert project.settings.detector == "shipped"
    assert table.item(rows["shipped"], 0).font().bold()
    assert detect.model.currentData() == "shipped"
    said = dock.verdict._line.text().removeprefix(dock.verdict._said)
    assert person.workspace.model_name("shipped") in said


def test_the_dock_scrolls_to_bar_and_curves(person, monkeypatch):
    monkeypatch.setattr(train_choices, "_counts", lambda _: [("class", "1", "1")] * 60)
    show(person, "Train").choices.count()
    running = train(person, 5000).running
    person.wait(lambda: running.plot.losses, LONG_MS)
    person.wait(lambda: all(is_whole(w) for w in (running.bar.cancel, running.plot)))
    person.push(running.bar.cancel)
    person.wait(lambda: not person.workspace.jobs.running)


def is_whole(widget):
    """Return whether all of a widget can be seen."""
    return widget.isVisible() and widget.visibleRegion().boundingRect() == widget.rect()


def test_stop_and_keep_makes_a_model_of_what_is_there(person):
    dock = train(person, 5000)
    person.wait(lambda: len(dock.running.plot.losses) >= 3, LONG_MS)
    dock.ensureWidgetVisible(dock.running.bar.keep)
    person.push(dock.running.bar.keep)
    person.wait(lambda: dock.verdict.model is not None, LONG_MS)
    (model,) = trained(person)
    assert 3 <= model.trained_on["steps"] < 5000
    assert model.metrics["map50"] is not None  # of a look on the way
    person.wait(dock.verdict.isVisible)


def test_a_cancelled_training_leaves_nothing_though_it_has_to_be_killed(person, monkeypatch):
    monkeypatch.setattr(jobs, "CANCEL_PATIENCE_S", 0.0)
    dock = train(person, 5000)
    person.wait(lambda: dock.running.plot.losses, LONG_MS)
    (job,) = (j for j in person.workspace.jobs.running if j.call is training.train)
    file = file_of(job.args[0])
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"weights")  # as it keeps every half minute
    dock.ensureWidgetVisible(dock.running.bar)
    person.push(dock.running.bar.cancel)
    person.wait(lambda: not dock.running.busy)
    person.wait(lambda: not person.workspace.jobs.running)
    assert not trained(person)
    assert dock.verdict.model is None
    assert list((person.session.project.folder / "models").iterdir()) == []


@pytest.fixture
def cut_off(labelled):
    """What a training leaves on disk that was ended with its window; the checkpoint is damaged."""
    with Project.open(labelled) as project:
        settings = training.settings_for(project, steps=2, batch_size=1, crop_px=96)
        request = training.request_training(project, settings=settings)
    file = file_of(request)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    unfinished.describe(request)
    return file


def test_a_training_that_was_cut_off_is_offered_and_goes_on(cut_off, person):
    dock = show(person, "Train")
    part = dock.cut_off
    person.wait(part.isVisible)
    project = person.session.project
    for key in project.images:  # what she does now is for the next training
        project.history.do(gestures.draw(key, [(1.0, 1.0, 9.0, 9.0)], 1, "p"))
    dock.ensureWidgetVisible(part)
    person.push(part.go_on)
    person.wait(lambda: not part.isVisible())
    person.wait(lambda: dock.verdict.model is not None, LONG_MS)
    (model,) = trained(person)
    assert model.trained_on["steps"] == 2
    assert not cut_off.parent.exists()
    assert not part.isVisible()


def test_a_training_that_was_cut_off_can_be_forgotten(cut_off, person):
    dock = show(person, "Train")
    person.wait(dock.cut_off.isVisible)
    dock.ensureWidgetVisible(dock.cut_off)
    person.push(dock.cut_off.forget)
    assert not dock.cut_off.isVisible()
    assert not cut_off.parent.exists()


# -- what does not go well -----------------------------------------------------------------


def test_a_model_of_another_project_is_told_and_kept(person, folder):
    project = person.session.project
    dock = show(person, "Train")
    place, name = project.folder, project.name
    person.session.close_project()
    person.open(folder)
    said = len(person.told)
    dock.running.on_trained(place, name, TrainedModel(CARD, "nowhere"))
    assert len(person.told) == said + 1
    assert not trained(person)
    assert dock.verdict.model is None
    # and when its project is open again by then
    person.session.close_project()
    person.open(place)
    dock.running.on_trained(place, name, TrainedModel(CARD, "nowhere"))
    assert [m.model_id for m in trained(person)] == ["m1"]
    person.wait(dock.verdict.isVisible, LONG_MS)  # its weights are missing: that is said
    assert dock.verdict.keep.isVisible()
    dock.ensureWidgetVisible(dock.verdict.keep)
    person.push(dock.verdict.keep)
    assert person.session.project.settings.detector == "auto"


def test_a_start_that_is_no_file_is_said_in_a_sentence(person, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QFileDialog

    wrong = tmp_path / "weights.safetensors"
    wrong.write_text("nothing")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(wrong), ""))
    dock = show(person, "Train")
    start = dock.choices.start.box
    start.setCurrentIndex(start.findData("file"))
    start.activated.emit(start.currentIndex())
    dock = train(person, 2)
    person.wait(lambda: any(error for _, error in person.told), LONG_MS)
    assert not dock.running.busy
    assert not trained(person)


def test_without_labels_it_says_what_it_needs(sit_down, detected):
    person = sit_down(detected, "Train")
    dock = show(person, "Train")
    assert dock.needs.isVisible()
    cells = person.session.cells()[:1]
    person.session.do(gestures.give_class(cells, 1, "RBC", "me"))
    person.wait(dock.page.isVisible)
    person.press("Ctrl+Z")
    person.wait(dock.needs.isVisible)


# -- the form ------------------------------------------------------------------------------


class Everything(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    count: int = Field(3, ge=1)
    rate: float = Field(6e-4, gt=0)
    exact: float = 1 / 3
    limit: float | None = Field(None, gt=0)
    """If set, it ends there."""
    side_px: int = Field(64, ge=8, le=256)
    on: bool = True
    kind: Literal["a", "b"] = "b"
    sizes: tuple[int, ...] = (1, 2)
    word: str = "x"


def test_the_form_gives_back_what_it_was_given(qtbot):
    form = SettingsForm(Everything())
    qtbot.addWidget(form)
    for value in (
        Everything(),
        Everything(limit=2.5, on=False, kind="a", sizes=(7,), word="y", rate=0.05),
    ):
        form.set_value(value)
        assert form.changes() == {}
        assert form.value() == value
    assert "ends there" in form.fields["limit"].toolTip()


def test_what_is_changed_in_the_form_comes_out(qtbot):
    form = SettingsForm(Everything(), [("First", ["rate", "not there"])])
    qtbot.addWidget(form)
    heard = []
    form.changed.connect(lambda: heard.append(form.changes()))
    form.fields["rate"].setValue(0.01)
    form.fields["limit"].setValue(4)
    form.fields["on"].click()
    QTest.keyClick(form.fields["count"], Qt.Key.Key_Up)
    form.fields["sizes"].setText("[3, 4]")
    assert heard[0] == {"rate": 0.01}
    assert form.value() == Everything(rate=0.01, limit=4, on=False, count=4, sizes=(3, 4))
    form.fields["limit"].setValue(form.fields["limit"].minimum())
    assert form.value().limit is None
    form.fields["side_px"].setValue(9999)  # the model's bound is the field's
    assert form.value().side_px == 256
    form.fields["sizes"].setText("many")
    with pytest.raises(CellalError):
        form.value()
