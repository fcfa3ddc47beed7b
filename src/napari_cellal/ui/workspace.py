"""One viewer's workspace: session, layers, keys, jobs and docks, tied together."""

from __future__ import annotations

import atexit
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cellal.core.errors import CellalError
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.io.store import Project
from napari_cellal.io.store.project import SUFFIX
from napari_cellal.workflows import pacing
from napari_cellal.workflows.detecting import CLASSICAL
from napari_cellal.workflows.learning import LEARNER

from . import recent
from .all_docks import DOCKS, WIDE_DOCKS, make_dock
from .batch import Batch
from .boxes import BoxLayer
from .camera import Camera
from .channels import Channels
from .dock import dock_around
from .dock_tabs import call_dock, show_whole_names
from .held_picture import HeldPicture
from .image_keys import ImageKeys
from .images import ImageView
from .jobs import Jobs
from .learn_loop import LearnLoop
from .mask_layer import MaskLayer
from .notices import Notice
from .overview import Overview
from .session import Session
from .stray_keys import StrayKeys
from .warm import WarmUp
from .wide_docks import WideDocks

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from qtpy.QtWidgets import QWidget

_RESIZED_MS = 60
"""So long after the last step of a change of the canvas's size the camera follows."""
_workspaces: weakref.WeakValueDictionary[int, Workspace] = weakref.WeakValueDictionary()


class Workspace(QObject):
    """Everything that napari-cellal keeps for one viewer. Lives as long as its window.

    Use `Workspace.of`. Attributes are the parts that docks talk to: ``session``, ``jobs``,
    ``images``, ``channels``, ``boxes``, ``camera``, ``keys``, ``learn``, ``batch``.

    Attributes
    ----------
    device_found : Signal(str)
        It is known where heavy work runs, in words.
    """

    device_found = Signal(str)

    def __init__(self, viewer: napari.Viewer) -> None:
        window = viewer.window._qt_window
        super().__init__(window)
        self.viewer = viewer
        self._warm_up = WarmUp()
        self._boxes: BoxLayer | None = None
        self.overview: Overview | None = None
        self.masks: MaskLayer | None = None
        self.session = Session(later=lambda do: QTimer.singleShot(0, do))
        self.jobs = Jobs(self)
        self.learn = LearnLoop(self.session, self.jobs)
        self.batch = Batch(self.session, self.jobs, self.learn)
        self.images = ImageView(viewer, self.session)
        self.channels = Channels(viewer, self.session, self.images)
        self.camera = Camera(viewer, self.session)
        self.docks: dict[str, QWidget] = {}
        self._wide = WideDocks(window)
        self._closed = False
        self.device_name = ""
        self._looks_for_device = False
        self._resized = QTimer(self)
        self._resized.setSingleShot(True)
        self._resized.setInterval(_RESIZED_MS)
        self._resized.timeout.connect(self.camera.fit_again)
        # Where Python ends before the window was closed, Qt deletes what has no parent first.
        me = weakref.ref(self)
        self._at_exit = lambda: (left := me()) is not None and left.close()
        atexit.register(self._at_exit)
        self._canvas = viewer.window._qt_viewer.canvas.native
        self.notice = Notice(self._canvas)
        self.keys = ImageKeys(self, self._canvas)
        self._stray_keys = StrayKeys(window, self.keys)
        self._held = HeldPicture(self._canvas, self.learn, self)
        self.learn.upcoming.connect(self.images.prefetch)
        self.session.told.connect(self.notice.say)
        self.session.project_changed.connect(self._on_project)
        self.session.image_changed.connect(self._bring_boxes_back)
        viewer.layers.events.removing.connect(self._take_graphics)
        window.destroyed.connect(self.close)
        # napari has no "about to close" signal; its window is asked to close exactly once.
        window.installEventFilter(self)
        viewer.window._qt_viewer.installEventFilter(self)
        self._canvas.installEventFilter(self)

    @classmethod
    def of(cls, viewer: napari.Viewer) -> Workspace:
        """Return the viewer's workspace, made on first use."""
        found = _workspaces.get(id(viewer.window))
        if found is None or found._closed:
            found = cls(viewer)
            _workspaces[id(viewer.window)] = found
        return found

    def eventFilter(self, watched: QObject, event: Any) -> bool:
        """End all when the window goes; open what is dropped; follow the canvas."""
        if watched is self._canvas:
            if event.type() == event.Type.Leave:
                _soon(self._forget_mouse)  # napari may still be looking what lay under it
            elif event.type() == event.Type.Resize and not self._closed:
                self._resized.start()
            return False
        if event.type() == event.Type.Drop:
            return self._on_drop(event)
        if event.type() == event.Type.Close and not self._closed:
            QTimer.singleShot(0, self._close_if_gone)
        return False

    def _on_drop(self, event: Any) -> bool:
        """Open a dropped project at once, without napari's question about readers."""
        places = [Path(url.toLocalFile()) for url in event.mimeData().urls()]
        projects = [place for place in places if place.suffix == SUFFIX and place.is_dir()]
        if not projects:
            return False
        self.open_project(projects[0])
        event.acceptProposedAction()
        return True

    def _forget_mouse(self) -> None:
        """Highlight no box, unless the mouse is back on the canvas."""
        if not self._closed and self._boxes is not None and not self._canvas.underMouse():
            self._boxes.shapes.forget_mouse()

    def _close_if_gone(self) -> None:
        try:
            gone = not self.viewer.window._qt_window.isVisible()
        except (RuntimeError, AttributeError):
            gone = True
        if gone:
            self.close()

    def close(self) -> None:
        """End jobs and child processes and let go of the project. Nothing is left to save."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        # The window's parts may be gone already: nothing of it may hear what follows.
        self.session.told.disconnect(self.notice.say)
        self.session.project_changed.disconnect(self._on_project)
        self.session.image_changed.disconnect(self._bring_boxes_back)
        self.viewer.layers.events.removing.disconnect(self._take_graphics)
        self._held.disconnect_all()
        for dock in self.docks.values():
            dock.disconnect_session()
        self.batch.close()
        self.learn.disconnect()
        self.images.close()
        for follower in (self.overview, self.masks):
            if follower is not None:
                follower.disconnect_all()
        if self._boxes is not None:
            self._boxes.disconnect()
        self._warm_up.close()
        self._resized.stop()
        self.camera.disconnect()
        for handle in self.jobs.running:
            handle.blockSignals(True)
        self.jobs.close()
        self.session.close_project()

    @property
    def boxes(self) -> BoxLayer:
        """The box layer, made when the first project opens."""
        if self._boxes is None:
            self._warm_up.wait()
            if not self.viewer.layers:  # what a person removes later should be freed then
                self._warm_up.spare_collections()
            self._boxes = BoxLayer(self.session, later=_soon)
            self.overview = Overview(
                self.viewer, self.session, self._boxes, self.current_view, self.batch.ask
            )
            self.masks = MaskLayer(self.viewer, self.session, self._boxes, self.current_view)
        return self._boxes

    # -- docks ----------------------------------------------------------------------------

    def dock(self, name: str) -> QWidget:
        """Return a dock's widget, made on first use."""
        if name not in self.docks:
            made = make_dock(name, self)
            # A click on a button leaves the keys there.
            made.setFocusProxy(self._canvas if made.home is None else made.home)
            if made.home is None:
                self._stray_keys.listen_to(made)
            self.docks[name] = made
        return self.docks[name]

    def dock_all(self, shown: str = "Project") -> None:
        """Put every dock into the window, as tabs on the right."""
        for name in DOCKS:
            widget = self.dock(name)
            if dock_around(widget) is None:
                self.viewer.window.add_dock_widget(widget, name=name, area="right", tabify=True)
            else:
                call_dock(dock_around(widget), name)
        first = dock_around(self.dock(DOCKS[0]))
        window = self.viewer.window._qt_window
        for name in DOCKS[1:]:
            window.tabifyDockWidget(first, dock_around(self.dock(name)))
        self.raise_dock(shown)

    def raise_dock(self, name: str) -> None:
        """Bring a dock to the front."""
        outer = dock_around(self.dock(name))
        if outer is None:
            self.viewer.window.add_dock_widget(
                self.dock(name), name=name, area="right", tabify=True
            )
            outer = dock_around(self.dock(name))
        outer.show()
        outer.raise_()
        show_whole_names(self.viewer.window._qt_window)
        if name in WIDE_DOCKS:
            self._wide.follow(outer)
            self.dock(name).setFocus()

    # -- project --------------------------------------------------------------------------

    def open_project(self, folder: str | Path) -> bool:
        """Open a project and show it; tell why where that fails."""
        current = self.session.project
        if current is not None and Path(folder).resolve() == current.folder:
            self.session.tell(f"{current.name} is open here already.")
            return True
        try:
            project = _opened(folder)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return False
        self.session.open_project(project)
        return True

    def _take_graphics(self, *_: object) -> None:
        """Make the canvas's graphics context the current one before a layer goes.

        A Shapes or Points layer that had a selection frees its buffers at once. napari 0.9.2
        does that in whatever context is current, often the one in which Qt puts the window
        together, and the window dies at the next drawing (napari#6472, #8471).
        """
        self._canvas.makeCurrent()

    def _on_project(self, project: Project | None) -> None:
        layers = self.viewer.layers
        if project is None:
            if self._boxes is not None and self._boxes.layer in layers:
                layers.remove(self._boxes.layer)
            return
        recent.note_project(project.folder)
        self._add_boxes()

    def _add_boxes(self) -> None:
        """Put the box layer into the viewer, in hand, if it is not there."""
        layers = self.viewer.layers
        if self.boxes.layer not in layers:
            self.boxes.layer.mode = "pan_zoom"  # what napari's new buttons show, whatever is true
            layers.append(self.boxes.layer)
        self.boxes.layer.mode = "select"
        layers.selection.active = self.boxes.layer

    def _bring_boxes_back(self, image_id: str | None) -> None:
        """Put the box layer back if the person deleted it from the list: no cell is lost."""
        if image_id is not None and self.boxes.layer not in self.viewer.layers:
            self._add_boxes()

    def find_device(self) -> None:
        """Have a worker say where heavy work runs, once; see ``device_found``."""
        if self._looks_for_device:
            return
        self._looks_for_device = True
        handle = self.jobs.run("Looking for a GPU", pacing.name_device)
        handle.finished.connect(self._on_device)
        handle.failed.connect(lambda _: setattr(self, "_looks_for_device", False))

    def _on_device(self, name: str) -> None:
        self.device_name = name
        self.device_found.emit(name)

    def model_name(self, model_id: str) -> str:
        """Return a model's name for a person; a learner's share is named too."""
        box, _, classes = model_id.partition("+")
        if box in (CLASSICAL, SHIPPED):
            name = box.capitalize()
        else:
            project = self.session.project
            record = next(
                (m for m in (project.models if project else []) if m.model_id == box), None
            )
            name = box[:6] if record is None else record.name or f"{record.architecture} {box[:6]}"
        if not classes:
            return name
        giver = "Learn" if classes == LEARNER else self.model_name(classes)
        return f"{name}, classed by {giver}"

    # -- gestures that need the window ----------------------------------------------------

    def press_class(self, class_id: int) -> None:
        """Give a class: an answer in Learn, else to the boxes in hand."""
        if self.learn.is_asking:
            self.learn.answer(class_id)
        else:
            self.session.give_class(class_id)

    def focus_canvas(self) -> None:
        """Give the keys to the image."""
        self._canvas.setFocus()

    def toggle_drawing(self) -> None:
        """Draw a box next, or go back to selecting."""
        if self.session.image_id is None:
            self.session.tell("Open an image first.")
            return
        layer = self.boxes.layer
        if layer not in self.viewer.layers:
            self._add_boxes()
        self.viewer.layers.selection.active = layer
        layer.mode = "select" if layer.mode == "add_rectangle" else "add_rectangle"
        if layer.mode == "add_rectangle":
            project, class_id = self.session.project, self.session.draw_class_id
            drawn = project.classes.get(class_id) if project and class_id is not None else None
            what = "a box" if drawn is None else f"a box of class {drawn.name}"
            self.session.tell(f"Drag {what} from corner to corner; W again for the next.")

    def current_view(self) -> tuple[float, float, float, float]:
        """Return the part of the image that is on screen, (y0, x0, y1, x1) px."""
        camera = self.viewer.scene.camera
        height, width = self.viewer.window._qt_viewer.canvas.size
        y, x = camera.center[-2:]
        half_y, half_x = height / camera.zoom / 2, width / camera.zoom / 2
        return (y - half_y, x - half_x, y + half_y, x + half_x)

    def show_keys(self) -> None:
        """Show the list of keys."""
        self.raise_dock("Review")
        self.docks["Review"].show_keys()


def _opened(folder: str | Path) -> Project:
    """Return a project that a window can work on.

    Raises
    ------
    CellalError
        If it cannot be opened, or what is computed of it cannot be kept.
    """
    project = Project.open(folder)
    try:
        _ = project.cache_folder  # every dock takes it for granted
    except CellalError:
        project.close()
        raise
    return project


def _soon(do: Callable[[], None]) -> None:
    QTimer.singleShot(40, do)  # time to draw what is there, and to hear the next key
