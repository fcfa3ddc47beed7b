"""Which cells to ask about while no model can say: one typical cell of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .matrix import Matrix

_GROUPS_A_CLASS = 4
_NEIGHBOURS = 20
_MOST_COMPARED = 400
_SMALLEST_SHARE = 0.005


def typical_rows(
    matrix: Matrix,
    candidates: NDArray[np.intp],
    labelled: NDArray[np.intp],
    *,
    n: int,
    classes: int,
    seed: int,
) -> tuple[NDArray[np.intp], NDArray[np.float64], list[bool]]:
    """Return positions in ``candidates``, their scores, and whether the group had labels.

    Cells are grouped by k-means on ten principal components; a group is represented by
    its densest cell, the one nearest to its 20 nearest (typicality of TypiClust:
    Hacohen, Dekel and Weinshall, "Active learning on a budget", ICML 2022). TypiClust
    takes the largest group first; here the first is the largest, then always the group
    whose representative is farthest from everything asked so far, because the classes
    that matter are often rare: in blood smears 85 % of the cells are red.

    Parameters
    ----------
    matrix : Matrix
    candidates, labelled : intp
        Rows.
    n : int
        How many to choose.
    classes : int
        How many classes there are; four groups are made for each.
    seed : int
    """
    n = min(n, len(candidates))
    groups = matrix.groups(_GROUPS_A_CLASS * classes, seed)
    points = matrix.components
    size = np.bincount(groups, minlength=groups.max(initial=0) + 1)
    covered = np.bincount(groups[labelled], minlength=len(size))
    members = {g: np.flatnonzero(groups[candidates] == g) for g in np.unique(groups[candidates])}
    asked = points[labelled]
    chosen: list[int] = []
    scores: list[float] = []
    had_labels: list[bool] = []
    while len(chosen) < n:
        open_groups = [int(g) for g, left in members.items() if len(left)]
        fewest = min(int(covered[g]) for g in open_groups)
        open_groups = [g for g in open_groups if covered[g] == fewest]
        # specks of dust make tiny groups far from everything: leave them for the end
        large = [g for g in open_groups if size[g] >= max(3, _SMALLEST_SHARE * len(matrix))]
        open_groups = large or open_groups
        best = [_densest(matrix, candidates[members[g]]) for g in open_groups]
        at = points[[candidates[members[g][k]] for g, k in zip(open_groups, best, strict=True)]]
        if len(asked):
            distance = np.sqrt(((at[:, None] - asked[None]) ** 2).sum(axis=2)).min(axis=1)
        else:
            distance = size[open_groups].astype(np.float64)
        k = int(np.argmax(distance))
        group = open_groups[k]
        chosen.append(int(members[group][best[k]]))
        scores.append(float(distance[k]))
        had_labels.append(bool(covered[group]))
        members[group] = np.delete(members[group], best[k])
        covered[group] += 1
        asked = np.concatenate([asked, at[k : k + 1]])
    return np.array(chosen, np.intp), np.array(scores), had_labels


def _densest(matrix: Matrix, rows: NDArray[np.intp]) -> int:
    """Return the position of the row with the nearest neighbours among ``rows``.

    Of a large group only the 400 nearest to its centre are compared: all 10,000 would
    take a second and the densest is hardly ever at the rim.
    """
    key = hash(rows.tobytes())
    if key not in matrix.densest:
        matrix.densest[key] = _nearest_to_others(matrix.components[rows])
    return matrix.densest[key]


def _nearest_to_others(here: NDArray[np.float32]) -> int:
    order = np.arange(len(here))
    if len(here) > _MOST_COMPARED:
        from_center = ((here - np.median(here, axis=0)) ** 2).sum(axis=1)
        order = np.argpartition(from_center, _MOST_COMPARED)[:_MOST_COMPARED]
        here = here[order]
    square = (here**2).sum(axis=1)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * here @ here.T, 0))
    near = min(_NEIGHBOURS + 1, len(here))
    nearest = np.partition(distance, near - 1, axis=1)[:, :near]
    return int(order[np.argmin(nearest.mean(axis=1))])
