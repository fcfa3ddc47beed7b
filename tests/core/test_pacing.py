"""How long a training takes: measured times are kept by what they hold for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from napari_cellal.core.records import ImageRecord, ModelRecord
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.io.store import Project
from napari_cellal.workflows import pacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = TrainSettings(steps=100)
CARD = ModelRecord("m", "detector", "mobilenet_v2", (1,), ("RBC",), ("r", "g", "b"))


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache" / "times.json"
    monkeypatch.setattr(pacing, "times_file", lambda: place)
    return place


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        project.add_images([ImageRecord("a", "a.png", (3, 100, 120), "uint8", ("r", "g", "b"))])
        yield project


def kind(project: Project, device: str = "CPU", **changes: object) -> str:
    settings = SETTINGS.model_copy(update=changes)
    return pacing.kind_of(project, "mobilenet_v2", settings, device)


def test_nothing_is_said_before_it_was_measured(project: Project) -> None:
    assert pacing.estimate_s(kind(project), SETTINGS) is None
    pacing.remember(kind(project), 1.5)
    assert pacing.estimate_s(kind(project), SETTINGS) == 150
    limited = SETTINGS.model_copy(update={"minutes": 1.0})
    assert pacing.estimate_s(kind(project), limited) == 60


def test_a_time_holds_for_the_same_work_on_the_same_device(project: Project) -> None:
    pacing.remember(kind(project), 1.5)
    for changes in ({"steps": 7}, {"learning_rate": 1e-5}, {"seed": 3}):
        assert kind(project, **changes) == kind(project)
    for changes in ({"batch_size": 8}, {"crop_px": 640}, {"shrink": 2.0}, {"turns": False}):
        assert pacing.estimate_s(kind(project, **changes), SETTINGS) is None
    assert pacing.estimate_s(kind(project, "a GPU"), SETTINGS) is None


def test_a_training_that_was_long_enough_is_remembered(project: Project) -> None:
    short = replace(CARD, trained_on={"steps": 2, "seconds": 9.0})
    pacing.remember_training(kind(project), short)
    assert pacing.estimate_s(kind(project), SETTINGS) is None
    pacing.remember_training(
        kind(project), replace(CARD, trained_on={"steps": 50, "seconds": 100.0})
    )
    assert pacing.estimate_s(kind(project), SETTINGS) == 200


@pytest.mark.parametrize("text", ["", "[1]", "{broken", '{"a": "b"}', "\x00"])
def test_a_damaged_file_is_measured_anew(project: Project, file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    assert pacing.estimate_s(kind(project), SETTINGS) is None
    pacing.remember(kind(project), 2)
    assert pacing.estimate_s(kind(project), SETTINGS) == 200


def test_a_cache_that_cannot_be_written_costs_only_the_estimate(
    project: Project, file: Path
) -> None:
    file.parent.write_text("a file where the folder would be")
    pacing.remember(kind(project), 2)
    assert pacing.estimate_s(kind(project), SETTINGS) is None
