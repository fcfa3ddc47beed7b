"""The confirmed cells that look most like the one asked about, as pictures in the Learn dock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QPushButton

from napari_cellal.io.pixels import read_pixels
from napari_cellal.ui.cell_pictures import CellPictures
from napari_cellal.ui.crops import pictures_of
from napari_cellal.ui.neighbours import FRAME_PX, PICTURE_PX
from napari_cellal.ui.question import Question


def array_of(pixmap):
    image = pixmap.toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8)
    rows = rows.reshape(image.height(), image.bytesPerLine())[:, : image.width() * 3]
    return rows.reshape(image.height(), image.width(), 3).astype(float)


def looks_like(pixmap, project, cell):
    """Return whether a picture shows a cell, whatever its size."""
    record = project.images[cell.image_id]
    pixels = read_pixels(project.image_path(cell.image_id))
    assert record.rgb
    true = pictures_of(pixels, cell.box, ())[0] * 255
    made = array_of(pixmap)
    ys, xs = (np.linspace(0.15, 0.85, 12),) * 2

    def sampled(a):
        return a[np.ix_((ys * a.shape[0]).astype(int), (xs * a.shape[1]).astype(int))]

    return np.abs(sampled(true) - sampled(made)).mean() < 12


def ask(person, n):
    """Answer ``n`` questions and return the dock with the next one."""
    learn, dock = person.workspace.learn, person.workspace.dock("Learn")
    person.workspace.raise_dock("Learn")
    person.push(dock.start)
    person.wait(lambda: learn.question is not None, 60_000)
    person.canvas.setFocus()
    for k in range(n):
        asked = learn.question
        person.press("12"[k % 2])
        person.wait(lambda asked=asked: learn.question not in (None, asked))
    while not learn.question.neighbours:  # a check: it must not lean on the model
        assert not dock.question.neighbours.isVisible()
        asked = learn.question
        person.press("1")
        person.wait(lambda asked=asked: learn.question not in (None, asked))
    return dock


def test_neighbours_are_shown_with_picture_and_class(sit_down, detected):
    person = sit_down(detected, "Learn")
    dock = ask(person, 5)
    project, learn = person.session.project, person.workspace.learn
    strip = dock.question.neighbours
    person.wait(lambda: strip.pictures and None not in strip.pictures)
    cells = [project.cells.get(key) for key in learn.question.neighbours]
    assert strip.names == [project.classes[c.class_id].name for c in cells]
    for picture, cell in zip(strip.pictures, cells, strict=True):
        assert max(picture.width(), picture.height()) == PICTURE_PX
        assert looks_like(picture, project, cell)
    drawn = array_of(strip.grab())
    for place, cell in enumerate(cells):  # each in a frame of its class's colour
        color = project.classes[cell.class_id].color
        rgb = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        x = round((place + 0.5) * strip.width() / 3 - PICTURE_PX / 2 - FRAME_PX / 2)
        column = drawn[4 : PICTURE_PX - 4, x - 2 : x + 3]
        assert np.abs(column - rgb).max(axis=2).min() <= 2


def test_the_answers_stay_in_their_places(sit_down, detected):
    person = sit_down(detected, "Learn")
    panel = ask(person, 5).question
    question = person.workspace.learn.question

    def places(asked):
        person.workspace.learn.question = asked
        panel.show_question(asked)
        QApplication.processEvents()
        # something above it, a progress bar say, may have come or gone just now
        person.wait(lambda: panel.height() >= panel.minimumSizeHint().height())
        rows = [panel.answers.itemAt(k).widget() for k in range(panel.answers.count())]
        return [
            w.mapTo(panel, w.rect().topLeft()) for w in [*rows, *panel.findChildren(QPushButton)]
        ]

    places(replace(question, reason="the model cannot tell Platelets from WBC"))
    before = places(replace(question, reason="new"))
    assert panel.neighbours.isVisible()
    assert places(Question(question.cell_id, "new", is_check=True)) == before
    assert not panel.neighbours.isVisible()
    assert places(replace(question, reason="the model cannot tell Platelets from WBC")) == before


def test_pictures_are_read_where_they_are_not_in_memory(sit_down, detected, qtbot):
    person = sit_down(detected, "Project")
    project, session = person.session.project, person.session
    one, two, three = (next(iter(project.cells.of_image(key))) for key in project.images)

    class Nothing:
        looks = person.workspace.images.looks

        def pixels(self, _image_id):
            return None

    pictures = CellPictures(session, Nothing(), PICTURE_PX, 100)
    try:
        project.image_path(three.image_id).unlink()
        assert pictures.of([one, two, three]) == [None, None, None]
        person.wait(lambda: None not in pictures.of([one, two, three])[:2])
        found = pictures.of([one, two, three])
        assert looks_like(found[0], project, one)
        assert looks_like(found[1], project, two)
        assert not looks_like(found[0], project, two)
        assert found[2] is None  # its file is gone; nothing fails
        pictures.forget()
        assert pictures.of([one]) == [None]
    finally:
        pictures.close()
