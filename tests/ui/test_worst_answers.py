"""The list of the surest wrong answers, and the pictures beside them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_cellal.core.progress import Progress
from napari_cellal.evaluate.matches import Match
from napari_cellal.ui.jobs import JobHandle
from napari_cellal.ui.widgets import evaluate_worst

WRONG = Match("one", "c1", 1, 2, 0.9, (0.0, 0.0, 9.0, 9.0))


def answers_of(model_id):
    return SimpleNamespace(request=SimpleNamespace(model_id=model_id, classes=None))


@pytest.fixture
def panel(qtbot, monkeypatch):
    monkeypatch.setattr(evaluate_worst.explaining, "requests_for", lambda *_, **__: [])
    monkeypatch.setattr(evaluate_worst.explainable, "find_model", lambda *_: None)
    jobs = SimpleNamespace(run=lambda title, *_: JobHandle(title, lambda: None, ()))
    session = SimpleNamespace(project=object(), tell=lambda *_, **__: None)
    panel = evaluate_worst.WorstAnswers(SimpleNamespace(session=session, jobs=jobs))
    qtbot.addWidget(panel)
    return panel


def has_picture(panel):
    return not panel.list.item(0).icon().isNull()


def test_pictures_of_one_model_are_not_put_beside_the_answers_of_another(panel):
    first, second = answers_of("first"), answers_of("second")
    matches, names = {"one": (WRONG,)}, {1: "RBC", 2: "WBC"}
    picture = Progress(1, 1, item=("c1", np.zeros((8, 16, 3), np.uint8)))
    panel.show_answers(first, matches, names)
    panel._explain()
    job = panel.bar._handle
    panel.show_answers(second, matches, names)
    job._deliver(picture)
    assert not has_picture(panel)
    panel.show_answers(first, matches, names)
    job._deliver(picture)
    assert has_picture(panel)
