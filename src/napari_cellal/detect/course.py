"""The course of a training: steps, looks at the validation images, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import EndEarly, Job, Progress
from napari_cellal.core.records import Detections, ModelRecord
from napari_cellal.io.reading import Reader, read_or_fail
from napari_cellal.networks.average import WeightAverage
from napari_cellal.networks.schedules import Plateau, learning_rate

from .dataset import Labelled, Pictures, batches
from .predict import TorchDetector
from .requests import TrainPoint
from .settings import PredictSettings, TrainSettings
from .stepping import Stepper

if TYPE_CHECKING:
    import torch

    from napari_cellal.networks.checkpoints import Checkpoint

    from .family import CellNetwork

State: TypeAlias = dict[str, Tensor]
Metric: TypeAlias = Callable[
    [Sequence[Detections], Sequence[Any], Sequence[Sequence[int]], Sequence[int]],
    dict[int, float],
]
_KEEP_EVERY = 25  # steps between two copies of the weights, to go back to after a NaN


def on_cpu(state: State) -> State:
    """Return the tensors, copied to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in state.items()}


class Validation:
    """Scores a network on images that it does not learn from. Only complete ones count."""

    def __init__(
        self,
        images: Sequence[Labelled],
        record: ModelRecord,
        network: CellNetwork,
        device: torch.device,
        reader: Reader,
        metric: Metric,
    ) -> None:
        self.images = images
        self._ids = record.class_ids
        self._reader = reader
        self._metric = metric
        self._network = network
        self._detector = TorchDetector(record, network, device, PredictSettings(keep_score=0.05))

    def score(self, progress: Progress, most: int | None = None) -> Job[dict[int, float]]:
        """Yield an image at a time and return AP50 by class, 0..1.

        Parameters
        ----------
        progress : Progress
            How far the training is; shown with each image.
        most : int or None
            Look at this many images only, the same ones each time.
        """
        images = self.images[:most]
        found, boxes, classes = [], [], []
        self._network.eval()
        for k, row in enumerate(images, 1):
            pixels = read_or_fail(self._reader, row.image.path, row.image.plane)
            found.append(self._detector.detect(pixels, image_id=row.image.path))
            boxes.append(row.boxes)
            classes.append([self._ids[label - 1] for label in row.labels])
            words = f"{progress.message}; validating, image {k} of {len(images)}"
            yield Progress(progress.done, progress.total, words)
        return self._metric(found, boxes, classes, self._ids)


def mean(values: dict[int, float]) -> float:
    """Return mAP of AP by class; 0 where no class has a true box."""
    return sum(values.values()) / len(values) if values else 0.0


@dataclass
class Outcome:
    """What a course ended with. ``stopped`` says why, if it ended early."""

    state: State
    steps: int
    seconds: float
    best_map50: float | None
    stopped: str = ""
    by_class: dict[int, float] = field(default_factory=dict)
    """AP50 of the weights on the validation images looked at; empty without a look."""
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
    """One training run over prepared pictures."""

    def __init__(
        self,
        network: CellNetwork,
        device: torch.device,
        pictures: Pictures,
        validation: Validation,
        settings: TrainSettings,
        checkpoint: Checkpoint,
        keep_start: float = 0.0,
    ) -> None:
        self._network = network
        self._pictures = pictures
        self._validation = validation
        self._settings = settings
        self._checkpoint = checkpoint
        self._average = WeightAverage(network, settings.average, keep_start)
        self._stepper = Stepper(network, device, settings)
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
        for batch in batches(self._pictures, settings, now.step):
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
            if not self._validation.images:
                every = min(settings.validate_every, max(1, settings.steps // 10))
                self._plateau.tell_loss(loss, every, settings.plateau_patience)
            words = f"Training, loss {loss:.3f}{self._stepper.note}"
            done = Progress(now.step, self._total(now.step, begin), words)
            last = self._progress(now.step, time.monotonic() - begin) >= 1
            if not (self._validation.images and (last or now.step % settings.validate_every == 0)):
                if now.step % _KEEP_EVERY == 0:
                    now.last_good = on_cpu(self._average.result)
                yield Progress(done.done, done.total, done.message, TrainPoint(now.step, loss))
            else:
                score = yield from self._look(done)
                words = f"{done.message}, mAP50 {score:.2f} on the validation images"
                yield Progress(done.done, done.total, words, TrainPoint(now.step, loss, score))
                if now.looks_without_gain >= settings.patience:
                    return f"Training ended early at step {now.step}: nothing got better."
            if self._checkpoint.due:
                now.seconds = time.monotonic() - begin
                self._checkpoint.save(self._values())
        return ""

    def _look(self, done: Progress) -> Job[float]:
        """Measure the average on the validation images, and keep it if it is the best."""
        now = self._reached
        with self._average.put_in():
            by_class = yield from self._validation.score(done, self._settings.validate_on)
        score = mean(by_class)
        self._plateau.tell(score, self._settings.plateau_patience)
        now.last_good = on_cpu(self._average.result)
        if not now.best or score > now.best_score:
            now.best, now.best_score, now.looks_without_gain = now.last_good, score, 0
            now.best_by_class = by_class
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
