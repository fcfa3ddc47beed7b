"""What napari's own menus, drops and dialogs reach: readers, samples, writers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.progress import run_job
from napari_cellal.io.store.project import SUFFIX
from napari_cellal.workflows import exporting
from napari_cellal.workflows.founding import holds_voc
from napari_cellal.workflows.sampling import SAMPLES

from .workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    LayerData = list[tuple[None]]

SAMPLE = "napari-cellal://"
"""napari takes samples without layers of their own only as an address that a reader knows."""
NO_LAYERS: LayerData = [(None,)]


def get_reader(path: str | list[str]) -> Callable[[str], LayerData] | None:
    """Return what opens a project, a folder with VOC files or a sample; None for all else.

    The layers come with the workspace, so that what is opened can be worked on.
    """
    if not isinstance(path, str) or napari.current_viewer() is None:
        return None
    if path.startswith(SAMPLE):
        return _make_sample if _kind(path) in SAMPLES else None
    folder = Path(path)
    if folder.suffix == SUFFIX and folder.is_dir():
        return _open_project
    return _ask_about if folder.is_dir() and holds_voc(folder) else None


def _kind(path: str) -> str:
    return path.removeprefix(SAMPLE).strip("/")


def _workspace() -> Workspace:
    workspace = Workspace.of(napari.current_viewer())
    workspace.dock_all()
    return workspace


def _open_project(path: str) -> LayerData:
    _workspace().open_project(path)
    return NO_LAYERS


def _ask_about(path: str) -> LayerData:
    _workspace().dock("Project").founding.ask(Path(path))
    return NO_LAYERS


def _make_sample(path: str) -> LayerData:
    _workspace().dock("Project").founding.make_samples(_kind(path))
    return NO_LAYERS


def write_voc(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write the boxes of the image on screen as one Pascal VOC file."""
    return _write("voc", path, meta)


def write_coco(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write the boxes of the image on screen as COCO JSON."""
    return _write("coco", path, meta)


def _write(format: str, path: str, meta: dict[str, Any]) -> list[str]:
    """Write the image's rows, not the layer's shapes: of a crowd only those in view are there."""
    viewer = napari.current_viewer()
    session = None if viewer is None else Workspace.of(viewer).session
    if session is None or session.image_id is None or "cell_id" not in meta.get("features", ()):
        raise AnnotationError(
            "Only the box layer of an open project can be saved so: its rows know the classes."
        )
    project = session.project
    images = exporting.export_images(project, image_ids=[session.image_id])
    classes = exporting.export_classes(project)
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".cellal-") as scratch:
        out = Path(scratch)
        report = run_job(
            exporting.write_images(
                format, out / target.name if format == "coco" else out, images, classes
            )
        )
        (written,) = report.files
        written.replace(target)
    session.tell_all(report.lines())
    return [path]
