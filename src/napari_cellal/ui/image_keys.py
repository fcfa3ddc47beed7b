"""The keys of the labelling loop: what each does at the image, in Review and in Learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .keys import KeyFilter, class_of_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from qtpy.QtWidgets import QWidget

    from .workspace import Workspace


class ImageKeys(KeyFilter):
    """Runs the workspace's commands for keys pressed on the image."""

    def __init__(self, workspace: Workspace, canvas: QWidget) -> None:
        super().__init__(canvas, self.are_ours)
        self.workspace = workspace
        self.session = workspace.session
        self.learn = workspace.learn
        self._bind_gestures()
        self._bind_steps()
        self._bind_looks()
        self.bind(("Ctrl+Z",), "undo", self.session.undo)
        self.bind(("Ctrl+Shift+Z", "Ctrl+Y"), "redo", self.session.redo)
        self.bind(("?",), "show these keys", workspace.show_keys)

    def are_ours(self) -> bool:
        """Return whether keys are ours now: a project is open and one of its layers in hand."""
        if self.session.project is None:
            return False
        there = self.workspace
        active: Layer | None = there.viewer.layers.selection.active
        ours = [there.boxes.layer, *there.images.layers]
        ours += [f.layer for f in (there.overview, there.masks) if f is not None and f.layer]
        return active is None or any(active is layer for layer in ours)

    def _bind_gestures(self) -> None:
        session, learn = self.session, self.learn
        for digit in "123456789":
            self.bind(
                (digit,),
                "give the boxes in hand that class; in Learn: answer, go to the next",
                lambda d=digit: self._press_digit(d),
                shown_as="1 to 9" if digit == "1" else "",
            )
        self.bind(("0",), "unsure", lambda: self._either(learn.mark_unsure, session.mark_unsure))
        self.bind(
            ("Enter",),
            "accept as it is; in Learn: the model's guess",
            lambda: self._either(learn.accept, session.accept),
        )
        self.bind(
            ("Delete", "Backspace"),
            "reject a proposal, delete a drawn box",
            lambda: self._either(learn.reject, session.remove),
        )

    def _bind_steps(self) -> None:
        session = self.session
        self.bind(("Tab",), "next box, centred", lambda: session.step_cell(1))
        self.bind(("Shift+Tab",), "box before, centred", lambda: session.step_cell(-1))
        self.bind(("Escape",), "stop drawing; let go; back to the whole view", self._escape)
        self.bind(("W",), "draw a box", self.workspace.toggle_drawing)
        self.bind(("D",), "next image", lambda: session.step_image(1))
        self.bind(("A",), "image before", lambda: session.step_image(-1))
        self.bind(
            ("F",),
            "image finished: accept the boxes shown, go to the next",
            session.finish_image,
        )
        self.bind(("N",), "Learn: next suggestion (skip)", self._next_suggestion)
        self.bind(("B",), "Learn: one step back", self.learn.back)

    def _bind_looks(self) -> None:
        channels = self.workspace.channels
        self.bind(
            ("G",),
            "gallery: pick many cells and class them with one key; in it, back to the image",
            lambda: self.workspace.raise_dock("Gallery"),
        )
        self.bind(
            ("H",),
            "hide the boxes while held",
            lambda: self._show_boxes(False),
            release=lambda: self._show_boxes(True),
        )
        self.bind(("C",), "one channel alone, the next, all together", channels.step)
        for digit in "123456789":
            self.bind(
                (f"Ctrl+{digit}",),
                "show or hide a channel",
                lambda d=digit: channels.toggle(int(d)),
                shown_as="Ctrl+1 to Ctrl+9" if digit == "1" else "",
            )
        self.bind(("Shift+C",), "contrast automatic again", channels.make_automatic)

    def _either(self, in_learn: Callable[[], object], in_review: Callable[[], object]) -> None:
        (in_learn if self.learn.is_asking else in_review)()

    def _press_digit(self, digit: str) -> None:
        class_id = class_of_key(self.session, digit)
        if class_id is not None:
            self.workspace.press_class(class_id)

    def _escape(self) -> None:
        layer = self.workspace.boxes.layer
        if layer.mode != "select":
            layer.mode = "select"
            return
        self.session.select(())
        self.workspace.camera.back()

    def _next_suggestion(self) -> None:
        self.workspace.raise_dock("Learn")
        self.learn.skip()

    def _show_boxes(self, visible: bool) -> None:
        self.workspace.boxes.layer.visible = visible
