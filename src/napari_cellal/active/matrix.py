"""The features as the models see them: standardised once, grouped once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans

from napari_cellal.features.table import FeatureTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_CLIP = 6.0
"""Standard deviations: one absurd measurement must not outweigh all the others."""
_COMPONENTS = 10
_POINTS = 128
_LEAST_SHARE = 1e-5
"""Components with less of the first one's variance are rounding errors."""
_LOOKED_AT = 5000
"""Rows that say how features go together; more say the same, seconds later."""


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
        self.densest: dict[int, int] = {}
        """What `coldstart` found, by the hash of the rows: an answer changes one group."""

    def __len__(self) -> int:
        return len(self.cell_ids)

    @cached_property
    def _axes(self) -> Axes:
        return Axes.of(self.values)

    @cached_property
    def components(self) -> NDArray[np.float32]:
        """float32[N, P], P <= 10: principal components, where distances mean something."""
        if len(self) < 2 or not self.values.any():
            return self.values[:, :_COMPONENTS]
        return self._axes.components(self.values, _COMPONENTS)

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """float32[N, D], D <= 128: the features as the learners see them; see `Axes`."""
        return self._axes.points(self.values)

    def rows_of(self, labels: Mapping[str, int]) -> dict[int, int]:
        """Return labels by row instead of by cell, those of measured cells."""
        return {self.row_of[c]: k for c, k in labels.items() if c in self.row_of}

    def place(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return where other cells' features [n, F] lie among `points`, float32[n, D]."""
        return self._axes.points(self.scaling.apply(features))

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


@dataclass(frozen=True, slots=True)
class Axes:
    """Principal axes of standardised features, and their length in the learners' eyes.

    Measurements come in families: twenty columns of texture would outvote the one of size.
    Along its principal axes a cell's position is divided by the root of the deviation there,
    half of what whitening does, which would raise the noise of the last axes to the level of
    the first. Cells of more than 128 features, those of a network, also lie on a sphere: how
    strongly a network answers depends on the light, which of its channels do so on the cell.

    On five subtypes of white cells (78 measurements, 20 labels) this gave an accuracy of .92
    where standardised columns gave .88.

    Attributes
    ----------
    mean : float32[F]
    axes : float32[F, D]
        Unit vectors, largest variance first.
    deviation : float64[D]
        Of the cells along each axis.
    on_sphere : bool
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    deviation: NDArray[np.float64]
    on_sphere: bool

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Axes:
        """Return the axes of standardised rows [N, F]."""
        rows = np.linspace(0, len(values) - 1, min(len(values), _LOOKED_AT)).astype(np.intp)
        some = values[np.unique(rows)]
        width = values.shape[1]
        if len(some) < 2 or not some.any():
            eye = np.eye(width, min(width, _POINTS), dtype=np.float32)
            return cls(np.zeros(width, np.float32), eye, np.ones(eye.shape[1]), False)
        mean = some.mean(axis=0, dtype=np.float64)
        variance, axes = np.linalg.eigh(np.cov(some, rowvar=False).reshape(width, width))
        order = np.argsort(-variance)[: min(_POINTS, len(some) - 1)]
        order = order[variance[order] > _LEAST_SHARE * variance.max()]
        axes = axes[:, order]
        # the sign of an axis is arbitrary: its largest part is made positive
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        return cls(
            mean.astype(np.float32),
            axes.astype(np.float32),
            np.sqrt(variance[order]),
            width > _POINTS,
        )

    def components(self, values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return float32[n, P]: the rows along the first ``count`` axes, in their own units."""
        return np.asarray((values - self.mean) @ self.axes[:, :count], np.float32)

    def points(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32[n, D]; columns have a mean square of about 1."""
        found = (values - self.mean) @ (self.axes / np.sqrt(self.deviation)).astype(np.float32)
        if not found.size:
            return np.asarray(found, np.float32)
        if not self.on_sphere:
            return np.asarray(found / np.float32(np.sqrt(self.deviation.mean())))
        length = np.linalg.norm(found, axis=1, keepdims=True) / np.sqrt(found.shape[1])
        return np.asarray(found / np.maximum(length, 1e-9).astype(np.float32))


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
