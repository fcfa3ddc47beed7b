"""How long a training takes on this computer: measured, and remembered for the next one."""

from __future__ import annotations

import json
import logging
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_cellal.core.progress import Progress
from napari_cellal.io.atomic import write_atomic

if TYPE_CHECKING:
    from napari_cellal.classify.requests import ClassifierRequest
    from napari_cellal.classify.settings import ClassifySettings, ViewSettings
    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.detect.requests import TrainRequest
    from napari_cellal.detect.settings import TrainSettings
    from napari_cellal.io.store import Project
    from napari_cellal.networks.settings import CourseSettings

log = logging.getLogger(__name__)

FEWEST_STEPS = 10
"""A shorter training says little about a longer one."""
_COST_NOTHING = {
    "steps",
    "minutes",
    "patience",
    "seed",
    "learning_rate",
    "weight_decay",
    "warmup",
    "average",
    "keep_start",
    "clip_norm",
    "schedule",
    "plateau_patience",
}
"""Settings that do not change how long a step takes; any others do, those to come too."""


def times_file() -> Path:
    """Return where the measured times lie: they belong to the computer, not to a project."""
    folder = Path(platformdirs.user_cache_dir("napari-cellal", appauthor=False))
    return folder / "training_times.json"


def name_device() -> Job[str]:
    """Return the device that heavy work will use, in words. Runs in the worker."""
    yield Progress(0, 0, "Looking for a GPU")
    from napari_cellal.networks.devices import choose_device, describe_device

    return describe_device(choose_device("auto"))


def kind_of(project: Project, architecture: str, settings: TrainSettings, device: str) -> str:
    """Return what a time holds for: computer, device, network, settings that cost, size of images.

    Parameters
    ----------
    device : str
        In words, as `name_device` gives them.
    """
    shape = next(iter(project.images.values())).shape if project.images else ()
    return _words(device, architecture, *shape, _costs(settings))


def kind_of_classifier(
    architecture: str, settings: ClassifySettings, view: ViewSettings, n_held: int, device: str
) -> str:
    """Return what a time of a classifier's training holds for; see `kind_of`.

    Parameters
    ----------
    n_held : int
        Pictures that are looked at on the way: twice as many cost another time.
    """
    shown = view.model_dump_json()
    return _words(device, "classifier", architecture, n_held.bit_length(), shown, _costs(settings))


def _costs(settings: CourseSettings) -> str:
    return json.dumps(settings.model_dump(mode="json", exclude=_COST_NOTHING))


def _words(*parts: object) -> str:
    return " | ".join(str(part) for part in (platform.node(), *parts))


def measure(request: TrainRequest) -> Job[float]:
    """Return the job that measures seconds a step by a few steps."""
    from napari_cellal.detect.pace import measure_pace

    return measure_pace(request)


def measure_classifier(request: ClassifierRequest) -> Job[float]:
    """Return the job that measures seconds a step by a few steps."""
    from napari_cellal.classify.pace import measure_classifier_pace

    return measure_classifier_pace(request)


def remember(kind: str, seconds_per_step: float) -> None:
    """Keep a measured time for the next training of its kind."""
    file = times_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(_all() | {kind: round(seconds_per_step, 4)}, indent=1))
    except OSError as error:  # the next one is measured again
        log.warning("%s was not written: %s", file, error)


def remember_training(kind: str, record: ModelRecord) -> None:
    """Keep the time that a finished training took a step."""
    steps, seconds = record.trained_on.get("steps", 0), record.trained_on.get("seconds", 0)
    if steps >= FEWEST_STEPS and seconds > 0:
        remember(kind, seconds / steps)


def estimate_s(kind: str, settings: CourseSettings) -> float | None:
    """Return how many seconds the training will take; None where nothing was measured."""
    known = _all().get(kind)
    if known is None:
        return None
    by_steps = known * settings.steps
    return min(by_steps, settings.minutes * 60) if settings.minutes else by_steps


def _all() -> dict[str, float]:
    try:
        found = json.loads(times_file().read_bytes())
        return {str(k): float(v) for k, v in found.items() if float(v) > 0}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s was not read: %s", times_file(), error)
        return {}
