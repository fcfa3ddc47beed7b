from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell
from napari_cellal.ui.boxes import BoxLayer
from napari_cellal.ui.crowd import overview
from napari_cellal.ui.session import Session

NEAR, FAR = (0.0, 0.0, 100.0, 100.0), (250.0, 600.0, 350.0, 700.0)


def grid() -> list[Cell]:
    corners = [(y, x) for y in range(0, 400, 20) for x in range(0, 800, 20)]
    return [Cell(f"c{k}", "one", (y, x, y + 10, x + 12)) for k, (y, x) in enumerate(corners)]


@pytest.fixture
def crowded(project, monkeypatch):
    monkeypatch.setattr("napari_cellal.io.store.cells.CROWDED", 100)
    monkeypatch.setattr("napari_cellal.ui.crowd.MOST_IN_VIEW", 150)
    project.history.do(edit_of("put", [(None, c) for c in grid()]))
    session = Session()
    session.open_project(project)
    return session


@pytest.fixture
def view(crowded):
    return BoxLayer(crowded)


def touches(cell: Cell, view) -> bool:
    y0, x0, y1, x1 = cell.box
    return y0 <= view[2] and y1 >= view[0] and x0 <= view[3] and x1 >= view[1]


def shown(view) -> dict[str, tuple[float, ...]]:
    return dict(zip(view.ids(), (tuple(b) for b in view.shapes.boxes().tolist()), strict=True))


def test_boxes_come_with_the_view_and_go_with_it(view):
    assert view.ids() == []
    for place in (NEAR, FAR):
        view.show_view(place)
        there = {c.cell_id for c in grid() if touches(c, place)}
        assert there <= set(view.ids())
        assert len(view.ids()) < 150
    assert not any(touches(c, NEAR) for c in grid() if c.cell_id in view.ids())


def test_a_view_of_too_many_shows_none_until_one_comes_closer(view):
    view.show_view((0, 0, 400, 800))
    assert view.ids() == []
    assert view.crowd.too_many
    view.show_view(NEAR)
    assert view.ids() != []
    assert not view.crowd.too_many


def test_small_moves_load_nothing(view):
    view.show_view(NEAR)
    before = view._reloads
    view.show_view((5, 5, 105, 105))
    assert view._reloads == before
    view.show_view((60, 60, 160, 160))
    assert view._reloads == before + 1


def test_a_moved_box_is_written_and_the_others_stay(view, crowded):
    view.show_view(NEAR)
    before = shown(view)
    place = view.ids().index("c0")
    data = list(view.layer.data)
    data[place] = data[place] + 3
    view.layer.data = data
    view.reconcile()
    assert crowded.project.cells.get("c0").box == (3.0, 3.0, 13.0, 15.0)
    assert shown(view) == before | {"c0": (3.0, 3.0, 13.0, 15.0)}
    crowded.undo()
    assert shown(view) == before


def test_a_drawn_box_is_added_and_stays_on_the_layer_even_among_too_many(view, crowded):
    view.show_view((0, 0, 400, 800))
    view.layer.add(np.array([[11, 13], [11, 19], [19, 19], [19, 13]]), shape_type="rectangle")
    (key,) = crowded.selection
    assert shown(view) == {key: (11.0, 13.0, 19.0, 19.0)}


def test_edits_elsewhere_bring_nothing_onto_the_layer(view, crowded):
    view.show_view(NEAR)
    before = shown(view)
    far = next(c for c in grid() if touches(c, FAR))
    crowded.do(edit_of("class", [(far, replace(far, class_id=1))]))
    assert shown(view) == before


def test_deleting_what_is_in_hand(view, crowded):
    view.show_view(NEAR)
    crowded.select(["c0", "c1"])
    assert crowded.remove()
    assert {"c0", "c1"}.isdisjoint(view.ids())
    assert crowded.selection == ()


def test_a_selected_cell_out_of_view_is_shown(view, crowded):
    view.show_view(NEAR)
    far = next(c for c in grid() if touches(c, FAR))
    crowded.select([far.cell_id])
    assert far.cell_id in view.ids()


def test_another_image_is_whole_again(view, crowded):
    view.show_view(NEAR)
    two = Cell("t", "two", (300.0, 700.0, 310.0, 710.0))
    crowded.project.history.do(edit_of("put", [(None, two)]))
    crowded.show_image("two")
    assert not view.crowd.is_on
    assert view.ids() == ["t"]


def test_the_overview_counts_every_cell(crowded):
    folder, image = crowded.project.folder, crowded.image
    counts, side = overview(folder, image.image_id, image.shape[1:])
    assert counts.sum() == len(grid())
    assert side == 800 / 256


def test_an_image_that_becomes_crowded_shows_only_what_is_in_view(project, monkeypatch):
    """A detection run on the image on screen may bring 100,000 cells."""
    monkeypatch.setattr("napari_cellal.io.store.cells.CROWDED", 100)
    monkeypatch.setattr("napari_cellal.ui.crowd.MOST_IN_VIEW", 150)
    session = Session()
    session.open_project(project)
    view = BoxLayer(session)
    session.do(edit_of("few", [(None, c) for c in grid()[:40]]))
    assert len(view.ids()) == 40
    session.do(edit_of("many", [(None, c) for c in grid()[40:]]))
    assert view.ids() == []
    view.show_view(NEAR)
    assert {c.cell_id for c in grid() if touches(c, NEAR)} <= set(view.ids())
    assert len(view.ids()) < 150
    session.undo()
    assert set(view.ids()) <= {c.cell_id for c in grid()[:40]}


def test_a_box_half_drawn_when_the_image_changes_is_no_cell_of_the_next(project):
    session = Session()
    session.open_project(project)
    view = BoxLayer(session)
    view.layer.mode = "add_rectangle"
    with view.shapes.quiet():
        view.layer.add(np.array([[11, 13], [11, 59], [59, 59], [59, 13]]), shape_type="rectangle")
    view.layer._is_creating, view.layer._moving_value = True, (0, None)  # the button is held
    session.show_image("two")
    assert view.ids() == []
    assert session.cells() == []
