"""napari-cellal: find cells, correct the machine, and be repaid at once."""

__version__ = "0.1.0"
