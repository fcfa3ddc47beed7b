"""The hands of a scan: they read, search, class and measure, and know no project."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.detect.large import PART_PX, detect_part, look_over, parts_of
from napari_cellal.detect.registry import load_detector
from napari_cellal.detect.requests import ImageFailure
from napari_cellal.io.freshness import check_unchanged
from napari_cellal.io.planes import plane_size, read_plane_region
from napari_cellal.io.reading import read_or_fail, read_plane
from napari_cellal.workflows.describing import describers
from napari_cellal.workflows.detecting import in_classes_of
from napari_cellal.workflows.threads import torch_on_one_thread

from .tasks import CellsFound, Done, ImageFound, LargeLook, PartFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellal.classify.predict import TorchClassifier
    from napari_cellal.core.records import Detections
    from napari_cellal.features.kept import KeptRows
    from napari_cellal.features.table import MeasureRequest

    from .tasks import Item, ScanSpec, Task

    Pixels = NDArray[Any] | ImageFailure
    Classes = tuple[tuple[int, float], ...]


class Scanner:
    """Does the tasks of a scan. `read` may be called by any thread, `do` by one at a time.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or one of several, as ``cuda:1``.

    Raises
    ------
    CellalError
        If a model or the device cannot be used.
    """

    def __init__(self, spec: ScanSpec, device: str) -> None:
        self._spec = spec
        target: Any = device
        self.device = "cpu"
        if spec.uses_torch:
            import torch

            from napari_cellal.networks.devices import choose_device

            target = torch.device(device) if ":" in device else choose_device(device)
            self.device = target.type
        self._detector = load_detector(spec.run.model, target, spec.run.settings)
        self._classifier: TorchClassifier | None = None
        if spec.classifier:
            from napari_cellal.classify.predict import load

            self._classifier = load(Path(spec.classifier), target)
        job = describers(spec.features, device) if spec.features else None
        self._describers = () if job is None else run_job(job)

    def read(self, task: Task) -> list[Pixels]:
        """Return the pixels of each image of a task, or why there are none; see `do`."""
        return [self.read_image(task, k) for k in range(len(task.images))]

    def read_image(self, task: Task, k: int) -> Pixels:
        """Return the pixels of one image of a task, [C, Y, X], or why there are none."""
        image = task.images[k]
        try:
            if task.kind == "lot":
                return read_or_fail(read_plane, image.path, image.plane)
            if task.part is None:  # the others read for themselves, bit by bit
                return ImageFailure(image.image_id, "")
            return _region(image)(task.part.window)
        except CellalError as error:
            return ImageFailure(image.image_id, str(error))
        except MemoryError:
            return ImageFailure(image.image_id, f"{Path(image.path).name} is too large to be read.")

    def do(self, task: Task, pixels: Sequence[Pixels]) -> Done:
        """Return what comes of a task, given what `read` gave for it."""
        begun = time.perf_counter()
        notes: list[str] = []
        with (
            torch_on_one_thread(self.device) if self._spec.uses_torch else contextlib.nullcontext()
        ):
            if task.kind == "lot":
                items: tuple[Item, ...] = tuple(self._lot(task.images, pixels, notes))
            else:
                items = (self._piece(task, pixels[0]),)
        return Done(task.key, items, time.perf_counter() - begun, tuple(dict.fromkeys(notes)))

    # -- whole images ---------------------------------------------------------------------

    def _lot(
        self, images: Sequence[MeasureRequest], pixels: Sequence[Pixels], notes: list[str]
    ) -> Iterator[ImageFound | ImageFailure]:
        """Yield what is found in each image, those of one shape searched together."""
        shapes: dict[tuple[int, ...], list[int]] = {}
        found: dict[int, Detections | ImageFailure] = {}
        for k, plane in enumerate(pixels):
            if isinstance(plane, ImageFailure):
                found[k] = plane
            else:
                shapes.setdefault(plane.shape, []).append(k)
        for index in shapes.values():
            try:
                planes: list[Any] = [pixels[k] for k in index]
                searched = self._search([images[k] for k in index], planes)
                found |= dict(zip(index, searched, strict=True))
                notes += getattr(self._detector, "notes", ())
            except CellalError as error:
                found |= {k: ImageFailure(images[k].image_id, str(error)) for k in index}
        for k, image in enumerate(images):
            result, plane = found[k], pixels[k]
            if isinstance(result, ImageFailure) or isinstance(plane, ImageFailure):
                yield result  # type: ignore[misc]
                continue
            try:
                yield self._completed(image, plane, result)
            except CellalError as error:
                yield ImageFailure(image.image_id, str(error))

    def _search(
        self, images: Sequence[MeasureRequest], planes: Sequence[NDArray[Any]]
    ) -> list[Detections]:
        ids = [image.image_id for image in images]
        many: Callable[..., list[Detections]] | None = getattr(self._detector, "detect_many", None)
        # A processor gains nothing: 94 ms of one core's time an image one by one, 106 ms by four.
        if many is not None and self.device != "cpu":
            found = many(planes, ids)
        else:
            rows = zip(images, planes, ids, strict=True)
            found = [self._detector.detect(p, image_id=k, rgb=i.rgb) for i, p, k in rows]
        return [wanted(self._spec, each) for each in found]

    def _completed(
        self, image: MeasureRequest, pixels: NDArray[Any], found: Detections
    ) -> ImageFound:
        """Return what was found with its classes and measurements."""
        if self._classifier is not None and len(found):
            own = replace(image, cell_ids=(), boxes=found.boxes, masks=found.masks)
            found = with_classes(self._spec, found, self._classes(own, pixels))
        boxes, masks = (*found.boxes, *image.boxes), (*found.masks, *image.masks)
        if found.masks and not image.masks:
            masks += (None,) * len(image.boxes)
        elif image.masks and not found.masks:
            masks = (*(None,) * len(found.boxes), *image.masks)
        asked = replace(image, cell_ids=("",) * len(boxes), boxes=boxes, masks=masks)
        return ImageFound(found, self._measured(asked, pixels))

    def _piece(self, task: Task, pixels: Pixels) -> Item:
        """Return what comes of a task on a large image."""
        try:
            if task.kind == "look":
                return self._look(task.images[0])
            if task.kind == "part":
                return self._part(task, pixels)
            return self._cells(task)
        except CellalError as error:
            return ImageFailure(task.images[0].image_id, str(error))

    # -- large images, part by part -------------------------------------------------------

    def _look(self, image: MeasureRequest) -> LargeLook:
        """Return what the parts of an image need to have in common."""
        check_unchanged(image.path, image.plane)
        shape = plane_size(image.path, image.plane)
        read = _region(image)
        parts = parts_of(shape, PART_PX, self._detector.margin_px)
        job = look_over(
            self._detector,
            read,
            shape,
            parts,
            image_id=image.image_id,
            rgb=image.rgb,
            progress=Progress(0, 0),
        )
        return LargeLook(image.image_id, shape, self._detector.margin_px, run_job(job))

    def _part(self, task: Task, pixels: Pixels) -> PartFound:
        image = task.images[0]
        if isinstance(pixels, ImageFailure):
            raise ImageError(pixels.sentence)
        assert task.part is not None
        assert task.memory is not None
        self._detector.recall(image.image_id, task.memory)
        found = detect_part(
            self._detector, pixels, task.part, image_id=image.image_id, rgb=image.rgb
        )
        return PartFound(image.image_id, task.number, found)

    def _cells(self, task: Task) -> CellsFound:
        image = task.images[0]
        classes = self._classes(image) if self._classifier is not None else []
        return CellsFound(image.image_id, task.number, tuple(classes), self._measured(image))

    # -- classes and measurements ---------------------------------------------------------

    def _classes(self, image: MeasureRequest, pixels: NDArray[Any] | None = None) -> list[Classes]:
        """Return the project's classes of each of an image's cells, the most probable first."""
        import torch

        from napari_cellal.classify.pictures import Cutter
        from napari_cellal.classify.predict import BATCH
        from napari_cellal.classify.requests import Patch

        classifier = self._classifier
        assert classifier is not None
        reader = read_plane if pixels is None else (lambda path, plane: pixels)
        cutter = Cutter(classifier.view, reader)
        same = dict(self._spec.classes)
        ids = classifier.record.class_ids
        result: list[Classes] = []
        masks = image.masks or (None,) * len(image.boxes)
        patches = [
            Patch(f"cell {k}", image.path, box=box, plane=image.plane, mask=mask)
            for k, (box, mask) in enumerate(zip(image.boxes, masks, strict=True))
        ]
        for first in range(0, len(patches), BATCH):
            some = patches[first : first + BATCH]
            pictures = torch.stack([classifier.look_at(patch, cutter) for patch in some])
            for row in classifier.probabilities(pictures):
                pairs = sorted(zip(ids, map(float, row), strict=True), key=lambda p: -p[1])
                known = tuple((same[c], p) for c, p in pairs if c in same)
                result.append(known if pairs[0][0] in same else ())
        return result

    def _measured(
        self, image: MeasureRequest, pixels: NDArray[Any] | None = None
    ) -> tuple[KeptRows, ...]:
        if not self._describers or not image.boxes:
            return ()
        from napari_cellal.features.cache import measure_cells

        return tuple(measure_cells(image, self._describers, pixels))


def wanted(spec: ScanSpec, found: Detections) -> Detections:
    """Return the detections in the project's classes, those that score too little left out."""
    found = in_classes_of(spec.run, found)
    return found.take(k for k, score in enumerate(found.scores) if score >= spec.min_score)


def with_classes(spec: ScanSpec, found: Detections, classes: Sequence[Classes]) -> Detections:
    """Return detections with a classifier's classes; those it has none for keep what they had."""
    had = found.probabilities or ((),) * len(found)
    return replace(
        found,
        class_ids=tuple(
            pairs[0][0] if pairs else old
            for pairs, old in zip(classes, found.class_ids, strict=True)
        ),
        probabilities=tuple(pairs or old for pairs, old in zip(classes, had, strict=True)),
        model_id=f"{found.model_id}+{spec.classifier_id}",
    )


def _region(image: MeasureRequest) -> Callable[[tuple[int, int, int, int]], NDArray[Any]]:
    return partial(read_plane_region, image.path, image.plane)
