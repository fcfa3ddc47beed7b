"""Annotations of other programs into a project and out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import AnnotationError, CellalError
from napari_cellal.core.geometry import clip_boxes, match_boxes
from napari_cellal.core.gestures import accept, join
from napari_cellal.core.history import edit_of, finish
from napari_cellal.core.reconcile import is_replaceable, overlaps_any
from napari_cellal.core.records import Cell, Origin, Review, Status, new_id, now
from napari_cellal.io.exchange.report import ExportBox, ExportImage, ExportReport
from napari_cellal.io.exchange.voc import read_voc
from napari_cellal.io.exchange.voc_write import write_voc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import CellClass, ImageRecord
    from napari_cellal.io.exchange.report import ImportedImage, ImportReport
    from napari_cellal.io.store import Project

READERS: dict[str, Callable[..., Job[tuple[list[ImportedImage], ImportReport]]]] = {"voc": read_voc}
WRITERS: dict[str, Callable[..., Job[ExportReport]]] = {"voc": write_voc}


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of annotation files."""

    images: int
    boxes: int
    classes_added: tuple[str, ...]
    unmatched: tuple[str, ...]
    """Names of images that the annotations speak of and the project has not."""
    repeated: int
    """Boxes that the project had already."""
    problems: tuple[str, ...]
    confirmed: int = 0
    """Those of the repeated boxes that were open before."""
    kept: int = 0
    """Boxes left out because a person has reviewed the cell that they overlap."""

    def lines(self) -> list[str]:
        """Return the report for a person."""
        text = f"{self.boxes} boxes imported into {self.images} images."
        if self.repeated:
            text += f" {self.repeated} were there already."
        if self.confirmed:
            text += f" {self.confirmed} of these are confirmed now."
        if self.kept:
            text += f" {self.kept} overlap cells that you have reviewed: kept yours."
        lines = [text]
        if self.classes_added:
            lines.append(f"New classes: {', '.join(self.classes_added)}.")
        if self.unmatched:
            shown = ", ".join(self.unmatched[:5])
            more = f" and {len(self.unmatched) - 5} more" if len(self.unmatched) > 5 else ""
            lines.append(
                f"No image in the project is called {shown}{more}. Add those images, then "
                "import again."
            )
        return [*lines, *self.problems]


def read_annotations(
    paths: Sequence[str | Path], format: str
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the job that reads files of a format.

    Raises
    ------
    CellalError
        If the format is not known, a path does not exist, or nothing in it can be read.
    """
    if format not in READERS:
        raise CellalError(f"'{format}' is not a known format; use {', '.join(READERS)}.")
    places = list(paths)
    for place in map(Path, places):
        if not place.exists():
            raise AnnotationError(f"{place.name} was not found in {place.parent}: check its name.")
    return _read(format, places)


def _read(
    format: str, places: Sequence[str | Path]
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    images, report = yield from READERS[format](places)
    if not images:
        where = ", ".join(Path(place).name or str(place) for place in places[:5])
        reason = report.problems[0].sentence if report.problems else f"No file of it in {where}."
        raise AnnotationError(f"No annotations in the format {format} were found. {reason}")
    return images, report


def import_annotations(
    project: Project,
    images: Sequence[ImportedImage],
    report: ImportReport,
    *,
    confirm: bool = False,
    finished: bool = False,
) -> Imported:
    """Write imported boxes, one step of undo, and return what became of them.

    Images are matched by file name, then by name without suffix; of several of one name that
    in the annotation's own folder, or beside it, is meant. A box that the image has
    already, to half a pixel and with the same class, is left out, so that importing twice
    changes nothing. So is a box that overlaps a cell which a person has reviewed, a rejected
    one too: the person saw the image, and what is imported can be imported again. It takes
    the place of an open proposal. Boxes of one file may overlap each other.

    Parameters
    ----------
    confirm : bool
        Whether the boxes count as a person's labels, those that are there already and open
        too. Images whose file says ``verified`` are marked finished.
    finished : bool
        Whether the files box every cell of their images: with ``confirm``, all of them are
        marked finished.
    """
    return finish(import_steps(project, images, report, confirm=confirm, finished=finished))


def import_steps(
    project: Project,
    images: Sequence[ImportedImage],
    report: ImportReport,
    *,
    confirm: bool = False,
    finished: bool = False,
) -> Steps[Imported]:
    """Do what `import_annotations` does, pausing after each portion."""
    matches = _match(project, images)
    matched = [(image, m[0]) for image, m in zip(images, matches, strict=True) if len(m) == 1]
    names = dict.fromkeys(b.class_name for i, _ in matched for b in i.boxes if b.class_name)
    before = {c.name for c in project.active_classes}
    class_of = dict(zip(names, project.add_classes(names), strict=True))
    problems = [p.sentence for p in report.problems]
    problems += [
        f"{image.file.name}: {len(m)} images of the project are called {image.image_name}, and it "
        "lies beside none or several of them; not imported."
        for image, m in zip(images, matches, strict=True)
        if len(m) > 1
    ]
    touched = boxes = repeated = confirmed = kept = 0

    def edits() -> Iterator[Edit]:
        nonlocal touched, boxes, repeated, confirmed, kept
        for image, record in matched:
            if image.size is not None and image.size != record.shape[1:]:
                problems.append(
                    f"{image.file.name}: it was made for an image of {image.size[1]} × "
                    f"{image.size[0]} px, but {record.name} has {record.shape[2]} × "
                    f"{record.shape[1]} px. Check its boxes."
                )
            added, known = _sort_boxes(project, image, record, class_of, confirm)
            rows = project.cells.of_image(record.image_id)
            reviewed = [c for c in rows if c.review is not Review.OPEN]
            theirs = overlaps_any(reviewed, [c.box for c in added], project.settings.merge_iou)
            kept += int(theirs.sum())
            added = [c for c, is_theirs in zip(added, theirs, strict=True) if not is_theirs]
            opened = [c for c in known if confirm and c.review is Review.OPEN]
            boxes += len(added)
            touched += bool(added)
            repeated += len(known)
            confirmed += len({c.cell_id for c in opened})
            # An imported box takes the place of a proposal, as it does in a detection run.
            proposals = [c for c in rows if is_replaceable(c)]
            pairs = match_boxes(
                [c.box for c in proposals], [c.box for c in added], project.settings.merge_iou
            )
            changes: list[tuple[Cell | None, Cell | None]] = [(None, c) for c in added]
            changes += [(proposals[i], None) for i, _ in pairs]
            accepted = accept(opened, project.person)
            edit = join("", [edit_of("", changes), accepted], project.person)
            if confirm and (finished or image.verified) and not record.finished:
                edit = replace(edit, finished={record.image_id: (False, True)})
            yield edit

    label = f"imported boxes into {len(matched)} images"
    yield from project.history.do_run(label, edits(), project.person)
    return Imported(
        touched,
        boxes,
        tuple(n for n in names if class_of[n].name not in before),
        tuple(i.image_name for i, m in zip(images, matches, strict=True) if not m),
        repeated,
        tuple(problems),
        confirmed,
        kept,
    )


def _sort_boxes(
    project: Project,
    image: ImportedImage,
    record: ImageRecord,
    class_of: Mapping[str, CellClass],
    confirm: bool,
) -> tuple[list[Cell], list[Cell]]:
    """Return the cells that a file brings to an image, and the rows it repeats."""
    at = now()
    # Only what was there before: a file may hold a box twice, and its report says so.
    rows = project.cells.of_image(record.image_id)
    there = {_key(c.box, c.class_id): c for c in rows if c.review is not Review.REJECTED}
    added: list[Cell] = []
    known: list[Cell] = []
    for item in image.boxes:
        box = clip_boxes([item.box], record.shape[1:])[0].tolist()
        if box[2] <= box[0] or box[3] <= box[1]:
            continue  # outside this image; the file spoke of another size
        class_id = class_of[item.class_name].class_id if item.class_name else None
        same = there.get(_key(box, class_id))
        if same is not None:
            known.append(same)
            continue
        marks = [
            w for w, on in (("difficult", item.difficult), ("truncated", item.truncated)) if on
        ]
        added.append(
            Cell(
                new_id(),
                record.image_id,
                (box[0], box[1], box[2], box[3]),
                class_id,
                Origin.IMPORT,
                Review.CONFIRMED if confirm else Review.OPEN,
                reviewed_by=project.person if confirm else None,
                reviewed_at=at if confirm else None,
                note=" ".join([*marks, *([item.note] if item.note else [])]),
            )
        )
    return added, known


def _key(box: Sequence[float], class_id: int | None) -> tuple[object, ...]:
    return (class_id, *(round(v * 2) for v in box))


def _match(project: Project, images: Sequence[ImportedImage]) -> list[list[ImageRecord]]:
    """Return for each annotated image the project's images that may be meant."""
    by_name: dict[str, list[ImageRecord]] = {}
    by_stem: dict[str, list[ImageRecord]] = {}
    for record in project.images.values():
        by_name.setdefault(record.name, []).append(record)
        by_stem.setdefault(Path(record.name).stem, []).append(record)
    found = []
    for image in images:
        same = by_name.get(image.image_name) or by_stem.get(Path(image.image_name).stem, [])
        if len(same) > 1:  # plates: each well's folder has a 001.tif
            folder = image.file.resolve().parent
            places = [project.image_path(r.image_id).parent for r in same]
            inside = [r for r, place in zip(same, places, strict=True) if place == folder]
            near = [
                r for r, place in zip(same, places, strict=True) if place.parent == folder.parent
            ]
            same = inside or near or same
        found.append(same)
    return found


def export_images(project: Project, *, reviewed_only: bool = False) -> list[ExportImage]:
    """Return every image with its cells as exchange formats take them, rejected ones left out."""
    name_of = {c.class_id: c.name for c in project.classes.values()}
    result = []
    for record in project.images.values():
        boxes = []
        for cell in project.cells.of_image(record.image_id):
            if cell.status is Status.REJECTED:
                continue
            if reviewed_only and cell.review is not Review.CONFIRMED:
                continue
            said = cell.proposed.probabilities if cell.proposed else ()
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


def write_annotations(
    project: Project, folder: str | Path, format: str, *, reviewed_only: bool = False
) -> Job[ExportReport]:
    """Return the job that writes the project's boxes in a format.

    Raises
    ------
    CellalError
        If the format is not known.
    """
    if format not in WRITERS:
        raise CellalError(f"'{format}' is not a known format; use {', '.join(WRITERS)}.")
    return WRITERS[format](folder, export_images(project, reviewed_only=reviewed_only))
