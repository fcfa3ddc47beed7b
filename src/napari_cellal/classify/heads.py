"""Logistic regression, support vectors or a forest on a network's features, kept as plain numbers.

They are fitted by scikit-learn and applied by numpy: what is kept are arrays, never a pickle.
Each gives one score a class; ``temperature`` turns scores into probabilities that hold on the
validation pictures (Guo et al., arXiv:1706.04599).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "dict[str, NDArray[np.float32]]"
_TREES = 300
_LEAST_SHARE = 1e-3  # a forest that never saw a class in a leaf is not certain
_TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(20), 121))


def fit_head(
    kind: str,
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    balanced: bool = True,
    seed: int = 0,
) -> Arrays:
    """Return a head fitted to features.

    Parameters
    ----------
    kind : str
        ``logistic``, ``svm`` (Gaussian kernel, one class against the rest) or ``random_forest``.
    features : float32[N, F]
    targets : float32[N, K]
        1 where a picture has the class.
    balanced : bool
        Whether rare classes count as much as common ones.

    Raises
    ------
    ModelError
        If there is no such head.
    """
    fits = {"logistic": _fit_logistic, "svm": _fit_svm, "random_forest": _fit_forest}
    if kind not in fits:
        raise ModelError(f"There is no head '{kind}'. Known are: linear, {', '.join(fits)}.")
    mean = features.mean(axis=0)
    # a feature that is the same everywhere says nothing, and must not divide by 0
    std = np.maximum(features.std(axis=0), 1e-6)
    arrays: Arrays = fits[kind]((features - mean) / std, targets > 0.5, balanced, seed)
    return {"mean": mean, "std": std, "temperature": np.ones(1, np.float32), **arrays}


def head_scores(head: Arrays, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[N, K], the scores before softmax or sigmoid."""
    x = (features - head["mean"]) / head["std"]
    if "vectors" in head:
        scores = _kernel(x, head["vectors"], float(head["gamma"][0])) @ head["weight"].T
        scores = scores + head["bias"]
    elif "threshold" in head:
        scores = _forest_scores(head, x)
    else:
        scores = x @ head["weight"].T + head["bias"]
    return np.asarray(scores / head["temperature"][0], np.float32)


def tempered(
    head: Arrays,
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    multi_label: bool,
) -> Arrays:
    """Return the head with the temperature that makes these pictures' true classes likeliest."""
    if not len(features):
        return head
    scores = head_scores({**head, "temperature": np.ones(1, np.float32)}, features)
    losses = [_surprise(scores / t, targets, multi_label) for t in _TEMPERATURES]
    best = _TEMPERATURES[int(np.argmin(losses))]
    return {**head, "temperature": np.array([best], np.float32)}


def as_probabilities(scores: NDArray[np.floating], *, multi_label: bool) -> NDArray[np.float32]:
    """Return float32[N, K] of class scores; rows sum to 1 unless ``multi_label``."""
    if multi_label:
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)), np.float32)
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def _surprise(scores: NDArray[Any], targets: NDArray[Any], multi_label: bool) -> float:
    p = as_probabilities(scores, multi_label=multi_label).astype(np.float64).clip(1e-12, 1 - 1e-7)
    said = targets * np.log(p)
    if multi_label:
        said = said + (1 - targets) * np.log1p(-p)
    return float(-said.sum(axis=1).mean())


def _weight(balanced: bool) -> str | None:
    return "balanced" if balanced else None


def _single(targets: NDArray[np.bool_]) -> bool:
    return bool((targets.sum(axis=1) == 1).all())


def _fit_logistic(
    x: NDArray[np.float32], targets: NDArray[np.bool_], balanced: bool, seed: int
) -> Arrays:
    from sklearn.linear_model import LogisticRegression

    n_classes = targets.shape[1]
    weight = np.zeros((n_classes, x.shape[1]), np.float32)
    bias = np.full(n_classes, -20.0, np.float32)  # a class that never occurs

    def model() -> Any:
        # many features that say the same: 0.01 was best on the 8 classes of pbc_cells
        return LogisticRegression(
            C=0.01, max_iter=500, class_weight=_weight(balanced), random_state=seed
        )

    if _single(targets) and targets.any(axis=0).sum() > 2:
        fitted = model().fit(x, targets.argmax(axis=1))
        weight[fitted.classes_], bias[fitted.classes_] = fitted.coef_, fitted.intercept_
        return {"weight": weight, "bias": bias}
    for k in _learnable(targets):
        fitted = model().fit(x, targets[:, k])
        weight[k], bias[k] = fitted.coef_[0], fitted.intercept_[0]
    return {"weight": weight, "bias": bias}


def _learnable(targets: NDArray[np.bool_]) -> list[int]:
    """Return the classes that some pictures have and others have not."""
    n = targets.sum(axis=0)
    return [k for k in range(targets.shape[1]) if 0 < n[k] < len(targets)]


def _fit_svm(
    x: NDArray[np.float32], targets: NDArray[np.bool_], balanced: bool, seed: int
) -> Arrays:
    from sklearn.svm import SVC

    gamma = 1.0 / x.shape[1]  # of features of width 1: scikit-learn's "scale"
    weight = np.zeros((targets.shape[1], len(x)), np.float32)
    bias = np.full(targets.shape[1], -20.0, np.float32)
    for k in _learnable(targets):
        fitted = SVC(C=3.0, gamma=gamma, class_weight=_weight(balanced), random_state=seed)
        fitted.fit(x, targets[:, k])
        weight[k, fitted.support_], bias[k] = fitted.dual_coef_[0], fitted.intercept_[0]
    used = (weight != 0).any(axis=0)
    return {
        "vectors": np.ascontiguousarray(x[used]),
        "weight": np.ascontiguousarray(weight[:, used]),
        "bias": bias,
        "gamma": np.array([gamma], np.float32),
    }


def _kernel(
    x: NDArray[np.float32], vectors: NDArray[np.float32], gamma: float
) -> NDArray[np.float32]:
    """Return float32[N, V], the Gaussian of each distance."""
    square = (x**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2 * x @ vectors.T
    return np.asarray(np.exp(-gamma * np.maximum(square, 0)), np.float32)


def _fit_forest(
    x: NDArray[np.float32], targets: NDArray[np.bool_], balanced: bool, seed: int
) -> Arrays:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        _TREES,
        class_weight="balanced_subsample" if balanced else None,
        min_samples_leaf=1,
        n_jobs=1,
        random_state=seed,
    )
    if _single(targets):
        forest.fit(x, targets.argmax(axis=1))
    else:
        forest.fit(x, targets.astype(int))
    parts: dict[str, list[NDArray[Any]]] = {k: [] for k in ("left", "right", "at", "cut", "share")}
    first, roots = 0, []
    for tree in (each.tree_ for each in forest.estimators_):
        roots.append(first)
        leaf = tree.children_left < 0
        here = np.arange(first, first + tree.node_count)
        # a leaf leads to itself, so that all trees can be walked for the same number of steps
        parts["left"].append(np.where(leaf, here, tree.children_left + first))
        parts["right"].append(np.where(leaf, here, tree.children_right + first))
        parts["at"].append(np.where(leaf, 0, tree.feature))
        parts["cut"].append(np.where(leaf, 0, tree.threshold))
        parts["share"].append(_shares(forest, tree.value, targets.shape[1]))
        first += tree.node_count
    joined = {key: np.concatenate(values) for key, values in parts.items()}
    return {
        "left": joined["left"].astype(np.int32),
        "right": joined["right"].astype(np.int32),
        "feature": joined["at"].astype(np.int32),
        "threshold": joined["cut"].astype(np.float64),
        "share": joined["share"].astype(np.float32),
        "roots": np.array(roots, np.int32),
        "depth": np.array([max(e.tree_.max_depth for e in forest.estimators_)], np.int32),
    }


def _shares(forest: Any, values: NDArray[Any], n_classes: int) -> NDArray[np.float64]:
    """Return [nodes, K]: how likely each class is in a node."""
    out = np.zeros((len(values), n_classes))
    if forest.n_outputs_ == 1:
        out[:, forest.classes_] = values[:, 0] / values[:, 0].sum(axis=1, keepdims=True)
        return out
    for k, known in enumerate(forest.classes_):
        if 1 in known:
            column = values[:, k, : len(known)]
            out[:, k] = column[:, list(known).index(1)] / column.sum(axis=1)
    return out


def _forest_scores(head: Arrays, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return [N, K], the logarithm of the mean share over the trees (log odds, roughly)."""
    total = np.zeros((len(x), head["share"].shape[1]))
    rows = np.arange(len(x))
    for root in head["roots"]:
        node = np.full(len(x), root)
        for _ in range(int(head["depth"][0])):
            right = x[rows, head["feature"][node]] > head["threshold"][node]
            node = np.where(right, head["right"][node], head["left"][node])
        total += head["share"][node]
    p = (total / len(head["roots"])).clip(_LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.asarray(np.log(p) - np.log1p(-p))
