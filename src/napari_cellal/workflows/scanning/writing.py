"""What comes back from the hands of a scan, into the project: cells and states together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_cellal.core.history import Edit
from napari_cellal.core.reconcile import RunSummary
from napari_cellal.detect.large import PART_PX, merge_parts, parts_of
from napari_cellal.detect.requests import ImageFailure
from napari_cellal.features.kept import KeptRows, keep_rows
from napari_cellal.io.store.scans import pack_detections, unpack_detections
from napari_cellal.workflows.detecting import edit_for

from .plan import image_to_scan
from .searching import wanted, with_classes
from .tasks import CellsFound, ImageFound, LargeLook, PartFound, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import Cell, Detections
    from napari_cellal.features.table import MeasureRequest
    from napari_cellal.io.store import Project

    from .plan import ScanPlan
    from .tasks import Done

_TOGETHER = 1000  # rows in one transaction; an image with more is written in several
_CELLS = 1000  # cells of a large image that are classed and measured in one task
_LOTS = 50  # that are looked up before a window is heard
_PLACE_PX = 2048  # and they lie in one square of this side


@dataclass(slots=True)
class _Large:
    """A large image in the making."""

    shape: tuple[int, int]
    margin_px: int
    missing: set[int] = field(default_factory=set)


class ScanWriter:
    """Writes what comes of tasks, and says which tasks follow from it.

    An image is done in the transaction that writes its last cells. Where that takes several
    (more than 1,000 rows), a process that is killed between two of them writes the same rows
    again: what is there already is found again and stays as it is.

    Attributes
    ----------
    done : int
        Images done in this run.
    cells : int
    summary : RunSummary
    failed : {image_id: sentence}
        Images that failed, before this run too.
    """

    def __init__(self, project: Project, plan: ScanPlan) -> None:
        self._project = project
        self._plan = plan
        self._scan_id = plan.spec.scan_id
        self._left = set(plan.waiting)
        self._large: dict[str, _Large] = {}
        self.done = 0
        self.cells = 0
        self.summary = RunSummary()
        self.failed: dict[str, str] = dict(plan.failed)

    @property
    def left(self) -> int:
        """Images that are to be done still."""
        return len(self._left)

    def begin(self) -> Steps[list[Task]]:
        """Return what is to be done now; large images go on where they stood. Pauses."""
        lots: list[Task] = []
        parts: list[Task] = []
        for number, lot in enumerate(self._plan.lots):
            if number % _LOTS == 0:
                yield
            if lot[0] not in self._plan.large:
                lots.append(Task("lot", tuple(image_to_scan(self._project, k) for k in lot)))
                continue
            kept = self._parts(lot[0], "look")
            if not kept:
                parts.append(Task("look", (self._bare(lot[0]),)))
                continue
            self._large[lot[0]] = _Large(tuple(kept[0]["shape"]), kept[0]["margin_px"])
            parts += yield from self._next(lot[0], kept[0]["memory"])
        return [*parts, *lots]  # those that others follow from come first

    def take(self, results: Sequence[Done]) -> Steps[list[Task]]:
        """Write results and return the tasks that follow; pauses after each transaction."""
        follow: list[Task] = []
        images: list[ImageFound] = []
        for result in results:
            for item in result.items:
                if isinstance(item, ImageFound):
                    images.append(item)
                elif isinstance(item, ImageFailure):
                    self._fail(item)
                elif item.image_id in self._left and self._is_there(item.image_id):
                    follow += yield from self._take_part(item)
        yield from self._write(images)
        return follow

    def end(self) -> bool:
        """Note that the scan has ended, if every image of it is done or failed."""
        images = self._project.scans.images(self._scan_id)
        if any(image.state == "waiting" for image in images):
            return False
        with self._project.scans.together():
            self._project.scans.note_ended(self._scan_id)
        return True

    def _is_there(self, image_id: str) -> bool:
        """Return whether an image is still in the project; else it is as good as done."""
        if image_id not in self._project.images:
            self._left.discard(image_id)
            return False
        return True

    def _fail(self, failure: ImageFailure) -> None:
        key = failure.image_id
        if key not in self._left or not self._is_there(key):
            return
        with self._project.scans.together():
            self._project.scans.note_failed(self._scan_id, key, failure.sentence)
        self.failed[key] = failure.sentence
        self._left.discard(key)
        self._large.pop(key, None)

    # -- cells of whole images ------------------------------------------------------------

    def _write(self, images: Sequence[ImageFound]) -> Steps[None]:
        """Write the cells of images, as many images in one transaction as are small."""
        edits: list[Edit] = []
        counts: dict[str, int] = {}
        for image in images:
            key = image.detections.image_id
            if key not in self._left or key in counts or not self._is_there(key):
                continue  # done before: the rest of its lot is computed again with it
            for kept in image.kept:
                keep_rows(self._project.cache_folder, key, kept)
            edit, summary, n = edit_for(self._project, image.detections)
            if edits and sum(len(e.after) for e in edits) + len(edit.after) > _TOGETHER:
                self._commit(edits, counts)
                edits, counts = [], {}
                yield
            *firsts, last = _cut(edit)
            for part in firsts:
                self._commit([part], {})
                yield
            edits.append(last)
            counts[key] = n
            self.summary += summary
            self.cells += n
        if counts:
            self._commit(edits, counts)
            yield

    def _commit(self, edits: Sequence[Edit], counts: dict[str, int]) -> None:
        """Write edits, and that the images are done, in one transaction."""
        before: dict[str, Cell | None] = {}
        after: dict[str, Cell | None] = {}
        for edit in edits:
            before |= edit.before
            after |= edit.after
        model = self._plan.spec.run.model_id
        joined = Edit(f"scanned with {model[:12]}", before, after, by=model, run=self._scan_id)
        scans = self._project.scans
        if joined:
            self._project.history.do(joined, lambda: scans.note_done(self._scan_id, counts))
        else:
            with scans.together():
                scans.note_done(self._scan_id, counts)
        self.done += len(counts)
        self._left -= counts.keys()

    # -- large images ---------------------------------------------------------------------

    def _parts(self, image_id: str, kind: str) -> dict[int, Any]:
        return self._project.scans.parts(self._scan_id, image_id, kind)

    def _bare(self, image_id: str) -> MeasureRequest:
        """Return a large image without the cells that it has: those would go with every part."""
        image = image_to_scan(self._project, image_id)
        return replace(image, cell_ids=(), boxes=(), masks=())

    def _next(self, image_id: str, memory: Any) -> Steps[list[Task]]:
        """Return what is to be done next for a large image; where nothing is, it is written."""
        large = self._large[image_id]
        done = self._parts(image_id, "part").keys()
        parts = parts_of(large.shape, PART_PX, large.margin_px)
        large.missing = set(range(len(parts))) - done
        image = self._bare(image_id)
        if large.missing:
            return [Task("part", (image,), k, parts[k], memory) for k in sorted(large.missing)]
        tasks = self._cell_tasks(image_id)
        if not tasks:
            yield from self._finish(image_id)
        return tasks

    def _take_part(self, item: LargeLook | PartFound | CellsFound) -> Steps[list[Task]]:
        key = item.image_id
        if isinstance(item, LargeLook):
            memory = dict(item.memory)
            body = {"shape": item.shape, "margin_px": item.margin_px, "memory": memory}
            self._keep(key, "look", 0, body)
            self._large[key] = _Large(item.shape, item.margin_px)
            yield
            return (yield from self._next(key, memory))
        large = self._large[key]
        if item.number not in large.missing:
            return []
        if isinstance(item, PartFound):
            self._keep(key, "part", item.number, pack_detections(item.detections))
        else:
            self._keep(key, "cells", item.number, _pack_cells(item))
        large.missing.discard(item.number)
        yield
        if large.missing:
            return []
        if isinstance(item, PartFound):
            return (yield from self._next(key, None))
        yield from self._finish(key)
        return []

    def _keep(self, image_id: str, kind: str, number: int, body: Any) -> None:
        with self._project.scans.together():
            self._project.scans.note_part(self._scan_id, image_id, kind, number, body)

    def _merged(self, image_id: str) -> Detections:
        large = self._large[image_id]
        parts = parts_of(large.shape, PART_PX, large.margin_px)
        found = self._parts(image_id, "part")
        merged = merge_parts(parts, [unpack_detections(found[k]) for k in range(len(parts))])
        return wanted(self._plan.spec, merged)

    def _portions(self, found: Detections) -> list[list[int]]:
        """Return the cells of a large image in portions that lie near each other."""
        places: dict[tuple[int, int], list[int]] = {}
        for k, (y0, x0, y1, x1) in enumerate(found.boxes):
            at = (int((y0 + y1) / 2 // _PLACE_PX), int((x0 + x1) / 2 // _PLACE_PX))
            places.setdefault(at, []).append(k)
        return [
            index[first : first + _CELLS]
            for index in places.values()
            for first in range(0, len(index), _CELLS)
        ]

    def _cell_tasks(self, image_id: str) -> list[Task]:
        """Return the tasks of classing and measuring a large image's cells; maybe none."""
        spec = self._plan.spec
        large = self._large[image_id]
        large.missing = set()
        if not spec.classifier and not spec.features:
            return []
        found = self._merged(image_id)
        done = self._parts(image_id, "cells").keys()
        tasks = []
        for number, index in enumerate(self._portions(found)):
            if number in done:
                continue
            large.missing.add(number)
            near = found.take(index)
            image = replace(
                self._bare(image_id),
                cell_ids=("",) * len(near),
                boxes=near.boxes,
                masks=near.masks,
            )
            tasks.append(Task("cells", (image,), number))
        return tasks

    def _finish(self, image_id: str) -> Steps[None]:
        """Write the cells of a large image, of which all parts are there."""
        spec = self._plan.spec
        found = self._merged(image_id)
        portions = self._portions(found)
        kept = self._parts(image_id, "cells")
        rows: list[KeptRows] = []
        if kept:
            classes: list[Any] = [()] * len(found)
            sets: dict[tuple[str, str], dict[bytes, Any]] = {}
            for number, index in enumerate(portions):
                item = _unpack_cells(image_id, number, kept[number])
                for k, pairs in zip(index, item.classes, strict=bool(item.classes)):
                    classes[k] = pairs
                for each in item.kept:
                    sets.setdefault((each.name, each.key), {}).update(each.rows)
            rows = [KeptRows(name, key, values) for (name, key), values in sets.items()]
            if spec.classifier:
                found = with_classes(spec, found, classes)
        del self._large[image_id]
        yield from self._write([ImageFound(found, tuple(rows))])


def _cut(edit: Edit) -> list[Edit]:
    """Return an edit in pieces of at most 1,000 rows; one where it is small or empty."""
    keys = list(edit.after)
    firsts = range(0, max(1, len(keys)), _TOGETHER)
    return [
        replace(
            edit,
            before={k: edit.before[k] for k in keys[first : first + _TOGETHER]},
            after={k: edit.after[k] for k in keys[first : first + _TOGETHER]},
        )
        for first in firsts
    ]


def _pack_cells(item: CellsFound) -> dict[str, Any]:
    return {
        "classes": item.classes,
        "kept": [
            [k.name, k.key, {key.hex(): row.tolist() for key, row in k.rows.items()}]
            for k in item.kept
        ],
    }


def _unpack_cells(image_id: str, number: int, body: dict[str, Any]) -> CellsFound:
    import numpy as np

    return CellsFound(
        image_id,
        number,
        tuple(tuple((int(c), float(p)) for c, p in pairs) for pairs in body["classes"]),
        tuple(
            KeptRows(
                name, key, {bytes.fromhex(k): np.asarray(r, np.float32) for k, r in rows.items()}
            )
            for name, key, rows in body["kept"]
        ),
    )
