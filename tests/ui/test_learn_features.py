"""Learn asks at once by quick measurements, and by the chosen features when they are ready."""

from napari_cellal.workflows import describing


def test_questions_come_at_once_and_by_better_features_later(sit_down, detected):
    person = sit_down(detected, "Learn")
    loop, dock = person.workspace.learn, person.workspace.dock("Learn")
    assert [dock.features.itemData(k) for k in range(dock.features.count())] == list(
        describing.CHOICES
    )
    loop.better.choice = "deep:shipped"  # needs no network connection
    person.push(dock.start)
    person.wait(lambda: loop.question is not None, 60_000)
    quick = loop.features_path
    person.wait(lambda: loop.features_path != quick, 120_000)
    assert "shipped" in person.told[-1][0]
    person.canvas.setFocus()
    for key in ("1", "2"):
        asked = loop.question
        person.press(key)
        person.wait(lambda asked=asked: loop.question not in (None, asked), 60_000)
    person.agree()

    loop.better.choose("quick")  # back, at once
    assert loop.features_path == quick
    loop.better.choose("deep:shipped")
    loop.better.forget()
    asked = loop.question
    person.press("1")
    person.wait(lambda: loop.question not in (None, asked), 60_000)


def test_a_network_that_is_not_there_costs_nothing(sit_down, detected):
    person = sit_down(detected, "Learn")
    loop, dock = person.workspace.learn, person.workspace.dock("Learn")
    loop.better.choice = "deep:nowhere"
    person.push(dock.start)
    person.wait(lambda: loop.question is not None, 60_000)
    person.wait(lambda: any(error for _, error in person.told), 120_000)
    person.canvas.setFocus()
    asked = loop.question
    person.press("1")
    person.wait(lambda: loop.question not in (None, asked), 60_000)
    person.agree()
