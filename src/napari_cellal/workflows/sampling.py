"""Projects of sample images, for a first try."""

from __future__ import annotations

from pathlib import Path

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.samples.bccd import fetch_bccd
from napari_cellal.io.samples.fluorescence import FIELD_CLASSES
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project

from . import adding
from .founding import found_project

SAMPLE_CLASSES = ("RBC", "WBC", "Platelets")
SAMPLES = {
    "smears": "synthetic blood smears",
    "fields": "synthetic fields in five channels",
    "bccd": "BCCD blood smears",
}
"""What `make_samples` can make, in words."""


def sample_folder() -> Path:
    """Return a folder for samples that is not there yet, in the person's home."""
    place = Path.home() / "napari-cellal samples"
    number = 1
    while place.exists():
        number += 1
        place = Path.home() / f"napari-cellal samples {number}"
    return place


def make_samples(
    folder: str | Path | None = None, n: int = 12, seed: int = 0, kind: str = "smears"
) -> Job[str]:
    """Return the folder of a new project of sample images.

    Synthetic ones, ``n`` of them, have no boxes in the project; their true boxes lie beside
    them as VOC files. BCCD is taken from this computer or downloaded (8 MB), all 364 smears
    with their boxes.

    Parameters
    ----------
    kind : str
        One of `SAMPLES`.

    Raises
    ------
    CellalError
        If there is no such kind, or BCCD cannot be had.
    """
    if kind not in SAMPLES:
        raise CellalError(f"There is no sample '{kind}'; use {', '.join(SAMPLES)}.")
    target = Path(folder) if folder is not None else sample_folder()
    yield Progress(0, 0, f"Making {SAMPLES[kind]}")
    if kind == "bccd":
        source = yield from fetch_bccd()
        target.mkdir(parents=True, exist_ok=True)
        return (yield from found_project(source, target / "bccd.cellal"))
    if kind == "fields":
        write_samples(target / kind, "fluorescence", n, seed)
    else:
        write_samples(target / kind, "smear", n, seed)
    looked = yield from adding.look_at_images([target / kind])
    classes = FIELD_CLASSES if kind == "fields" else SAMPLE_CLASSES
    with Project.create(target / f"{kind}.cellal", classes) as project:
        adding.add_looked(project, looked)
        return str(project.folder)
