"""Colour pictures that are grey: many cameras and data sets save one channel as three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Above this a picture is not decoded just to look at it: 100 megapixels take a second.
MAX_LOOK_PIXELS = 100_000_000


def merge_gray(plane: NDArray[Any]) -> NDArray[Any]:
    """Return [1, Y, X] where red, green and blue are the same picture, else the plane.

    A picture of one colour throughout says nothing about that and stays as it is.
    """
    if len(plane) != 3 or plane.min() == plane.max():
        return plane
    for rows in (slice(None, None, 16), slice(None)):  # a sixteenth settles most
        if any((plane[k, rows] != plane[0, rows]).any() for k in (1, 2)):
            return plane
    return np.ascontiguousarray(plane[:1])
