"""How each channel is shown: contrast, gamma, colour, visibility, by the channel's name.

What a person set for a channel holds for every image that has it, and is kept in the
project's cache: it changes no result. What was never set is worked out image by image.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellal.core.errors import CellalError
from napari_cellal.io.atomic import write_atomic
from napari_cellal.io.composites import COLORS, choose_colors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari.layers import Image

    from napari_cellal.core.records import ImageRecord
    from napari_cellal.io.store import Project

    from .session import Session

log = logging.getLogger(__name__)

FILE = "looks.json"
SETTLE_MS = 200
"""A slider that is dragged tells many values; what follows waits for the last one."""
# Under napari's own names, so that its list of colormaps shows which one it is.
_NAMED = {
    "#FF0000": "red",
    "#00FF00": "green",
    "#0000FF": "blue",
    "#FFFF00": "yellow",
    "#FF00FF": "magenta",
    "#00FFFF": "cyan",
    "#FFFFFF": "gray",
    "#000000": "gray",  # napari would turn black into a reversed grey
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a person set for a channel; None and empty are automatic."""

    limits: tuple[float, float] | None = None
    dtype: str = ""
    """The limits hold for images of this number type."""
    gamma: float = 1.0
    colormap: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """How one channel of an image is drawn; without limits, by its own percentiles."""

    colormap: str
    limits: tuple[float, float] | None
    gamma: float
    shown: bool


class Looks(QObject):
    """Remembers how a person wants each channel, and tells when it ``changed``.

    Attributes
    ----------
    channels : tuple of str
        Those of the image on screen; empty for a colour picture.
    alone : str or None
        The one channel that is shown; None for the composite.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._looks: dict[str, Look] = {}
        self._hidden: set[str] = set()
        self.alone: str | None = None
        self.channels: tuple[str, ...] = ()
        self._dtype = ""
        self._colors_in_use: dict[str, str] = {}
        self._file: Path | None = None
        self._quiet_depth = 0
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE_MS)
        self._settled.timeout.connect(self._on_settled)
        session.project_changed.connect(self._on_project)
        self._on_project(session.project)

    def close(self) -> None:
        """Keep what was set last, and stop listening."""
        self._session.project_changed.disconnect(self._on_project)
        self._keep()

    # -- what to draw ---------------------------------------------------------------------

    def use(self, record: ImageRecord) -> tuple[Style, ...]:
        """Return the styles of the image that comes on screen."""
        self.channels = () if record.rgb else record.channels
        self._dtype = record.dtype
        if self.alone not in self.channels:
            self.alone = None
        styles = self.styles(record)
        self._colors_in_use = {n: s.colormap for n, s in zip(self.channels, styles, strict=True)}
        return tuple(
            replace(style, shown=self.shows(name))
            for style, name in zip(styles, self.channels, strict=True)
        )

    def styles(self, record: ImageRecord) -> tuple[Style, ...]:
        """Return how each channel is drawn in the composite; empty for a colour picture."""
        if record.rgb:
            return ()
        styles = []
        all_hidden = self._hidden.issuperset(record.channels)
        for name, color in zip(record.channels, self._colors(record), strict=True):
            look = self._looks.get(name, Look())
            limits = look.limits if look.dtype == record.dtype else None
            shown = all_hidden or name not in self._hidden
            styles.append(Style(look.colormap or color, limits, look.gamma, shown))
        return tuple(styles)

    def _colors(self, record: ImageRecord) -> list[str]:
        """Return the composite's colours, else the file's, else those of the command line."""
        project, n = self._session.project, len(record.channels)
        try:
            composite = None if project is None else project.composite(COLORS)
        except CellalError as error:  # damaged; the image can be looked at all the same
            log.warning("%s", error)
            composite = None
        if n == 1:
            found: Sequence[str] = ("gray",)
        elif composite is not None and composite.channels == record.channels:
            columns = zip(*composite.weights, strict=True)
            found = ["#" + "".join(f"{round(w * 255):02X}" for w in rgb) for rgb in columns]
        elif len(set(record.colors)) == n:
            found = record.colors
        else:
            found = choose_colors(record.channels)
        return [_NAMED.get(color.upper(), color) for color in found]

    def shows(self, channel: str) -> bool:
        """Return whether a channel of the image on screen is visible."""
        return channel == self.alone if self.alone else channel not in self._hidden

    # -- what a person sets ---------------------------------------------------------------

    def step(self) -> None:
        """Go from the composite to the first channel alone, on to the last, and back."""
        order = [None, *dict.fromkeys(self.channels)]
        self.alone = order[(order.index(self.alone) + 1) % len(order)]
        self._settled.start()

    def show(self, channel: str, visible: bool) -> None:
        """Show or hide a channel of the image on screen; with one alone, what is seen stays."""
        shown = {name for name in self.channels if self.shows(name)}
        shown = shown | {channel} if visible else shown - {channel}
        self.alone = None
        self._hidden = (self._hidden - set(self.channels)) | (set(self.channels) - shown)
        self._settled.start()

    def make_automatic(self) -> None:
        """Forget limits and gamma of the channels on screen."""
        for name in self.channels:
            self._looks[name] = Look(colormap=self._looks.get(name, Look()).colormap)
        self._settled.start()

    def watch(self, layer: Image, channel: str) -> None:
        """Remember what a person sets on a channel's layer."""
        for event in (layer.events.contrast_limits, layer.events.gamma, layer.events.colormap):
            event.connect(partial(self._on_look, layer, channel))
        layer.events.visible.connect(partial(self._on_visible, layer, channel))

    def _on_look(self, layer: Image, channel: str, event: Any) -> None:
        if self._quiet_depth:
            return
        look = self._looks.get(channel, Look())
        if event.type == "contrast_limits":
            low, high = layer.contrast_limits
            look = replace(look, limits=(float(low), float(high)), dtype=self._dtype)
        elif event.type == "gamma":
            look = replace(look, gamma=float(layer.gamma))
        elif layer.colormap.name != self._colors_in_use.get(channel):
            look = replace(look, colormap=layer.colormap.name)
            self._colors_in_use[channel] = look.colormap
        else:  # napari's controls say what is there once more when they are built
            return
        self._looks[channel] = look
        self._settled.start()

    def _on_visible(self, layer: Image, channel: str, _event: Any) -> None:
        if not self._quiet_depth and channel in self.channels:
            self.show(channel, layer.visible)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While layers are changed by the program, take nothing for the person's wish."""
        self._quiet_depth += 1
        try:
            yield
        finally:
            self._quiet_depth -= 1

    def dress(self, layer: Image, style: Style, limits: tuple[float, float]) -> None:
        """Give a layer its style; its limits are the style's, or those of its brightness."""
        with self.quiet():
            layer.contrast_limits = limits
            layer.gamma = style.gamma
            layer.visible = style.shown
            if layer.colormap.name != style.colormap:
                layer.colormap = style.colormap

    # -- keeping it -----------------------------------------------------------------------

    def _on_settled(self) -> None:
        self._keep()
        self.changed.emit()

    def _on_project(self, project: Project | None) -> None:
        self._keep()
        self._looks, self._hidden, self.alone, self.channels = {}, set(), None, ()
        self._file = None
        if project is not None:
            self._file = project.cache_folder / FILE
            self._load()
            for channels in {r.channels for r in project.images.values()}:
                if self._hidden.issuperset(channels):  # nobody opens a project to see black
                    self._hidden -= set(channels)

    def _keep(self) -> None:
        self._settled.stop()
        if self._file is None or not (self._looks or self._hidden):
            return
        names = sorted(self._looks.keys() | self._hidden)
        text = {
            name: {
                "limits": look.limits,
                "dtype": look.dtype,
                "gamma": look.gamma,
                "colormap": look.colormap,
                "hidden": name in self._hidden,
            }
            for name in names
            for look in [self._looks.get(name, Look())]
        }
        try:
            write_atomic(self._file, json.dumps(text, indent=1))
        except OSError as error:  # taste is worth no message
            log.warning("%s was not written: %s", self._file, error)

    def _load(self) -> None:
        assert self._file is not None
        try:
            found = json.loads(self._file.read_bytes())
            self._looks = {str(name): _look_of(values) for name, values in found.items()}
            self._hidden = {str(name) for name, values in found.items() if values["hidden"] is True}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            self._looks, self._hidden = {}, set()
            log.warning("%s was not read: %s", self._file, error)


def _look_of(values: dict[str, Any]) -> Look:
    limits = values["limits"]
    if limits is not None:
        low, high = float(limits[0]), float(limits[1])
        limits = (low, high) if low < high < float("inf") and low > float("-inf") else None
    colormap = str(values["colormap"])
    try:
        if colormap:
            ensure_colormap(colormap)
    except KeyError:  # made in a session that is gone
        colormap = ""
    gamma = float(values["gamma"])
    return Look(limits, str(values["dtype"]), gamma if 0 < gamma < 100 else 1.0, colormap)
