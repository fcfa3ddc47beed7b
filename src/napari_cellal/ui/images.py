"""The session's image as napari Image layers: read in a thread, kept while they fit."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import run_job
from napari_cellal.io.planes import is_large, read_plane
from napari_cellal.io.pyramids import all_levels, make_pyramid, needs_pyramid

from .looks import Looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import napari
    from numpy.typing import NDArray

    from napari_cellal.core.records import ImageRecord, Plane
    from napari_cellal.io.store import Project

    from .looks import Style
    from .session import Session

log = logging.getLogger(__name__)

OLD_PICTURE_MS = 200
SLOW_MS = 1000
"""A black canvas is explained after so long."""
CACHE_BYTES = 512 * 2**20
AHEAD_BYTES = CACHE_BYTES // 2
"""Images are read before they are asked for until the cache holds so much."""
NEXT_ONES = 2
_SAMPLE = 200_000  # px looked at for the contrast limits


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that has been read, or opened to be read in parts.

    Attributes
    ----------
    levels : tuple of [C, Y, X]
        Full size first; lazy, with smaller ones behind, where the image is large.
    limits : tuple of (low, high)
        Contrast limits, one a channel.
    """

    levels: tuple[Any, ...]
    limits: tuple[tuple[float, float], ...]

    @property
    def is_lazy(self) -> bool:
        """Whether only parts of it are ever in memory."""
        return not isinstance(self.levels[0], np.ndarray)

    def planes(self, as_rgb: bool) -> list[Any]:
        """Return what each layer shows: an array, or all levels of a lazy one."""
        if as_rgb:
            parts = [[_colors(level, self.limits[0]) for level in self.levels]]
        else:
            parts = [[level[k] for level in self.levels] for k in range(len(self.limits))]
        return parts if self.is_lazy else [part[0] for part in parts]

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(level.nbytes for level in self.levels if isinstance(level, np.ndarray))


def _colors(pixels: Any, limits: tuple[float, float]) -> Any:
    """Return [Y, X, 3] of [3, Y, X] as napari shows colour pictures: in 8 bit or 0..1."""
    if pixels.dtype != np.uint8:
        low, high = limits
        pixels = ((pixels - low) / (high - low)).clip(0, 1).astype(np.float32)
    return pixels.transpose(1, 2, 0)


def _read(path: Path, plane: Plane, record: ImageRecord, cache: Path) -> Picture:
    if is_large(path, plane):
        if needs_pyramid(path, plane):  # once; adding images has done it already
            run_job(make_pyramid(path, plane, cache))
        levels = all_levels(path, plane, cache)
        smallest = np.asarray(levels[-1])
        levels[-1] = smallest
    else:
        levels = [read_plane(path, plane)]
        smallest = levels[0]
    pixels = levels[0]
    if pixels.shape != tuple(record.shape):
        raise ImageError(
            f"{record.name} is {pixels.shape[1]} x {pixels.shape[2]} px with {pixels.shape[0]} "
            f"channels now, but was {record.shape[1]} x {record.shape[2]} with "
            f"{record.shape[0]} when it was added. Put the original file back."
        )
    return Picture(tuple(levels), tuple(contrast_limits(channel) for channel in smallest))


def contrast_limits(plane: NDArray[np.generic]) -> tuple[float, float]:
    """Return the 0.1 and 99.9 percentiles of a (Y, X) plane, never equal, NaN ignored."""
    step = max(1, int(np.sqrt(plane.size / _SAMPLE)))
    values = np.asarray(plane[::step, ::step], dtype=float)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, (0.1, 99.9))
    return float(low), float(high if high > low else low + 1)


class ImageView(QObject):
    """Shows the session's image in a viewer; files are read away from the window's thread.

    ``shown`` tells that an image's pixels are on screen.
    """

    shown = Signal(str)
    _arrived = Signal(str, object)

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        super().__init__()
        self.viewer = viewer
        self.session = session
        self.looks = Looks(session)
        self.layers: list[Image] = []
        self._signature: tuple[object, ...] = ()
        self._cache: OrderedDict[str, Picture] = OrderedDict()
        self._reading: dict[str, Future[None]] = {}
        self._ahead: dict[str, None] = {}
        self._gone: tuple[str, Path] | None = None
        """The image on screen, if its file is not there, and where it was looked for."""
        self._hidden: list[Image] = []
        self._leaving: list[Image] = []
        self._turns: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._turn)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cellal-read")
        self._arrived.connect(self._on_arrived)
        session.image_changed.connect(self._on_image)
        session.images_changed.connect(self._on_images)
        session.project_changed.connect(self._on_project)

    def close(self) -> None:
        """Stop reading and listening."""
        self.session.image_changed.disconnect(self._on_image)
        self.session.images_changed.disconnect(self._on_images)
        self.session.project_changed.disconnect(self._on_project)
        self.looks.close()
        self._turns.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def pixels(self, image_id: str) -> NDArray[np.generic] | None:
        """Return an image's pixels [C, Y, X] where all are in memory, else None."""
        picture = self._cache.get(image_id)
        return None if picture is None or picture.is_lazy else picture.levels[0]

    def picture(self, image_id: str) -> Picture | None:
        """Return an image that has been read or opened, else None."""
        return self._cache.get(image_id)

    def _on_project(self, _project: object) -> None:
        self._cache.clear()
        self._reading.clear()
        self._ahead.clear()

    def _on_image(self, image_id: str | None) -> None:
        if image_id is None:
            self._remove_layers()
            return
        if image_id in self._cache:
            self._cache.move_to_end(image_id)
            self._show(image_id)
        else:
            self._request(image_id)
            QTimer.singleShot(OLD_PICTURE_MS, self._hide_old_picture)
            QTimer.singleShot(SLOW_MS, partial(self._tell_slow, image_id))
        self._prefetch(image_id)

    def _on_images(self) -> None:
        """Show the image whose file was gone, if it is known now where it lies."""
        project, image_id = self.session.project, self.session.image_id
        if project is None or image_id is None or self._gone is None:
            return
        lost, place = self._gone
        if lost == image_id and project.image_path(image_id) != place:
            self._request(image_id)

    def _hide_old_picture(self) -> None:
        """Hide the image before if the new one is still being read: its boxes lie elsewhere."""
        if self.session.image_id in self._reading:
            self._hidden = [layer for layer in self.layers if layer.visible]
            with self.looks.quiet():
                for layer in self._hidden:
                    layer.visible = False

    def _tell_slow(self, image_id: str) -> None:
        image = self.session.image
        if image is not None and image_id == image.image_id and image_id in self._reading:
            self.session.tell(f"Opening {image.name}… A large image takes a while the first time.")

    def _prefetch(self, image_id: str) -> None:
        project = self.session.project
        assert project is not None
        ids = list(project.images)
        self.prefetch(ids[ids.index(image_id) + 1 : ids.index(image_id) + 2])

    def prefetch(self, image_ids: Iterable[str]) -> None:
        """Read images that will probably be shown soon, before those asked for earlier."""
        self._ahead = dict.fromkeys([*image_ids, *self._ahead])
        self._read_ahead()

    def _read_ahead(self) -> None:
        # One at a time, so that the image that a person goes to waits for one at most.
        # Beyond `AHEAD_BYTES` only the very next ones; the oldest make room for them.
        while self._ahead and not self._reading:
            if self._cached_bytes() >= AHEAD_BYTES and len(self._ahead) > NEXT_ONES:
                self._ahead = dict.fromkeys(list(self._ahead)[:NEXT_ONES])
            image_id = next(iter(self._ahead))
            del self._ahead[image_id]
            if image_id not in self._cache:
                self._request(image_id)

    def _cached_bytes(self) -> int:
        return sum(picture.nbytes for picture in self._cache.values())

    def _request(self, image_id: str) -> None:
        project = self.session.project
        if image_id in self._reading or project is None or image_id not in project.images:
            return
        path, record = project.image_path(image_id), project.images[image_id]
        plane, cache = project.plane(image_id), project.folder / "cache"

        def read() -> None:
            try:
                result: object = _read(path, plane, record, cache)
            except CellalError as error:
                result = error
            except Exception as error:  # else no image would ever be read again
                log.exception("%s could not be read", record.name)
                result = ImageError(f"{record.name} could not be read: {error!r}.")
            try:
                self._arrived.emit(image_id, result)
            except RuntimeError:  # the window closed meanwhile
                return

        self._reading[image_id] = self._pool.submit(read)

    def _on_arrived(self, image_id: str, result: object) -> None:
        self._reading.pop(image_id, None)
        self._take(image_id, result)
        self._read_ahead()

    def _take(self, image_id: str, result: object) -> None:
        project = self.session.project
        if project is None or image_id not in project.images:
            return
        if isinstance(result, CellalError):
            if image_id == self.session.image_id:
                self._remove_layers()
                self._tell_of(project, image_id, result)
            return
        assert isinstance(result, Picture)
        self._cache[image_id] = result
        while len(self._cache) > 1 and self._cached_bytes() > CACHE_BYTES:
            self._cache.popitem(last=False)
        if image_id == self.session.image_id:
            self._gone = None
            self._show(image_id)

    def _tell_of(self, project: Project, image_id: str, error: CellalError) -> None:
        text, path = str(error), project.image_path(image_id)
        files = project.plane(image_id).files or (path,)
        self._gone = None if all(map(os.path.exists, files)) else (image_id, path)
        if self._gone is not None:
            text += (
                " If it lies elsewhere now, add that folder in Project: images are known again by "
                "their content, and keep their boxes."
            )
        self.session.tell(text, error=True)

    def _show(self, image_id: str) -> None:
        project = self.session.project
        assert project is not None
        record = project.images[image_id]
        picture = self._cache[image_id]
        full = picture.levels[0]
        as_rgb = record.rgb and full.shape[0] == 3
        planes = picture.planes(as_rgb)
        names = [record.name] if as_rgb else list(record.channels)
        styles = self.looks.use(record)
        signature = (as_rgb, tuple(record.channels), full.dtype.str)
        if picture.is_lazy:
            signature += (image_id,)
        reusable = signature == self._signature and all(
            layer in self.viewer.layers for layer in self.layers
        )
        same_size = reusable and self.layers[0].data.shape[:2] == full.shape[1:]
        if reusable:
            for place, layer in enumerate(self.layers):
                layer.data = planes[place]
                layer.name = names[place]
            with self.looks.quiet():
                for layer in self._hidden:
                    layer.visible = True
            self._dress(styles, picture)
            self._hidden = []
            if not same_size:
                self.viewer.reset_view()
            self.shown.emit(image_id)
            return
        self._take_down()
        for place, (plane, name) in enumerate(zip(planes, names, strict=True)):
            make = partial(Image, plane, name=name, multiscale=picture.is_lazy, rgb=True)
            if not as_rgb:
                limits = styles[place].limits or picture.limits[place]
                make = partial(self._channel, plane, name, styles[place], limits, picture.is_lazy)
            self._turns.append(partial(self._insert, make))
        self._turns.append(partial(self._complete, image_id, signature))
        self._turn()

    def _take_down(self) -> None:
        """Hide the layers that are there, and have each removed in a turn of its own."""
        self._turns.clear()
        self._leaving += self.layers
        with self.looks.quiet():
            for layer in self._leaving:
                layer.visible = False
        self.layers, self._hidden, self._signature = [], [], ()
        self._turns.extend([self._remove_one] * len(self._leaving))

    def _turn(self) -> None:
        # napari takes some 50 ms to build a layer with its controls, and to remove one: with
        # one in each turn of its loop the window hears mouse and keys in between.
        if self._turns:
            self._turns.popleft()()
        if self._turns:
            self._timer.start()

    def _remove_one(self) -> None:
        layer = self._leaving.pop()
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def _insert(self, make: Callable[[], Image]) -> None:
        active = self.viewer.layers.selection.active
        layer = make()
        self.viewer.layers.insert(len(self.layers), layer)
        self.layers.append(layer)
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        if len(self.layers) == 1:
            self.viewer.reset_view()

    def _complete(self, image_id: str, signature: tuple[object, ...]) -> None:
        self._signature = signature
        self.shown.emit(image_id)

    def _channel(
        self, plane: Any, name: str, style: Style, limits: tuple[float, float], is_lazy: bool
    ) -> Image:
        layer = Image(
            plane,
            name=name,
            multiscale=is_lazy,
            colormap=style.colormap,
            blending="additive",
            contrast_limits=limits,
            gamma=style.gamma,
            visible=self.looks.shows(name),  # a key may have been pressed since the one before
        )
        self.looks.watch(layer, name)
        return layer

    def styles(self, image_id: str) -> tuple[Style, ...]:
        """Return how each channel of an image that was read is drawn in the composite."""
        project = self.session.project
        assert project is not None
        styles = self.looks.styles(project.images[image_id])
        automatic = self._cache[image_id].limits
        return tuple(
            replace(style, limits=style.limits or limits)
            for style, limits in zip(styles, automatic, strict=False)  # none of colour pictures
        )

    def show_channels(self) -> None:
        """Show and hide the layers as the looks say by now."""
        with self.looks.quiet():
            for layer, name in zip(self.layers, self.looks.channels, strict=False):
                layer.visible = self.looks.shows(name)

    def dress(self) -> None:
        """Give the layers what the looks say by now."""
        image = self.session.image
        if image is not None and image.image_id in self._cache:
            self._dress(self.looks.use(image), self._cache[image.image_id])

    def _dress(self, styles: tuple[Style, ...], picture: Picture) -> None:
        # Fewer layers while they are being built, no styles of a colour picture.
        for layer, style, limits in zip(self.layers, styles, picture.limits, strict=False):
            self.looks.dress(layer, style, style.limits or limits)

    def _remove_layers(self) -> None:
        self._take_down()
        self._turn()
