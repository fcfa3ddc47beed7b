"""Channels while labelling: keys, contrast that stays, and close views in the docks."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import numpy as np
import pytest
from napari.layers import Image
from pytestqt.exceptions import TimeoutError as WaitTimeoutError
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QPushButton
from test_docks import clipped, pale, show

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Progress
from napari_cellal.io.samples.fluorescence import FIELD_CHANNELS
from napari_cellal.ui.looks import FILE
from napari_cellal.workflows import training


def images(person):
    return person.workspace.images.layers


def seen(person):
    return [layer.name for layer in images(person) if layer.visible]


def settle(person):
    """Wait until what was set has been kept."""
    person.wait(lambda: not person.workspace.images.looks._settled.isActive())


def assert_legible(person, dock):
    found = []

    def is_good():  # the layout settles in some turns of the loop
        found[:] = clipped(dock) + pale(dock)
        return not found

    with contextlib.suppress(WaitTimeoutError):
        person.wait(is_good, 3_000)
    assert not found, "\n".join(found)


@pytest.fixture
def person(sit_down, fields):
    person = sit_down(fields, "Review")
    person.wait(lambda: len(images(person)) == len(FIELD_CHANNELS))
    return person


@pytest.mark.parametrize("active", ["boxes", "image", "nothing"])
def test_c_steps_through_the_channels_and_back(person, active):
    layers = person.viewer.layers
    if active == "nothing":
        layers.selection.clear()
    else:
        layers.selection.active = {"boxes": person.layer, "image": images(person)[0]}[active]
    before, mode = person.state(), person.layer.mode
    assert seen(person) == list(FIELD_CHANNELS)
    for name in FIELD_CHANNELS:
        person.press("C")
        assert seen(person) == [name]
    person.press("C")
    assert seen(person) == list(FIELD_CHANNELS)
    assert person.layer.visible
    assert person.state() == before
    assert person.layer.mode == mode


def test_ctrl_and_a_number_show_and_hide(person):
    before = person.state()
    person.press("Ctrl+2", "Ctrl+4")
    assert seen(person) == ["DNA", "RNA", "Mito"]
    person.press("Ctrl+2")
    assert seen(person) == ["DNA", "ER", "RNA", "Mito"]
    person.press("C", "C", "C", "C")
    assert seen(person) == ["AGP"]  # alone, though it is not part of the composite
    person.press("C", "C")
    assert seen(person) == ["DNA", "ER", "RNA", "Mito"]
    told = len(person.told)
    person.press("Ctrl+9")
    assert len(person.told) == told + 1
    images(person)[3].visible = True  # the eye in napari's list says the same
    person.press("C", *"CCCCC")
    assert seen(person) == list(FIELD_CHANNELS)
    assert person.state() == before
    person.press("2")  # a bare number is still a class
    assert person.state() == before
    person.agree()


def test_what_is_set_for_a_channel_holds_for_every_image(sit_down, fields, person):
    session = person.session
    automatic = [layer.contrast_limits for layer in images(person)]
    images(person)[1].contrast_limits = (50, 400)
    images(person)[1].gamma = 0.7
    images(person)[2].colormap = "cyan"
    person.press("Ctrl+4")
    for _ in range(2):
        person.press("D")
        person.wait_for_image()
        at = list(session.project.images).index(session.image_id)
        pixels = person.workspace.images.pixels(session.image_id)
        assert tuple(images(person)[1].contrast_limits) == (50, 400)
        assert images(person)[1].gamma == 0.7
        assert images(person)[2].colormap.name == "cyan"
        assert seen(person) == ["DNA", "ER", "RNA", "Mito"]
        low, high = np.percentile(pixels[0], (0.1, 99.9))  # never set: by its own brightness
        assert np.allclose(images(person)[0].contrast_limits, (low, high), atol=3)
    assert at == 2
    assert images(person)[0].contrast_limits != automatic[0]

    # The project keeps it, with the work of the next day.
    person.press("A", "A")
    person.wait_for_image()
    person.close()
    person = sit_down(fields)
    person.wait(lambda: len(images(person)) == 5)
    assert tuple(images(person)[1].contrast_limits) == (50, 400)
    assert images(person)[2].colormap.name == "cyan"
    assert seen(person) == ["DNA", "ER", "RNA", "Mito"]
    assert tuple(images(person)[0].contrast_limits) == tuple(automatic[0])

    person.press("Shift+C")
    assert tuple(images(person)[1].contrast_limits) == tuple(automatic[1])
    assert images(person)[1].gamma == 1
    assert images(person)[2].colormap.name == "cyan"  # a colour is no contrast
    assert seen(person) == ["DNA", "ER", "RNA", "Mito"]


def test_loading_an_image_sets_nothing(person, fields):
    """What the program does to the layers is not taken for the person's wish."""
    for key in "DDAC":
        person.press(key)
        person.wait_for_image()
    person.press(*"CCCCC")
    settle(person)
    person.session.close_project()
    file = fields / "cache" / FILE
    assert not file.exists(), file.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"DNA": 3}',
        '{"DNA": {"limits": [1], "dtype": "", "gamma": 1, "colormap": "", "hidden": true}}',
    ],
)
def test_a_damaged_memory_is_no_memory(sit_down, fields, text):
    (fields / "cache").mkdir(exist_ok=True)
    (fields / "cache" / FILE).write_text(text)
    person = sit_down(fields)
    person.wait(lambda: len(images(person)) == 5)
    assert seen(person) == list(FIELD_CHANNELS)


def test_a_memory_that_hides_all_or_makes_no_sense(sit_down, fields):
    look = {"limits": [5, 1], "dtype": "uint16", "gamma": -1, "colormap": "no such", "hidden": True}
    (fields / "cache").mkdir(exist_ok=True)
    (fields / "cache" / FILE).write_text(json.dumps(dict.fromkeys(FIELD_CHANNELS, look)))
    person = sit_down(fields)
    person.wait(lambda: len(images(person)) == 5)
    assert seen(person) == list(FIELD_CHANNELS)
    for layer in images(person):
        assert layer.contrast_limits[0] < layer.contrast_limits[1]
        assert layer.gamma == 1


def test_a_persons_own_image_layer_keeps_its_keys(person):
    own = person.viewer.add_image(np.zeros((20, 20)), name="mine")
    person.viewer.layers.selection.active = own
    person.press("C", "Ctrl+1")
    assert seen(person) == list(FIELD_CHANNELS)


def test_a_colour_picture_has_no_channels_to_step_through(sit_down, detected):
    person = sit_down(detected)
    for key in ("C", "Ctrl+1", "Shift+C"):
        told = len(person.told)
        person.press(key)
        assert len(person.told) == told + 1
    assert all(layer.visible for layer in images(person))
    assert isinstance(images(person)[0], Image)


# -- the crops -----------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_cell_in_hand_is_seen_in_every_channel(person, theme):
    person.viewer.theme = theme
    dock = person.workspace.dock("Review")
    person.press("Tab")
    person.wait(lambda: not dock.crop.composite.pixmap().isNull())
    strip = dock.crop.channels
    assert strip.isVisible()
    assert strip.names == list(FIELD_CHANNELS)
    together = dock.crop.composite.pixmap().toImage()
    assert together.allGray() is False
    person.press("Ctrl+1", "Ctrl+2", "Ctrl+3", "Ctrl+5")  # AGP stays
    person.wait(lambda: dock.crop.composite.pixmap().toImage() != together)
    assert strip.names == list(FIELD_CHANNELS)  # hidden ones are still seen singly
    person.press("Escape")
    person.wait(lambda: dock.crop.composite.pixmap().isNull())
    assert strip.isVisible()  # what is under it must not jump
    person.press("Tab")
    dock.show_keys()
    assert_legible(person, dock)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_learn_shows_every_channel(person, theme):
    person.viewer.theme = theme
    dock = show(person, "Learn")
    learn = person.workspace.learn
    person.push(dock.start)
    person.wait(lambda: learn.question is not None, 60_000)
    person.wait(lambda: not dock.question.crop.composite.pixmap().isNull())
    assert dock.question.crop.channels.names == list(FIELD_CHANNELS)
    assert_legible(person, dock)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 12, 40])
def test_any_number_of_channels_fits_the_dock(person, n):
    strip = person.workspace.dock("Review").crop.channels
    strip.arrange(n)
    strip.show_channels([(QPixmap(8, 8), f"channel {k}") for k in range(n)])
    show(person, "Review")
    places = [strip.place(k) for k in range(n)]
    assert all(strip.rect().contains(p) for p in places)
    assert not any(a.intersects(b) for a, b in pairwise(places))


def test_the_buttons_do_what_the_keys_do(sit_down, fields, detected):
    person = sit_down(fields, "Review")
    person.wait(lambda: len(images(person)) == len(FIELD_CHANNELS))
    step, contrast = person.workspace.dock("Review")._channel_buttons.findChildren(QPushButton)
    automatic = images(person)[0].contrast_limits
    images(person)[0].contrast_limits = (1, 9)
    person.push(step)
    assert seen(person) == ["DNA"]
    person.push(contrast)
    assert images(person)[0].contrast_limits == automatic
    person.session.close_project()
    person.open(detected)
    person.wait(lambda: not step.isVisible() and not contrast.isVisible())


@pytest.mark.parametrize("kind", ["none", "colors", "pca"])
def test_training_lets_the_network_see_colours(person, monkeypatch, kind):
    """Only what is asked for is looked at: the training itself is `tests/ml`'s."""
    project, jobs = person.session.project, person.workspace.jobs
    person.session.do(gestures.give_class([*person.rows().values()], 1, "RBC", "me"))
    dock = show(person, "Train")
    sees = dock.choices.sees
    person.wait(sees.isVisible)
    asked = []
    run = jobs.run

    def note_training(title, call, *args, **how):
        if call is training.train:
            asked.append(args[0])
            call = nothing
        return run(title, call, *args, **how)

    monkeypatch.setattr(jobs, "run", note_training)
    sees.setCurrentIndex(sees.findData(kind))
    person.push(dock.start)
    person.wait(lambda: asked)
    made = asked[0].composite
    assert (made is None) == (kind == "none")
    if made is not None:
        assert made.kind == kind
        assert made.channels == FIELD_CHANNELS
        assert project.composite(kind) == made  # for every model and picture of the project


def nothing(_request):
    yield Progress(0, 0, "")
    raise CellalError("Not now.")
