"""Which cells the learner looks at, where there are too many to measure them all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_cellal.core.records import Split, Status
from napari_cellal.features.table import MeasureRequest
from napari_cellal.io.store.search import read_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_cellal.core.records import Cell, ImageRecord
    from napari_cellal.io.store import Project

MOST_CELLS = 100_000
"""The next cell is as well chosen among so many: they are measured in minutes instead of hours,
and an answer waits a fraction of a second instead of seconds (docs/benchmarks.md)."""


def images_looked_at(project: Project, most: int = MOST_CELLS) -> dict[str, None] | None:
    """Return the images whose cells the learner looks at, as dict keys; None where it is all.

    In a project of more than ``most`` cells: of train, val and test images those that have
    labels, then others, both in an order that the project's seed draws, until they hold their
    share. Whole images, since to read one costs more than to measure a cell.
    """
    cells = _cells_of_images(project)
    if sum(cells.values()) <= most:
        return None
    labelled = project.cells.label_counts()
    seed = project.settings.seed

    def order(key: str) -> tuple[bool, bytes]:
        return key not in labelled, hashlib.sha256(f"{seed}/{key}".encode()).digest()

    chosen: set[str] = set()
    for split in Split:
        own = [key for key in cells if project.images[key].split is split]
        left = most * sum(cells[key] for key in own) / sum(cells.values())
        for key in sorted(own, key=order):
            if left <= 0:
                break
            chosen.add(key)
            left -= cells[key]
    return {key: None for key in project.images if key in chosen}


def cells_looked_at(project: Project, image_ids: Iterable[str] | None) -> tuple[int, int]:
    """Return how many cells the images have (None: all images), and how many there are."""
    cells = _cells_of_images(project)
    total = sum(cells.values())
    if image_ids is None:
        return total, total
    return sum(cells.get(key, 0) for key in image_ids), total


def _cells_of_images(project: Project) -> dict[str, int]:
    """Return {image_id: cells} of the images that have cells which are not rejected."""
    counted = {
        key: sum(n for status, n in counts.items() if status is not Status.REJECTED)
        for key, counts in project.cells.counts_by_image().items()
    }
    return {key: n for key, n in counted.items() if n}


def requests_without_cells(
    project: Project, image_ids: Iterable[str] | None = None
) -> list[MeasureRequest]:
    """Return what to measure, by image, the cells left to `with_cells`.

    Images without cells are left out.
    """
    there = _cells_of_images(project)
    return [
        MeasureRequest(
            r.image_id,
            str(project.image_path(r.image_id)),
            project.plane(r.image_id),
            r.rgb,
            r.channels,
            r.fingerprint,
            (),
            (),
        )
        for key, r in _chosen(project, image_ids)
        if key in there
    ]


def _chosen(project: Project, image_ids: Iterable[str] | None) -> Iterable[tuple[str, ImageRecord]]:
    if image_ids is None:
        return project.images.items()
    return [(key, project.images[key]) for key in image_ids]


def with_cells(folder: Path, requests: Sequence[MeasureRequest]) -> Iterator[MeasureRequest]:
    """Yield the requests with the cells of the project that are not rejected.

    Read from the database beside the window's connection: for any process. Images without
    such cells are left out.

    Raises
    ------
    ProjectError
        If the database cannot be read.
    """
    with read_cells(folder) as of_image:
        for request in requests:
            found = request_with(request, of_image(request.image_id))
            if found.cell_ids:
                yield found


def request_with(request: MeasureRequest, cells: Iterable[Cell]) -> MeasureRequest:
    """Return a request for those of the cells that are not rejected."""
    kept = [c for c in cells if c.status is not Status.REJECTED]
    return replace(
        request,
        cell_ids=tuple(c.cell_id for c in kept),
        boxes=tuple(c.box for c in kept),
        masks=tuple(c.mask for c in kept),
    )
