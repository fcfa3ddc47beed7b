"""The model behind the suggestions, made anew from the labels each time."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from modAL.models import ActiveLearner
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def logistic(seed: int) -> Any:
    """Return logistic regression, its classes balanced: few labels, calibrated, fast."""
    return LogisticRegression(C=1.0, class_weight="balanced", max_iter=300, random_state=seed)


def random_forest(seed: int) -> Any:
    """Return a random forest (Breiman, Machine Learning 45, 2001) of 100 trees."""
    return RandomForestClassifier(
        100, class_weight="balanced_subsample", min_samples_leaf=1, n_jobs=1, random_state=seed
    )


class MarginSVC(SVC):  # type: ignore[misc]
    """A support vector machine whose probabilities are a softmax of its decision values.

    Platt's scaling would need several labels of each class to fit; the order of the
    classes and the doubt between them are all that the strategies use.
    """

    def predict_proba(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return float64[n, K], rows that sum to 1."""
        decision = np.asarray(self.decision_function(x), np.float64)
        if decision.ndim == 1:
            decision = np.column_stack([-decision, decision])
        weight = np.exp(decision - decision.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def svm(seed: int) -> Any:
    """Return a support vector machine with a Gaussian kernel."""
    return MarginSVC(
        C=3.0, gamma="scale", class_weight="balanced", random_state=seed,
        decision_function_shape="ovr",
    )  # fmt: skip


ESTIMATORS: MappingProxyType[str, Callable[[int], Any]] = MappingProxyType(
    {"logistic": logistic, "random_forest": random_forest, "svm": svm}
)


def fit(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    estimator: str = "logistic",
    seed: int = 0,
) -> ActiveLearner | None:
    """Return a modAL learner fitted to the labels, or None while they name fewer than two classes.

    Always a new one: `ActiveLearner.teach` appends, so that a relabelled cell would keep
    its old label beside the new one, and it fails on scikit-learn >= 1.8.

    Parameters
    ----------
    features : float[n, F]
        Standardised (see `Matrix`).
    labels : int[n]
        Class ids.
    estimator : str
        A key of `ESTIMATORS`.

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
        estimator=ESTIMATORS[estimator](seed),
        X_training=np.asarray(features, np.float64),
        y_training=np.asarray(labels, np.int64),
    )


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
    return out
