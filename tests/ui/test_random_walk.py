"""Two hundred gestures at random by key and mouse, then all of them taken back."""

from __future__ import annotations

import numpy as np
import pytest

KEYS = ("1", "2", "3", "4", "0", "Enter", "Delete", "Backspace")
WAYS = ("Tab", "Shift+Tab", "Escape", "D", "A")
STEPS = 200


class Walker:
    """Chooses and does one gesture after the other."""

    def __init__(self, person, seed):
        self.person = person
        self.rng = np.random.default_rng(seed)
        self.first = person.session.project.history.undo_label

    def _whole_view(self):
        self.person.press("Escape")
        if str(self.person.layer.mode) != "select":
            self.person.press("Escape")
        self.person.viewer.reset_view()

    def _point(self):
        height, width = self.person.session.image.shape[1:]
        return self.rng.uniform(5, height - 5), self.rng.uniform(5, width - 5)

    def _take_one(self):
        """Click into a box, and return the cell that is in hand then."""
        cells = self.person.session.cells()
        if not cells:
            return None
        y0, x0, y1, x1 = cells[self.rng.integers(len(cells))].box
        y, x = self.rng.uniform((y0, x0), (y1, x1))
        height, width = self.person.session.image.shape[1:]
        self.person.click(np.clip(y, 0, height - 1), np.clip(x, 0, width - 1))
        return self.person.session.current

    def draw(self):
        self._whole_view()
        self.person.press("W")
        self.person.drag(self._point(), self._point())
        if str(self.person.layer.mode) != "select":  # too small to be a cell
            self.person.press("W")

    def move(self):
        self._whole_view()
        cell = self._take_one()
        if cell is None:
            return
        y0, x0, y1, x1 = cell.box
        start = y0 + (y1 - y0) * 0.4, x0 + (x1 - x0) * 0.4
        height, width = self.person.session.image.shape[1:]
        start = np.clip(start[0], 0, height - 1), np.clip(start[1], 0, width - 1)
        self.person.drag(start, self._point())

    def resize(self):
        self._whole_view()
        cell = self._take_one()
        if cell is None:
            return
        y0, x0, y1, x1 = cell.box
        handle = [(y0, x0), (y0, x1), (y1, x1), (y1, x0)][self.rng.integers(4)]
        height, width = self.person.session.image.shape[1:]
        handle = np.clip(handle, 0, (height - 1, width - 1))
        self.person.drag(tuple(handle), self._point())

    def key(self):
        if self.rng.random() < 0.5:
            self._whole_view()
            self._take_one()
        else:
            self.person.press("Tab")
        self.person.press(str(self.rng.choice(KEYS)))

    def way(self):
        self.person.press(str(self.rng.choice(WAYS)))
        self.person.wait_for_image()

    def finish(self):
        self.person.press("F")
        self.person.wait_for_image()

    def copy(self):
        self._whole_view()
        if self._take_one() is not None:
            self.person.press("Ctrl+C", "Ctrl+V")

    def many(self):
        session = self.person.session
        cells = session.cells()
        if cells:
            session.select(c.cell_id for c in self.rng.choice(cells, min(5, len(cells))))
            self.person.press(str(self.rng.integers(1, 4)))

    def above(self):
        self.person.session.accept_above(float(self.rng.uniform()))

    def score(self):
        self.person.session.set_shown(min_score=float(self.rng.uniform(0, 0.9)))

    def undo(self):
        history = self.person.session.project.history
        for _ in range(int(self.rng.integers(1, 4))):
            if history.undo_label != self.first:  # what is undone is lost with the next edit
                self.person.press("Ctrl+Z")

    def redo(self):
        self.person.press(*["Ctrl+Shift+Z"] * int(self.rng.integers(1, 4)))

    def step(self):
        name = self.rng.choice(
            [
                *("draw", "move", "resize") * 3,
                *("key",) * 6,
                *("way", "copy", "many", "undo", "redo"),
                *("finish", "above", "score")[: 1 + (self.rng.random() < 0.5)],
            ]
        )
        getattr(self, str(name))()
        return str(name)


@pytest.mark.parametrize("seed", [0])
def test_random_walk_undone_to_the_start(sit_down, detected, seed):
    person = sit_down(detected)
    updates = person.window.setUpdatesEnabled  # drawing the window is most of the work
    history = person.session.project.history
    start = person.state()
    walker, walk = Walker(person, seed), []
    for k in range(STEPS):
        updates(k % 20 == 0)
        walk.append(walker.step())
        try:
            person.agree()
        except BaseException:
            print(walk[-5:])  # noqa: T201  which gestures led here
            raise
    assert not [text for text, error in person.told if error]
    end = person.state()
    assert end != start

    undone = 0
    while history.undo_label != walker.first:
        person.press("Ctrl+Z")
        undone += 1
        if undone % 5 == 0:
            person.agree()
    person.agree()
    assert person.state() == start
    assert undone > STEPS / 3  # the walk was one of edits, not of looking
    for _ in range(undone):
        person.press("Ctrl+Shift+Z")
    updates(True)
    person.agree()
    assert person.state() == end
