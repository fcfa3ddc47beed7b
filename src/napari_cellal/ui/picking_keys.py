"""The keys that do to the picked cells what they do to the boxes in hand at the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .keys import KeyFilter, class_of_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from .batch import Batch
    from .session import Session


def bind_picking_keys(
    widget: QWidget,
    session: Session,
    batch: Batch,
    gesture: Callable[[Callable[[], bool]], object],
) -> KeyFilter:
    """Return the filter that runs gestures for keys pressed on a widget of many cells.

    Parameters
    ----------
    gesture : callable
        Runs one; it may go on to another cell afterwards.
    """
    keys = KeyFilter(widget, lambda: session.project is not None)

    def press(digit: str) -> None:
        class_id = class_of_key(session, digit)
        if class_id is not None:
            gesture(lambda: batch.give_class(class_id))

    for digit in "123456789":
        keys.bind((digit,), "class", lambda d=digit: press(d))
    keys.bind(("0",), "unsure", lambda: gesture(batch.mark_unsure))
    keys.bind(("Enter",), "accept", lambda: gesture(batch.accept))
    keys.bind(("Delete", "Backspace"), "reject", lambda: gesture(batch.remove))
    keys.bind(("Escape",), "pick none", lambda: batch.pick(()))
    keys.bind(("Ctrl+Z",), "undo", session.undo)
    keys.bind(("Ctrl+Shift+Z", "Ctrl+Y"), "redo", session.redo)
    return keys
