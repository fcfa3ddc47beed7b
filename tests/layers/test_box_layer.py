from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.colormaps.standardize_color import transform_color
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_cellal.core import gestures
from napari_cellal.core.history import edit_of
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Review, Status
from napari_cellal.ui.box_looks import UNCLASSED
from napari_cellal.ui.box_shapes import corners
from napari_cellal.ui.boxes import BoxLayer
from napari_cellal.ui.session import Session


@pytest.fixture
def view(session):
    return BoxLayer(session)


def table(session):
    return {c.cell_id: c for c in session.cells()}


def agree(session, view):
    shown = dict(zip(view.ids(), map(tuple, view.shapes.boxes()), strict=True))
    rows = table(session)
    assert shown.keys() == rows.keys()
    for key, cell in rows.items():
        assert np.allclose(shown[key], cell.box, atol=1e-3)
    colors = dict(zip(view.ids(), view.layer.edge_color, strict=True))
    for key, cell in rows.items():
        wanted, _ = view.shapes.looks.of([cell])
        assert np.allclose(colors[key], wanted[0], atol=0.5 / 255)
    selected = {view.ids()[i] for i in view.layer.selected_data}
    assert selected == set(session.selection)


def rect(a, b):
    return corners(np.array([[a, a, b, b]], float))[0]


def everything(session):
    return {c.cell_id: c for c in session.project.cells.of_image("one")}


def test_the_status_bar_tells_our_keys(view):
    ours = view.layer.help
    assert ours
    view.layer.mode = "add_rectangle"
    view.layer.help = "use <R> for add rectangles"  # as napari's viewer does in every mode
    assert view.layer.help == ours


def test_delete_rejects_and_undo_brings_back(session, view):
    start = everything(session)
    view.layer.selected_data = {1}
    assert len(session.selection) == 1
    view.layer.remove_selected()
    agree(session, view)
    assert len(table(session)) == 2
    assert sorted(c.status for c in everything(session).values()).count(Status.REJECTED) == 1
    session.undo()
    agree(session, view)
    assert everything(session) == start
    session.redo()
    agree(session, view)
    assert len(table(session)) == 2


def test_paste_makes_a_new_cell_with_its_own_id(session, view):
    view.layer.mode = "select"
    view.layer.selected_data = {0}
    view.layer._copy_data()
    view.layer._paste_data()
    agree(session, view)
    assert len(table(session)) == 4
    assert len(set(view.ids())) == 4
    session.undo()
    agree(session, view)
    assert len(table(session)) == 3


def test_shapes_added_together_are_one_edit(session, view):
    view.layer.add([rect(50, 60), rect(70, 90)], shape_type="rectangle")
    agree(session, view)
    drawn = [c for c in table(session).values() if c.status is Status.DRAWN]
    assert len(drawn) == 2
    assert {c.class_id for c in drawn} == {1}
    session.undo()
    agree(session, view)
    assert len(table(session)) == 3


def test_drawing_waits_for_the_mouse_button(session, view):
    layer = view.layer
    layer.mode = "add_rectangle"
    layer._is_creating = True
    layer.add(rect(100, 104), shape_type="rectangle", gui=True)
    assert len(table(session)) == 3
    layer.selected_data = {layer.nshapes - 1}
    layer._value = (layer.nshapes - 1, 4)
    layer._moving_value = (layer.nshapes - 1, 4)
    layer._finish_drawing()
    agree(session, view)
    assert len(table(session)) == 4
    assert str(layer.mode) == "select"


def test_a_click_without_a_drag_draws_nothing(session, view):
    view.layer.add(rect(100, 100.4), shape_type="rectangle")
    agree(session, view)
    assert len(table(session)) == 3
    assert session.project.history.undo_label == "detected"


def test_moving_confirms_and_is_one_edit(session, view):
    data = [np.array(d) for d in view.layer.data]
    data[0] = data[0] + 3
    view.layer.data = data
    agree(session, view)
    moved = [c for c in table(session).values() if c.status is Status.CORRECTED]
    assert len(moved) == 1
    assert moved[0].review is Review.CONFIRMED
    session.undo()
    agree(session, view)
    assert all(c.status is Status.PROPOSED for c in table(session).values())


def test_a_bent_shape_becomes_an_upright_box(session, view):
    data = [np.array(d) for d in view.layer.data]
    data[1][0] -= (4, 2)
    view.layer.data = data
    agree(session, view)
    assert view.shapes.upright().all()
    assert all(c.status is Status.PROPOSED for c in table(session).values())


def test_boxes_are_cut_to_the_image(session, view):
    view.layer.add(rect(-20, 30), shape_type="rectangle")
    agree(session, view)
    drawn = [c for c in table(session).values() if c.status is Status.DRAWN]
    assert [c.box for c in drawn] == [(0.0, 0.0, 30.0, 30.0)]
    view.layer.add(rect(-60, -20), shape_type="rectangle")
    agree(session, view)
    assert len(table(session)) == 4


def drag(layer, start, end):
    """Drag with the mouse from one place (y, x) of the image to another."""
    moves = [("mouse_press", start), ("mouse_move", start), ("mouse_move", end)]
    for kind, place in [*moves, ("mouse_release", end)]:
        event = read_only_mouse_event(type=kind, is_dragging=True, position=place, modifiers=())
        callbacks = {
            "mouse_press": mouse_press_callbacks,
            "mouse_move": mouse_move_callbacks,
            "mouse_release": mouse_release_callbacks,
        }
        callbacks[kind](layer, event)


def test_a_box_pushed_over_the_edge_stays_in_hand(session, view):
    view.layer.mode = "select"
    first = next(c for c in table(session).values() if c.box[1] == 0)
    drag(view.layer, (6, 7), (6, 1))
    agree(session, view)
    assert table(session)[first.cell_id].box == pytest.approx((0, 0, 12, 9))
    assert session.selection == (first.cell_id,)


def test_selection_goes_both_ways(session, view):
    view.layer.selected_data = {0, 2}
    assert set(session.selection) == {view.ids()[0], view.ids()[2]}
    session.select([view.ids()[1]])
    assert set(view.layer.selected_data) == {1}


def test_class_and_score_filter(session, view):
    session.select(view.ids()[:2])
    assert session.give_class(2)
    agree(session, view)
    session.set_shown(min_score=0.95)
    agree(session, view)
    assert len(view.ids()) == 2  # reviewed boxes do not fall to the score
    session.set_shown(min_score=0.0)
    agree(session, view)
    assert len(view.ids()) == 3


def test_other_image_and_back(session, view):
    session.show_image("two")
    agree(session, view)
    assert view.ids() == []
    view.layer.add(rect(5, 30), shape_type="rectangle")
    agree(session, view)
    session.show_image("one")
    agree(session, view)
    assert len(view.ids()) == 3
    session.undo()
    assert session.image_id == "two"  # the person is shown what was undone
    agree(session, view)
    assert view.ids() == []


def test_random_walk_of_200_edits_undone_to_the_start(session, view):
    rng = np.random.default_rng(0)
    start = everything(session)
    layer = view.layer
    undone_to = session.project.history.undo_label
    for _ in range(200):
        n = layer.nshapes
        step = int(rng.integers(7))
        if step == 0 and n:
            layer.selected_data = {int(rng.integers(n))}
            layer.remove_selected()
        elif step in (1, 2):
            a = float(rng.integers(300))
            layer.add(rect(a, a + 5 + float(rng.integers(40))), shape_type="rectangle")
        elif step == 3 and n:
            data = [np.array(d) for d in layer.data]
            data[int(rng.integers(n))] += float(rng.integers(1, 9))
            layer.data = data
        elif step == 4 and n:
            layer.mode = "select"
            layer.selected_data = {int(rng.integers(n))}
            layer._copy_data()
            layer._paste_data()
        elif step == 5 and n:
            session.select([view.ids()[i] for i in rng.integers(n, size=3)])
            session.give_class(int(rng.integers(1, 3)))
        elif n:
            session.select([view.ids()[int(rng.integers(n))]])
            session.mark_unsure()
        agree(session, view)
    while session.project.history.undo_label != undone_to:
        session.undo()
        agree(session, view)
    assert everything(session) == start


def test_a_box_lies_on_the_edges_of_the_pixels_that_it_holds(session, view):
    """napari shows the middle of an image's first pixel at 0, a box begins at its edge."""
    image = Image(np.zeros((400, 800)))
    edges = image._extent_data_augmented  # at no scale the same in the world
    whole = corners(np.array([[0.0, 0.0, 400.0, 800.0]]))[0]
    on_screen = np.array([view.layer.data_to_world(point) for point in whole])
    assert np.array_equal([on_screen.min(axis=0), on_screen.max(axis=0)], edges)


def test_the_box_under_the_mouse_is_let_go_when_a_key_goes_on(session, view):
    view.layer._value = (0, None)
    session.select([view.ids()[1]])
    assert view.layer._value == (None, None)


@pytest.mark.parametrize("how", ["drawn", "detected"])
def test_edges_on_an_empty_slide_leave_its_cells_to_be_seen(project, how):
    slide = ImageRecord("slide", "s.tif", (3, 20_000, 30_000), "uint8", ("r", "g", "b"), True)
    project.add_images([slide])
    session = Session()
    session.open_project(project)
    view = BoxLayer(session)
    session.show_image("slide")
    if how == "drawn":
        view.layer.add(rect(1000, 1060), shape_type="rectangle")
    else:
        box = (9.0, 9.0, 69.0, 69.0)
        found = Cell("c", "slide", box, 1, Origin.MODEL, proposed=Proposal(box, 1, 0.9, "test"))
        project.history.do(edit_of("detected", [(None, found)]))
    (width,) = view.layer.edge_width
    assert width < 60 / 8


def test_a_concealed_class_is_not_seen_until_it_may_be(session, view):
    session.draw([(10, 10, 20, 20), (30, 30, 40, 40)])
    first, second = view.ids()[-2:]
    session.do(gestures.give_class(list(table(session).values()), 2, "two", "me"))

    def color(key):
        return view.layer.edge_color[view.ids().index(key)][:3]

    named = color(second)
    session.conceal(first)
    assert np.allclose(color(first), transform_color(UNCLASSED)[0][:3], atol=0.5 / 255)
    assert np.allclose(color(second), named)
    session.do(gestures.accept([table(session)[k] for k in (first, second)], "me"))
    assert not np.allclose(color(first), named)
    assert np.allclose(color(second), named)
    session.conceal(None)
    assert np.allclose(color(first), named)
    agree(session, view)
