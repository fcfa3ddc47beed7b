"""A new detector is used only if it is better than the one in use on the same images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from napari_cellal.core import gestures
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Detections, ImageRecord, ModelRecord, Split
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.io.store import Project
from napari_cellal.workflows import detecting, evaluating, promoting, training

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOX = (10.0, 10.0, 40.0, 40.0)
CARD = ModelRecord("m1", "detector", "mobilenet_v2", (1,), ("RBC",), ("r", "g", "b"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project of one finished held-out image, not on disk, and one other."""
    image = ImageRecord("t", "t.png", (3, 100, 100), "uint8", ("r", "g", "b"), True)
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        project.add_images([image, replace(image, image_id="v", path="v.png", split=Split.VAL)])
        project.history.do(gestures.draw("v", [BOX], 1, "ann"))
        project.add_model(CARD)
        yield project


def verdict(new: float | None, old: float | None) -> promoting.Verdict:
    def figures(value: float | None) -> dict[str, object] | None:
        if value is None:
            return None
        return {"model": "m", "map50": value, "images": 3, "any_class": {"ap50": value}}

    return promoting.Verdict(figures(new), figures(old), "m0")


def test_only_a_better_model_is_better() -> None:
    assert verdict(0.8, 0.7).better
    assert not verdict(0.7, 0.7).better
    assert not verdict(0.6, 0.7).better
    assert verdict(0.1, None).better  # the old one was made for other images
    assert not verdict(None, None).better  # never unmeasured
    assert "0.60" in verdict(0.6, 0.7).line()
    assert "0.70" in verdict(0.6, 0.7).line("Shipped")


def test_both_are_measured_on_the_same_finished_images(project: Project) -> None:
    assert promoting.request_comparison(project, "m1").new is None  # nothing is finished
    project.history.do(gestures.finish_image("v", "v", [], "ann"))
    request = promoting.request_comparison(project, "m1")
    assert request.old_id == SHIPPED
    assert request.new is not None
    assert request.old is not None
    assert request.new.truth == request.old.truth == {"v": ([BOX], [1])}
    assert (request.new.run.model_id, request.old.run.model_id) == ("m1", SHIPPED)


def test_it_is_told_where_the_truth_is_the_old_models_own(project: Project) -> None:
    boxes = [(10.0 * k, 50.0, 10.0 * k + 9, 59.0) for k in range(4)]
    found = Detections("v", tuple(boxes), (0.9,) * 4, (1, 1, 1, None), SHIPPED)
    detecting.apply_detections(project, [found])
    cells = [c for c in project.cells.of_image("v") if c.proposed is not None]
    project.history.do(gestures.move([(cells[0], (0.0, 50.0, 12.0, 59.0))], "ann"))
    cells = [c for c in project.cells.of_image("v") if c.proposed is not None]
    project.history.do(gestures.finish_image("v", "v", cells, "ann"))
    request = promoting.request_comparison(project, "m1")
    assert request.accepted == (3, 5)  # one is moved, one was drawn
    told = replace(verdict(0.6, 0.7), accepted=request.accepted).line("Old")
    assert "3" in told.removeprefix(verdict(0.6, 0.7).line("Old"))
    assert replace(verdict(0.6, 0.7), accepted=(2, 5)).line() == verdict(0.6, 0.7).line()


def test_images_that_could_not_be_searched_are_told() -> None:
    sentence = "a.png could not be searched; its cells count as missed."
    bad = verdict(0.6, 0.7)
    assert bad.new is not None
    bad.new["failures"] = [sentence]
    assert bad.line().endswith(sentence)
    bad.new["failures"] = [sentence, "b.png"]
    assert sentence in bad.line()
    assert not bad.line().endswith(sentence)


def test_a_model_for_other_channels_cannot_stand_in_the_way(project: Project) -> None:
    project.history.do(gestures.finish_image("v", "v", [], "ann"))
    project.add_model(replace(CARD, model_id="other", channels=("DNA",)))
    training.use_detector(project, "other")
    request = promoting.request_comparison(project, "m1")
    assert (request.old, request.old_id) == (None, "other")


def test_the_comparison_gives_the_figures_of_both(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.history.do(gestures.finish_image("v", "v", [], "ann"))

    def find(request: evaluating.EvaluateRequest):
        yield from ()
        boxes = (BOX,) if request.run.model_id == "m1" else (BOX, (60.0, 60.0, 90.0, 90.0))
        scores = (0.9, 0.95)[: len(boxes)]
        return {"v": Detections("v", boxes, scores, (1,) * len(boxes), request.run.model_id)}

    monkeypatch.setattr(evaluating, "find", find)
    said = run_job(promoting.compare(promoting.request_comparison(project, "m1")))
    assert said.better
    assert (said.new["map50"], said.old["map50"]) == (
        pytest.approx(1),
        pytest.approx(0.5, abs=0.01),
    )
    (change,) = said.changes
    assert (change.image_id, change.new, change.lost) == ("v", 0, 1)
    assert (change.f1_old, change.f1_new) == (pytest.approx(2 / 3), 1)


def test_every_model_is_listed_and_one_is_in_use(project: Project) -> None:
    project.add_model(replace(CARD, model_id="m0", created_at="2020-01-01T00:00:00+00:00"))
    rows = promoting.list_models(project)
    assert [r["model"] for r in rows] == [SHIPPED, detecting.CLASSICAL, "m0", "m1"]
    assert [r["model"] for r in rows if r["in_use"]] == [SHIPPED]
    training.use_detector(project, "m0")
    assert [r["model"] for r in promoting.list_models(project) if r["in_use"]] == ["m0"]


def test_training_goes_on_from_the_model_in_use_if_it_can(project: Project) -> None:
    project.history.do(gestures.draw("t", [BOX], 1, "ann"))
    assert training.request_training(project).start == "auto"
    training.use_detector(project, "m1")
    assert training.request_training(project).start == str(project.model_folder("m1"))
    assert training.request_training(project, start="shipped").start == SHIPPED
    assert training.request_training(project, preset="accurate").start == "auto"
    assert training.request_training(project, preset="balanced").start == "auto"  # another scale
    balanced = training.request_training(project, preset="balanced", start="m1")
    assert balanced.settings.shrink == 1
    project.add_model(replace(CARD, model_id="other", channels=("DNA",)))
    training.use_detector(project, "other")
    assert training.request_training(project).start == "auto"
