"""The next day: the projects that were open last, and where dialogs open."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QPushButton

from napari_cellal.ui import recent


def offered(dock):
    return {b.text(): b for b in dock.recent.findChildren(QPushButton) if b.isVisible()}


def test_the_project_of_yesterday_is_one_click_away(sit_down, folder):
    person = sit_down(None, "Project")
    dock = person.workspace.dock("Project")
    assert not dock.recent.isVisible()
    person.open(folder)
    dock.close_project()
    assert list(offered(dock)) == ["smears"]
    person.close()
    person = sit_down(None, "Project")
    dock = person.workspace.dock("Project")
    person.push(offered(dock)["smears"])
    person.wait(lambda: person.session.project is not None)
    assert person.session.project.folder == folder.resolve()


def test_the_last_come_first(tmp_path):
    places = [tmp_path / f"p{k}.cellal" for k in range(recent.MOST + 1)]
    for place in (*places, places[-2]):
        recent.note_project(place)
    assert recent.projects() == [places[-2], places[-1], *places[-3 : -recent.MOST - 1 : -1]]
    recent.note_project(tmp_path / "temporary" / "soon gone.cellal")
    assert recent.projects()[0] == places[-2]
    recent.recent_file().write_text("no list")
    assert recent.projects() == []


def test_a_project_that_is_gone_leaves_the_list_when_asked_for(sit_down, folder, tmp_path):
    recent.note_project(folder)
    recent.note_project(tmp_path / "gone.cellal")
    recent.note_project(tmp_path / "old" / "gone.cellal")
    person = sit_down(None, "Project")
    dock = person.workspace.dock("Project")
    assert list(offered(dock)) == ["gone in old", f"gone in {tmp_path.name}", "smears"]
    person.push(offered(dock)["gone in old"])
    person.wait(lambda: list(offered(dock)) == ["gone", "smears"])
    assert person.told[-1][1]


def test_dialogs_open_where_the_person_was_last(tmp_path):
    assert recent.folder() == str(Path.home())
    (tmp_path / "a").mkdir()
    recent.note_project(tmp_path / "a" / "p.cellal")
    assert recent.folder() == str(tmp_path / "a")
    (tmp_path / "b").mkdir()
    recent.note_folder(str(tmp_path / "b" / "images"))
    assert recent.folder() == str(tmp_path / "b")
    (tmp_path / "b").rmdir()
    assert recent.folder() == str(tmp_path / "a")
