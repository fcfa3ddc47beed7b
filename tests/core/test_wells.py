"""Wells: names, plates, and values that stand out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.wells import (
    FORMATS,
    parse_well,
    plate_format,
    plate_well_site,
    row_name,
    well_name,
)
from napari_cellal.evaluate.heat import brief, color_at, scale_of
from napari_cellal.evaluate.outliers import LEAST, is_outlier, robust_z


def test_names_and_places():
    assert [row_name(k) for k in (0, 25, 26, 31, 51, 52)] == ["A", "Z", "AA", "AF", "AZ", "BA"]
    for rows, columns in FORMATS:
        for row, column in ((0, 0), (rows - 1, columns - 1)):
            assert parse_well(well_name(row, column)) == (row, column)
    assert parse_well("b7") == parse_well(" B07 ") == parse_well("B007") == (1, 6)
    for odd in ("", "7", "B", "B0", "B00", "B-1", "ABC1", "B1234", "B7x"):
        assert parse_well(odd) is None


def test_the_smallest_plate_that_holds_the_wells():
    assert plate_format([]) == (2, 3)
    assert plate_format([(7, 11)]) == (8, 12)
    assert plate_format([(0, 12)]) == plate_format([(8, 0)]) == (16, 24)
    assert plate_format([(31, 0), (0, 47)]) == (32, 48)
    assert plate_format([(32, 3)]) == (33, 4)


def test_places():
    assert plate_well_site({}) == ("", "", "")
    assert plate_well_site({"plate": "P", "well": "b2", "field": "3"}) == ("P", "B02", "3")
    place = {"batch": "HUVEC-01", "plate": "1", "well": "AF48", "site": "2"}
    assert plate_well_site(place) == ("HUVEC-01/1", "AF48", "2")
    assert plate_well_site({"well": "odd one"}) == ("", "odd one", "")


def test_robust_z():
    # 1 to 9: median 5, absolute deviations 0 to 4, their median 2
    values = np.array([*range(1, 10), 100.0])
    found = robust_z(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9.0]))
    np.testing.assert_allclose(found, 0.6745 * (np.arange(1, 10) - 5) / 2)
    assert is_outlier(robust_z(values)).tolist() == [False] * 9 + [True]
    z = robust_z(np.array([*values, np.nan]))
    assert np.isnan(z[-1])
    assert not is_outlier(z)[-1]
    np.testing.assert_allclose(z[:-1], robust_z(values))
    assert not robust_z(np.full(20, 3.0)).any()  # all the same
    assert not robust_z(np.array([0, 0, 0, 0, 900.0])[: LEAST - 1]).any()  # too few
    mostly = np.array([0.0] * 19 + [5.0])  # the median absolute deviation is 0
    assert is_outlier(robust_z(mostly)).tolist() == [False] * 19 + [True]
    assert robust_z(mostly)[-1] == pytest.approx(5 / (5 / 20 * 1.253314))


def test_colours_of_a_scale():
    assert scale_of([np.array([np.nan])]) is None
    assert scale_of([]) is None
    usual = np.linspace(10, 20, 11)
    scale = scale_of([usual, np.array([*usual, 1000.0, np.nan])])
    assert (scale.low, scale.high, scale.cut_low, scale.cut_high) == (10, 20, False, True)
    assert scale.color(10) == color_at(0)
    assert scale.color(15) == color_at(0.5)
    assert scale.color(1000) == color_at(1)
    change = scale_of([np.array([-1.0, 0.0, 3.0])], is_change=True)
    assert (change.low, change.high) == (-3, 3)
    assert change.color(0) == "#F7F7F7"
    flat = scale_of([np.zeros(9)])
    assert flat.color(0.0) == color_at(0.5)


def test_brief_figures():
    said = [brief(v) for v in (0, 3, -3, 12345, 0.123456, 1234.56, 2e9, 1.5e-5)]
    assert said == ["0", "3", "-3", "12,345", "0.123", "1,235", "2e+09", "1.5e-05"]
