"""Finding cells: the classical detector and a trained one, and how the latter is trained."""

import napari_cellal.networks  # noqa: F401  tells OpenMP how to wait, before torch loads it
