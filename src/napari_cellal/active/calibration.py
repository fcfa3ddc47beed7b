"""How far probabilities can be trusted, and making them trustworthy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold

from napari_cellal.core.reliability import calibration_error
from napari_cellal.core.reliability import reliability as points_of

from .requests import Reliability, ReliabilityPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FOLDS = 4
_FEWEST = 2 * _FOLDS
_COOLEST, _HOTTEST = 0.1, 10.0


def reliability(
    truth: NDArray[np.integer], p: NDArray[np.floating], classes: Sequence[int]
) -> Reliability | None:
    """Return how often the most probable class is right, by how probable it was.

    The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) over ten bins
    of equal width. None without cells.

    Parameters
    ----------
    truth : int[n]
    p : float[n, K]
        Probability of each of ``classes``.
    """
    if not len(truth):
        return None
    sure = p.max(axis=1)
    right = np.asarray(classes)[p.argmax(axis=1)] == truth
    found = points_of(sure, right)
    points = tuple(ReliabilityPoint(q.n, round(q.confidence, 4), round(q.right, 4)) for q in found)
    return Reliability(round(calibration_error(found) or 0.0, 4), points)


class Tempered(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose probabilities are sharpened or flattened until they are true.

    One number, the temperature, is fitted to predictions for labels that the model did not
    see, in four folds (Guo et al., "On calibration of modern neural networks", ICML 2017).
    Platt's scaling would take several labels of each class. The order of a cell's classes
    stays. With fewer than two labels in a fold of the rarest class nothing is changed.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, x: NDArray[np.floating], y: NDArray[np.integer]) -> Tempered:
        """Fit the classifier to all labels, the temperature to those left out in turn."""
        self.temperature_ = 1.0
        self.classes_, known = np.unique(y, return_inverse=True)
        if np.bincount(known).min() >= _FEWEST:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
            left_out = np.zeros((len(y), len(self.classes_)))
            for learn, check in folds.split(x, known):
                model = clone(self.estimator).fit(x[learn], known[learn])
                left_out[check] = model.predict_proba(x[check])
            self.temperature_ = _temperature(left_out, known)
        self.fitted_ = clone(self.estimator).fit(x, known)
        return self

    def predict_proba(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return float64[n, K], rows that sum to 1."""
        return _at_temperature(self.fitted_.predict_proba(x), self.temperature_)

    def predict(self, x: NDArray[np.floating]) -> NDArray[Any]:
        """Return each row's most probable class."""
        return np.asarray(self.classes_[self.predict_proba(x).argmax(axis=1)])


def _at_temperature(p: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    z = np.log(np.maximum(np.asarray(p, np.float64), 1e-12)) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def _temperature(p: NDArray[np.floating], target: NDArray[np.intp]) -> float:
    """Return the temperature at which these predictions are least surprised by the truth."""

    def surprise(log_t: float) -> float:
        q = _at_temperature(p, float(np.exp(log_t)))
        return -float(np.log(np.maximum(q[np.arange(len(q)), target], 1e-12)).mean())

    found = minimize_scalar(surprise, bounds=(np.log(_COOLEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))
