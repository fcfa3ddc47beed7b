"""The keys of the labelling loop, caught at the canvas before napari's own.

napari's layers own the digits (3 deletes a shape) and layer keys beat viewer keys, so binding
is not enough: the canvas's key events are filtered while one of our layers is active. A
person's own Labels or Shapes layer keeps its keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QWidget

    from .session import Session


ONCE = {*"0123456789", "Enter", "Delete", "Backspace", "F"}
"""Keys that answer: held down they would answer for cells that nobody has looked at."""


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """One line of the key list: what to press and what it does."""

    keys: str
    does: str


_NAMED = {
    Qt.Key.Key_Return: "Enter",
    Qt.Key.Key_Enter: "Enter",
    Qt.Key.Key_Delete: "Delete",
    Qt.Key.Key_Backspace: "Backspace",
    Qt.Key.Key_Tab: "Tab",
    Qt.Key.Key_Backtab: "Shift+Tab",
    Qt.Key.Key_Escape: "Escape",
    Qt.Key.Key_Question: "?",
}


def key_name(event: QKeyEvent) -> str:
    """Return a key press in words: ``3``, ``W``, ``Ctrl+Shift+Z``, ``Shift+Tab``."""
    key = event.key()
    if key in _NAMED:
        name = _NAMED[key]
        if name in ("?", "Shift+Tab"):  # already say which modifier they were typed with
            return name
    elif 0x20 < key < 0x7F:
        name = chr(key)
    else:
        return ""
    modifiers = event.modifiers()
    if name.isdigit():  # typed with Shift on some keyboards, French ones for example
        modifiers &= ~Qt.KeyboardModifier.ShiftModifier
    parts = [
        word
        for word, flag in (
            ("Ctrl", Qt.KeyboardModifier.ControlModifier),
            ("Alt", Qt.KeyboardModifier.AltModifier),
            ("Shift", Qt.KeyboardModifier.ShiftModifier),
        )
        if modifiers & flag
    ]
    return "+".join([*parts, name])


class KeyFilter(QObject):
    """Runs commands for keys pressed on a canvas.

    Parameters
    ----------
    canvas : QWidget
        napari's native canvas.
    is_active : callable
        Returns whether the keys are ours now.
    """

    def __init__(self, canvas: QWidget, is_active: Callable[[], bool]) -> None:
        super().__init__(canvas)
        self._is_active = is_active
        self._pressed: dict[str, Callable[[], object]] = {}
        self._released: dict[str, Callable[[], object]] = {}
        self._held: set[str] = set()
        self.commands: list[KeyCommand] = []
        canvas.installEventFilter(self)

    def bind(
        self,
        keys: tuple[str, ...],
        does: str,
        run: Callable[[], object],
        release: Callable[[], object] | None = None,
        shown_as: str | None = None,
    ) -> None:
        """Give keys a command; ``release`` makes it one that lasts while the key is held.

        ``shown_as`` stands for the keys in the list; empty leaves the line out.
        """
        for key in keys:
            self._pressed[key] = run
            if release is not None:
                self._released[key] = release
        if shown_as != "":
            self.commands.append(KeyCommand(shown_as or " / ".join(keys), does))

    def let_go(self, *_: object) -> None:
        """End what lasts while a key is held: its key-up goes to another widget."""
        for name in self._held:
            self._released[name]()
        self._held.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Run our commands and keep napari from seeing their keys."""
        kind = event.type()
        if kind == QEvent.Type.FocusOut:
            self.let_go()
            return False
        if kind not in (
            QEvent.Type.KeyPress,
            QEvent.Type.KeyRelease,
            QEvent.Type.ShortcutOverride,
        ):
            return False
        name = key_name(event)
        if kind == QEvent.Type.KeyRelease and (bare := name.rpartition("+")[2]) in self._held:
            # Whatever modifier came down or layer became active in between.
            if not event.isAutoRepeat():
                self._held.remove(bare)
                self._released[bare]()
            return True
        if name not in self._pressed or not self._is_active():
            return False
        if kind == QEvent.Type.ShortcutOverride:
            event.accept()  # else a menu's shortcut would win over the canvas
            return True
        repeat = event.isAutoRepeat()
        if kind == QEvent.Type.KeyRelease:
            return True
        if not (repeat and (name in self._released or name in ONCE)):
            self._pressed[name]()
            if name in self._released:
                self._held.add(name)
        event.accept()
        return True


def class_of_key(session: Session, digit: str) -> int | None:
    """Return the class that has a key; None where none has it, and that is told."""
    project = session.project
    found = next((c for c in project.active_classes if c.shortcut == digit), None)
    if found is None:
        session.tell(f"No class has the key {digit}. Classes are in the Project dock.")
        return None
    return found.class_id
