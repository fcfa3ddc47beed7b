"""Which cells look most like others, by their features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest(
    points: NDArray[np.floating], others: NDArray[np.floating], n: int
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Return the positions of the nearest others of each point, and how far they are.

    int[P, n] and float[P, n], by falling likeness; fewer columns where there are fewer others.

    Parameters
    ----------
    points : float[P, F]
    others : float[O, F]
    """
    square = ((points[:, None] - others[None]) ** 2).sum(axis=2)  # [P, O]
    found = np.argsort(square, axis=1, kind="stable")[:, :n]
    return found, np.sqrt(np.take_along_axis(square, found, axis=1))
