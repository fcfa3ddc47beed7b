"""Active learning replayed on cells whose classes are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from napari_cellal.core import rates
from napari_cellal.core.progress import Job, Progress

from . import learner as learners
from .calibration import reliability
from .choices import Context
from .matrix import Matrix
from .strategies import strategy
from .suggest import unlabelled_points

if TYPE_CHECKING:
    from .requests import Reliability

TARGETS = (0.8, 0.9, 0.95, 0.99)

Metric = Callable[[NDArray[np.int64], NDArray[np.float64], Sequence[int]], float]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a replay found. Everything in it can be written as JSON.

    Attributes
    ----------
    metric : str
    curves : {strategy: [{labels, mean, low, high}, ...]}
        Over the seeds: mean, worst and best.
    labels_to : {target: {strategy: float or None}}
        Labels until the metric first reaches the target, mean over the seeds. A seed
        that never does counts as the whole budget; None if no seed does.
    worst_labels_to : {target: {strategy: int or None}}
        The slowest seed; None if one never reaches the target.
    reached : {target: {strategy: share}}
        Share of the seeds that reached it.
    reliability : {strategy: Reliability or None}
        Of the last model of every seed, all hold-out cells together.
    seeds, pool, holdout : int
        How many seeds, and cells to ask about and to measure on in each.
    """

    metric: str
    curves: dict[str, list[dict[str, float]]]
    labels_to: dict[str, dict[str, float | None]]
    worst_labels_to: dict[str, dict[str, int | None]]
    reached: dict[str, dict[str, float]]
    reliability: dict[str, Reliability | None]
    seeds: int
    pool: int
    holdout: int

    def to_json(self) -> dict[str, Any]:
        """Return the simulation as plain dicts, lists and numbers."""
        return asdict(self)


def accuracy(truth: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[int]) -> float:
    """Return the share of cells whose most probable class is the true one.

    Where several classes are equally probable, each counts its share: without a model that
    is chance, whatever order the classes come in.
    """
    table = _confusion(truth, p, classes)
    return float(np.trace(table) / table.sum())


def macro_f1(truth: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[int]) -> float:
    """Return F1 averaged over the classes that occur or are guessed.

    Equally probable ones count as in `accuracy`.
    """
    table = _confusion(truth, p, classes)
    cells, said = table.sum(axis=1), table.sum(axis=0)
    return float(rates.macro_f1(np.diag(table), cells, said, also_said=True))


def _confusion(
    truth: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[int]
) -> NDArray[np.float64]:
    """Return float[K, K]: cells by true class and most probable class, ties shared out."""
    best = p == p.max(axis=1, keepdims=True)
    share = best / best.sum(axis=1, keepdims=True)
    is_class = truth[:, None] == np.asarray(classes)[None]
    return np.asarray(is_class.T.astype(float) @ share)


def average_precision(
    truth: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[int]
) -> float:
    """Return the average precision: of the rarer of two classes, else the mean over classes.

    Equal probabilities for all give the class's share of the cells, not 0.
    """
    present = [k for k, c in enumerate(classes) if (truth == c).any()]
    if len(classes) == 2 and len(present) == 2:
        counts = [int((truth == classes[k]).sum()) for k in present]
        present = [k for k, n in zip(present, counts, strict=True) if n == min(counts)]
    scores = [average_precision_score(truth == classes[k], p[:, k]) for k in present]
    return float(np.mean(scores)) if scores else 0.0


def published_precision(
    truth: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[int]
) -> float:
    """Return what a published account of active learning on blood cells calls precision.

    It hands scikit-learn's average precision the model's hard guesses as the truth, and the
    truth as the score. Of two classes: the share of the guessed cells of the rarer class
    that are, mixed with chance. Only there to repeat that account's curve beside the true one.
    """
    rarer = min(range(len(classes)), key=lambda k: int((truth == classes[k]).sum()))
    guessed = p.argmax(axis=1) == rarer
    if not guessed.any() or np.allclose(p, p[:, :1]):
        return 0.0
    return float(average_precision_score(guessed, (truth == classes[rarer]).astype(float)))


METRICS: MappingProxyType[str, Metric] = MappingProxyType(
    {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "average_precision": average_precision,
        "published_precision": published_precision,
    }
)


def simulate(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    strategies: Sequence[str] = ("automatic", "random"),
    seeds: int | Sequence[int] = 5,
    steps: int = 50,
    estimator: str = "self_training",
    holdout: float | NDArray[np.bool_] = 0.3,
    start: str | int = "cold",
    start_labels: int = 0,
    metric: str = "accuracy",
    batch: int = 1,
    pool_share: float = 1.0,
    targets: Sequence[float] = TARGETS,
) -> Job[Simulation]:
    """Replay labelling with each strategy; return the curves on frozen hold-out cells.

    Each seed draws the same start and the same cells for every strategy. Nothing of the
    hold-out is seen before it is measured on, not even to standardise the features.

    Parameters
    ----------
    features : float[N, F]
    labels : int[N]
        Class ids.
    strategies : sequence of str
        Keys of `STRATEGIES`.
    seeds : int or sequence of int
        How many, or which.
    steps : int
        How many cells are labelled in all.
    holdout : float in 0..1, or bool[N]
        Share that each seed draws (equal in every class), or the cells to measure on in
        all seeds.
    start : ``"cold"`` or int
        From no labels at all, or from so many random cells of each class.
    start_labels : int
        Where ``start`` is cold: from so many random cells, of two classes at least.
    metric : str
        A key of `METRICS`.
    batch : int
        Labels between two fits.
    pool_share : float in 0..1
        Share of the other cells that each seed may ask about: with a fixed hold-out
        this is what makes seeds differ.
    targets : sequence of float

    Raises
    ------
    ValueError
        If a parameter is none of the above or leaves nothing to learn or measure on.
    ModelError
        If there is no such strategy or estimator.
    """
    features, truth = np.asarray(features), np.asarray(labels, np.int64)
    if metric not in METRICS:
        raise ValueError(f"there is no metric '{metric}'; choose one of {', '.join(METRICS)}")
    if len(features) != len(truth) or len(np.unique(truth)) < 2:
        raise ValueError("a simulation needs labelled cells of at least two classes")
    seed_list = list(range(seeds)) if isinstance(seeds, int) else [int(s) for s in seeds]
    found: dict[str, list[dict[int, float]]] = {name: [] for name in strategies}
    last: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64]]]]
    last = {name: [] for name in strategies}
    done, total = 0, len(strategies) * len(seed_list)
    pool_size = holdout_size = 0
    for seed in seed_list:
        pool, held = _split(truth, holdout, pool_share, seed)
        pool_size, holdout_size = len(pool), len(held)
        replay = _Replay(features, truth, pool, held, estimator, metric, start, batch, seed)
        if start == "cold" and start_labels:
            replay.start_from(start_labels)
        for name in strategies:
            yield Progress(done, total, f"Replaying {name}, seed {seed}")
            points: dict[int, float] = {}
            ends = (truth[held], np.zeros((len(held), 0)))
            for count, value, guess in replay.run(name, steps):
                points[count] = value
                ends = (truth[held], guess)
                if count % 5 == 0:
                    yield Progress(done, total, f"Replaying {name}, seed {seed}: {count} labels")
            found[name].append(points)
            last[name].append(ends)
            done += 1
    yield Progress(total, total, "Replayed")
    trusted = {
        name: reliability(
            np.concatenate([t for t, _ in runs]),
            np.concatenate([p for _, p in runs]),
            [int(c) for c in np.unique(truth)],
        )
        for name, runs in last.items()
        if runs
    }
    return _summary(found, metric, targets, trusted, len(seed_list), pool_size, holdout_size)


class _Replay:
    """One seed: the same pool, start and hold-out for every strategy."""

    def __init__(
        self,
        features: NDArray[np.floating],
        labels: NDArray[np.int64],
        pool: NDArray[np.intp],
        held: NDArray[np.intp],
        estimator: str,
        metric: str,
        start: str | int,
        batch: int,
        seed: int,
    ) -> None:
        self._matrix = Matrix([str(row) for row in pool], features[pool])
        self._all = np.arange(len(pool))
        self._truth = labels[pool]
        self._held = self._matrix.place(features[held])
        self._held_truth = labels[held]
        self._classes = {int(c): str(c) for c in np.unique(labels)}
        self._estimator = estimator
        self._metric = METRICS[metric]
        self._batch = max(1, batch)
        self._seed = seed
        self._start = [] if start == "cold" else _few_of_each(self._truth, int(start), seed)

    def start_from(self, count: int) -> None:
        """Start from so many random cells, drawn again until they are of two classes."""
        if len(np.unique(self._truth)) < 2:
            return
        rng = np.random.default_rng([self._seed, 3])
        count = max(2, min(count, len(self._truth)))
        while True:
            self._start = [int(row) for row in rng.permutation(len(self._truth))[:count]]
            if len(np.unique(self._truth[self._start])) > 1:
                return

    def run(self, name: str, steps: int) -> Any:
        """Yield (labels, metric, guesses) from the start until ``steps`` labels are spent."""
        choose = strategy(name)
        order = list(self._start)
        steps = min(steps, len(self._truth))
        while True:
            rows = np.array(sorted(order), np.intp)
            known = self._truth[rows]
            model = learners.fit(
                self._matrix.points[rows],
                known,
                estimator=self._estimator,
                seed=self._seed,
                unlabelled=unlabelled_points(self._matrix, self._all, rows, self._seed),
            )
            guess = learners.probabilities(model, self._held, tuple(self._classes))
            value = self._metric(self._held_truth, guess, tuple(self._classes))
            yield len(order), value, guess
            if len(order) >= steps:
                return
            candidates = np.setdiff1d(self._all, rows)
            n = min(self._batch, steps - len(order))
            context = Context(
                self._matrix, candidates, rows, known, self._classes, model, n, self._seed
            )
            order += [int(row) for row in candidates[choose(context).positions]]


def _split(
    labels: NDArray[np.int64], holdout: float | NDArray[np.bool_], share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows = np.arange(len(labels))
    if isinstance(holdout, np.ndarray):
        if holdout.shape != labels.shape or holdout.all() or not holdout.any():
            raise ValueError("the hold-out mask must mark some of the cells, and not all")
        pool, held = rows[~holdout], rows[holdout]
    else:
        if not 0 < holdout < 1:
            raise ValueError("the hold-out share must lie between 0 and 1")
        common = min(np.bincount(np.unique(labels, return_inverse=True)[1])) >= 2
        pool, held = train_test_split(
            rows, test_size=holdout, random_state=seed, stratify=labels if common else None
        )
    if share < 1:
        rng = np.random.default_rng(seed)
        pool = rng.choice(pool, max(2, round(share * len(pool))), replace=False)
    return np.sort(pool), np.sort(held)


def _few_of_each(truth: NDArray[np.int64], count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [
        int(row)
        for c in np.unique(truth)
        for row in rng.permutation(np.flatnonzero(truth == c))[:count]
    ]


def _summary(
    found: dict[str, list[dict[int, float]]],
    metric: str,
    targets: Sequence[float],
    trusted: dict[str, Reliability | None],
    seeds: int,
    pool: int,
    holdout: int,
) -> Simulation:
    curves: dict[str, list[dict[str, float]]] = {}
    mean_to: dict[str, dict[str, float | None]] = {f"{t:g}": {} for t in targets}
    worst_to: dict[str, dict[str, int | None]] = {f"{t:g}": {} for t in targets}
    reached: dict[str, dict[str, float]] = {f"{t:g}": {} for t in targets}
    for name, runs in found.items():
        counts = sorted(set().union(*runs)) if runs else []
        curves[name] = []
        for count in counts:
            at = [run[count] for run in runs if count in run]
            curves[name].append(
                {
                    "labels": count,
                    "mean": float(np.mean(at)),
                    "low": float(min(at)),
                    "high": float(max(at)),
                }
            )
        budget = counts[-1] if counts else 0
        for target in targets:
            key = f"{target:g}"
            first = [
                min((count for count, value in run.items() if value >= target), default=None)
                for run in runs
            ]
            hits = [count for count in first if count is not None]
            everyone = len(hits) == len(first) > 0
            spent = [budget if count is None else count for count in first]
            mean_to[key][name] = float(np.mean(spent)) if hits else None
            worst_to[key][name] = max(hits) if everyone else None
            reached[key][name] = len(hits) / len(first) if first else 0.0
    return Simulation(metric, curves, mean_to, worst_to, reached, trusted, seeds, pool, holdout)
