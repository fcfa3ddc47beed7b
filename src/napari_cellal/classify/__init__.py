"""Classes of single cells, patches and whole images."""

import napari_cellal.networks  # noqa: F401  tells OpenMP how to wait, before torch loads it
