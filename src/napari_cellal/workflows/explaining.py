"""On what a classifier's answer rests: figures, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.classify.requests import Patch
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.atomic import write_atomic

from .patches import of_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.store import Project

_SCALE_PX = 384  # about the side of each half of the picture


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """One picture, the model, and the class to be explained (empty: the model's answer)."""

    model_folder: str
    patch: Patch
    class_name: str = ""
    device: str = "auto"


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
    """

    record: ModelRecord
    class_name: str
    probabilities: dict[str, float]
    shown: NDArray[np.float32]
    heat: NDArray[np.float32]
    channels: NDArray[np.float32]
    method: str

    def figures(self) -> dict[str, Any]:
        """Return the answer and what it rests on as plain values; see docs/cli.md."""
        y, x = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        names = self.record.channels or tuple(f"Ch{k + 1}" for k in range(len(self.channels)))
        return {
            "model": self.record.model_id,
            "class": self.class_name,
            "probabilities": self.probabilities,
            "method": self.method,
            "hottest": [float((y + 0.5) / len(self.heat)), float((x + 0.5) / len(self.heat[0]))],
            "channels": dict(zip(names, map(float, self.channels), strict=True)),
        }


def request_explanation(
    project: Project | None,
    model_folder: Path,
    what: str,
    *,
    class_name: str = "",
    device: str = "auto",
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
        cell = project.cells.get(what)
        if cell is None:
            raise CellalError(f"The project has no cell {what}.")
        return ExplainRequest(str(model_folder), of_cells(project, [cell])[0], class_name, device)
    if not Path(what).is_file():
        raise CellalError(f"There is no picture '{what}': check its name.")
    return ExplainRequest(str(model_folder), Patch(what, what), class_name, device)


def explain(request: ExplainRequest) -> Job[Explained]:
    """Return the job that explains one answer.

    Raises
    ------
    CellalError
        If the picture cannot be read, or the model does not know the class.
    """
    yield Progress(0, 0, "Explaining")
    from napari_cellal.classify import explain as explaining
    from napari_cellal.classify.pictures import Cutter
    from napari_cellal.classify.predict import load

    classifier = load(Path(request.model_folder), request.device)
    names = classifier.record.class_names
    if request.class_name and request.class_name not in names:
        raise CellalError(
            f"The model does not know the class '{request.class_name}'. It knows: "
            f"{', '.join(names)}."
        )
    index = names.index(request.class_name) if request.class_name else None
    picture = classifier.show(Cutter(classifier.view).cut(request.patch))
    found = explaining.explain(classifier, picture, index)
    return Explained(
        classifier.record,
        names[found.class_index],
        dict(zip(names, map(float, found.probabilities), strict=True)),
        picture.numpy(),
        found.heat,
        found.channels,
        found.method,
    )


def write_picture(found: Explained, file: str | Path) -> None:
    """Write a PNG: the cell as the network saw it, and beside it what spoke for the class.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    from PIL import Image

    plain = _as_rgb(found.shown)
    gray = plain.mean(axis=2, keepdims=True) * 0.7
    heat = found.heat[:, :, None]
    # from red to yellow, as much of it as the place spoke
    color = np.concatenate([np.ones_like(heat), heat**1.5, np.zeros_like(heat)], axis=2)
    hot = gray * (1 - 0.75 * heat) + color * 0.75 * heat
    both = np.concatenate([plain, np.ones((len(plain), 2, 3)), hot], axis=1)
    image = Image.fromarray(np.rint(both.clip(0, 1) * 255).astype(np.uint8))
    times = max(1, _SCALE_PX // len(plain))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        write_atomic(Path(file), buffer.getvalue())
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error


def _as_rgb(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[h, w, 3]: colours as they are, other channels as their brightest."""
    if len(shown) == 3:
        return np.moveaxis(shown, 0, -1)
    low, high = np.percentile(shown, [1, 99], axis=(1, 2), keepdims=True)
    bright = ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1).max(axis=0)
    return np.repeat(bright[:, :, None], 3, axis=2)
