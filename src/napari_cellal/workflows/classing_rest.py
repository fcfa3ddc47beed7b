"""Classing the rest where the learner looks at some of the cells only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.reconcile import is_replaceable
from napari_cellal.io.store.search import read_cells

from .describing import describers, sets_of
from .learning import class_rest, request_rest
from .looked_at import request_with, requests_without_cells
from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.active.requests import SuggestRequest
    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.io.store import Project

    from .learning import Measured
    from .pools import Pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EverywhereRequest:
    """Which cells to class where the learner looks at some only. Picklable.

    Attributes
    ----------
    rest : SuggestRequest
        See `request_rest`.
    others : tuple of MeasureRequest
        The images whose cells the learner does not look at; their cells are left to the job.
    features : str
        What the learner looks at, by their names.
    """

    rest: SuggestRequest
    others: tuple[MeasureRequest, ...]
    folder: str
    cache_folder: str
    features: str


def request_everywhere(
    project: Project, measured: Measured, pool: Pool, looked_at: Iterable[str]
) -> EverywhereRequest:
    """Return the question what every cell of the project without a label is.

    Parameters
    ----------
    looked_at : iterable of image_id
        The images whose cells the learner looks at.
    """
    seen = dict.fromkeys(looked_at)
    in_colour = all(r.rgb for r in requests_without_cells(project, seen))
    return EverywhereRequest(
        request_rest(project, measured, pool),
        tuple(r for r in requests_without_cells(project) if r.image_id not in seen),
        str(project.folder),
        str(project.cache_folder),
        "+".join(sets_of(measured.features, in_colour=in_colour)),
    )


def class_everywhere(request: EverywhereRequest) -> Job[tuple[str, ...]]:
    """Return the job that classes all cells, measuring those not looked at, image by image.

    Its items are what `class_rest` returns, of some cells each; it returns a sentence for each
    image that could not be measured.
    """
    total = len(request.others)
    predicted = yield from class_rest(request.rest)
    yield Progress(0, total, "", predicted)
    from napari_cellal.active.suggest import predict_others
    from napari_cellal.features.cache import measure_images

    with algebra_on_one_thread():
        predict = predict_others(request.rest)
    found = yield from describers(request.features)
    failures: list[str] = []
    for done, image in enumerate(request.others):
        with read_cells(Path(request.folder)) as of_image:
            cells = [c for c in of_image(image.image_id) if is_replaceable(c)]
        if not cells:
            yield Progress(done + 1, total)
            continue
        words = f"Measuring and classing {Path(image.path).name}"
        job = measure_images([request_with(image, cells)], request.cache_folder, found)
        table = yield from _retold(job, done, total, words)
        failures += [sentence for _, sentence in table.failures]
        with algebra_on_one_thread():
            predicted = predict(table)
        yield Progress(done + 1, total, words, predicted or None)
    return tuple(failures)


def _retold(job: Job[T], done: int, total: int, words: str) -> Job[T]:
    """Do a job whose steps are one of those of another."""
    try:
        while True:
            next(job)
            yield Progress(done, total, words)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        job.close()
