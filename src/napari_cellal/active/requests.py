"""What goes to and comes from a suggestion job. Light, so that the window may import it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def pack_rows(wanted: NDArray[np.bool_]) -> bytes:
    """Return bool[N] as bits."""
    return np.packbits(wanted).tobytes()


def unpack_rows(bits: bytes, n: int) -> NDArray[np.intp]:
    """Return the rows below ``n`` whose bit is set, rising."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), count=n))


@dataclass(frozen=True, slots=True)
class SuggestRequest:
    """What to suggest from. Picklable, and small beside the table it points to.

    Attributes
    ----------
    features_path : str
        The npz that `FeatureTable.save` wrote.
    labelled : {cell_id: class_id}
        What people have said; may be empty. Cells that the table lacks are left out.
    holdout : {cell_id: class_id}
        Labels that are measured on and never learned from. A cell that stands in both
        counts as hold-out.
    class_names : {class_id: name}
        Every class of the project, in its order.
    candidates : bytes or None
        Which rows of the table may be suggested, a bit for each, see `pack_rows`; None means
        every row. The ids of 100,000 cells would take 20 ms on their way to a worker.
    others : tuple of str
        Cells that are classed too, but that the learner takes nothing from.
    strategy, estimator : str
        Keys of `STRATEGIES` and `ESTIMATORS`.
    n : int
        How many suggestions to make.
    like : int or None
        The class that the strategy ``rare`` hunts; None means the one with the fewest labels.
    scores : bytes
        How sure the detector is of the cell of each row, float32, NaN where it was not asked; for
        the strategy ``detector``, else empty.
    """

    features_path: str
    labelled: Mapping[str, int]
    holdout: Mapping[str, int] = field(default_factory=dict)
    class_names: Mapping[int, str] = field(default_factory=dict)
    candidates: bytes | None = None
    strategy: str = "automatic"
    estimator: str = "self_training"
    n: int = 1
    seed: int = 0
    others: tuple[str, ...] = ()
    like: int | None = None
    scores: bytes = b""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The cells to ask about next, best first; n of them, or fewer where the pool ends.

    Attributes
    ----------
    cell_ids : tuple of str, n
    indices : intp[n]
        Their rows in the table.
    scores : float64[n]
        How much the strategy wants each; comparable within one answer only.
    class_ids : tuple of int, K
    probabilities : float64[n, K]
        Rows sum to 1; all equal while fewer than two classes have labels.
    reasons : tuple of str, n
        Why each was chosen, in words that follow "why this one:".
    neighbours : tuple of (cell_id, ...), n
        Up to three labelled cells that look most like it, nearest first.
    """

    cell_ids: tuple[str, ...]
    indices: NDArray[np.intp]
    scores: NDArray[np.float64]
    class_ids: tuple[int, ...]
    probabilities: NDArray[np.float64]
    reasons: tuple[str, ...]
    neighbours: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.cell_ids)


@dataclass(frozen=True, slots=True)
class ReliabilityPoint:
    """Cells whose most probable class was about equally probable.

    Attributes
    ----------
    cells : int
    sure : float, 0..1
        Mean probability of the most probable class.
    right : float, 0..1
        Share of the cells that are of it.
    """

    cells: int
    sure: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether cells of probability 0.8 are right in 8 of 10 cases.

    Attributes
    ----------
    error : float, 0..1
        Expected calibration error: the mean distance of ``sure`` and ``right``.
    points : tuple of ReliabilityPoint
        Ten bins at most, least sure first; empty ones are left out.
    """

    error: float
    points: tuple[ReliabilityPoint, ...]


@dataclass(frozen=True, slots=True)
class HoldoutScore:
    """How well the labels so far predict the hold-out labels.

    Attributes
    ----------
    cells : int
        How many cells that was measured on.
    accuracy, low, high : float, 0..1
        Accuracy and its 95 % Wilson interval.
    macro_f1 : float, 0..1
        F1 averaged over the classes that occur.
    macro_low, macro_high : float, 0..1
        95 % of 200 bootstrap samples of the cells.
    reliability : Reliability or None
    """

    cells: int
    accuracy: float
    low: float
    high: float
    macro_f1: float
    macro_low: float = 0.0
    macro_high: float = 1.0
    reliability: Reliability | None = None


@dataclass(frozen=True, slots=True)
class SuggestResult:
    """Suggestions, and how good the model behind them is.

    Attributes
    ----------
    labels : int
        How many labelled cells the model learned from.
    holdout : HoldoutScore or None
        None while there are no hold-out labels or no model.
    remaining : int
        Cells that may be suggested and have no label yet.
    """

    suggestions: Suggestions
    labels: int
    remaining: int
    holdout: HoldoutScore | None


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """How to put the measured cells in order; see `order.order_cells`.

    Attributes
    ----------
    order : str
        ``doubt``, ``group``, ``alike`` or ``mislabels``.
    labelled : {cell_id: class_id}
        What people have said, of every image.
    like : str
        The cell that the first ones of ``alike`` look like.
    """

    features_path: str
    order: str
    labelled: Mapping[str, int]
    class_names: Mapping[int, str] = field(default_factory=dict)
    like: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The measured cells in order.

    Attributes
    ----------
    cell_ids : tuple of str, N
    class_ids : tuple of int, K
    probabilities : float32[N, K] or None
        What the learner says of each cell, in the cells' order; None while there is none.
    note : str
        Why the order is not the one asked for, or what it did not find; else empty.
    """

    cell_ids: tuple[str, ...]
    class_ids: tuple[int, ...]
    probabilities: NDArray[np.float32] | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ControlPoint:
    """The learner after so many of the labels, picked at random; mean over some draws."""

    labels: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class Mislabel:
    """A label that the others speak against.

    Attributes
    ----------
    class_id, likely_id : int
        What was said, and what it looks like.
    probability, likely_probability : float, 0..1
        Of the two, by a learner that was not shown this label.
    """

    cell_id: str
    class_id: int
    likely_id: int
    probability: float
    likely_probability: float
