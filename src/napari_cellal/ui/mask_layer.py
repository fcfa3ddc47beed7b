"""The masks of the image's cells as a napari Labels layer, kept in step with the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import QObject, QTimer

from .box_looks import UNCLASSED as NO_CLASS
from .mask_picture import MaskPicture, in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit
    from napari_cellal.core.masks import Window
    from napari_cellal.core.records import Cell

    from .boxes import BoxLayer
    from .session import Session

MOST_PX = 8_000_000
"""Of a larger image the masks in view are shown, while the view holds no more pixels than so."""
MOST_CELLS = 2_000
"""In the view of a larger or crowded image: with more they are too small to be told apart."""
_PORTION = 100  # masks drawn in one turn of the window's loop, some 25 ms
_FEW = 30  # places that are drawn anew one by one
_PAUSE_MS = 60
_INSIDE, _RIM = 0.35, 1.0  # opacity


class MaskLayer(QObject):
    """Shows masks below the boxes as long as a cell of the image has one.

    Attributes
    ----------
    layer : napari.layers.Labels or None
        A pixel has the colour of its cell's class. Nothing can be painted on it.
    """

    def __init__(
        self, viewer: napari.Viewer, session: Session, boxes: BoxLayer, view: Callable[[], Box]
    ) -> None:
        super().__init__()
        self._viewer, self._session, self._boxes, self._view = viewer, session, boxes, view
        self.layer: Labels | None = None
        self._picture: MaskPicture | None = None
        self._window: Window = (0, 0, 0, 0)
        self._cells: list[Cell] = []
        self._places: list[Window] = []
        self._drawn = 0
        self._visible = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._work)
        viewer.scene.camera.events.connect(self._on_camera)
        session.image_changed.connect(self._on_image)
        session.edited.connect(self._on_edit)
        session.shown_changed.connect(self._anew)
        session.classes_changed.connect(self._anew)
        self._on_image()

    def disconnect_all(self) -> None:
        """Stop following."""
        self._timer.stop()
        self._viewer.scene.camera.events.disconnect(self._on_camera)
        self._session.image_changed.disconnect(self._on_image)
        self._session.edited.disconnect(self._on_edit)
        self._session.shown_changed.disconnect(self._anew)
        self._session.classes_changed.disconnect(self._anew)

    # -- what has changed -----------------------------------------------------------------

    def _on_image(self, *_: object) -> None:
        self._remove()
        self._anew()

    def _anew(self, *_: object) -> None:
        """Draw all masks again, soon."""
        self._picture = None
        self._places.clear()
        self._timer.start(0)

    def _on_edit(self, edit: Edit) -> None:
        image_id = self._session.image_id
        rows = [row for side in (edit.before, edit.after) for row in side.values()]
        masks = [row.mask for row in rows if row is not None and row.image_id == image_id]
        places = [mask.window for mask in masks if mask is not None]
        if not places:
            return
        self._places += places
        if self._drawn < len(self._cells) or not self._cells or len(self._places) > _FEW:
            self._anew()
        else:
            self._timer.start(_PAUSE_MS)

    def _on_camera(self, *_: object) -> None:
        if self._is_partial() and not self._timer.isActive():
            self._timer.start(_PAUSE_MS)

    # -- drawing --------------------------------------------------------------------------

    def _is_partial(self) -> bool:
        image = self._session.image
        if image is None:
            return False
        return self._session.is_crowded or image.shape[1] * image.shape[2] > MOST_PX

    def _wanted(self) -> Window:
        """Return the part of the image whose masks are to be there, px."""
        image = self._session.image
        assert image is not None
        height, width = image.shape[1:]
        if not self._is_partial():
            return (0, 0, height, width)
        y0, x0, y1, x1 = self._view()
        return (
            max(0, int(y0)),
            max(0, int(x0)),
            min(height, int(y1) + 1),
            min(width, int(x1) + 1),
        )

    def _find(self, window: Window) -> list[Cell]:
        """Return the cells whose masks are to be drawn in a window; none of too many."""
        session = self._session
        if not self._is_partial():
            return in_order(session.cells())
        y0, x0, y1, x1 = window
        if session.project is None or session.image_id is None or (y1 - y0) * (x1 - x0) > MOST_PX:
            return []
        box = (float(y0), float(x0), float(y1), float(x1))
        found = session.project.cells.in_view(session.image_id, box, MOST_CELLS + 1)
        if len(found) > MOST_CELLS:
            return []
        return in_order(c for c in found if session.shown.includes(c))

    def _work(self) -> None:
        """Draw a portion of what is to be drawn."""
        if self._session.image is None:
            self._remove()
            return
        window = self._wanted()
        if self._picture is None or not _holds(self._window, window):
            self._begin(window)
        elif self._drawn >= len(self._cells) and not self._places:
            return
        assert self._picture is not None
        if self._drawn < len(self._cells):
            self._picture.draw(self._cells[self._drawn : self._drawn + _PORTION])
            self._drawn += _PORTION
            if self._drawn < len(self._cells):
                self._timer.start(0)
                return
        elif self._places:
            self._cells = self._find(self._window)
            self._drawn = len(self._cells)
            for place in self._places:
                self._picture.redraw(place, self._cells)
        self._places.clear()
        self._show()

    def _begin(self, window: Window) -> None:
        project = self._session.project
        classes = [] if project is None else list(project.classes)
        self._window = window
        self._cells, self._drawn = self._find(window), 0
        self._picture = MaskPicture(window if self._cells else (0, 0, 0, 0), classes)

    def _show(self) -> None:
        assert self._picture is not None
        if not self._cells:
            self._remove()
            return
        y0, x0 = self._picture.window[:2]
        if self.layer is None:
            self._add()
        elif self.layer.data is self._picture.labels:
            self.layer.refresh()
        else:
            self.layer.data = self._picture.labels
            self.layer.translate = (y0, x0)
            self.layer.colormap = self._colors()

    def _add(self) -> None:
        assert self._picture is not None
        self.layer = Labels(
            self._picture.labels,
            name="Masks",
            translate=self._picture.window[:2],
            colormap=self._colors(),
            opacity=0.8,
            visible=self._visible,
        )
        self.layer.editable = False
        layers = self._viewer.layers
        active = layers.selection.active
        place = layers.index(self._boxes.layer) if self._boxes.layer in layers else len(layers)
        layers.insert(place, self.layer)
        if active is not None and active in layers:
            layers.selection.active = active

    def _remove(self) -> None:
        if self.layer is not None:
            self._visible = self.layer.visible
            if self.layer in self._viewer.layers:
                self._viewer.layers.remove(self.layer)
            self.layer = None

    def _colors(self) -> DirectLabelColormap:
        project, picture = self._session.project, self._picture
        assert project is not None
        assert picture is not None
        colors: dict[int | None, object] = {None: "transparent", 0: "transparent"}
        named = [(None, NO_CLASS), *((c.class_id, c.color) for c in project.classes.values())]
        for class_id, name in named:
            color = transform_color(name)[0]
            for value, share in ((0, _INSIDE), (1, _RIM)):
                colors[picture.value_of(class_id) + value] = (*color[:3], share)
        return DirectLabelColormap(color_dict=colors)


def _holds(outer: Window, inner: Window) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and outer[2] >= inner[2]
        and outer[3] >= inner[3]
    )
