"""What a kind of network must offer, so that it can be trained, run, kept and trained further."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from .pyramid import FinePyramid
    from .settings import PredictSettings


class ClassRows(NamedTuple):
    """A layer of which some rows belong to a class each.

    Attributes
    ----------
    layer : str
        Its name in the network.
    each : int
        Rows a class.
    before : int
        Classes before the first one: the background.
    """

    layer: str
    each: int
    before: int


class CellNetwork(nn.Module):
    """A network that finds cells, as `network.build_detector` returns it."""

    backbone: FinePyramid
    class_rows: ClassVar[tuple[ClassRows, ...]]
    """The rest of the network can be taken over by a model of other classes."""

    def classes_in(self, picture: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores and the probabilities of the classes of one box, float[K] each.

        Scores are what the network computes before it makes probabilities of them.

        Parameters
        ----------
        picture : float32[C, h, w], 0..1
        box : float32[4]
            (x0, y0, x1, y1), network px.
        """
        raise NotImplementedError

    def limit(self, settings: PredictSettings) -> None:
        """Have the network drop what the settings drop."""
        raise NotImplementedError
