"""F1 from counts, for every place that tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def f1_of(right: ArrayLike, cells: ArrayLike, said: ArrayLike) -> NDArray[np.float64]:
    """Return F1 of each class, 0..1; 0 where it neither occurs nor is said.

    Parameters
    ----------
    right, cells, said : number[..., K]
        Right answers, cells of the class, answers that say it.
    """
    both = np.asarray(cells) + np.asarray(said)
    return np.asarray(2 * np.asarray(right) / np.maximum(both, 1), np.float64)


def macro_f1(
    right: ArrayLike, cells: ArrayLike, said: ArrayLike, *, also_said: bool = False
) -> NDArray[np.float64]:
    """Return F1 averaged over the classes that occur, float64[...]; 0 where none does.

    Parameters
    ----------
    also_said : bool
        Whether a class that is said and does not occur counts as one, with F1 0, as scikit-learn
        has it; the learner's curves do.
    """
    counted = np.asarray(cells) > 0
    if also_said:
        counted = counted | (np.asarray(said) > 0)
    total = np.where(counted, f1_of(right, cells, said), 0.0).sum(axis=-1)
    return np.asarray(total / np.maximum(counted.sum(axis=-1), 1), np.float64)
