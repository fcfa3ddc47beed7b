"""Projects of sample images, for a first try."""

from __future__ import annotations

from pathlib import Path

from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project

from . import adding

SAMPLE_CLASSES = ("RBC", "WBC", "Platelets")


def sample_folder() -> Path:
    """Return a folder for samples that is not there yet, in the person's home."""
    place = Path.home() / "napari-cellal samples"
    number = 1
    while place.exists():
        number += 1
        place = Path.home() / f"napari-cellal samples {number}"
    return place


def make_samples(folder: str | Path | None = None, n: int = 12, seed: int = 0) -> Job[str]:
    """Return the folder of a new project with ``n`` synthetic smears and no boxes."""
    target = Path(folder) if folder is not None else sample_folder()
    yield Progress(0, 0, "Drawing smears")
    write_samples(target / "smears", "smear", n, seed)
    looked = yield from adding.look_at_images([target / "smears"])
    with Project.create(target / "smears.cellal", SAMPLE_CLASSES) as project:
        adding.add_looked(project, looked)
        return str(project.folder)
