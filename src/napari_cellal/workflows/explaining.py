"""On what the class of a cell rests, by a classifier or a detector."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.classify.requests import Patch
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Plane, Status
from napari_cellal.detect.shipped import FOLDER as SHIPPED_FOLDER
from napari_cellal.io.image_files import natural_key

from .explanation_pictures import picture_beside
from .patches import of_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project

_REACH_PX = 512  # of a large image, so much around a cell tells its scale and intensities
_PORTION = 100  # rows read between two pauses
_VOUCHED = (Status.CONFIRMED, Status.CORRECTED, Status.DRAWN)
MOST_ALIKE = 2000
"""Confirmed cells that are looked through for those alike; 200 a second on one core."""


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """One picture, the model, and the class to be explained (empty: the model's answer).

    Attributes
    ----------
    others : tuple of Patch
        Confirmed cells, of which those most alike are looked for.
    names : {class_id: name}
        Of their classes.
    kept_in : str
        A file for what the network sees in them; empty keeps nothing.
    own_range : bool
        Whether a classifier scales the picture by its own intensities.
    """

    model_folder: str
    patch: Patch
    class_name: str = ""
    device: str = "auto"
    others: tuple[Patch, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    kept_in: str = ""
    own_range: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A confirmed cell that looks alike to the network.

    Attributes
    ----------
    distance : float
        0 is the same; about 1.4 are two cells taken at random.
    shown : float32[C, h, w], 0..1
        What the network sees of it.
    """

    cell_id: str
    class_name: str
    distance: float
    shown: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explained:
    """What an answer rests on.

    Attributes
    ----------
    shown : float32[C, h, w], 0..1
        What the network saw.
    heat : float32[h, w], 0..1
        How much each place spoke for the class.
    channels : float32[C]
        By how much the class is less probable without each channel.
    neighbours : tuple of Neighbour
        Nearest first.
    window : (y0, x0, y1, x1) or None
        What part of the image was shown, px, half-open; None for a picture that is all of it.
    """

    record: ModelRecord
    class_name: str
    probabilities: dict[str, float]
    shown: NDArray[np.float32]
    heat: NDArray[np.float32]
    channels: NDArray[np.float32]
    method: str
    neighbours: tuple[Neighbour, ...] = ()
    window: tuple[int, int, int, int] | None = None

    @property
    def channel_names(self) -> tuple[str, ...]:
        """As the model knows them, else Ch1 and so on; a composite's are colours."""
        n = len(self.channels)
        if self.record.settings.get("composite"):  # made of as many channels, maybe
            return ("red", "green", "blue")
        if len(self.record.channels) == n:
            return self.record.channels
        return tuple(f"Ch{k + 1}" for k in range(n))

    def figures(self) -> dict[str, Any]:
        """Return the answer and what it rests on as plain values; see docs/cli.md."""
        y, x = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return {
            "model": self.record.model_id,
            "class": self.class_name,
            "probabilities": self.probabilities,
            "method": self.method,
            "hottest": [float((y + 0.5) / len(self.heat)), float((x + 0.5) / len(self.heat[0]))],
            "channels": dict(zip(self.channel_names, map(float, self.channels), strict=True)),
            "neighbours": [
                {"cell": n.cell_id, "class": n.class_name, "distance": round(n.distance, 4)}
                for n in self.neighbours
            ],
        }


def request_explanation(
    project: Project | None,
    model_folder: Path,
    what: str,
    *,
    class_name: str = "",
    device: str = "auto",
    own_range: bool = False,
) -> ExplainRequest:
    """Return the question why a cell of a project, or a picture in a file, got its class.

    Parameters
    ----------
    what : str
        A cell's id; without a project the picture's path, ``*`` in it for its channels.

    Raises
    ------
    CellalError
        If there is no such cell or file.
    """
    if project is not None:
        steps = explanation_steps(project, model_folder, what, class_name=class_name, device=device)
        return replace(finish(steps), own_range=own_range)
    picture = _picture(what)
    return ExplainRequest(str(model_folder), picture, class_name, device, own_range=own_range)


def _picture(what: str) -> Patch:
    """Return a picture by its path; one file a channel where ``*`` stands for them."""
    path = Path(what)
    if path.is_file():
        return Patch(what, what)
    files = sorted(path.parent.glob(path.name), key=natural_key) if "*" in path.name else []
    if not files:
        raise CellalError(f"There is no picture '{what}': check its name.")
    return Patch(what, str(files[0]), plane=Plane(files=tuple(map(str, files))))


def explanation_steps(
    project: Project,
    model_folder: Path,
    cell_id: str,
    *,
    class_name: str = "",
    device: str = "auto",
) -> Steps[ExplainRequest]:
    """Return the question why a cell got its class, pausing while its like are collected.

    Raises
    ------
    CellalError
        If there is no such cell.
    """
    cell = project.cells.get(cell_id)
    if cell is None:
        raise CellalError(f"The project has no cell {cell_id}.")
    own = {project.model_folder(m.model_id) for m in project.models if m.kind == "detector"}
    finds = model_folder in (SHIPPED_FOLDER, *own)
    chosen = [] if finds else _spread(project, cell_id)
    others: list[Patch] = []
    for first in range(0, len(chosen), _PORTION):
        rows = project.cells.rows(chosen[first : first + _PORTION])
        others += of_cells(project, [c for c in rows.values() if c is not None])
        yield
    return ExplainRequest(
        str(model_folder),
        of_cells(project, [cell])[0],
        class_name,
        device,
        tuple(others),
        {c.class_id: c.name for c in project.active_classes},
        str(project.cache_folder / f"alike-{model_folder.name}.npz"),
    )


def _spread(project: Project, cell_id: str) -> list[str]:
    """Return confirmed cells, as many of each class as there are, `MOST_ALIKE` at most.

    The same ones each time, so that what was computed of them serves again.
    """
    active = {c.class_id for c in project.active_classes}
    by_class: dict[int, list[str]] = {}
    for key, _, class_id, _ in project.cells.states(*_VOUCHED):
        if class_id in active and class_id is not None and key != cell_id:
            by_class.setdefault(class_id, []).append(key)
    share = MOST_ALIKE // max(1, len(by_class))
    return [key for keys in by_class.values() for key in sorted(keys)[:share]]


def explain(request: ExplainRequest) -> Job[Explained]:
    """Return the job that explains one answer.

    Raises
    ------
    CellalError
        If the picture cannot be read, or the model does not know the class.
    """
    yield Progress(0, 0, "Explaining")
    from napari_cellal.networks.model_files import load_record

    if load_record(Path(request.model_folder)).kind == "detector":
        return _by_detector(request)
    from napari_cellal.classify import explain as explaining
    from napari_cellal.classify.alike import most_alike
    from napari_cellal.classify.pictures import Cutter
    from napari_cellal.classify.predict import load

    classifier = load(Path(request.model_folder), request.device, own_range=request.own_range)
    names = classifier.record.class_names
    index = _index_of(request.class_name, names)
    cutter = Cutter(classifier.view)
    picture = classifier.look_at(request.patch, cutter)
    found = explaining.explain(classifier, picture, index)
    # what is kept of the confirmed cells was seen as in training
    keeps = request.kept_in and not request.own_range
    kept_in = Path(request.kept_in) if keeps else None
    like = yield from most_alike(classifier, request.patch, request.others, kept_in=kept_in)
    return Explained(
        classifier.record,
        names[found.class_index],
        dict(zip(names, map(float, found.probabilities), strict=True)),
        picture.numpy(),
        found.heat,
        found.channels,
        found.method,
        tuple(
            Neighbour(
                other.key,
                request.names.get(next(iter(other.class_ids), 0), ""),
                distance,
                classifier.look_at(other, cutter).numpy(),
            )
            for other, distance in like
        ),
        cutter.window(request.patch),
    )


def _by_detector(request: ExplainRequest) -> Explained:
    """Return what a detector's class of a box rests on.

    Raises
    ------
    CellalError
        If there is no box, the picture cannot be read, or the model does not know the class.
    """
    from napari_cellal.detect import explain as explaining
    from napari_cellal.detect.predict import TorchDetector
    from napari_cellal.detect.weights import load_model
    from napari_cellal.networks.devices import choose_device

    record, network = load_model(Path(request.model_folder))
    index = _index_of(request.class_name, record.class_names)
    if request.patch.box is None:
        raise CellalError(
            "A detector's answer is explained for a box of a project: name the project and, with "
            "--cell, the cell."
        )
    detector = TorchDetector(record, network, choose_device(request.device))
    pixels, (top, left) = _around(request.patch)
    y0, x0, y1, x1 = request.patch.box
    found, shown = explaining.explain(
        detector, pixels, (y0 - top, x0 - left, y1 - top, x1 - left), index
    )
    a, b, c, d = shown.window
    return Explained(
        record,
        record.class_names[found.class_index],
        dict(zip(record.class_names, map(float, found.probabilities), strict=True)),
        shown.picture.numpy(),
        found.heat,
        found.channels,
        found.method,
        window=(a + top, b + left, c + top, d + left),
    )


def _around(patch: Patch) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return the plane that a cell is in, of a large one what is around it, and where that begins.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    from napari_cellal.io.planes import is_large, plane_size, read_plane, read_plane_region

    assert patch.box is not None
    if not is_large(patch.path, patch.plane):
        return read_plane(patch.path, patch.plane), (0, 0)
    y0, x0, y1, x1 = patch.box
    reach = max(_REACH_PX, 2 * max(y1 - y0, x1 - x0))
    height, width = plane_size(patch.path, patch.plane)
    top, left = max(0, int((y0 + y1) / 2 - reach)), max(0, int((x0 + x1) / 2 - reach))
    bottom = min(height, int((y0 + y1) / 2 + reach))
    right = min(width, int((x0 + x1) / 2 + reach))
    return read_plane_region(patch.path, patch.plane, (top, left, bottom, right)), (top, left)


def _index_of(class_name: str, names: tuple[str, ...]) -> int | None:
    """Return which of a model's classes is to be explained; None for its answer.

    Raises
    ------
    CellalError
        If it does not know the class.
    """
    if class_name and class_name not in names:
        raise CellalError(
            f"The model does not know the class '{class_name}'. It knows: {', '.join(names)}."
        )
    return names.index(class_name) if class_name else None


def requests_for(
    project: Project, model_folder: Path, cell_ids: Iterable[str], *, own_range: bool = False
) -> tuple[ExplainRequest, ...]:
    """Return the questions why cells got the classes that a model gives them, without their like.

    Cells that are gone are left out.
    """
    rows = (c for c in project.cells.rows(list(cell_ids)).values() if c is not None)
    return tuple(
        ExplainRequest(str(model_folder), patch, own_range=own_range)
        for patch in of_cells(project, rows)
    )


def explain_each(requests: Sequence[ExplainRequest]) -> Job[int]:
    """Return the job that explains several answers; its items are (cell_id, uint8[h, w, 3]).

    Such a picture is that of `picture_beside`. Cells that cannot be read are left out; it
    returns how many were not.
    """
    done = 0
    for k, request in enumerate(requests):
        progress = Progress(k, len(requests), "Explaining")
        yield progress
        try:
            found = yield from explain(request)
        except CellalError as error:
            yield replace(progress, message=str(error))
            continue
        done += 1
        yield replace(progress, done=k + 1, item=(request.patch.key, picture_beside(found)))
    return done
