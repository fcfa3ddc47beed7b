"""What a person did to a layer's boxes, told from the boxes."""

import numpy as np
import pytest

from napari_cellal.core.handiwork import handiwork, same_boxes
from napari_cellal.core.records import Cell

SHAPE = (100, 200)
CELLS = {
    "a": Cell("a", "i", (10, 10, 30, 30), 1),
    "b": Cell("b", "i", (40, 40, 60, 80), 2),
}


def work(ids, boxes, upright=None, shown=CELLS, draw_class=7):
    boxes = np.array(boxes, float).reshape(-1, 4)
    upright = np.ones(len(boxes), bool) if upright is None else np.array(upright)
    return handiwork(shown, ids, boxes, upright, SHAPE, draw_class)


def test_nothing_done():
    done = work(["a", "b"], [CELLS["a"].box, CELLS["b"].box])
    assert (done.moved, done.drawn, done.gone) == ([], {}, [])


def test_moved_box_is_cut_to_the_image():
    done = work(["a", "b"], [(-5, 10, 30, 30), CELLS["b"].box])
    assert done.moved == [(CELLS["a"], (0, 10, 30, 30))]


def test_missing_row_is_gone():
    assert work(["b"], [CELLS["b"].box]).gone == [CELLS["a"]]


def test_drawn_box_gets_the_class_to_draw_and_a_copy_its_models():
    boxes = [CELLS["a"].box, CELLS["b"].box, (5, 5, 20, 20), (42, 100, 62, 140)]
    done = work(["a", "b", "", "b"], boxes)
    assert done.drawn == {7: [(2, (5, 5, 20, 20))], 2: [(3, (42, 100, 62, 140))]}
    assert not done.gone


@pytest.mark.parametrize("box", [(5, 5, 7, 40), (-50, 5, -10, 40)])
def test_stray_click_and_box_outside_are_no_cells(box):
    assert not work(["a", "b", ""], [CELLS["a"].box, CELLS["b"].box, box]).drawn


def test_a_turned_box_is_not_moved_nor_gone():
    done = work(["a", "b"], [(5, 5, 35, 35), CELLS["b"].box], upright=[False, True])
    assert (done.moved, done.gone) == ([], [])


def test_a_drawn_ellipse_becomes_the_box_around_it():
    done = work(["a", "b", ""], [CELLS["a"].box, CELLS["b"].box, (5, 5, 20, 20)], [1, 1, 0])
    assert list(done.drawn) == [7]


def test_tenths_of_a_pixel_count_far_from_the_origin():
    far = np.array([[40000.0, 39000.0, 40030.0, 39040.0]])
    assert same_boxes(far, far.astype(np.float32) + np.float32(0.004)).all()
    assert not same_boxes(far, far + 0.2).any()
