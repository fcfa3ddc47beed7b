"""Figures for boxes and classes, against what people have confirmed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix

from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.rates import f1_of, macro_f1

from .average_precision import (
    ImageBoxes,
    Truth,
    average_precisions,
    coco_precisions,
    hits_of,
    image_boxes,
    map50_interval,
    of_class,
    ranked,
)
from .intervals import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_cellal.core.records import Detections


@dataclass(frozen=True, slots=True)
class Rates:
    """Precision, recall and F1, 0..1; ``support`` is how many true ones there are."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassBoxMetrics(Rates):
    """One class's rates and average precisions; None where no true cell has the class."""

    ap50: float | None
    ap5095: float | None


@dataclass(frozen=True, slots=True)
class BoxMetrics:
    """How well boxes were found and classed.

    Attributes
    ----------
    map50, map5095 : float or None
        Average precision at IoU 0.5, and averaged over 0.5, 0.55 ... 0.95, as COCO
        computes it; mean over the classes that occur. None if none does.
    interval : (low, high) or None
        95 % bootstrap interval of ``map50`` over images.
    per_class : {class_id: ClassBoxMetrics}
    blind : Rates
        The same rates with classes ignored.
    blind_ap50 : float or None
    confusion : tuple of tuple of int, [K + 1][K + 1]
        Rows are true classes and, last, background (a box where no cell is). Columns
        are predicted classes and, last, missed. Boxes without a class stand nowhere.
    class_ids : tuple of int, K
    score, iou : float
        Rates and confusion count boxes of this score or more, found at this overlap.
    images, cells : int
    """

    map50: float | None
    map5095: float | None
    interval: tuple[float, float] | None
    per_class: dict[int, ClassBoxMetrics]
    blind: Rates
    blind_ap50: float | None
    confusion: tuple[tuple[int, ...], ...]
    class_ids: tuple[int, ...]
    score: float
    iou: float
    images: int
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain dicts, lists and numbers."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ClassRates(Rates):
    """One class's rates and average precision (None without probabilities or cells)."""

    average_precision: float | None


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well cells were classed.

    Attributes
    ----------
    accuracy : float, 0..1;  interval : (low, high)
        Its 95 % Wilson interval.
    macro_f1 : float, 0..1
        F1 averaged over the classes that occur among the true ones.
    average_precision : float or None
        Mean over the same classes; None without probabilities.
    confusion : tuple of tuple of int, [K][K]
        Rows true, columns predicted.
    """

    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    average_precision: float | None
    per_class: dict[int, ClassRates]
    confusion: tuple[tuple[int, ...], ...]
    class_ids: tuple[int, ...]
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain dicts, lists and numbers."""
        return asdict(self)


def evaluate_boxes(
    predictions: Sequence[Detections],
    truth: Truth,
    class_ids: Sequence[int],
    *,
    score: float = 0.5,
    iou: float = 0.5,
    seed: int = 0,
) -> BoxMetrics:
    """Return how well predicted boxes fit the true ones.

    An image of ``truth`` without a prediction counts as one where nothing was found;
    predictions for other images are ignored. Boxes without area are left out on both
    sides. Average precision is that of COCO (Lin et al., ECCV 2014), without its limit
    of 100 boxes an image.

    Parameters
    ----------
    predictions : sequence of Detections
    truth : {image_id: (boxes, class ids)}
        Every cell of each image. A class that is None or not among ``class_ids``
        counts only where classes are ignored.
    class_ids : sequence of int
    score : float, 0..1
        Where precision, recall, F1 and confusion cut; average precision has no cut.
    iou : float, 0..1
        Overlap from which a box counts as found.
    """
    ids = tuple(class_ids)
    images = image_boxes(predictions, truth)
    ap50, ap5095 = coco_precisions(images, ids)
    per_class = {}
    for k, class_id in enumerate(ids):
        rates = _rates([of_class(image, class_id) for image in images], score, iou)
        per_class[class_id] = ClassBoxMetrics(
            rates.precision, rates.recall, rates.f1, rates.support, ap50[k], ap5095[k]
        )
    means = [_mean(ap50), _mean(ap5095)]
    blind_curve = ranked(images, 0.5)
    every = np.ones((1, len(images)))
    return BoxMetrics(
        means[0],
        means[1],
        map50_interval(images, ids, seed) if means[0] is not None else None,
        per_class,
        _rates(images, score, iou),
        float(average_precisions(blind_curve, every)[0]) if blind_curve[2].sum() else None,
        _box_confusion(images, ids, score, iou),
        ids,
        score,
        iou,
        len(images),
        sum(len(image.true) for image in images),
    )


def evaluate_classes(
    true: Sequence[int],
    predicted: Sequence[int],
    probabilities: ArrayLike | None = None,
    class_ids: Sequence[int] | None = None,
) -> ClassMetrics:
    """Return how well cells were classed.

    Parameters
    ----------
    true, predicted : sequence of int, N
        Class ids.
    probabilities : float[N, K] or None
        Columns in the order of ``class_ids``.
    class_ids : sequence of int, K, or None
        None means all that occur, ascending.

    Raises
    ------
    ValueError
        If lengths differ or a class is not among ``class_ids``.
    """
    t, p = np.asarray(true, np.int64), np.asarray(predicted, np.int64)
    ids = tuple(class_ids) if class_ids is not None else tuple(np.union1d(t, p).tolist())
    if len(t) != len(p) or not set(t.tolist()) | set(p.tolist()) <= set(ids):
        raise ValueError("true and predicted classes must be equally many, and known")
    table = (
        confusion_matrix(t, p, labels=list(ids)) if len(t) else np.zeros((len(ids),) * 2, np.int64)
    )
    scores = None if probabilities is None else np.asarray(probabilities, np.float64)
    if scores is not None and scores.shape != (len(t), len(ids)):
        raise ValueError(f"probabilities of shape {scores.shape}, not {(len(t), len(ids))}")
    per_class = {}
    for k, class_id in enumerate(ids):
        right, support, named = (int(v) for v in (table[k, k], table[k].sum(), table[:, k].sum()))
        ap = None
        if scores is not None and support:
            ap = float(average_precision_score(t == class_id, scores[:, k]))
        rates = _rates_of(right, named, support)
        per_class[class_id] = ClassRates(rates.precision, rates.recall, rates.f1, rates.support, ap)
    right = int(np.trace(table))
    present = [rates for rates in per_class.values() if rates.support]
    hits, cells, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    return ClassMetrics(
        right / len(t) if len(t) else 0.0,
        wilson_interval(right, len(t)),
        float(macro_f1(hits, cells, said)),
        _mean([rates.average_precision for rates in present]),
        per_class,
        _as_tuples(table),
        ids,
        len(t),
    )


def _rates(images: Sequence[ImageBoxes], score: float, iou: float) -> Rates:
    right = named = 0
    for image in images:
        cut = int(np.count_nonzero(image.scores >= score))  # they are sorted
        right += int(np.count_nonzero(hits_of(image, iou)[:cut]))
        named += cut
    return _rates_of(right, named, sum(len(image.true) for image in images))


def _rates_of(right: int, named: int, support: int) -> Rates:
    precision = right / named if named else 0.0
    recall = right / support if support else 0.0
    return Rates(precision, recall, float(f1_of(right, support, named)), support)


def _box_confusion(
    images: Sequence[ImageBoxes], ids: tuple[int, ...], score: float, iou: float
) -> tuple[tuple[int, ...], ...]:
    place = {class_id: k for k, class_id in enumerate(ids)}
    table = np.zeros((len(ids) + 1, len(ids) + 1), np.int64)
    for image in images:
        cut = int(np.count_nonzero(image.scores >= score))
        pairs = match_boxes(image.true, image.found[:cut], iou)
        column = {i: image.found_classes[j] for i, j in pairs}
        for i, class_id in enumerate(image.true_classes):
            guess = int(column[i]) if i in column else None
            if int(class_id) in place and (guess is None or guess in place):
                table[place[int(class_id)], -1 if guess is None else place[guess]] += 1
        matched = {j for _, j in pairs}
        for j, class_id in enumerate(image.found_classes[:cut]):
            if j not in matched and int(class_id) in place:
                table[-1, place[int(class_id)]] += 1
    return _as_tuples(table)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _as_tuples(table: NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(v) for v in row) for row in table)
