"""What describes cells by figures: measurements, or what a network sees in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.masks import Mask

    from .view import Levels


class Describer(Protocol):
    """A set of features. A cell's row depends on its pixels, its box and its mask alone.

    Attributes
    ----------
    name : str
        Names its files in the cache.
    key : str
        Changes whenever a figure would: version, settings, the checksum of weights.
    chunk : int
        Cells between two progress values, so that a cancel is heard within half a second.
    sees_masks : bool
        Whether a cell's mask changes its row.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def key(self) -> str:
        """See above."""

    @property
    def chunk(self) -> int:
        """See above."""

    @property
    def sees_masks(self) -> bool:
        """See above."""

    def names(self, channels: Sequence[str], *, rgb: bool) -> tuple[str, ...]:
        """Return the names of the columns of `rows`."""

    def rows(
        self,
        pixels: NDArray[Any],
        boxes: NDArray[Any],
        *,
        rgb: bool,
        channels: Sequence[str],
        levels: Levels,
        masks: Sequence[Mask | None] = (),
    ) -> NDArray[Any]:
        """Return float32[N, F], finite, of boxes in pixels [C, Y, X] of finite values.

        ``levels`` are those of the whole image, of which ``pixels`` may be a part. ``masks``
        has one for each box, in the same coordinates; empty where no cell has one.
        """
