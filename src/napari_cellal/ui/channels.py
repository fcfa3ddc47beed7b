"""Stepping through the channels on screen, showing and hiding them, contrast by itself again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from .images import ImageView
    from .session import Session


class Channels:
    """What keys and buttons do with the channels of the image on screen."""

    def __init__(self, viewer: napari.Viewer, session: Session, images: ImageView) -> None:
        self._viewer = viewer
        self._session = session
        self._images = images
        self._looks = images.looks

    def step(self) -> None:
        """Show the next channel alone, or the composite after the last."""
        if not self._has_several():
            return
        self._looks.step()
        self._images.show_channels()
        self._viewer.status = (
            f"Channel {self._looks.alone}" if self._looks.alone else "All channels together"
        )

    def toggle(self, number: int) -> None:
        """Show or hide the channel of that number, from 1."""
        names = self._looks.channels
        if not self._has_several():
            return
        if number > len(names):
            self._session.tell(f"There is no channel {number}: this image has {len(names)}.")
            return
        name = names[number - 1]
        self._looks.show(name, not self._looks.shows(name))
        self._images.show_channels()

    def make_automatic(self) -> None:
        """Scale every channel of the image on screen by its own brightness again."""
        if not self._looks.channels:
            self._session.tell("A colour picture is shown as it is: there is no contrast to set.")
            return
        self._looks.make_automatic()
        self._images.dress()
        self._viewer.status = "Contrast is automatic again"

    def _has_several(self) -> bool:
        if len(self._looks.channels) > 1:
            return True
        self._session.tell("This image has no separate channels.")
        return False
