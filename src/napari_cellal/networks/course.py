"""The course of a training: steps, looks at what is held out, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress

from .average import WeightAverage
from .points import TrainPoint
from .schedules import Plateau, learning_rate

if TYPE_CHECKING:
    from torch import nn

    from .checkpoints import Checkpoint
    from .settings import CourseSettings
    from .stepping import Stepper

State: TypeAlias = dict[str, Tensor]
Batches: TypeAlias = Callable[[int], Iterator[list[Any]]]
"""Gives endless batches from a step on, each drawn from the seed and its place alone."""
_KEEP_EVERY = 25  # steps between two copies of the weights, to go back to after a NaN


def on_cpu(state: State) -> State:
    """Return the tensors, copied to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in state.items()}


@dataclass(frozen=True)
class Look:
    """What an examiner saw.

    Attributes
    ----------
    score : float
        The larger the better.
    by_class : {class id: float}
        Scores that ``score`` is the mean of; empty where there are none.
    """

    score: float
    by_class: dict[int, float] = field(default_factory=dict)


class Examiner(Protocol):
    """Whatever scores a network on what it does not learn from."""

    @property
    def has_any(self) -> bool:
        """Whether there is anything to look at."""

    def look(self, progress: Progress) -> Job[Look]:
        """Yield often and return how good the network is; ``progress`` is the training's."""

    def words(self, score: float) -> str:
        """Return what a person reads of the score."""


@dataclass
class Outcome:
    """What a course ended with. ``stopped`` says why, if it ended early."""

    state: State
    steps: int
    seconds: float
    best: float | None
    stopped: str = ""
    by_class: dict[int, float] = field(default_factory=dict)
    """Of the look at which the weights were best; see `Look`."""
    asked: bool = False
    """Whether a person asked for the end."""


@dataclass
class Reached:
    """How far a training is; all of it is kept in its checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: State = field(default_factory=dict)
    best_score: float = 0.0
    best_by_class: dict[int, float] = field(default_factory=dict)
    last_good: State = field(default_factory=dict)
    """To go back to after a loss that is not a number."""
    looks_without_gain: int = 0


class Course:
    """One training run.

    Parameters
    ----------
    keep_start : float, 0..1
        Share of the starting weights in what comes out; see `average.WeightAverage`.
    """

    def __init__(
        self,
        network: nn.Module,
        stepper: Stepper,
        batches: Batches,
        examiner: Examiner,
        settings: CourseSettings,
        checkpoint: Checkpoint,
        keep_start: float = 0.0,
    ) -> None:
        self._network = network
        self._stepper = stepper
        self._batches = batches
        self._examiner = examiner
        self._settings = settings
        self._checkpoint = checkpoint
        self._average = WeightAverage(network, settings.average, keep_start)
        self._reached = Reached()
        self._plateau = Plateau()

    def run(self) -> Job[Outcome]:
        """Yield a `TrainPoint` a step and return the best weights, also after an `EndEarly`.

        The weights measured and kept are the running average; see `average.WeightAverage`.

        Raises
        ------
        ModelError
            If the loss is no number before anything was learned.
        """
        settings, now = self._settings, self._reached
        if (kept := self._checkpoint.load()) is not None:
            self._go_on(kept)
            words = f"Going on with a training that was cut off at step {now.step}"
            yield Progress(now.step, settings.steps, words)
        begin = time.monotonic() - now.seconds
        asked = False
        try:
            stopped = yield from self._learn(begin)
        except EndEarly:
            if not now.step:
                raise
            asked, stopped = True, f"You stopped the training at step {now.step}."
        state = self._kept(failed="not a number" in stopped)
        self._network.load_state_dict(state)
        seconds = time.monotonic() - begin
        score = now.best_score if now.best else None
        return Outcome(state, now.step, seconds, score, stopped, now.best_by_class, asked)

    def _learn(self, begin: float) -> Job[str]:
        """Take the steps that are left and return why they ended early, empty if they did not."""
        settings, now = self._settings, self._reached
        for batch in self._batches(now.step):
            now.seconds = time.monotonic() - begin
            progress = self._progress(now.step, now.seconds)
            if progress >= 1:
                break
            self._stepper.freeze(progress < settings.frozen_share)
            rate = learning_rate(progress, settings, self._plateau.share)
            loss = self._stepper.step(batch, rate, now.step)
            if not math.isfinite(loss):
                return (
                    f"Training stopped at step {now.step + 1}: the loss was not a number any "
                    "more. The last good weights were kept. A lower learning rate helps."
                )
            now.step += 1
            self._average.update(now.step)
            if not self._examiner.has_any:
                every = min(settings.validate_every, max(1, settings.steps // 10))
                self._plateau.tell_loss(loss, every, settings.plateau_patience)
            words = f"Training, loss {loss:.3f}{self._stepper.note}"
            done = Progress(now.step, self._total(now.step, begin), words)
            last = self._progress(now.step, time.monotonic() - begin) >= 1
            score = None
            if self._examiner.has_any and (last or now.step % settings.validate_every == 0):
                score = yield from self._look(done)
                words = f"{words}, {self._examiner.words(score)}"
            elif now.step % _KEEP_EVERY == 0:
                now.last_good = on_cpu(self._average.result)
            yield Progress(done.done, done.total, words, TrainPoint(now.step, loss, score))
            if now.looks_without_gain >= settings.patience:
                return f"Training ended early at step {now.step}: nothing got better."
            if self._checkpoint.due:
                now.seconds = time.monotonic() - begin
                self._checkpoint.save(self._values())
        return ""

    def _look(self, done: Progress) -> Job[float]:
        """Measure the average on what is held out, and keep it if it is the best."""
        now = self._reached
        with self._average.put_in():
            look = yield from self._examiner.look(done)
        score = look.score
        self._plateau.tell(score, self._settings.plateau_patience)
        now.last_good = on_cpu(self._average.result)
        if not now.best or score > now.best_score:
            now.best, now.best_score, now.looks_without_gain = now.last_good, score, 0
            now.best_by_class = look.by_class
        else:
            now.looks_without_gain += 1
        return score

    def _values(self) -> dict[str, Any]:
        """Return all that a killed training needs to go on."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state,
            "optimizer": self._stepper.optimizer.state_dict(),
            "reached": vars(self._reached),
            "plateau": vars(self._plateau),
        }

    def _go_on(self, kept: dict[str, Any]) -> None:
        self._network.load_state_dict(kept["network"])
        self._average.load(kept["average"])
        self._stepper.optimizer.load_state_dict(kept["optimizer"])
        vars(self._reached).update(kept["reached"])
        vars(self._plateau).update(kept["plateau"])

    def _kept(self, *, failed: bool) -> State:
        now = self._reached
        if now.best:
            return now.best
        if not failed:
            return on_cpu(self._average.result)
        if not now.last_good:
            raise ModelError(
                "Training failed: the loss was not a number from the beginning. Lower the "
                "learning rate, or look for images without any contrast."
            )
        return now.last_good

    def _progress(self, step: int, seconds: float) -> float:
        """Return the share done, 0..1, by steps or by time, whichever is further."""
        minutes = self._settings.minutes
        by_time = seconds / (60 * minutes) if minutes else 0.0
        return max(step / self._settings.steps, by_time)

    def _total(self, step: int, begin: float) -> int:
        """Return how many steps it will be in all, as far as can be told."""
        share = self._progress(step, time.monotonic() - begin)
        return max(step, min(self._settings.steps, round(step / share)))
