"""The cells of a project in an order that the measured features give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellal.active.requests import Mislabel, OrderRequest, OrderResult
from napari_cellal.core.filters import REVIEWED
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Split
from napari_cellal.io.store.search import cell_states

from .pools import is_held_out
from .threads import algebra_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_cellal.io.store import Project

LEARNED_ORDERS = ("doubt", "mislabels", "group", "alike")
"""The orders of `active.order`, which need measured cells."""


@dataclass(frozen=True, slots=True)
class ProjectLook:
    """What a thread needs to know of a project to make a request."""

    folder: Path
    splits: Mapping[str, Split]
    class_names: Mapping[int, str]
    seed: int

    @classmethod
    def of(cls, project: Project) -> ProjectLook:
        """Return what is known of a project now."""
        return cls(
            project.folder,
            {key: r.split for key, r in project.images.items()},
            {c.class_id: c.name for c in project.active_classes},
            project.settings.seed,
        )


def request_order(
    look: ProjectLook, features_path: str, order: str, *, like: str = ""
) -> OrderRequest:
    """Return the question for an order. Reads the database: for a thread, not the window's.

    The learner behind it learns from what Learn's learns from; only ``mislabels`` takes every
    label, since a wrong one in a held-out image is worth finding too.
    """
    has_val = Split.VAL in look.splits.values()
    vouched = {s.value for s in REVIEWED}
    labelled = {}
    for key, image_id, class_id, status in cell_states(look.folder):
        if status not in vouched or class_id is None or class_id not in look.class_names:
            continue
        split = look.splits.get(image_id, Split.TEST)
        apart = split is Split.TEST or is_held_out(key, split, has_val)
        if order == "mislabels" or not apart:
            labelled[key] = class_id
    return OrderRequest(features_path, order, labelled, look.class_names, like, look.seed)


def order_cells(request: OrderRequest) -> Job[OrderResult]:
    """Return the job that puts the measured cells in order."""
    from napari_cellal.active import order

    with algebra_on_one_thread():
        return (yield from order.order_cells(request))


def check_labels(request: OrderRequest, n: int) -> Job[tuple[Mislabel, ...]]:
    """Return the job that finds the first ``n`` of the order ``mislabels`` that are suspected."""
    yield Progress(0, 0, "Comparing the labels with each other")
    from napari_cellal.active.mislabels import likely_mislabels

    with algebra_on_one_thread():
        return likely_mislabels(request, n)
