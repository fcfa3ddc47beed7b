"""What every image format offers once a file is open. `pixels` is the door to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .axes import Layout, Window


@dataclass(frozen=True, slots=True)
class Description:
    """What a file says about its channels: nothing where the fields are empty.

    ``colors`` are #RRGGBB, one a channel; ``pixel_size_um`` is the width of a pixel.
    """

    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    pixel_size_um: float | None = None


class Opened(Protocol):
    """One scene of an open image file.

    Attributes
    ----------
    levels : tuple of (Y, X)
        Sizes of the picture, full size first; more than one for a pyramid.
    block : (Y, X) or None
        What can be read by itself, px of the full size; None where a part costs as much
        as the whole.
    """

    @property
    def layout(self) -> Layout:
        """How planes are made of the stored axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored numbers' type."""

    @property
    def n_scenes(self) -> int:
        """How many pictures of their own the file holds."""

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Sizes of the picture."""

    @property
    def block(self) -> tuple[int, int] | None:
        """What can be read by itself."""

    def fingerprint(self) -> str:
        """Return what changes when the content does, 32 hexadecimal digits."""

    def describe(self) -> Description:
        """Return channel names, colours and pixel size."""

    def check(self) -> None:
        """Raise `ImageError` where the file is incomplete."""

    def read(self, t: int, z: int) -> NDArray[Any]:
        """Return one plane, [C, Y, X]."""

    def read_part(
        self, t: int, z: int, window: Window, channels: slice, level: int
    ) -> NDArray[Any]:
        """Return a part of one plane, [c, y, x], reading as little as the format allows."""
