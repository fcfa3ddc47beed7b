"""Images, projects and hands that the tests of scans share."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cellal.core.progress import run_job
from napari_cellal.io.store import Project
from napari_cellal.workflows.adding import LookOptions
from napari_cellal.workflows.scanning import places, plan, running
from napari_cellal.workflows.scanning.searching import Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_cellal.workflows.scanning.tasks import Done, ScanSpec, Task

CHANNELS = 3
LARGE_PX = 100_000
SMALL_PART_PX = 300


def spots(shape: tuple[int, int], n: int, seed: int) -> np.ndarray:
    """Return uint8[Y, X] with bright discs on a noisy ground."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(40, 4, shape)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    for _ in range(n):
        cy, cx = rng.uniform(12, shape[0] - 12), rng.uniform(12, shape[1] - 12)
        plane[np.hypot(yy - cy, xx - cx) < rng.uniform(7, 10)] += rng.uniform(70, 120)
    return plane.clip(0, 255).astype(np.uint8)


def make_plate(
    folder: Path, wells: int, *, shape: tuple[int, int] = (96, 112), seed: int = 0
) -> Path:
    """Write a plate, two sites a well, a file a channel."""
    folder.mkdir(parents=True)
    for well in range(wells):
        for site in (1, 2):
            plane = spots(shape, 6, seed + 10 * well + site)
            for channel in range(CHANNELS):
                name = f"P1_{'ABCDEFGH'[well // 12]}{well % 12 + 1:02}_s{site}_w{channel + 1}.tif"
                tifffile.imwrite(folder / name, plane // (channel + 1))
    return folder


def make_slide(
    path: Path, shape: tuple[int, int] = (450, 600), n: int = 30, *, rgb: bool = False
) -> Path:
    """Write an image that can be read in parts."""
    pixels = spots(shape, n, 99)
    if rgb:
        pixels = np.stack([pixels, pixels // 2, pixels // 3], axis=-1)
    tifffile.imwrite(path, pixels, tile=(128, 128), compression="zlib")
    return path


def small_is_large(monkeypatch: Any) -> None:
    """Have images of 100,000 px searched in parts of 300 px."""
    from napari_cellal.io import planes
    from napari_cellal.workflows.scanning import searching, writing

    monkeypatch.setattr(planes, "_LARGE_PLANE", LARGE_PX)
    monkeypatch.setattr(plan, "_LARGE_PX", LARGE_PX)
    for module in (searching, writing):
        monkeypatch.setattr(module, "PART_PX", SMALL_PART_PX)
    monkeypatch.setattr(writing, "_PLACE_PX", 400)


class Here:
    """Hands in this process: a task at a time, in the order in which they came."""

    size = 1
    words = "this process"

    def __init__(self, spec: ScanSpec) -> None:
        self._scanner = Scanner(spec, "cpu")
        self._todo: deque[Task] = deque()
        self.tasks: list[str] = []
        self.closed = False

    def put(self, tasks: Iterable[Task], *, soon: bool = False) -> None:
        self._todo.extend(tasks)

    def take(self, timeout_s: float) -> list[Done]:
        if not self._todo:
            return []
        task = self._todo.popleft()
        self.tasks.append(task.key)
        return [self._scanner.do(task, self._scanner.read(task))]

    def close(self) -> None:
        self.closed = True

    def pretend_to_be(self, device: str) -> None:
        """Have images shown to the network as they are on that device, though computed here."""
        self._scanner.device = device


def begin(
    project: Project, paths: Iterable[Path] = (), *, restart: bool = False, **asked: Any
) -> plan.ScanPlan:
    """Return the plan of a scan of some paths, or of all images."""
    ids = tuple(project.images)
    if paths := [str(path) for path in paths]:
        ids = run_job(places.add_places(project, paths, LookOptions("auto"))).image_ids
    settings = plan.ScanSettings(**({"model": "classical"} | asked))
    return plan.plan_scan(project, ids, settings, device="cpu", restart=restart)


def scan(project: Project, paths: Iterable[Path] = (), **asked: Any) -> running.ScanReport:
    """Scan to the end, in this process."""
    todo = begin(project, paths, **asked)
    return run_job(running.scan(project, todo, Here(todo.spec)))


def stop_after(project: Project, todo: plan.ScanPlan, steps: int) -> Here:
    """Scan so many tasks and break off."""
    crew = Here(todo.spec)
    job = running.scan(project, todo, crew)
    for _ in range(steps + 1):
        next(job)
    job.close()
    return crew


def cells_of(project: Project) -> list[tuple[Any, ...]]:
    """Return all that a scan says, but for ids, in an order that is the same for the same cells."""
    rows = []
    for key, image in project.images.items():
        for c in project.cells.of_image(key):
            said = c.proposed
            told = () if said is None else (said.box, said.score, said.probabilities, said.model_id)
            rows.append((image.name, c.box, str(c.class_id), c.status.value, *map(str, told)))
    return sorted(rows)


def new_project(folder: Path) -> Project:
    """Return a new project with one class."""
    return Project.create(folder / "p", ["cell"])
