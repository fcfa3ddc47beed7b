"""Files of single channels added in the window: shown first, then added."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cellal.core.records import Projection
from napari_cellal.io.planes import read_plane

COLORS = ("red", "green", "blue", "yellow")


def write(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50)).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


@pytest.fixture
def atlas(tmp_path):
    """Two images in four channels, one that lacks a channel, and a file of something else."""
    place = tmp_path / "atlas"
    for k, name in enumerate(("ab12", "cd34", "ef56")):
        for c, color in enumerate(COLORS[: 3 if name == "ef56" else 4]):
            write(place / f"{name}_{color}.png", 10 * k + c)
    write(place / "overview.png", 99)
    return place


@pytest.fixture
def person(sit_down, folder):
    person = sit_down(folder, "Project")
    person.adding = person.workspace.dock("Project").adding
    return person


def opened(person, paths, **how):
    person.adding.add([str(path) for path in paths], **how)
    person.wait(lambda: person.adding.dialog is not None)
    dialog = person.adding.dialog
    person.wait(dialog.isVisible)
    assert not dialog.isModal()
    return dialog


def table(dialog):
    widget = dialog.table
    return [
        [widget.item(y, x).text() for x in range(widget.columnCount())]
        for y in range(widget.rowCount())
    ]


def heads(dialog):
    widget = dialog.table
    return [widget.horizontalHeaderItem(x).text() for x in range(widget.columnCount())]


def choose(box, key):
    """Choose an entry of a list with the keyboard."""
    box.setFocus()
    QTest.keyClick(box, Qt.Key.Key_Home)
    for _ in range(box.findData(key)):
        QTest.keyClick(box, Qt.Key.Key_Down)
    assert box.currentData() == key


def retype(person, field, text):
    field.setFocus()
    person.wait(field.isVisible)
    field.selectAll()
    QTest.keyClicks(field, text)


def press(person, button):
    person.wait(button.isEnabled)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def added(person, before=3):
    person.wait(lambda: person.adding.dialog is None)
    return list(person.session.project.images.values())[before:]


def test_files_of_single_channels_are_shown_and_then_added(person, atlas):
    dialog = opened(person, [atlas])
    assert dialog.pattern.currentData() == "hpa"
    names = ["microtubules", "protein", "nucleus", "reticulum"]
    assert heads(dialog) == ["Image", *names]
    assert table(dialog) == [
        ["ab12.png", "✓", "✓", "✓", "✓"],
        ["cd34.png", "✓", "✓", "✓", "✓"],
        ["ef56.png", "✓", "✓", "✓", "missing"],
    ]
    told = dialog.left_over.toPlainText()
    assert "overview.png" in told
    assert "ef56.png" in told
    assert len(person.session.project.images) == 3  # nothing is added yet
    person.press("D")  # and one can go on working
    assert person.session.image_id == list(person.session.project.images)[1]

    retype(person, dialog.names, "MT, protein, DNA, ER")
    press(person, dialog.add)
    new = added(person)
    assert [r.name for r in new] == ["ab12.png", "cd34.png"]
    assert new[0].channels == ("MT", "protein", "DNA", "ER")
    project = person.session.project
    pixels = read_plane(project.image_path(new[1].image_id), project.plane(new[1].image_id))
    assert np.array_equal(pixels[2], write(atlas / "cd34_blue.png", 12))
    person.session.show_image(new[0].image_id)
    person.wait(lambda: [x.name for x in person.workspace.images.layers] == list(new[0].channels))


def test_another_pattern_is_tried_out_before(person, tmp_path):
    for k, well in enumerate(("A01", "B02")):
        for stain in ("dapi", "actin"):
            write(tmp_path / "run" / f"{well}-{stain}.png", 10 * k + len(stain))
    dialog = opened(person, [tmp_path / "run"], ask=True)
    assert dialog.pattern.currentData() == ""  # the names say nothing that is known
    assert dialog.table.isHidden()
    assert "4" in dialog.add.text()
    choose(dialog.pattern, "custom")
    retype(person, dialog.custom, "{well}-{stain}")
    person.wait(lambda: "{stain}" in dialog.summary.text())  # a sentence says why
    assert not dialog.add.isEnabled()
    retype(person, dialog.custom, "{well}-{channel}")
    person.wait(lambda: dialog.table.rowCount() == 2)
    assert heads(dialog) == ["Image", "well", "actin", "dapi"]
    assert table(dialog)[1] == ["B02.png", "B02", "✓", "✓"]
    press(person, dialog.add)
    assert [(r.place, r.channels) for r in added(person)] == [
        ({"well": "A01"}, ("actin", "dapi")),
        ({"well": "B02"}, ("actin", "dapi")),
    ]


def test_each_file_may_stay_an_image(person, atlas):
    dialog = opened(person, [atlas])
    choose(dialog.pattern, "")
    person.wait(lambda: dialog.table.isHidden() and dialog.add.isEnabled())
    press(person, dialog.add)
    assert len(added(person)) == 12


@pytest.mark.parametrize("choice", ["max", "each", "number"])
def test_stacks_ask_for_their_plane(person, tmp_path, choice):
    stack = np.random.default_rng(0).integers(0, 4000, (4, 30, 40)).astype(np.uint16)
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, stack, imagej=True, metadata={"axes": "ZYX"})
    write(tmp_path / "a.png", 1)
    dialog = opened(person, [tmp_path / "a.png", file])  # the first one is flat
    assert dialog.z.line.isVisible()
    assert dialog.t.line.isHidden()
    choose(dialog.z.choice, choice)
    if choice == "number":
        dialog.z.number.setFocus()
        dialog.z.number.selectAll()
        QTest.keyClicks(dialog.z.number, "3")
    else:
        assert not dialog.z.number.isEnabled()
    press(person, dialog.add)
    new = [r for r in added(person) if r.name.startswith("stack")]
    assert [r.z for r in new] == {
        "max": [Projection.MAX],
        "each": [0, 1, 2, 3],
        "number": [2],
    }[choice]


def test_plain_pictures_see_no_dialog(person, tmp_path):
    for k in range(3):
        write(tmp_path / "plain" / f"smear_{k}.png", k)
    person.adding.add([str(tmp_path / "plain")])
    person.wait(lambda: len(person.session.project.images) == 6)
    assert person.adding.dialog is None


def test_the_dialog_goes_with_its_project(person, atlas, detected):
    opened(person, [atlas])
    person.open(detected)
    person.wait(lambda: person.adding.dialog is None)
    assert len(person.session.project.images) == 3


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_cut_off(person, atlas, theme):
    person.viewer.theme = theme
    dialog = opened(person, [atlas])
    QApplication.processEvents()
    for widget in (dialog.add, dialog.pattern, dialog.names, dialog.table, dialog.left_over):
        corner = widget.mapTo(dialog, QPoint(0, 0))
        assert dialog.rect().contains(widget.rect().translated(corner))
    assert dialog.add.width() >= dialog.add.fontMetrics().horizontalAdvance(dialog.add.text())
    dialog.close()
