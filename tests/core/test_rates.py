"""F1 from counts: by hand, and the same wherever it is told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.rates import f1_of, macro_f1
from napari_cellal.evaluate.metrics import evaluate_classes


def test_by_hand():
    assert f1_of(3, 4, 6) == pytest.approx(0.6)
    assert f1_of(0, 0, 0) == 0
    # two cells of a, both right; one of b, taken for c; c does not occur
    assert macro_f1([2, 0, 0], [2, 1, 0], [2, 0, 1]) == pytest.approx(0.5)
    assert macro_f1([2, 0, 0], [2, 1, 0], [2, 0, 1], also_said=True) == pytest.approx(1 / 3)
    assert macro_f1([0], [0], [3]) == 0
    many = macro_f1(np.ones((4, 2)), np.ones((4, 2)), np.ones((4, 2)))
    assert many.tolist() == [1, 1, 1, 1]


def test_a_class_that_is_only_said_does_not_count_as_one():
    m = evaluate_classes([1, 1, 2], [1, 1, 3], None, [1, 2, 3])
    assert m.macro_f1 == pytest.approx(0.5)
    assert m.macro_f1 == pytest.approx(np.mean([m.per_class[c].f1 for c in (1, 2)]))
