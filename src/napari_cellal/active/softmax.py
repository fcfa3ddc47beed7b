"""A linear classifier that also learns from the cells nobody has labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 3
_STEPS_FIRST = 40
_STEPS = 20
_LEAST = 1e-9


class SelfTraining(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression that takes its own sure guesses for labels, three times over.

    Self-training (Yarowsky, ACL 1995; Lee, "Pseudo-Label", ICML workshop 2013). Each guess
    weighs the square of its margin, so that doubtful ones hardly count. All guesses of a
    class together weigh ``trust`` times its labels, and none more than a label: otherwise
    the class that is most common in the pool would push out the rare ones.

    With 50 / 100 / 208 random labels of eight classes (PBC single cells, features of a
    frozen MobileNetV2) it was right in .75 / .84 / .88, logistic regression alone in
    .62 / .73 / .83.

    It needs cells that form groups, as network features and measurements of cells do. Where two
    classes pass into each other without a gap it can settle on the wrong boundary (evenly
    spread points, 30 random labels: macro-F1 .75, logistic regression .88).

    Parameters
    ----------
    unlabelled : float32[U, D] or None
        Cells without a label; a thousand of them are enough.
    C : float
        Inverse strength of the L2 penalty, as in scikit-learn.
    trust : float
        Weight of all guesses of a class, in labels.
    """

    def __init__(
        self, unlabelled: NDArray[np.float32] | None = None, C: float = 0.5, trust: float = 2.0
    ) -> None:
        self.unlabelled = unlabelled
        self.C = C
        self.trust = trust

    def fit(self, x: NDArray[np.floating], y: NDArray[np.integer]) -> SelfTraining:
        """Fit to labels ``y`` [n] of cells ``x`` [n, D]; classes weigh the same."""
        x = np.asarray(x, np.float32)
        self.classes_, known = np.unique(y, return_inverse=True)
        count = np.bincount(known)
        of_class = len(y) / (len(count) * count)  # weight of one label of each class
        rest = np.zeros((0, x.shape[1]), np.float32)
        if self.unlabelled is not None:
            rest = np.asarray(self.unlabelled, np.float32)
        self._weights = np.zeros((x.shape[1] + 1, len(count)))
        self._minimise(x, known, of_class[known], _STEPS_FIRST)
        both = np.concatenate([x, rest])
        for _ in range(_ROUNDS if len(rest) else 0):
            p = self.predict_proba(rest)
            guess = p.argmax(axis=1)
            two = np.partition(p, -2, axis=1)[:, -2:]
            sure = (two[:, 1] - two[:, 0]) ** 2
            mass = np.bincount(guess, sure, minlength=len(count))
            share = np.minimum(self.trust * count * of_class / np.maximum(mass, _LEAST), of_class)
            weight = np.concatenate([of_class[known], sure * share[guess]])
            self._minimise(both, np.concatenate([known, guess]), weight, _STEPS)
        return self

    def predict_proba(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return float32[n, K]: the probability of each of ``classes_``; rows sum to 1."""
        weights = self._weights.astype(np.float32)
        z = weights[:-1].T @ np.asarray(x, np.float32).T + weights[-1][:, None]
        return np.ascontiguousarray(_softmax(z).T)

    def predict(self, x: NDArray[np.floating]) -> NDArray[Any]:
        """Return each row's most probable class."""
        return np.asarray(self.classes_[self.predict_proba(x).argmax(axis=1)])

    def _minimise(
        self,
        x: NDArray[np.float32],
        target: NDArray[np.intp],
        weight: NDArray[np.float64],
        steps: int,
    ) -> None:
        """Move the weights towards the least penalised cross entropy."""
        # classes and features first: sums over a handful of classes in a row are slow
        xt = np.ascontiguousarray(np.vstack([x.T, np.ones(len(x), np.float32)]))  # [D + 1, n]
        w = weight.astype(np.float32)
        penalty = np.full((len(xt), 1), 1 / self.C)
        penalty[-1] = 1e-3  # the intercept is all but free
        shape = self._weights.shape
        at = np.arange(len(x))

        def cost(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = flat.reshape(shape)
            p = _softmax(weights.T.astype(np.float32) @ xt)  # [K, n]
            loss = -float(w @ np.log(np.maximum(p[target, at], 1e-30)))
            p[target, at] -= 1
            slope = (xt @ (w * p).T).astype(np.float64) + penalty * weights
            return loss + 0.5 * float((penalty * weights**2).sum()), slope.ravel()

        found = minimize(
            cost, self._weights.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": steps}
        )
        self._weights = found.x.reshape(shape)


def _softmax(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the columns' softmax, float32[K, n]."""
    z = np.exp(z - z.max(axis=0))
    z /= z.sum(axis=0)
    return z
