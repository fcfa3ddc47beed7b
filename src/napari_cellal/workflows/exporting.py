"""The project's boxes out to files of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.core.records import Review, Status
from napari_cellal.io.exchange.formats import format_of
from napari_cellal.io.exchange.report import ExportBox, ExportClass, ExportImage, ExportReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_cellal.core.progress import Job
    from napari_cellal.io.store import Project


def export_images(
    project: Project, *, reviewed_only: bool = False, image_ids: Iterable[str] | None = None
) -> list[ExportImage]:
    """Return images with their cells as exchange formats take them, rejected ones left out.

    Parameters
    ----------
    image_ids : iterable of str or None
        None takes all.
    """
    name_of = {c.class_id: c.name for c in project.classes.values()}
    result = []
    for key in project.images if image_ids is None else image_ids:
        record = project.images[key]
        boxes = []
        for cell in project.cells.of_image(record.image_id):
            if cell.status is Status.REJECTED:
                continue
            if reviewed_only and cell.review is not Review.CONFIRMED:
                continue
            said = cell.proposed.probabilities if cell.proposed else ()
            models = cell.proposed.class_id if cell.proposed else None
            words = cell.note.split()
            boxes.append(
                ExportBox(
                    cell.box,
                    None if cell.class_id is None else name_of[cell.class_id],
                    cell.score,
                    tuple((name_of[c], p) for c, p in said if c in name_of),
                    cell.status.value,
                    cell.cell_id,
                    cell.reviewed_by,
                    cell.reviewed_at,
                    cell.note,
                    difficult="difficult" in words,
                    truncated="truncated" in words,
                    model=cell.proposed.model_id if cell.proposed else "",
                    model_class=None if models is None else name_of.get(models),
                    mask=cell.mask,
                )
            )
        result.append(
            ExportImage(
                record.name,
                record.shape,
                tuple(boxes),
                record.finished,
                project.image_path(record.image_id),
                record.image_id,
                record.split.value,
                record.pixel_size_um,
            )
        )
    return result


def export_classes(project: Project) -> list[ExportClass]:
    """Return the classes in use as exchange formats take them."""
    return [ExportClass(c.name, c.color) for c in project.active_classes]


def write_images(
    format: str,
    out: str | Path,
    images: Sequence[ExportImage],
    classes: Sequence[ExportClass] = (),
) -> Job[ExportReport]:
    """Return the job that writes images' boxes in a format, in any process.

    Raises
    ------
    CellalError
        If the format is not known.
    """
    return format_of(format).write(out, images, classes)


def write_annotations(
    project: Project, out: str | Path, format: str, *, reviewed_only: bool = False
) -> Job[ExportReport]:
    """Return the job that writes the project's boxes in a format.

    Raises
    ------
    CellalError
        If the format is not known.
    """
    images = export_images(project, reviewed_only=reviewed_only)
    return write_images(format, out, images, export_classes(project))
