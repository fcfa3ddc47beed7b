"""Annotations of other programs into a project and out of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import AnnotationError
from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.history import edit_of, finish
from napari_cellal.core.progress import Progress
from napari_cellal.core.reconcile import is_replaceable, overlaps_any
from napari_cellal.core.records import CellClass, Review
from napari_cellal.io.exchange.formats import AUTO, format_of, guess_format
from napari_cellal.io.exchange.report import ReadOptions

from .arrivals import sort_boxes
from .matching import match_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import Cell, ImageRecord
    from napari_cellal.io.exchange.report import ImportedImage, ImportReport
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class ClassLink:
    """What becomes of one class of the files.

    Attributes
    ----------
    name : str
        In the files; empty for boxes without a class.
    becomes : str
        In the project; empty where the boxes are left out or, without a name, stay unclassed.
    is_new : bool
        Whether the project does not have it, or has retired it.
    boxes : int
        How many boxes of it the files have for images of the project.
    """

    name: str
    becomes: str
    is_new: bool
    boxes: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of annotation files, or would become of them after a dry run."""

    images: int
    boxes: int
    classes_added: tuple[str, ...]
    unmatched: tuple[str, ...]
    """Names of images that the annotations speak of and the project has not."""
    repeated: int
    """Boxes that the project had already."""
    problems: tuple[str, ...]
    confirmed: int = 0
    """Those of the repeated boxes that were open before, and are reviewed now."""
    masked: int = 0
    """Those of the repeated boxes that had no mask, and have the file's now."""
    kept: int = 0
    """Boxes left out because a person has reviewed the cell that they overlap."""
    matched: int = 0
    """Annotated images that the project has, also those that get no new box."""
    finished: int = 0
    """Images that were marked finished."""
    classes: tuple[ClassLink, ...] = ()
    clipped: int = 0
    """Boxes that were cut at the edge of their image."""
    outside: int = 0
    """Boxes left out because they lie outside their image."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        """Return the report for a person."""
        did = "would be imported" if self.dry_run else "imported"
        text = f"{self.boxes} boxes {did} into {self.images} images."
        if self.repeated:
            text += f" {self.repeated} were there already."
        if self.confirmed:
            text += f" {self.confirmed} of these were open and are reviewed now."
        if self.masked:
            text += f" {self.masked} of these had no mask and have one now."
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
    paths: Sequence[str | Path], format: str = AUTO, options: ReadOptions | None = None
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    """Return the job that reads files of a format; ``auto`` goes by what they are.

    Raises
    ------
    CellalError
        If the format is not known, a path does not exist, or nothing in it can be read.
    """
    if format != AUTO:
        format_of(format)
    places = list(paths)
    for place in map(Path, places):
        if not place.exists():
            raise AnnotationError(f"{place.name} was not found in {place.parent}: check its name.")
    return _read(format, places, options or ReadOptions())


def _read(
    format: str, places: Sequence[str | Path], options: ReadOptions
) -> Job[tuple[list[ImportedImage], ImportReport]]:
    yield Progress(0, 0, "Looking for annotations")
    known = format_of(guess_format(places) if format == AUTO else format)
    images, report = yield from known.read(places, options)
    if not images:
        where = ", ".join(Path(place).name or str(place) for place in places[:5])
        reason = report.problems[0].sentence if report.problems else f"No file of it in {where}."
        raise AnnotationError(f"No annotations in the format {known.title} were found. {reason}")
    return images, report


def import_annotations(
    project: Project,
    images: Sequence[ImportedImage],
    report: ImportReport,
    *,
    classes: Mapping[str, str] | None = None,
    confirm: bool = False,
    finished: bool = False,
    dry_run: bool = False,
) -> Imported:
    """Write imported boxes, one step of undo, and return what became of them.

    Images are matched by `matching.match_images`. A box that the image has
    already, to half a pixel and with the same class, is left out, so that importing twice
    changes nothing. So is a box that overlaps a cell which a person has reviewed, a rejected
    one too: the person saw the image, and what is imported can be imported again. It takes
    the place of an open proposal. Boxes of one file may overlap each other.

    Parameters
    ----------
    classes : {class in the files: class of the project}
        Those not named keep their name. The key "" is of boxes without a class; the value
        "" leaves the boxes of a class out.
    confirm : bool
        Whether the boxes count as a person's labels, those that are there already and open
        too. Images whose file says ``verified`` are marked finished. Of boxes whose file
        tells what a person said about them, that is taken without ``confirm`` as well.
    finished : bool
        Whether the files box every cell of their images: with ``confirm``, all of them are
        marked finished.
    dry_run : bool
        Whether to work out only what would become of them, and write nothing.

    Raises
    ------
    AnnotationError
        If ``classes`` names a class that the files do not have.
    """
    return finish(
        import_steps(
            project,
            images,
            report,
            classes=classes,
            confirm=confirm,
            finished=finished,
            dry_run=dry_run,
        )
    )


def import_steps(
    project: Project,
    images: Sequence[ImportedImage],
    report: ImportReport,
    *,
    classes: Mapping[str, str] | None = None,
    confirm: bool = False,
    finished: bool = False,
    dry_run: bool = False,
) -> Steps[Imported]:
    """Do what `import_annotations` does, pausing after each portion."""
    matches = match_images(project, images)
    matched = [(image, m[0]) for image, m in zip(images, matches, strict=True) if len(m) == 1]
    taken = [image for image, _ in matched]
    links = _links(project, taken, classes or {})
    class_of = _classes_of(project, taken, links, report.colors, dry_run)
    left_out = {link.name for link in links if link.name and not link.becomes}
    marked: set[str] = set()
    known: set[str] = set()
    person = project.person if confirm else None
    problems = [p.sentence for p in report.problems]
    problems += [
        f"{image.file.name}: {len(m)} images of the project are called {image.image_name}, and it "
        "lies beside none or several of them; not imported."
        for image, m in zip(images, matches, strict=True)
        if len(m) > 1 and (image.boxes or image.verified)
    ]
    touched = boxes = repeated = confirmed = masked = kept = clipped = outside = 0

    def edits() -> Iterator[Edit]:
        nonlocal touched, boxes, repeated, confirmed, masked, kept, clipped, outside
        for record, group in _by_record(matched):
            rows = {c.cell_id: c for c in project.cells.of_image(record.image_id)}
            state = dict(rows)
            done = False
            for image in group:
                if image.size is not None and image.size != record.shape[1:]:
                    problems.append(
                        f"{image.file.name}: it was made for an image of {image.size[1]} × "
                        f"{image.size[0]} px, but {record.name} has {record.shape[2]} × "
                        f"{record.shape[1]} px. Check its boxes."
                    )
                present = list(state.values())
                new = sort_boxes(image, record, present, class_of, left_out, confirm_by=person)
                state.update({c.cell_id: c for c in new.added})
                state.update({told.cell_id: told for _, told in new.known})
                repeated += len(new.known)
                clipped += new.clipped
                outside += new.outside
                if new.clipped or new.outside:
                    problems.append(
                        f"{image.file.name}: of the boxes for {record.name}, {new.clipped} were "
                        f"cut at its edges and {new.outside} lie outside it and were left out."
                    )
                done = done or (confirm and (finished or image.verified))
                done = done or (image.verified and image.reviews)
                known.update(told.cell_id for _, told in new.known)
            reviewed = [c for c in rows.values() if c.review is not Review.OPEN]
            fresh = [c for key, c in state.items() if key not in rows]
            merge_iou = project.settings.merge_iou
            theirs = overlaps_any(reviewed, [c.box for c in fresh], merge_iou)
            kept += int(theirs.sum())
            added = [c for c, is_theirs in zip(fresh, theirs, strict=True) if not is_theirs]
            boxes += len(added)
            touched += bool(added)
            told = [(old, state[key]) for key, old in rows.items() if state[key] != old]
            confirmed += sum(old.review is not new.review for old, new in told)
            masked += sum(old.mask != new.mask for old, new in told)
            # An imported box takes the place of a proposal, as it does in a detection run.
            proposals = [c for c in rows.values() if is_replaceable(c) and c.cell_id not in known]
            pairs = match_boxes([c.box for c in proposals], [c.box for c in added], merge_iou)
            changes: list[tuple[Cell | None, Cell | None]] = [(None, c) for c in added]
            changes += [*told, *((proposals[i], None) for i, _ in pairs)]
            edit = edit_of("", changes, project.person)
            if done and not record.finished:
                marked.add(record.image_id)
                edit = replace(edit, finished={record.image_id: (False, True)})
            yield edit

    if dry_run:
        for _ in edits():
            yield
    else:
        label = f"imported boxes into {len(matched)} images"
        yield from project.history.do_run(label, edits(), project.person)
    return Imported(
        images=touched,
        boxes=boxes,
        classes_added=tuple(dict.fromkeys(k.becomes for k in links if k.is_new)),
        unmatched=tuple(i.image_name for i, m in zip(images, matches, strict=True) if not m),
        repeated=repeated,
        problems=tuple(problems),
        confirmed=confirmed,
        masked=masked,
        kept=kept,
        matched=len(matched),
        finished=len(marked),
        classes=links,
        clipped=clipped,
        outside=outside,
        dry_run=dry_run,
    )


def _by_record(
    matched: Sequence[tuple[ImportedImage, ImageRecord]],
) -> list[tuple[ImageRecord, list[ImportedImage]]]:
    """Return each image once, with all that the files say of it."""
    groups: dict[str, tuple[ImageRecord, list[ImportedImage]]] = {}
    for image, record in matched:
        groups.setdefault(record.image_id, (record, []))[1].append(image)
    return list(groups.values())


def _links(
    project: Project, images: Sequence[ImportedImage], classes: Mapping[str, str]
) -> tuple[ClassLink, ...]:
    """Return what becomes of each class of the files, in the order of the files."""
    counts = Counter(b.class_name for image in images for b in image.boxes)
    for name, becomes in classes.items():
        if name not in counts:
            there = ", ".join(n or "(none)" for n in list(counts)[:20])
            raise AnnotationError(
                f"No box has the class '{name}' that is to become '{becomes}'. The files have "
                f"{there or 'no boxes'} for images of this project."
            )
    links = []
    for name, n in counts.items():
        wanted = classes.get(name, name).strip()
        found = project.class_named(wanted) if wanted else None
        new = bool(wanted) and (found is None or found.retired)
        links.append(ClassLink(name, found.name if found else wanted, new, n))
    return tuple(links)


def _classes_of(
    project: Project,
    images: Sequence[ImportedImage],
    links: Sequence[ClassLink],
    colors: Mapping[str, str],
    dry_run: bool,
) -> dict[str, CellClass]:
    """Return the project's class of each class of the files; makes the new ones."""
    wanted = {link.name: link.becomes for link in links if link.becomes}
    if dry_run:
        names = list(dict.fromkeys(wanted.values()))
        made = {n: project.class_named(n) or CellClass(-k, n, "") for k, n in enumerate(names, 1)}
        class_of = {name: made[becomes] for name, becomes in wanted.items()}
    else:
        found = project.add_classes(wanted.values())
        class_of = dict(zip(wanted, found, strict=True))
        for link in links:
            if link.is_new and link.name in colors:
                painted = replace(class_of[link.name], color=colors[link.name])
                project.update_class(painted)
    # Names that only a model's probabilities speak of bring no new class.
    said = {name for i in images for b in i.boxes for name, _ in b.probabilities}
    for name in said - class_of.keys():
        if (known := project.class_named(name)) is not None:
            class_of[name] = known
    return class_of
