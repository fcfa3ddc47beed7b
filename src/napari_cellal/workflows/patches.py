"""What a classifier is taught or shown: the cells of a project, or a folder of pictures."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.classify.requests import Patch
from napari_cellal.classify.splits import as_taught, remembered_by, with_splits
from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Plane, Split
from napari_cellal.io.groups import group_files, guess_pattern
from napari_cellal.io.patch_folder import LabelledFile, read_patch_folder
from napari_cellal.io.pixels import probe_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_cellal.core.history import Steps
    from napari_cellal.core.records import Cell, ModelRecord
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class PatchSet:
    """Labelled pictures, each with its split.

    Attributes
    ----------
    class_names : {class_id: name}
        Of the classes that occur.
    channels : tuple of str
        Empty where they are not known.
    notes : tuple of str
        What the person should know, in sentences.
    """

    patches: tuple[Patch, ...]
    class_names: Mapping[int, str]
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    multi_label: bool = False
    pixel_size_um: float | None = None

    def of_split(self, split: str) -> tuple[Patch, ...]:
        """Return the pictures of one split."""
        return tuple(p for p in self.patches if p.split == split)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return {split: {class name: pictures}}."""
        result: dict[str, dict[str, int]] = {}
        for split in ("train", "val", "test"):
            n = Counter(c for p in self.of_split(split) for c in p.class_ids)
            result[split] = {name: n[c] for c, name in self.class_names.items()}
        return result


_PROBED = 5  # pictures that are asked for the names of their channels
FEW = 10
"""A class with fewer pictures to learn from is warned about."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What there is to learn from, for the person to see first.

    Attributes
    ----------
    counts : {split: {class name: pictures}}
        Classes without any are left out.
    notes : tuple of str
        What was left out, and why.
    drawn : bool
        No picture has a split yet that says when to stop: a tenth of them will be drawn.
    """

    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    drawn: bool = False

    def of(self, split: str) -> Mapping[str, int]:
        """Return {class name: pictures} of a split."""
        return self.counts.get(split, {})

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that a person should mend or know first."""
        train = {name: n for name, n in self.of("train").items() if n}
        said = list(self.notes)
        if not train:
            return [*said, "Nothing to learn from: all labels are in held-out images."]
        if len(train) == 1:
            only = next(iter(train))
            said.append(
                f"All are of one class ({only}), so there is nothing to tell apart. Label some "
                "of another class."
            )
        for name, n in train.items():
            if n < FEW:
                said.append(f"{name} has only {n}: the model may not learn it. Label more.")
        held = {name for part in ("val", "test") for name, n in self.of(part).items() if n}
        unlearned = held - set(train)
        if unlearned:
            said.append(f"{', '.join(sorted(unlearned))}: only held out, so it is not learned.")
        if self.drawn:
            said.append("No image is held out, so a tenth of them will be.")
        elif unseen := [name for name in train if not self.of("val").get(name)]:
            said.append(
                f"The held-out pictures show no {', '.join(unseen)}, so that is not measured."
            )
        return said


def lessons_of(project: Project) -> Lessons:
    """Return what a project's labels offer to a classifier."""
    names = {c.class_id: c.name for c in project.active_classes}
    counts: dict[str, Counter[str]] = {s.value: Counter() for s in Split}
    for key, own in project.cells.label_counts().items():
        split = project.images[key].split.value
        counts[split].update({names[c]: n for c, n in own.items() if c in names})
    return Lessons(counts, drawn=not counts["val"])


def lessons_in(found: PatchSet) -> Lessons:
    """Return what a folder of pictures offers."""
    return Lessons(found.counts(), found.notes)


def of_project(project: Project, *, seed: int = 0, taught_to: Path | None = None) -> PatchSet:
    """Return a project's confirmed cells, each with its image's split.

    A project without ``val`` images holds out a tenth of the images for it.

    Parameters
    ----------
    taught_to : Path or None
        A model's folder: what it learned from is never test.

    Raises
    ------
    CellalError
        If no cell is confirmed.
    """
    return finish(project_steps(project, seed=seed, taught_to=taught_to))


def project_steps(
    project: Project, *, seed: int = 0, taught_to: Path | None = None
) -> Steps[PatchSet]:
    """Do what `of_project` does, pausing after each image."""
    active = {c.class_id: c.name for c in project.active_classes}
    cells = []
    for key in project.cells.label_counts():
        own = project.cells.of_image(key)
        cells += [c for c in own if c.is_label and c.class_id in active]
        yield
    if not cells:
        raise CellalError(
            "There are no labels yet. Confirm some cells with a class, in the window or with "
            "'import --confirm'."
        )
    used = {c.class_id for c in cells}
    names = {c: name for c, name in active.items() if c in used}
    patches, notes = _split(of_cells(project, cells), names, seed, taught_to)
    images = {c.image_id for c in cells}
    channels = Counter(project.images[key].channels for key in images)
    sizes = {project.images[key].pixel_size_um for key in images}
    return PatchSet(
        tuple(patches),
        names,
        channels.most_common(1)[0][0],
        tuple(notes),
        pixel_size_um=sizes.pop() if len(sizes) == 1 else None,
    )


def of_cells(project: Project, cells: Iterable[Cell]) -> list[Patch]:
    """Return cells as pictures; what is known of their class counts only if a person said it."""
    patches = []
    for cell in cells:
        image = project.images[cell.image_id]
        known = (cell.class_id,) if cell.is_label and cell.class_id is not None else ()
        patches.append(
            Patch(
                cell.cell_id,
                str(project.image_path(cell.image_id)),
                known,
                cell.box,
                project.plane(cell.image_id),
                image.split.value,
                image.group or cell.image_id,
                image.source,
                cell.mask,
            )
        )
    return patches


def of_folder(
    folder: str | Path,
    *,
    table: str | Path | None = None,
    class_names: Mapping[int, str] | None = None,
    seed: int = 0,
    taught_to: Path | None = None,
) -> PatchSet:
    """Return the pictures of a folder; see `io.patch_folder.read_patch_folder`.

    Parameters
    ----------
    class_names : {class_id: name} or None
        Of a model; pictures of other classes are told and left out. None numbers the classes.
    taught_to : Path or None
        A model's folder: what it learned from is never test.

    Raises
    ------
    AnnotationError
        If the folder or its table cannot be read, or holds nothing.
    """
    found = read_patch_folder(folder, table)
    notes = list(found.problems)
    names = class_names or dict(enumerate(found.class_names, 1))
    ids = {name: class_id for class_id, name in names.items()}
    unknown = Counter(x for row in found.rows for x in row.labels if x not in ids)
    notes += [
        f"The model does not know the class '{name}': {n} picture{'s' * (n != 1)} left out."
        for name, n in unknown.items()
    ]
    rows = [row for row in found.rows if all(x in ids for x in row.labels)]
    patches = [_patch(row, tuple(ids[x] for x in row.labels)) for row in rows]
    if not patches:
        raise CellalError(f"No picture of '{Path(folder).name}' is of a class that is known.")
    done, more = _split(patches, names, seed, taught_to)
    used = {c for p in done for c in p.class_ids}
    if class_names is None:
        names = {c: name for c, name in names.items() if c in used}
    return PatchSet(tuple(done), names, _channels_of(done), (*notes, *more), found.multi_label)


def _channels_of(found: list[Patch]) -> tuple[str, ...]:
    """Return the channels' names, as most of a few pictures have them; empty if not known."""
    names: Counter[tuple[str, ...]] = Counter()
    for patch in found[:: max(1, len(found) // _PROBED)]:
        if files := [Path(f) for f in patch.plane.files]:
            pattern = guess_pattern(files)
            named = group_files(files, pattern).channels if pattern else ()
            names[named if len(named) == len(files) else ()] += 1
            continue
        with contextlib.suppress(ImageError):
            names[probe_image(patch.path).channels] += 1
    return names.most_common(1)[0][0] if names else ()


def _split(
    patches: list[Patch], names: Mapping[int, str], seed: int, taught_to: Path | None
) -> tuple[list[Patch], list[str]]:
    known = None if taught_to is None else remembered_by(taught_to)
    if known is not None and any(p.key in known for p in patches):
        return as_taught(patches, known), []
    return with_splits(patches, names, seed=seed)


def read_folder(
    folder: str | Path, *, table: str | Path | None = None, seed: int = 0
) -> Job[PatchSet]:
    """Return the job that reads a folder of labelled pictures; see `of_folder`."""
    yield Progress(0, 0, f"Reading {Path(folder).name}")
    return of_folder(folder, table=table, seed=seed)


def _patch(row: LabelledFile, class_ids: tuple[int, ...]) -> Patch:
    return Patch(
        row.name,
        row.path,
        class_ids,
        plane=Plane(files=row.files),
        split=row.split,
        group=row.group,
        source=row.source,
    )


def is_project(path: str | Path) -> bool:
    """Return whether a path is a project, its ``.cellal`` left out or not."""
    return any(Path(f"{path}{end}", "project.sqlite").is_file() for end in ("", ".cellal"))


def in_classes_of(record: ModelRecord, patches: PatchSet) -> PatchSet:
    """Return labelled pictures with a model's ids for their classes, found by name.

    Pictures of classes that the model does not know are told and left out.
    """
    ids = {name: c for c, name in zip(record.class_ids, record.class_names, strict=True)}
    same = {c: ids[name] for c, name in patches.class_names.items() if name in ids}
    kept = [p for p in patches.patches if all(c in same for c in p.class_ids)]
    unknown = [name for name in patches.class_names.values() if name not in ids]
    left = len(patches.patches) - len(kept)
    notes = [f"The model does not know {', '.join(unknown)}: {left} cells left out."]
    return replace(
        patches,
        patches=tuple(replace(p, class_ids=tuple(same[c] for c in p.class_ids)) for p in kept),
        class_names={same[c]: name for c, name in patches.class_names.items() if c in same},
        notes=(*patches.notes, *(notes if left else [])),
    )
