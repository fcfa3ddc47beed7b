"""Composites of a project's channels: fitted once over its images, stored, and exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.composites import COLORS, KINDS, Composite, CompositeFit, choose_colors
from napari_cellal.io.exchange.names import Outlets
from napari_cellal.io.planes import read_plane, read_sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellal.core.records import Plane
    from napari_cellal.io.store import Project

NONE = "none"
_MOST_IMAGES = 200


@dataclass(frozen=True, slots=True)
class CompositeRequest:
    """What a composite is fitted to. Picklable."""

    kind: str
    images: tuple[tuple[str, Plane], ...]
    channels: tuple[str, ...]
    colors: tuple[str, ...] = ()


def request_composite(
    project: Project, kind: str, *, preset: str = "", colors: Mapping[str, str] | None = None
) -> CompositeRequest:
    """Return the fit of a composite over the project's images, 200 of them at most.

    Without preset and colours the files' own colours are taken, where all differ.

    Raises
    ------
    CellalError
        If there is no such kind, preset, channel or colour, or no image of several channels.
    """
    if kind not in KINDS:
        raise CellalError(f"There is no composite '{kind}'; use {', '.join(KINDS)} or {NONE}.")
    several = [r for r in project.images.values() if not r.rgb and len(r.channels) > 1]
    if not several:
        raise CellalError("No image of the project has several channels to make a composite of.")
    ((channels, _),) = Counter(r.channels for r in several).most_common(1)
    mine = [r for r in several if r.channels == channels]
    step = -(-len(mine) // _MOST_IMAGES)
    images = tuple(
        (str(project.image_path(r.image_id)), project.plane(r.image_id)) for r in mine[::step]
    )
    own = mine[0].colors
    if kind == COLORS and not preset and len(set(own)) == len(own) == len(channels):
        colors = dict(zip(channels, own, strict=True)) | dict(colors or {})
    chosen = choose_colors(channels, preset, colors) if kind == COLORS else ()
    return CompositeRequest(kind, images, channels, chosen)


def fit_composite(request: CompositeRequest) -> Job[Composite]:
    """Return the composite; images that cannot be read are passed over."""
    fit = CompositeFit(request.channels)
    problem = ""
    for done, (path, plane) in enumerate(request.images, 1):
        yield Progress(done - 1, len(request.images), "Looking at the colours of the images")
        try:
            fit.add(read_sample(path, plane))
        except CellalError as error:
            problem = str(error)
            yield Progress(done, len(request.images), problem)
    try:
        return fit.colors(request.colors) if request.kind == COLORS else fit.pca()
    except CellalError as error:
        raise CellalError(problem or str(error)) from error


def composite_for(project: Project, kind: str) -> Job[Composite | None]:
    """Return the project's composite of a kind, fitted and stored if it has none yet.

    The one that is stored is taken as long as it fits the images' channels: all models and
    pictures of a project share one map.
    """
    if kind == NONE:
        return None
    request = request_composite(project, kind)
    stored = project.composite(kind)
    if stored is not None and stored.channels == request.channels:
        return stored
    made = yield from fit_composite(request)
    project.set_composite(made)
    return made


def export_composites(project: Project, composite: Composite, folder: str | Path) -> Job[list[str]]:
    """Write every image as a PNG in colour; return a sentence for each that could not be.

    Raises
    ------
    CellalError
        If the folder cannot be written.
    """
    from PIL import Image

    target = Path(folder)
    problems: list[str] = []
    outlets = Outlets(".png")
    ids = list(project.images)
    for done, key in enumerate(ids, 1):
        record = project.images[key]
        name = outlets.of(record.name.replace("/", "_"))
        try:
            pixels = read_plane(project.image_path(key), project.plane(key))
            picture = Image.fromarray(np.moveaxis(composite.apply(pixels), 0, -1))
            target.mkdir(parents=True, exist_ok=True)
            picture.save(target / name)
        except CellalError as error:
            problems.append(f"{record.name}: {error}")
        except OSError as error:
            raise CellalError(f"{target} cannot be written ({error.strerror}).") from error
        yield Progress(done, len(ids), record.name)
    return problems
