"""Places for cells in the plane, so that cells that look alike lie close to each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .matrix import Matrix

NEIGHBOURS = 15
SPREAD = 0.1
LAYOUTS = ("pca", "umap")


def places(matrix: Matrix, how: str, seed: int) -> NDArray[np.float32]:
    """Return float32[N, 2], each axis with mean 0 and standard deviation 1.

    ``pca``: the first two principal components, in an instant. ``umap``: UMAP (McInnes, Healy
    and Melville, arXiv:1802.03426, 2018) of the principal components, which keeps groups apart
    that lie over each other in two components; starts from ``pca``, and gives the same with the
    same seed, on one processor core. Fewer than four cells lie as ``pca`` puts them.

    Raises
    ------
    ModelError
        If there is no such layout.
    """
    if how not in LAYOUTS:
        raise ModelError(f"There is no layout '{how}'. Choose one of: {', '.join(LAYOUTS)}.")
    flat = np.zeros((len(matrix), 2), np.float32)
    found = matrix.components[:, :2]
    flat[:, : found.shape[1]] = found
    flat = _standard(flat)
    if how == "umap" and len(matrix) > 3:
        from umap import UMAP

        layout = UMAP(
            n_neighbors=min(NEIGHBOURS, len(matrix) - 1),
            min_dist=SPREAD,
            init=flat * 5,
            random_state=seed,
            n_jobs=1,
        )
        flat = _standard(np.asarray(layout.fit_transform(matrix.components), np.float32))
    return flat


def layout_name(matrix: Matrix, how: str, seed: int) -> str:
    """Return a name that another matrix, layout or seed would not have, for a file in a cache."""
    digest = hashlib.sha256(np.ascontiguousarray(matrix.values).tobytes())
    digest.update("\n".join(matrix.cell_ids).encode())
    digest.update(f"{how} {seed} {NEIGHBOURS} {SPREAD}".encode())
    return f"map-{how}-{digest.hexdigest()[:16]}.npz"


def _standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(values):
        return values
    deviation = values.std(axis=0)
    return np.asarray(
        (values - values.mean(axis=0)) / np.where(deviation > 1e-12, deviation, 1), np.float32
    )
