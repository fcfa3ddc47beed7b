"""How well cells were classed, in every respect: for a table, a report, or the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from napari_cellal.core.rates import f1_of, macro_f1
from napari_cellal.core.reliability import ReliabilityPoint, calibration_error, reliability

from .intervals import wilson_interval
from .metrics import Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class ClassFigures(Rates):
    """One class's rates; intervals are Wilson's at 95 %, None where nothing was counted."""

    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]
    average_precision: float | None
    roc_auc: float | None


@dataclass(frozen=True, slots=True)
class Confused:
    """How often cells of one class were taken for another; ``share`` of the class's cells."""

    true: str
    predicted: str
    cells: int
    share: float


@dataclass(frozen=True, slots=True)
class Loss:
    """One answer; ``loss`` is how surprising the truth was to the model."""

    key: str
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: float
    """That the model gave to the truth, 0..1."""
    loss: float


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of cells from one data set, plate, slide or folder."""

    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    cells: int


@dataclass(frozen=True, slots=True)
class ClassReport:
    """How well cells were classed.

    Attributes
    ----------
    accuracy : float, 0..1;  interval : (low, high)
        Its 95 % Wilson interval. With several classes a cell, all must be right.
    macro_f1, weighted_f1 : float
        F1 averaged over the classes that occur: alike, and by their number of cells.
    average_precision, roc_auc : float or None
        Mean over the classes that some cells have and others have not.
    calibration_error : float or None;  reliability : tuple of ReliabilityPoint
        See `calibration`.
    per_class : {name: ClassFigures}
    confusion : tuple of tuple of int, [K][K]
        Rows true, columns predicted; empty where a cell may have several classes.
    confused : tuple of Confused
        Pairs of classes, the most confused first.
    losses : tuple of Loss
        The worst answers first.
    per_source : {source: SourceFigures}
    """

    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    weighted_f1: float
    average_precision: float | None
    roc_auc: float | None
    calibration_error: float | None
    reliability: tuple[ReliabilityPoint, ...]
    per_class: dict[str, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]
    class_names: tuple[str, ...]
    confused: tuple[Confused, ...]
    losses: tuple[Loss, ...]
    per_source: dict[str, SourceFigures]
    cells: int
    multi_label: bool

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain dicts, lists and numbers."""
        return asdict(self)


def class_report(
    keys: Sequence[str],
    true: NDArray[Any],
    probabilities: NDArray[np.floating],
    class_names: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    multi_label: bool = False,
    cut: float = 0.5,
    worst: int = 20,
) -> ClassReport:
    """Return how well cells were classed.

    Parameters
    ----------
    keys : sequence of str, N
        What the cells are known by.
    true : bool[N, K]
        Whether a cell has the class; one a row unless ``multi_label``.
    probabilities : float[N, K], 0..1
    sources : sequence of str or None
        Where each cell is from.
    cut : float
        Probability from which a class is given, where there may be several.
    worst : int
        How many losses and confused pairs are told.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    has = np.asarray(true, bool)
    p = np.asarray(probabilities, np.float64)
    names = tuple(class_names)
    if has.shape != p.shape or has.shape != (len(keys), len(names)):
        raise ValueError(f"{len(keys)} cells of {len(names)} classes, but {has.shape}, {p.shape}")
    said = p >= cut if multi_label else _one_hot(p)
    right = (has == said).all(axis=1)
    per_class = {name: _figures(has[:, k], said[:, k], p[:, k]) for k, name in enumerate(names)}
    present = [r for r in per_class.values() if r.support]
    support = sum(r.support for r in present)
    confidence = np.where(p >= 0.5, p, 1 - p).ravel() if multi_label else p.max(axis=1, initial=0)
    points = reliability(confidence, (has == said).ravel() if multi_label else right)
    table = has.T.astype(np.int64) @ said.astype(np.int64)
    return ClassReport(
        float(right.mean()) if len(right) else 0.0,
        wilson_interval(int(right.sum()), len(right)),
        float(macro_f1((has & said).sum(axis=0), has.sum(axis=0), said.sum(axis=0))),
        sum(r.f1 * r.support for r in present) / support if support else 0.0,
        _mean([r.average_precision for r in per_class.values()]),
        _mean([r.roc_auc for r in per_class.values()]),
        calibration_error(points),
        points,
        per_class,
        () if multi_label else tuple(tuple(int(v) for v in row) for row in table),
        names,
        () if multi_label else _confused(table, names, worst),
        _losses(keys, has, said, p, names, worst, multi_label=multi_label),
        {} if sources is None else _per_source(sources, has, said, right),
        len(keys),
        multi_label,
    )


def _one_hot(p: NDArray[np.floating]) -> NDArray[np.bool_]:
    out = np.zeros(p.shape, bool)
    if len(p):
        out[np.arange(len(p)), p.argmax(axis=1)] = True
    return out


def _figures(
    has: NDArray[np.bool_], said: NDArray[np.bool_], p: NDArray[np.floating]
) -> ClassFigures:
    right, named, support = (int(v.sum()) for v in (has & said, said, has))
    both = 0 < support < len(has)
    return ClassFigures(
        right / named if named else 0.0,
        right / support if support else 0.0,
        float(f1_of(right, support, named)),
        support,
        wilson_interval(right, named),
        wilson_interval(right, support),
        float(average_precision_score(has, p)) if both else None,
        float(roc_auc_score(has, p)) if both else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _confused(
    table: NDArray[np.integer], names: tuple[str, ...], most: int
) -> tuple[Confused, ...]:
    pairs = [
        Confused(names[i], names[j], int(table[i, j]), float(table[i, j] / table[i].sum()))
        for i in range(len(names))
        for j in range(len(names))
        if i != j and table[i, j]
    ]
    return tuple(sorted(pairs, key=lambda c: (-c.cells, -c.share))[:most])


def _losses(
    keys: Sequence[str],
    has: NDArray[np.bool_],
    said: NDArray[np.bool_],
    p: NDArray[np.floating],
    names: tuple[str, ...],
    most: int,
    *,
    multi_label: bool,
) -> tuple[Loss, ...]:
    of_truth = np.where(has, p, 1 - p if multi_label else 1)
    likelihood = of_truth.prod(axis=1)
    order = np.argsort(likelihood, kind="stable")[:most]

    def words(row: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(name for name, is_there in zip(names, row, strict=True) if is_there)

    return tuple(
        Loss(
            keys[i],
            words(has[i]),
            words(said[i]),
            float(likelihood[i]),
            float(-np.log(max(likelihood[i], _TINY))),
        )
        for i in order
    )


def _per_source(
    sources: Sequence[str],
    has: NDArray[np.bool_],
    said: NDArray[np.bool_],
    right: NDArray[np.bool_],
) -> dict[str, SourceFigures]:
    of = np.asarray(sources, dtype=object)
    result = {}
    for source in sorted(set(sources)):
        mine = of == source
        n = int(mine.sum())
        hits = (has[mine] & said[mine]).sum(axis=0)
        result[source] = SourceFigures(
            float(right[mine].mean()),
            wilson_interval(int(right[mine].sum()), n),
            float(macro_f1(hits, has[mine].sum(axis=0), said[mine].sum(axis=0))),
            n,
        )
    return result
