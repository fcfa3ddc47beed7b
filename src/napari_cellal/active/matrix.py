"""The features as the models see them: standardised once, grouped once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from napari_cellal.features.table import FeatureTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CLIP = 6.0
"""Standard deviations: one absurd measurement must not outweigh all the others."""
_COMPONENTS = 10


class Matrix:
    """Standardised features of all cells, labelled or not.

    They are standardised over all rows, not over the labelled ones as a pipeline of
    scaler and classifier would: the spread of three labelled cells says nothing.

    Parameters
    ----------
    cell_ids : sequence of str, N
    features : float[N, F]

    Attributes
    ----------
    values : float32[N, F]
        Mean 0 and standard deviation 1 a column, within +-6. Constant columns are 0.
    row_of : {cell_id: row}
    """

    def __init__(self, cell_ids: Sequence[str], features: NDArray[np.floating]) -> None:
        self.cell_ids = tuple(cell_ids)
        self.row_of = {cell_id: row for row, cell_id in enumerate(self.cell_ids)}
        self.scaling = Scaling.of(features)
        self.values = self.scaling.apply(features)
        self._groups: dict[tuple[int, int], NDArray[np.intp]] = {}

    def __len__(self) -> int:
        return len(self.cell_ids)

    @cached_property
    def components(self) -> NDArray[np.float32]:
        """float32[N, P], P <= 10: principal components, where distances mean something."""
        count = min(_COMPONENTS, *self.values.shape)
        if count == 0 or len(self) < 2 or not self.values.any():
            return self.values[:, :count]
        pca = PCA(count, svd_solver="covariance_eigh")
        return np.asarray(pca.fit_transform(self.values), np.float32)

    def groups(self, count: int, seed: int) -> NDArray[np.intp]:
        """Return each row's group, intp[N] in 0..count-1: k-means, once a matrix and seed."""
        count = max(1, min(count, len(self)))
        key = (count, seed)
        if key not in self._groups:
            distinct = len(np.unique(self.components, axis=0))
            means = KMeans(min(count, distinct), n_init=1, max_iter=50, random_state=seed)
            self._groups[key] = np.asarray(means.fit_predict(self.components), np.intp)
        return self._groups[key]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and deviation of each column, float64[F]; constant columns have deviation inf."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Scaling:
        """Return the scaling that gives these rows mean 0 and deviation 1."""
        values = _finite(features)
        if not len(values):
            return cls(np.zeros(values.shape[1]), np.ones(values.shape[1]))
        deviation = values.std(axis=0)
        # a constant column's deviation is rounding error, not 0
        flat = deviation <= 1e-9 * np.maximum(np.abs(values).max(axis=0), 1e-12)
        return cls(values.mean(axis=0), np.where(flat, np.inf, deviation))

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the columns scaled, float32, clipped to +-6."""
        scaled = (_finite(features) - self.mean) / self.deviation
        return np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)


def _finite(features: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(features, np.float64), nan=0.0, posinf=1e12, neginf=-1e12)


def load_matrix(path: str | Path) -> Matrix:
    """Return the matrix of a feature table's file, kept until the file changes.

    Raises
    ------
    ProjectError
        If the file is missing or is not a table of features.
    """
    path = Path(path)
    try:
        state = path.stat()
    except OSError:
        return _matrix_of(str(path), 0, 0)  # raises in words
    return _matrix_of(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _matrix_of(path: str, mtime_ns: int, size: int) -> Matrix:
    table = FeatureTable.load(path)
    return Matrix(table.cell_ids, table.values)
