"""Axes of a file's array as t, z and [C, Y, X], whatever order they stand in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_cellal.core.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window: TypeAlias = tuple[int, int, int, int]
"""(y0, x0, y1, x1), px of the level asked for, half-open."""

# A leading axis that the file does not name is channels up to this length, planes of a
# z-stack above: 5- to 8-channel plates are common, stacks of so few planes are not.
MAX_UNNAMED_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array maps to t, z and [C, Y, X].

    Attributes
    ----------
    roles : str
        One of T, Z, C, Y, X, S for every axis of ``shape``. Axes of one role are read as
        one, the first slowest.
    samples : int
        Samples of a pixel that are kept; alpha is not counted.
    """

    roles: str
    shape: tuple[int, ...]
    samples: int = 1
    rgb: bool = False

    def size(self, role: str) -> int:
        """Return the number of planes along a role, 1 where no axis has it."""
        return math.prod(n for r, n in zip(self.roles, self.shape, strict=True) if r == role)

    @property
    def plane_shape(self) -> tuple[int, int, int]:
        """(C, Y, X)."""
        return (self.size("C") * self.samples, self.size("Y"), self.size("X"))


def roles_of(axes: str, shape: tuple[int, ...], name: str) -> str:
    """Return a role for each axis; unnamed ones become channels or z.

    Raises
    ------
    ImageError
        If the file ``name`` names no axes and its channels seem to come last: read as it
        stands, every row of the picture would be a plane.
    """
    roles = "".join(r if r in "TZCYXS" else "?" for r in axes)
    unnamed = [k for k, r in enumerate(roles) if r == "?"]
    if unnamed and "S" not in roles and shape[roles.index("X")] <= MAX_UNNAMED_CHANNELS:
        lead = shape[unnamed[-1]]
        if lead > 4 * MAX_UNNAMED_CHANNELS and shape[roles.index("Y")] > 4 * MAX_UNNAMED_CHANNELS:
            sizes = " x ".join(map(str, shape))
            raise ImageError(
                f"{name} ({sizes}) seems to have its channels last: save it with channels "
                "first, or as OME-TIFF, which says what each axis is."
            )
    for k in unnamed:
        few = shape[k] <= MAX_UNNAMED_CHANNELS and "C" not in roles and "S" not in roles
        roles = roles[:k] + ("C" if few else "Z") + roles[k + 1 :]
    return roles


def pick(stack: Any, layout: Layout, t: int, z: int) -> Any:
    """Return [C, Y, X] of a whole array, as a view where possible."""
    for role, index in (("T", t), ("Z", z)):
        for k, i in places(layout, role, index).items():
            stack = stack[(slice(None),) * k + (slice(i, i + 1),)]
    order = [k for role in "TZCSYX" for k, r in enumerate(layout.roles) if r == role]
    stack = stack.transpose(order)
    n_samples = math.prod(n for r, n in zip(layout.roles, layout.shape, strict=True) if r == "S")
    _, height, width = layout.plane_shape
    stack = stack.reshape((layout.size("C"), n_samples, height, width))
    stack = stack[:, : layout.samples]
    return stack.reshape(layout.plane_shape)


def places(layout: Layout, role: str, index: int) -> dict[int, int]:
    """Return {axis: where on it} of one number along all the axes of a role."""
    axes = [k for k, r in enumerate(layout.roles) if r == role]
    if not axes:
        return {}
    at = np.unravel_index(index, [layout.shape[k] for k in axes])
    return {k: int(i) for k, i in zip(axes, at, strict=True)}


def read_part(
    array: Any, layout: Layout, t: int, z: int, window: Window, channels: slice
) -> NDArray[Any]:
    """Return [c, y, x] of one t and z, asking the array for no more than that.

    Parameters
    ----------
    array : anything that numpy's basic slices work on
        A zarr array or a memory map.
    """
    y0, x0, y1, x1 = window
    at = places(layout, "T", t) | places(layout, "Z", z)
    direct = layout.roles.count("C") == 1 and "S" not in layout.roles
    inner = {"Y": slice(y0, y1), "X": slice(x0, x1)} | ({"C": channels} if direct else {})
    index = tuple(
        slice(at[k], at[k] + 1) if k in at else inner.get(role, slice(None))
        for k, role in enumerate(layout.roles)
    )
    part = np.asarray(array[index])
    plane = pick(part, replace(layout, shape=part.shape), 0, 0)
    return np.array(plane if direct else plane[channels])
