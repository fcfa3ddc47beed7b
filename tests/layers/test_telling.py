"""Sentences of one gesture come together: the next would take the place of the first."""

from __future__ import annotations

from dataclasses import replace

from napari_cellal.core.history import edit_of


def test_the_last_image_finished_with_boxes_without_a_class(session):
    (cell, *_), heard = session.cells(), []
    session.do(edit_of("", [(cell, replace(cell, class_id=None))]))
    session.told.connect(lambda text, _error: heard.append(text))
    session.show_image("two")
    session.finish_image()
    assert heard == []  # the other is shown
    assert session.image_id == "one"
    session.finish_image()
    (text,) = heard
    assert len(text.split("\n")) == 3


def test_boxes_that_finishing_accepts_are_told(session):
    heard = []
    session.told.connect(lambda text, _error: heard.append(text))
    session.finish_image()
    (text,) = heard
    assert text.startswith("one.png")
    assert "3" in text
    session.show_image("one")
    session.finish_image()  # open again
    heard.clear()
    session.show_image("one")
    session.finish_image()
    assert not any("3" in text for text in heard)  # nothing was open any more


def test_several_sentences_are_one(session):
    heard = []
    session.told.connect(lambda text, _error: heard.append(text))
    session.tell_all(())
    session.tell_all(("One.", "Two."))
    assert heard == ["One.\nTwo."]
