"""Every cell as a picture of its own, with a table of them all."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.features.crops import crop
from napari_cellal.io.atomic import write_atomic
from napari_cellal.io.composites import COLORS
from napari_cellal.io.exchange.names import Outlets, distinct_paths
from napari_cellal.io.exchange.report import ExportReport, Problem
from napari_cellal.io.planes import is_large, read_plane, read_plane_region, read_sample

from .compositing import composite_for
from .exporting import export_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.records import Plane
    from napari_cellal.io.composites import Composite
    from napari_cellal.io.exchange.report import ExportImage
    from napari_cellal.io.store import Project

TABLE = "crops.csv"
PICTURES = ("auto", "jpg", "png", "tiff")
HEADINGS = (
    "file", "image", "cell_id", "class", "status", "score",
    "xmin", "xmax", "ymin", "ymax", "image_id", "split",
)  # fmt: skip
MAX_PADDING = 10
MAX_SIZE_PX = 4096
_STEM_CHARACTERS = 120
_PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True, slots=True)
class CropImage:
    """One image whose cells are cut out.

    Attributes
    ----------
    stem : str
        What the files of its cells begin with.
    picture : str
        ``jpg``, ``png`` or ``tiff``.
    """

    said: ExportImage
    plane: Plane
    rgb: bool
    channels: tuple[str, ...]
    stem: str
    picture: str


@dataclass(frozen=True, slots=True)
class CropRequest:
    """All that crops are cut from. Picklable.

    Attributes
    ----------
    padding : float
        Margin on every side, as a share of the box's height and width.
    size_px : int or None
        Side of the square that every crop is scaled to; None leaves them as they are.
    composite : Composite or None
        How several channels become colours, for JPEG and PNG.
    """

    images: tuple[CropImage, ...]
    folder: str
    padding: float = 0.0
    size_px: int | None = None
    composite: Composite | None = None


def request_crops(
    project: Project,
    folder: str | Path,
    *,
    picture: str = "auto",
    padding: float = 0.0,
    size_px: int | None = None,
    reviewed_only: bool = False,
) -> Job[CropRequest]:
    """Return what to cut out: every cell that is not rejected.

    Parameters
    ----------
    picture : str
        ``tiff`` keeps all channels and the images' own numbers; ``jpg`` and ``png`` are
        pictures to look at, of several channels the project's composite. ``auto`` is
        ``jpg`` for 8-bit colour pictures and ``tiff`` for everything else.

    Raises
    ------
    CellalError
        If there are no cells, or no such kind of picture.
    """
    if picture not in PICTURES:
        raise CellalError(f"'{picture}' is no kind of picture; use {', '.join(PICTURES)}.")
    if not 0 <= padding <= MAX_PADDING or not (size_px is None or 1 <= size_px <= MAX_SIZE_PX):
        raise CellalError(
            f"Crops have a padding of 0 to {MAX_PADDING} and a size of 1 to {MAX_SIZE_PX} px."
        )
    said = export_images(project, reviewed_only=reviewed_only)
    if not any(image.boxes for image in said):
        raise CellalError("The project has no cells to cut out. Detect or import some first.")
    outlets = Outlets("")
    images = []
    several = False
    for image, path in zip(said, distinct_paths(said), strict=True):
        record = project.images[image.image_id]
        kind = picture
        if picture == "auto":
            kind = "jpg" if record.rgb and record.dtype == "uint8" else "tiff"
        several = several or (kind != "tiff" and not record.rgb and len(record.channels) > 1)
        flat = path.replace("/", "_")
        name = flat[-_STEM_CHARACTERS:]
        plane = project.plane(image.image_id)
        stem = outlets.of(name)
        images.append(CropImage(image, plane, record.rgb, record.channels, stem, kind))
    composite = (yield from composite_for(project, COLORS)) if several else None
    return CropRequest(tuple(images), str(folder), padding, size_px, composite)


def cut_crops(request: CropRequest) -> Job[ExportReport]:
    """Return a report of the crops written, ``IMAGE_01.jpg`` on, and of ``crops.csv``.

    The cells of an image are numbered from 1. What a crop needs from outside its image is
    its mirror image. A job that is left early leaves the crops so far and their table.

    Raises
    ------
    CellalError
        If the folder cannot be written to.
    """
    folder = Path(request.folder)
    written: list[Path] = []
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    total = sum(len(image.said.boxes) for image in request.images)
    done = n_images = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for image in request.images:
                yield Progress(done, total, f"Cutting out the cells of {image.said.name}")
                try:
                    for file, row, content in _crops(image, request):
                        (folder / file).write_bytes(content)
                        written.append(folder / file)
                        rows.append(row)
                        if len(written) % 50 == 0:
                            yield Progress(len(written), total, image.said.name)
                    n_images += bool(image.said.boxes)
                except CellalError as error:
                    problems.append(Problem(image.said.name, str(error), "unreadable"))
                done += len(image.said.boxes)
        finally:
            written.append(_write_table(folder / TABLE, rows))
    except OSError as error:
        raise CellalError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder."
        ) from error
    return ExportReport(tuple(written), n_images, len(rows), (), tuple(problems))


def _write_table(file: Path, rows: list[dict[str, Any]]) -> Path:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, HEADINGS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomic(file, text.getvalue().encode("utf-8", "replace"))
    return file


def _crops(image: CropImage, request: CropRequest) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Yield (file name, line of the table, content) of every cell of an image."""
    if not image.said.boxes:
        return
    path = str(image.said.path)
    large = is_large(path, image.plane)
    shown = _Shown(image, request, None if large else read_plane(path, image.plane))
    digits = max(2, len(str(len(image.said.boxes))))
    for k, cell in enumerate(image.said.boxes, 1):
        cut = shown.cut(shown.read_around(cell.box) if large else cell.box)
        file = f"{image.stem}_{k:0{digits}d}.{image.picture.replace('tiff', 'tif')}"
        y0, x0, y1, x1 = (int(v) if v == int(v) else float(v) for v in cell.box)
        row = {
            "file": file,
            "image": image.said.name,
            "cell_id": cell.cell_id,
            "class": cell.class_name or "",
            "status": cell.status,
            "score": "" if cell.score is None else cell.score,
            "xmin": x0,
            "xmax": x1,
            "ymin": y0,
            "ymax": y1,
            "image_id": image.said.image_id,
            "split": image.said.split,
        }
        yield file, row, _encode(cut, image)


class _Shown:
    """An image, or of a large one the part around a cell, and how its crops look."""

    def __init__(
        self, image: CropImage, request: CropRequest, pixels: NDArray[Any] | None = None
    ) -> None:
        self.image = image
        self.request = request
        self.is_part = pixels is None
        self.pixels = np.zeros((0, 0, 0)) if pixels is None else pixels
        self._limits: tuple[float, float] | None = None

    def read_around(self, box: Box) -> Box:
        """Read what a crop needs of a large image; return the box in that part."""
        y0, x0, y1, x1 = box
        margin = 2 + max(y1 - y0, x1 - x0) * (1 + 2 * self.request.padding)
        _, height, width = self.image.said.shape
        top, left = max(0, int(y0 - margin)), max(0, int(x0 - margin))
        window = (top, left, min(height, int(y1 + margin) + 1), min(width, int(x1 + margin) + 1))
        path = str(self.image.said.path)
        self.pixels = read_plane_region(path, self.image.plane, window)
        return (y0 - top, x0 - left, y1 - top, x1 - left)

    def cut(self, box: Box) -> NDArray[Any]:
        """Return one cell's crop, [C, h, w], as it will be written."""
        request = self.request
        cut = crop(self.pixels, box, context=request.padding, size_px=request.size_px)
        if self.image.picture == "tiff":
            return cut
        if len(cut) > 1 and not self.image.rgb and request.composite is not None:
            return request.composite.apply(cut)
        return cut if cut.dtype == np.uint8 else self._to_8_bit(cut)

    def _to_8_bit(self, cut: NDArray[Any]) -> NDArray[np.uint8]:
        if self._limits is None:  # one scale for the image, so that its cells compare
            pixels = self.pixels
            if self.is_part:
                pixels = read_sample(str(self.image.said.path), self.image.plane)
            finite = pixels[np.isfinite(pixels)] if pixels.size else pixels
            low, high = np.percentile(finite[:: max(1, finite.size // 1_000_000)], _PERCENTILES)
            self._limits = (float(low), float(max(high, low + 1e-9)))
        low, high = self._limits
        unit = (np.nan_to_num(cut.astype(np.float32)) - low) / (high - low)
        return np.asarray(np.rint(unit.clip(0, 1) * 255), np.uint8)


def _encode(cut: NDArray[Any], image: CropImage) -> bytes:
    buffer = io.BytesIO()
    if image.picture == "tiff":
        import tifffile

        if image.rgb:
            tifffile.imwrite(buffer, np.moveaxis(cut, 0, -1), photometric="rgb", metadata=None)
        else:
            about = {"axes": "CYX", "channels": list(image.channels)}
            tifffile.imwrite(buffer, cut, photometric="minisblack", metadata=about)
        return buffer.getvalue()
    from PIL import Image

    pixels = cut[0] if len(cut) == 1 else np.ascontiguousarray(np.moveaxis(cut, 0, -1))
    options: dict[str, Any] = {"quality": 95} if image.picture == "jpg" else {}
    kind = "JPEG" if image.picture == "jpg" else "PNG"
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
