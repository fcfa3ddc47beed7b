"""The model behind the suggestions, made anew from the labels each time."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from modAL.models import ActiveLearner, Committee
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from napari_cellal.core.errors import ModelError

from .calibration import Tempered
from .softmax import SelfTraining

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def self_training(seed: int, unlabelled: NDArray[np.float32] | None) -> Any:
    """Return logistic regression that learns from unlabelled cells too."""
    return SelfTraining(unlabelled)


def logistic(seed: int, unlabelled: NDArray[np.float32] | None = None) -> Any:
    """Return logistic regression, its classes balanced: few labels, calibrated, fast."""
    return LogisticRegression(C=1.0, class_weight="balanced", max_iter=300, random_state=seed)


def random_forest(seed: int, unlabelled: NDArray[np.float32] | None = None) -> Any:
    """Return a random forest (Breiman, Machine Learning 45, 2001) of 100 trees."""
    return RandomForestClassifier(
        100, class_weight="balanced_subsample", min_samples_leaf=1, n_jobs=1, random_state=seed
    )


class MarginSVC(SVC):  # type: ignore[misc]
    """A support vector machine whose probabilities are a softmax of its decision values.

    They say which classes are close, not how often each is right: see `Tempered`.
    """

    def predict_proba(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return float64[n, K], rows that sum to 1."""
        decision = np.asarray(self.decision_function(x), np.float64)
        if decision.ndim == 1:
            decision = np.column_stack([-decision, decision])
        weight = np.exp(decision - decision.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def svm(seed: int, unlabelled: NDArray[np.float32] | None = None) -> Any:
    """Return a support vector machine with a Gaussian kernel, calibrated."""
    return Tempered(
        MarginSVC(
            C=3.0, gamma="scale", class_weight="balanced", random_state=seed,
            decision_function_shape="ovr",
        )
    )  # fmt: skip


ESTIMATORS: MappingProxyType[str, Callable[[int, NDArray[np.float32] | None], Any]] = (
    MappingProxyType(
        {
            "self_training": self_training,
            "logistic": logistic,
            "random_forest": random_forest,
            "svm": svm,
        }
    )
)
"""A model is a function of a seed and of unlabelled cells [U, D], which most leave aside."""
COMMITTEE = ("logistic", "random_forest", "svm")
"""Unlike each other, so that where they agree they do so for different reasons."""


def fit(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    estimator: str = "self_training",
    seed: int = 0,
    unlabelled: NDArray[np.float32] | None = None,
) -> ActiveLearner | None:
    """Return a modAL learner fitted to the labels, or None while they name fewer than two classes.

    Always a new one: `ActiveLearner.teach` appends, so that a relabelled cell would keep
    its old label beside the new one, and it fails on scikit-learn >= 1.8.

    Parameters
    ----------
    features : float[n, D]
        See `Matrix.points`.
    labels : int[n]
        Class ids.
    estimator : str
        A key of `ESTIMATORS`.
    unlabelled : float[U, D]
        Cells without a label, for the estimators that learn from them too.

    Raises
    ------
    ModelError
        If there is no such estimator.
    """
    if estimator not in ESTIMATORS:
        known = ", ".join(ESTIMATORS)
        raise ModelError(f"There is no model '{estimator}' to learn with. Choose one of: {known}.")
    if len(np.unique(labels)) < 2:
        return None
    return ActiveLearner(
        estimator=ESTIMATORS[estimator](seed, unlabelled),
        X_training=np.asarray(features, np.float64),
        y_training=np.asarray(labels, np.int64),
    )


def fit_committee(
    features: NDArray[np.floating], labels: NDArray[np.integer], *, seed: int = 0
) -> Committee | None:
    """Return one learner of each kind in `COMMITTEE`, None with fewer than two classes."""
    members = [fit(features, labels, estimator=name, seed=seed) for name in COMMITTEE]
    return None if None in members else Committee(members)


def probabilities(
    learner: ActiveLearner | None, features: NDArray[np.floating], classes: Sequence[int]
) -> NDArray[np.float64]:
    """Return float64[n, K]: each row's probability of each of ``classes``, in that order.

    Without a learner all are equal: a model that was shown one class knows none. A
    class without labels has probability 0.
    """
    out = np.zeros((len(features), len(classes)))
    if learner is None:
        out[:] = 1 / max(len(classes), 1)
        return out
    if not len(features):
        return out
    found = learner.predict_proba(features)  # [n, known]
    column = {class_id: k for k, class_id in enumerate(classes)}
    for k, class_id in enumerate(learner.estimator.classes_):
        out[:, column[int(class_id)]] = found[:, k]
    out /= out.sum(axis=1, keepdims=True)  # of float32 they sum to 1 within 1e-7
    return out
