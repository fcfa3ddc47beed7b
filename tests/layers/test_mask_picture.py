"""Masks as a picture: what is drawn anew in a place is what all of it would look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_cellal.core.masks import mask_of
from napari_cellal.core.records import Cell
from napari_cellal.ui.mask_picture import MaskPicture, in_order, overlap, rim_of

WHOLE = (0, 0, 60, 80)


def cells(seed: int, n: int = 12) -> list[Cell]:
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        y, x = rng.integers(-5, 55), rng.integers(-5, 75)
        mask = mask_of(rng.random(rng.integers(3, 20, 2)) < 0.8, int(y), int(x))
        rows.append(Cell(f"c{k}", "i", mask.box, int(rng.integers(1, 3)), mask=mask))
    return [*rows, Cell("plain", "i", (0.0, 0.0, 9.0, 9.0), 1)]


def drawn(rows: list[Cell], window=WHOLE) -> np.ndarray:
    picture = MaskPicture(window, [1, 2])
    picture.draw(in_order(rows))
    return picture.labels


@pytest.mark.parametrize("seed", range(8))
def test_a_place_drawn_anew_is_as_if_all_were(seed: int) -> None:
    before = cells(seed)
    picture = MaskPicture(WHOLE, [1, 2])
    picture.draw(in_order(before))
    gone, moved, classed, *rest = before
    after = [
        replace(moved, mask=moved.mask.moved(7, -9)),
        replace(classed, class_id=None),
        *rest,
    ]
    for row in (gone, moved, classed, after[0]):
        picture.redraw(row.mask.window, in_order(after))
    assert np.array_equal(picture.labels, drawn(after))


@pytest.mark.parametrize("window", [(10, 20, 40, 70), (0, 0, 7, 7), (50, 70, 60, 80)])
def test_a_window_shows_what_the_whole_shows_there(window) -> None:
    rows = cells(1)
    y0, x0, y1, x1 = window
    assert np.array_equal(drawn(rows, window), drawn(rows)[y0:y1, x0:x1])


def test_each_class_has_two_values_and_smaller_cells_lie_over_larger_ones() -> None:
    bits = np.ones((11, 11), bool)
    large = Cell("l", "i", (0.0, 0.0, 11.0, 11.0), 2, mask=mask_of(bits, 2, 3))
    small = Cell("s", "i", (0.0, 0.0, 5.0, 5.0), None, mask=mask_of(bits[:5, :5], 5, 6))
    picture = MaskPicture(WHOLE, [7, 2])
    picture.draw(in_order([small, large]))
    assert picture.labels[2, 3] == picture.value_of(2) + 1
    assert picture.labels[3, 4] == picture.value_of(2)
    assert picture.labels[7, 8] == picture.value_of(None)
    assert len({picture.value_of(c) for c in (None, 7, 2)}) == 3
    assert picture.labels[0, 0] == 0


def test_the_rim_is_one_pixel_wide() -> None:
    assert rim_of(np.ones((5, 6), bool)).sum() == 5 * 6 - 3 * 4
    assert rim_of(np.ones((1, 6), bool)).all()


def test_windows_that_only_touch_do_not_overlap() -> None:
    assert overlap((0, 0, 5, 5), (5, 0, 9, 9)) is None
    assert overlap((0, 0, 5, 5), (4, 2, 9, 9)) == (4, 2, 5, 5)


def test_many_classes_have_values_of_their_own() -> None:
    picture = MaskPicture(WHOLE, list(range(1, 201)))
    values = {picture.value_of(c) for c in range(1, 201)}
    assert len(values) == 200
    assert max(values) + 1 <= np.iinfo(picture.labels.dtype).max
