"""What napari does once at the first layer, done beforehand beside the window's thread."""

from __future__ import annotations

import gc
import threading


class WarmUp:
    """Loads in a thread what the first layers need, and spares later collections the rest.

    The first Shapes layer of a process loads numba's functions, pandas and the table of
    units: 0.8 s in one piece. Every removal of a layer, and Python now and then, looks
    through all objects for garbage: 150 ms, nearly all of it modules that stay.
    """

    def __init__(self) -> None:
        self._thread = threading.Thread(target=_make_a_layer, name="cellal-warm", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when all is loaded. No layer may be made before: units load only once."""
        self._thread.join()

    @staticmethod
    def spare_collections() -> None:
        """Take what is there by now out of the search for garbage, until `close`."""
        gc.freeze()

    @staticmethod
    def close() -> None:
        """Let everything be collected again."""
        gc.unfreeze()


def _make_a_layer() -> None:
    from napari.layers import Shapes

    Shapes(ndim=2)
