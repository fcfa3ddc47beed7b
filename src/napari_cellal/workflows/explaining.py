"""On what the class of a cell rests, by a classifier or a detector: figures, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.classify.requests import Patch
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Status
from napari_cellal.detect.shipped import FOLDER as SHIPPED_FOLDER
from napari_cellal.detect.shipped import SHIPPED, can_read
from napari_cellal.io.atomic import write_atomic

from . import classifying, detecting
from .patches import of_cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project

_SCALE_PX = 384  # about the side of each half of the picture
_REACH_PX = 512  # of a large image, so much around a cell tells its scale and intensities
_LINE_PX, _MOST_BARS, _LONGEST_NAME = 18, 8, 24  # of the words below a picture
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
        if len(self.record.channels) == n:
            return self.record.channels
        if self.record.settings.get("composite"):
            return ("red", "green", "blue")
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


def models_to_ask(project: Project) -> dict[str, str]:
    """Return {model_id: kind} of the models that give classes, the one to ask first at the top.

    That is the classifier in use, else the detector in use.
    """
    kinds = {m.model_id: m.kind for m in reversed(project.models)}
    image = next(iter(project.images.values()), None)
    if image is None or can_read(image):
        kinds[SHIPPED] = "detector"
    first = classifying.choose_classifier(project) or detecting.choose_model(project, "auto")
    return {key: kinds[key] for key in dict.fromkeys((first, *kinds)) if key in kinds}


def find_model(project: Project | None, name: str) -> Path:
    """Return the folder of a model whose answers can be explained: a classifier or a detector.

    ``auto`` is the classifier in use, in a project without one the detector in use.

    Raises
    ------
    ModelError
        If there is none, or it gives no classes.
    """
    if project is None or name not in ("auto", *detecting.known_models(project)):
        return classifying.find_classifier(project, name)
    if name == "auto" and classifying.choose_classifier(project) is not None:
        return classifying.find_classifier(project, name)
    chosen = detecting.choose_model(project, name)
    if chosen == detecting.CLASSICAL:
        raise ModelError(
            "The detector without training gives no classes, so there is none to explain. Train "
            "a model, or name another one."
        )
    return SHIPPED_FOLDER if chosen == SHIPPED else project.model_folder(chosen)


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
        A cell's id; without a project the picture's path.

    Raises
    ------
    CellalError
        If there is no such cell or file.
    """
    if project is not None:
        steps = explanation_steps(project, model_folder, what, class_name=class_name, device=device)
        return replace(finish(steps), own_range=own_range)
    if not Path(what).is_file():
        raise CellalError(f"There is no picture '{what}': check its name.")
    picture = Patch(what, what)
    return ExplainRequest(str(model_folder), picture, class_name, device, own_range=own_range)


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


def hot_picture(found: Explained) -> NDArray[np.float32]:
    """Return float32[h, w, 3], 0..1: the cell in grey, from red to yellow what spoke for it."""
    gray = _as_rgb(found.shown).mean(axis=2, keepdims=True) * 0.7
    heat = found.heat[:, :, None]
    color = np.concatenate([np.ones_like(heat), heat**1.5, np.zeros_like(heat)], axis=2)
    return np.asarray(gray * (1 - 0.75 * heat) + color * 0.75 * heat, np.float32)


def write_picture(found: Explained, file: str | Path) -> None:
    """Write a PNG: the cell as the network saw it, and beside it what spoke for the class.

    Below them the class with its probability, what each channel adds to that as a bar, and the
    confirmed cells most like it, each with its class.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    from PIL import Image

    plain = _as_rgb(found.shown)
    both = np.concatenate([plain, np.ones((len(plain), 2, 3)), hot_picture(found)], axis=1)
    image = Image.fromarray(np.rint(both.clip(0, 1) * 255).astype(np.uint8))
    times = max(1, _SCALE_PX // len(plain))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image = _with_words(image, found)
    if found.neighbours:
        image = _with_neighbours(image, found.neighbours)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        write_atomic(Path(file), buffer.getvalue())
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error


def _with_words(image: Any, found: Explained) -> Any:
    """Return the picture with the class below it, and a bar for what each channel adds."""
    from PIL import Image, ImageDraw

    names = found.channel_names if len(found.channels) > 1 else ()
    ranked = sorted(zip(names, found.channels.tolist(), strict=False), key=lambda c: -abs(c[1]))
    shown = ranked[:_MOST_BARS]
    top = image.height
    sheet = Image.new("RGB", (image.width, top + _LINE_PX * (1 + len(shown)) + 6), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    p = found.probabilities[found.class_name]
    said = f"{found.class_name} {p:.2f}" + ("; without a channel it would be less by" * bool(shown))
    draw.text((4, top + 3), _plain(said), "black", font_size=13)
    zero, unit = image.width * 0.55, image.width * 0.4
    for k, (name, share) in enumerate(shown, 1):
        y = top + 3 + _LINE_PX * k
        draw.text((16, y), _plain(name)[:_LONGEST_NAME], "black", font_size=13)
        draw.text((zero - 56, y), f"{round(share, 2) + 0.0:+.2f}", "black", font_size=13)
        ends = sorted((zero, zero + unit * share))
        color = "#0072B2" if share >= 0 else "#D55E00"
        draw.rectangle((ends[0], y + 3, ends[1] + 1, y + 12), color)
    return sheet


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # all that Pillow's font has


def _with_neighbours(image: Any, neighbours: tuple[Neighbour, ...]) -> Any:
    """Return the picture with the neighbours in a row below it, and their classes in words."""
    from PIL import Image, ImageDraw

    side = (image.width - 2 * (len(neighbours) - 1)) // max(3, len(neighbours))
    sheet = Image.new("RGB", (image.width, image.height + side + 40), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.text((4, image.height + 3), "Confirmed cells most like it:", "black", font_size=13)
    for k, one in enumerate(neighbours):
        pixels = np.rint(_as_rgb(one.shown).clip(0, 1) * 255).astype(np.uint8)
        left, top = k * (side + 2), image.height + 21
        sheet.paste(Image.fromarray(pixels).resize((side, side)), (left, top))
        draw.text((left + 4, top + side + 2), _plain(one.class_name), "black", font_size=13)
    return sheet


def _as_rgb(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[h, w, 3]: colours as they are, other channels as their brightest."""
    if len(shown) == 3:
        return np.moveaxis(shown, 0, -1)
    low, high = np.percentile(shown, [1, 99], axis=(1, 2), keepdims=True)
    bright = ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1).max(axis=0)
    return np.repeat(bright[:, :, None], 3, axis=2)
