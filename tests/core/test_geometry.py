import numpy as np
import pytest

from napari_cellal.core.geometry import (
    as_boxes,
    box_area,
    clip_boxes,
    iou_matrix,
    match_boxes,
    normalized_box,
    overlapping_pairs,
)

SQUARE = (0.0, 0.0, 10.0, 10.0)


def random_boxes(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 80, (n, 2))
    return np.hstack([low, low + rng.uniform(1, 30, (n, 2))])


def test_as_boxes_keeps_four_columns_for_nothing() -> None:
    assert as_boxes([]).shape == (0, 4)
    assert as_boxes(SQUARE).shape == (1, 4)
    assert as_boxes([SQUARE, SQUARE]).dtype == np.float64


@pytest.mark.parametrize(
    ("box", "area"),
    [
        (SQUARE, 100),
        ((2.0, 3.0, 4.5, 7.0), 10),
        ((5.0, 5.0, 5.0, 9.0), 0),  # no height
        ((5.0, 5.0, 9.0, 5.0), 0),  # no width
        ((9.0, 9.0, 5.0, 5.0), 0),  # two negative sides are no area
    ],
)
def test_area(box: tuple[float, ...], area: float) -> None:
    assert box_area([box]).tolist() == [area]


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        (SQUARE, 1),
        ((0, 5, 10, 15), 50 / 150),  # half beside
        ((5, 5, 15, 15), 25 / 175),  # a corner
        ((2, 2, 7, 7), 0.25),  # inside
        ((0, 10, 10, 20), 0),  # half-open: only touching
        ((50, 50, 60, 60), 0),  # apart
        ((0, 20, 10, 30), 0),  # same rows, other columns
        ((3, 3, 3, 8), 0),  # without area
    ],
)
def test_overlap_by_hand(other: tuple[float, ...], iou: float) -> None:
    assert iou_matrix([SQUARE], [other])[0, 0] == pytest.approx(iou)
    assert iou_matrix([other], [SQUARE])[0, 0] == pytest.approx(iou)


def test_overlap_of_nothing_has_the_right_shape() -> None:
    assert iou_matrix([], [SQUARE]).shape == (0, 1)
    assert iou_matrix([SQUARE, SQUARE], []).shape == (2, 0)
    assert iou_matrix([(1, 1, 1, 1)], [(1, 1, 1, 1)]).tolist() == [[0]]


@pytest.mark.parametrize("seed", range(5))
def test_overlap_properties(seed: int) -> None:
    a, b = random_boxes(40, seed), random_boxes(30, seed + 100)
    iou = iou_matrix(a, b)
    assert iou.shape == (40, 30)
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    np.testing.assert_allclose(iou, iou_matrix(b, a).T)
    np.testing.assert_allclose(np.diag(iou_matrix(a, a)), 1)
    np.testing.assert_allclose(iou, iou_matrix(a + 1000, b + 1000), atol=1e-9)
    swapped = [1, 0, 3, 2]  # y and x are alike
    np.testing.assert_allclose(iou, iou_matrix(a[:, swapped], b[:, swapped]))
    # The slow definition, one pair at a time.
    for i, j in zip(*np.nonzero(iou), strict=True):
        (ay0, ax0, ay1, ax1), (by0, bx0, by1, bx1) = a[i], b[j]
        inter = (min(ay1, by1) - max(ay0, by0)) * (min(ax1, bx1) - max(ax0, bx0))
        union = (ay1 - ay0) * (ax1 - ax0) + (by1 - by0) * (bx1 - bx0) - inter
        assert iou[i, j] == pytest.approx(inter / union)


def test_clip_by_hand_leaves_its_input_alone() -> None:
    boxes = np.array([[-5.0, -5.0, 5.0, 5.0], [10, 90, 60, 130], [70, 10, 80, 20], [1, 2, 3, 4]])
    before = boxes.copy()
    clipped = clip_boxes(boxes, (50, 100))  # height, width
    assert clipped.tolist() == [[0, 0, 5, 5], [10, 90, 50, 100], [50, 10, 50, 20], [1, 2, 3, 4]]
    np.testing.assert_array_equal(boxes, before)
    np.testing.assert_array_equal(clip_boxes(clipped, (50, 100)), clipped)


@pytest.mark.parametrize(
    "box", [(1, 2, 3, 4), (3, 2, 1, 4), (1, 4, 3, 2), (3, 4, 1, 2)], ids=["right", "y", "x", "both"]
)
def test_normalized_box_from_any_corner(box: tuple[float, float, float, float]) -> None:
    normal = normalized_box(box)
    assert normal == (1, 2, 3, 4)
    assert all(type(v) is float for v in normal)
    assert all(type(v) is float for v in normalized_box(tuple(np.float32(box))))


def test_match_takes_the_best_pair_first() -> None:
    a = [(0, 0, 10, 10), (0, 4, 10, 14)]
    b = [(0, 3, 10, 13)]  # overlaps the first by 7/13, the second by 9/11
    assert match_boxes(a, b) == [(1, 0)]
    assert match_boxes(b, a) == [(0, 1)]
    assert match_boxes(a, b, iou=0.9) == []


def test_match_ties_go_to_the_lower_index() -> None:
    assert match_boxes([SQUARE, SQUARE], [SQUARE]) == [(0, 0)]
    assert match_boxes([SQUARE], [SQUARE, SQUARE]) == [(0, 0)]
    assert match_boxes([SQUARE, SQUARE], [SQUARE, SQUARE]) == [(0, 0), (1, 1)]


def test_match_counts_the_threshold_itself() -> None:
    assert match_boxes([SQUARE], [(0, 0, 10, 5)], iou=0.5) == [(0, 0)]


def test_match_of_nothing() -> None:
    assert match_boxes([], [SQUARE]) == []
    assert match_boxes([SQUARE], []) == []
    assert match_boxes([], []) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou", [0.1, 0.3, 0.5])
def test_match_properties(seed: int, iou: float) -> None:
    a, b = random_boxes(60, seed), random_boxes(50, seed + 50)
    overlap = iou_matrix(a, b)
    pairs = match_boxes(a, b, iou)
    used_a, used_b = [i for i, _ in pairs], [j for _, j in pairs]
    assert len(set(used_a)) == len(used_a)
    assert len(set(used_b)) == len(used_b)
    assert all(overlap[i, j] >= iou for i, j in pairs)
    left = np.delete(np.delete(overlap, used_a, axis=0), used_b, axis=1)
    assert not (left >= iou).any()  # nothing that fits is left over
    values = [overlap[i, j] for i, j in pairs]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_neighbours_equal_the_whole_matrix(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cellal.core.geometry._TOGETHER", 7)
    a, b = random_boxes(60, seed), random_boxes(80, seed + 10)
    rows, cols, values = overlapping_pairs(a, b, 0.2)
    whole = iou_matrix(a, b)
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == set(
        zip(*(k.tolist() for k in np.nonzero(whole >= 0.2)), strict=True)
    )
    assert np.allclose(values, whole[rows, cols])


@pytest.mark.parametrize(("a", "b"), [([], [SQUARE]), ([SQUARE], []), ([], [])])
def test_no_pairs_without_boxes(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    assert [len(part) for part in overlapping_pairs(a, b, 0.5)] == [0, 0, 0]
