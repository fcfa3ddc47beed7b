"""A project opens where it was left."""

from __future__ import annotations

import shutil

from napari_cellal.io.store import Project
from napari_cellal.ui import last_image


def reopened(session):
    folder = session.project.folder
    session.close_project()
    session.open_project(Project.open(folder))
    return session.image_id


def test_a_project_opens_with_the_image_that_was_left(session):
    assert session.image_id == "one"
    session.show_image("two")
    assert reopened(session) == "two"
    session.show_image("one")
    assert reopened(session) == "one"


def test_an_image_that_is_gone_or_a_damaged_note_open_the_first(session):
    session.show_image("two")
    session.project.remove_images(["two"])
    assert reopened(session) == "one"
    (session.project.cache_folder / last_image.FILE).write_bytes(b"\xff\xfe no image")
    assert last_image.last_image(session.project) == "one"


def test_a_project_whose_cache_is_gone_can_be_left(session):
    left, cache = session.project, session.project.cache_folder
    shutil.rmtree(cache)
    cache.write_text("no folder")
    session.close_project()
    assert session.image_id is None
    Project.open(left.folder).close()  # nobody holds it any more
