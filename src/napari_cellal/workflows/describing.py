"""Feature sets by name: what a cell is to the learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.detect.shipped import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_cellal.core.progress import Job
    from napari_cellal.features.describer import Describer

QUICK, CELLPROFILER, DEEP = "quick", "cellprofiler", "deep"
AUTOMATIC = "automatic"
CHOICES = (AUTOMATIC, QUICK, CELLPROFILER, DEEP, f"{QUICK}+{DEEP}")
"""What the window offers."""


def sets_of(features: str, *, in_colour: bool = True) -> tuple[str, ...]:
    """Return the names of the sets that ``features`` asks for, e.g. of ``quick+deep``.

    ``automatic`` is both for colour images and the quick ones for others: there a network
    of colour pictures took more than it gave (docs/benchmarks.md).

    Raises
    ------
    CellalError
        If there is no such set.
    """
    if features == AUTOMATIC:
        features = f"{QUICK}+{DEEP}" if in_colour else QUICK
    names = tuple(dict.fromkeys(features.split("+")))
    for name in names:
        if name.partition(":")[0] not in FEATURES or (":" in name and name[:5] != f"{DEEP}:"):
            known = ", ".join((AUTOMATIC, *FEATURES))
            raise CellalError(
                f"There are no features called '{name}'. Known are {known}, several joined by +, "
                f"and {DEEP}:NETWORK."
            )
    return names


def words_of(names: Iterable[str]) -> str:
    """Return what columns of such names are, in words; the network's name among them."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split("_")
        words = "measurements"
        if parts[0] == "Deep":
            words = "the shipped network" if parts[1] == SHIPPED else f"the network {parts[1]}"
        found[words] = None
    return " and ".join(found)


def describers(
    features: str, device: str = "auto", *, in_colour: bool = True
) -> Job[tuple[Describer, ...]]:
    """Yield the progress of loading and return what computes the features.

    Raises
    ------
    CellalError
        If there is no such set, or a network cannot be had.
    """
    found = []
    for name in sets_of(features, in_colour=in_colour):
        kind, _, network = name.partition(":")
        found.append((yield from FEATURES[kind](network, device)))
    return tuple(found)


def _quick(network: str, device: str) -> Job[Describer]:
    yield from ()
    from napari_cellal.features.measure import QUICK

    return QUICK


def _cellprofiler(network: str, device: str) -> Job[Describer]:
    yield from ()
    from napari_cellal.features.cellprofiler import CellProfiler

    return CellProfiler()


def _deep(network: str, device: str) -> Job[Describer]:
    from napari_cellal.core.progress import Progress

    yield Progress(0, 0, "Loading the network")
    from napari_cellal.detect.eyes import AUTO, load_embedder

    return (yield from load_embedder(network or AUTO, device))


FEATURES: dict[str, Callable[[str, str], Job[Describer]]] = {
    QUICK: _quick,
    CELLPROFILER: _cellprofiler,
    DEEP: _deep,
}
"""A new set is one function that loads its describer, and one line here."""
