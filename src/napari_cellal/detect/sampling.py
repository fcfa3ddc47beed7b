"""Which picture is shown when: all alike often, or those of rare classes more often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def repeat_factors(labels: Sequence[NDArray[np.int64]], rare: float) -> NDArray[np.float64]:
    """Return how often each image is shown, at least once, a pass.

    Repeat-factor sampling (Gupta et al., LVIS, arXiv:1908.03195): a class that is in a share
    f of the images repeats them sqrt(rare / f) times.

    Parameters
    ----------
    labels : one int64[N] an image
    rare : float
        Share of the images below which a class is rare; 0 shows all alike.
    """
    present = [set(row.tolist()) for row in labels]
    counts: dict[int, int] = {}
    for kinds in present:
        for kind in kinds:
            counts[kind] = counts.get(kind, 0) + 1
    factor = {kind: max(1.0, (rare * len(labels) / n) ** 0.5) for kind, n in counts.items()}
    return np.asarray([max((factor[k] for k in kinds), default=1.0) for kinds in present])


class Order:
    """The order of the pictures, drawn from the seed alone.

    Parameters
    ----------
    factors : float64[N]
        How often each is shown a pass, on average.
    """

    def __init__(self, factors: NDArray[np.float64], seed: int) -> None:
        self._edges = np.cumsum(factors)
        self._seed = seed
        self.length = max(1, round(float(factors.sum())))
        """Pictures shown in a pass."""

    def __getitem__(self, place: int) -> int:
        """Return which picture is shown at a place, counted from the beginning of the training."""
        rng = np.random.default_rng([self._seed, 0, place // self.length])
        shuffled = int(rng.permutation(self.length)[place % self.length])
        # evenly spaced over the factors, so that each image comes as often as it should, or
        # once more; with factors of 1 each comes once
        at = (shuffled + rng.random()) * self._edges[-1] / self.length
        return min(int(np.searchsorted(self._edges, at, side="right")), len(self._edges) - 1)
