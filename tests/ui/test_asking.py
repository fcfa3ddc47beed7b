"""Questions asked in a thread: who asked hears the answer, and a fault is in the log."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QObject

from napari_cellal.core.errors import CellalError
from napari_cellal.ui.asking import Asker


@pytest.fixture
def asker():
    parent = QObject()
    asker = Asker("test", parent)
    yield asker
    asker.close()


def raising(error):
    def question():
        raise error

    return question


def test_answers_and_errors_are_heard(qtbot, asker):
    heard = []
    asker.ask(lambda: 1, heard.append)
    asker.ask(
        raising(CellalError("No.")), heard.append, failed=lambda error: heard.append(str(error))
    )
    asker.ask(lambda: 2, heard.append, is_wanted=lambda: False)
    asker.ask(lambda: 3, heard.append)
    qtbot.waitUntil(lambda: heard[-1:] == [3])
    assert heard == [1, "No.", 3]


def test_a_fault_is_logged_and_the_next_question_answered(qtbot, asker, caplog):
    heard = []
    asker.ask(raising(KeyError("a fault of ours")), heard.append)
    asker.ask(lambda: 3, heard.append)
    qtbot.waitUntil(lambda: heard == [3])
    assert "a fault of ours" in caplog.text
