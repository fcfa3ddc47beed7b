"""Active learning replayed on a project's own labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress

from . import learning
from .describing import QUICK
from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.io.store import Project

HELD_OUT = 0.3
"""Share of the cells that each seed measures on."""


@dataclass(frozen=True, slots=True)
class SimulateRequest:
    """Labelled cells and how to replay their labelling. Picklable."""

    measure: tuple[MeasureRequest, ...]
    labels: dict[str, int]
    holdout: frozenset[str]
    """Cells to measure on; empty means that each seed draws its own 30 %."""
    cache_folder: str
    strategies: tuple[str, ...] = ("automatic", "random")
    seeds: int = 5
    steps: int = 50
    estimator: str = "self_training"
    metric: str = "accuracy"
    seed: int = 0
    """The first of the seeds; the others follow it."""
    features: str = QUICK
    batch: int = 1
    start: int = 0
    """Random labels to start from."""


def request_simulation(
    project: Project,
    *,
    strategies: Sequence[str] = ("automatic", "random"),
    seeds: int = 5,
    steps: int = 50,
    estimator: str = "self_training",
    metric: str = "accuracy",
    classes: Sequence[str] = (),
    seed: int = 0,
    features: str = QUICK,
    batch: int = 1,
    start: int = 0,
) -> SimulateRequest:
    """Return the replay of the project's confirmed cells.

    Parameters
    ----------
    classes : sequence of str
        Only cells of these classes; empty means all.

    Raises
    ------
    CellalError
        If fewer than two classes have labels, or there are too few to measure on.
    """
    wanted = None
    if classes:
        found = [project.class_named(name) for name in classes]
        missing = [n for n, c in zip(classes, found, strict=True) if c is None]
        if missing:
            raise CellalError(f"The project has no class called {', '.join(missing)}.")
        wanted = {c.class_id for c in found if c is not None}
    labels = {
        c.cell_id: c.class_id
        for c in project.cells.labels()
        if c.class_id is not None and (wanted is None or c.class_id in wanted)
    }
    _check(list(labels.values()))
    return SimulateRequest(
        tuple(only(r, labels) for r in learning.measure_requests(project)),
        labels,
        frozenset(),
        str(project.cache_folder),
        tuple(strategies),
        seeds,
        steps,
        estimator,
        metric,
        seed,
        features,
        batch,
        start,
    )


def _check(labels: Sequence[int]) -> None:
    classes = len(set(labels))
    if classes < 2:
        raise CellalError(
            "A simulation needs confirmed cells of two classes at least. Label some, or import "
            "annotations with --confirm."
        )
    needed = math.ceil(classes / HELD_OUT)  # one of each class to measure on
    if len(labels) < needed:
        raise CellalError(
            f"A simulation of {classes} classes needs {needed} confirmed cells at least, and "
            f"there are {len(labels)}."
        )


def only(request: MeasureRequest, labels: dict[str, int]) -> MeasureRequest:
    """Return the request with nothing but the labelled cells."""
    wanted = [k for k, cell_id in enumerate(request.cell_ids) if cell_id in labels]
    return replace(
        request,
        cell_ids=tuple(request.cell_ids[k] for k in wanted),
        boxes=tuple(request.boxes[k] for k in wanted),
        masks=tuple(request.masks[k] for k in wanted) if request.masks else (),
    )


def simulate(request: SimulateRequest) -> Job[dict[str, Any]]:
    """Return the curves as plain values; see docs/cli.md for the keys.

    Raises
    ------
    CellalError
        If there is no such strategy or estimator, or the images cannot be read.
    """
    from napari_cellal.active import simulate as replay
    from napari_cellal.active.strategies import strategy

    for name in request.strategies:
        strategy(name)  # before anything is measured

    measured = [r for r in request.measure if r.cell_ids]
    table = yield from learning.measure_table(
        measured, Path(request.cache_folder), request.features
    )
    labels = np.array([request.labels[key] for key in table.cell_ids])
    if table.failures:
        yield Progress(0, 0, f"Some cells are left out. {table.failures[0][1]}")
    holdout: Any = HELD_OUT
    if not request.holdout:
        _check(labels.tolist())
    else:
        holdout = np.array([key in request.holdout for key in table.cell_ids])
    with algebra_on_one_thread():
        result = yield from replay.simulate(
            table.values,
            labels,
            strategies=request.strategies,
            seeds=range(request.seed, request.seed + request.seeds),
            steps=request.steps,
            estimator=request.estimator,
            holdout=holdout,
            metric=request.metric,
            batch=request.batch,
            start_labels=request.start,
            pool_share=0.8 if request.holdout else 1.0,
        )
    return result.to_json()


def published(request: SimulateRequest) -> SimulateRequest:
    """Return the request as a published experiment would have it.

    Uncertainty against random, logistic regression, five random labels to start from and
    298 more, average precision.
    """
    return replace(
        request,
        strategies=("uncertainty", "random"),
        estimator="logistic",
        metric="average_precision",
        start=5,
        steps=303,
        batch=1,
    )


def write_plot(result: dict[str, Any], out: str | Path) -> None:
    """Write a simulation's curves as SVG, those of the published measure too if there are.

    Raises
    ------
    CellalError
        If the file cannot be written, or is not called .svg.
    """
    from napari_cellal.active.figure import curves_svg
    from napari_cellal.io.atomic import write_atomic

    if Path(out).suffix.lower() != ".svg":
        raise CellalError(f"{Path(out).name}: the plot is written as .svg.")
    curves = dict(result["curves"])
    if "published" in result:
        curves |= {f"{k}, as published": v for k, v in result["published"]["curves"].items()}
    words = result["metric"].replace("_", " ")
    title = f"Labels and {words}: mean, worst and best of {result['seeds']} seeds"
    try:
        write_atomic(Path(out), curves_svg(curves, title, words).encode())
    except OSError as error:
        raise CellalError(f"{out} cannot be written ({error.strerror or error}).") from error
