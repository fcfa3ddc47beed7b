"""Sentences over the image: whole, errors until they are read, and the keys stay where they are."""

from __future__ import annotations

from qtpy.QtWidgets import QLineEdit

from napari_cellal.ui import notices

LONG = (
    "P1_A01_site1.tif: the detector learned from other channels than these. Its boxes may be wrong."
)


def is_whole(person) -> bool:
    notice = person.workspace.notice
    label = notice.label
    return (
        label.text() == LONG
        and person.canvas.rect().contains(notice.geometry())
        and label.height() >= label.heightForWidth(label.width())
    )


def test_a_long_sentence_is_whole_on_a_narrow_image(sit_down, folder):
    person = sit_down(folder, "Review")
    notice = person.workspace.notice
    person.session.tell(LONG)
    person.wait(lambda: is_whole(person))
    person.workspace.raise_dock("Gallery")  # its column takes half of the window
    person.wait(lambda: notice.width() < notices._WIDTH_PX)
    person.wait(lambda: is_whole(person))


def test_the_next_sentence_takes_the_place_of_the_last(sit_down, folder):
    person = sit_down(folder, "Review")
    person.session.tell("One.")
    person.session.tell("Two.", error=True)
    shown = [n for n in person.canvas.findChildren(notices.Notice) if n.isVisible()]
    assert [n.label.text() for n in shown] == ["Two."]
    person.push(shown[0].away)
    assert not shown[0].isVisible()


def test_a_sentence_that_goes_leaves_the_keys_to_the_field(sit_down, folder, monkeypatch):
    monkeypatch.setattr(notices, "_LEAST_MS", 20)
    monkeypatch.setattr(notices, "_MS_A_CHARACTER", 0)
    person = sit_down(folder, "Project")
    field = next(
        f for f in person.workspace.dock("Project").findChildren(QLineEdit) if f.isVisible()
    )
    person.window.activateWindow()
    field.setFocus()
    person.wait(field.hasFocus)
    person.session.tell("Done.")
    assert person.workspace.notice.isVisible()
    person.wait(lambda: not person.workspace.notice.isVisible())
    assert field.hasFocus()


def test_news_does_not_displace_an_error(sit_down, folder, monkeypatch):
    monkeypatch.setattr(notices, "_LEAST_MS", 20)
    monkeypatch.setattr(notices, "_MS_A_CHARACTER", 0)
    person = sit_down(folder, "Review")
    notice = person.workspace.notice
    person.window.activateWindow()
    person.wait(notice.isActiveWindow)
    person.session.tell("It failed.", error=True)
    person.session.tell("Measured.")
    assert notice.label.text().split("\n\n") == ["It failed.", "Measured."]
    person.wait(lambda: notice.label.text() == "It failed.")  # the news has been read
    assert notice.isVisible()
    person.press("Shift+D")
    assert not notice.isVisible()
    person.session.tell("Measured again.")
    assert notice.label.text() == "Measured again."


def test_an_error_does_not_go_before_it_can_have_been_read(sit_down, folder):
    person = sit_down(folder, "Review")
    notice = person.workspace.notice
    person.session.tell("It failed.", error=True)
    person.press("D")
    assert notice.isVisible()
    assert "It failed." in notice.label.text()
    person.push(notice.away)
    assert not notice.isVisible()
