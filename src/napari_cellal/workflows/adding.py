"""Images into a project: looked at away from the window, then registered in one step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from napari_cellal.core.errors import CellalError, ImageError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import WHOLE, ImageRecord, Plane, Projection, new_id
from napari_cellal.io.groups import Grouping, group_files, guess_pattern
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import ImageInfo
from napari_cellal.io.planes import probe_plane, sharpest_z
from napari_cellal.io.pyramids import make_pyramid, needs_pyramid
from napari_cellal.io.zarr_metadata import plate_place

from .splitting import choose_splits, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_cellal.core.records import Split
    from napari_cellal.io.store import Project

PlaneChoice = int | Literal["max", "mean", "focus", "each"]
"""A number from 0, a projection, the sharpest plane (of z), or an image for each plane."""


@dataclass(frozen=True, slots=True)
class LookOptions:
    """How files become images.

    Attributes
    ----------
    pattern : str
        A preset or a pattern for one file a channel; see `io.groups`. Empty: a file an image.
    channels : tuple of str
        Names for the channels, in their order; empty leaves them as they are.
    z, t : PlaneChoice or None
        None takes the first plane, and says so.
    """

    pattern: str = ""
    channels: tuple[str, ...] = ()
    z: PlaneChoice | None = None
    t: PlaneChoice | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """An image and what it holds."""

    path: Path
    info: ImageInfo
    plane: Plane = WHOLE
    title: str = ""
    """The image's name, where the file's own would not do."""
    place: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LookResult:
    """The images that can be added, and a sentence for each file that cannot."""

    images: tuple[Looked, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the person should know about images that can be added."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the files."""

    records: tuple[ImageRecord, ...]
    known: int = 0
    """Images that were in the project already."""
    found: int = 0
    """Images of the project whose files were gone, and lie here now."""
    problems: tuple[str, ...] = field(default_factory=tuple)
    notes: tuple[str, ...] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """Return the report for a person."""
        n = len(self.records)
        counts = [f"{n} image{'' if n == 1 else 's'} added."] if n or not self.found else []
        if self.found:
            counts.append(f"Found again, though their files had moved: {self.found}.")
        if self.known:
            counts.append(f"{self.known} were in the project already.")
        return [" ".join(counts), *self.notes, *self.problems]


def find_groups(paths: Iterable[str | Path], pattern: str) -> Grouping:
    """Return which files would become one image, without opening them.

    Raises
    ------
    ImageError
        If a path does not exist, there is no image at all, or the pattern makes no sense.
    """
    return group_files(find_files(list(paths)), pattern)


def look_at_images(
    paths: Iterable[str | Path], options: LookOptions | None = None
) -> Job[LookResult]:
    """Return what image files and folders hold; broken files are named, the rest goes on.

    Raises
    ------
    ImageError
        If a path does not exist, there is no image at all, or the pattern makes no sense.
    """
    yield Progress(0, 0, "Looking for images")
    chosen = options or LookOptions()
    files = find_files(list(paths))
    found: list[Looked] = []
    problems: list[str] = []
    notes: list[str] = []
    names: tuple[str, ...] = ()
    if chosen.pattern:
        grouping = group_files(files, chosen.pattern)
        names = grouping.channels
        problems += grouping.problems
        problems += [f"{file.name} does not fit the pattern." for file in grouping.unmatched]
        wanted = [
            Looked(g.files[0], _EMPTY, Plane(files=tuple(map(str, g.files))), g.name, g.place)
            for g in grouping.complete
        ]
    else:
        wanted = [_single(file) for file in files]
        preset = guess_pattern(files)
        if preset is not None:
            notes.append(
                f"These look like one file a channel: the pattern '{preset}' would make each "
                "image of its channels' files."
            )
    planes_left: dict[str, int] = {}
    for done, item in enumerate(wanted, 1):
        try:
            for looked in _look(item, names, chosen):
                found.append(looked)
                for role, count, choice in (
                    ("z-planes", looked.info.n_z, chosen.z),
                    ("time points", looked.info.n_t, chosen.t),
                ):
                    if count > 1 and choice is None:
                        planes_left[role] = planes_left.get(role, 0) + 1
        except CellalError as error:
            problems.append(str(error))
        yield Progress(done, len(wanted), item.title or item.path.name)
    for role, count in planes_left.items():
        notes.append(
            f"{count} image{'s have' if count > 1 else ' has'} several {role}; the first is taken "
            f"unless you choose another (--{role[0]})."
        )
    return LookResult(tuple(found), tuple(problems), tuple(notes))


_EMPTY = ImageInfo((0, 0, 0), "uint8", (), False, None, 1, 1, 1, "")


def find_files(places: Sequence[str | Path]) -> list[Path]:
    """Return the image files that files and folders stand for.

    Raises
    ------
    ImageError
        If a path does not exist, or there is no image at all.
    """
    files = image_files(places)
    if not files:
        where = ", ".join(Path(place).name or str(place) for place in places)
        raise ImageError(
            f"There is no PNG, JPEG, BMP, TIFF, OME-Zarr, CZI, ND2 or LIF image in {where}."
        )
    return files


def _single(file: Path) -> Looked:
    whole, place = plate_place(file)
    title = "" if whole is None else f"{whole.name}/{file.relative_to(whole).as_posix()}"
    return Looked(file, _EMPTY, title=title, place=place)


def _look(item: Looked, names: Sequence[str], options: LookOptions) -> Iterator[Looked]:
    """Yield the images of one file or group: its scenes, and their planes."""
    first = probe_plane(item.path, item.plane, names)
    for scene in range(first.n_scenes):
        plane = replace(item.plane, scene=scene)
        info = first if scene == 0 else probe_plane(item.path, plane, names)
        if options.channels:
            info = _renamed(item, info, options.channels)
        many = first.n_scenes > 1
        for t in _chosen(item, "time point", options.t, info.n_t):
            at_t = replace(plane, t=t)
            for z in _chosen_z(item, at_t, options.z, info.n_z):
                at = replace(at_t, z=z)
                words = [f"scene {scene}"] if many else []
                words += [f"t {t}"] if options.t == "each" and info.n_t > 1 else []
                words += [f"z {z}"] if options.z == "each" and info.n_z > 1 else []
                title = item.title
                if words:
                    base = PurePosixPath(title or item.path.name)
                    title = f"{base.with_suffix('')} ({', '.join(words)}){base.suffix}"
                yield replace(item, info=info, plane=at, title=title)


def _chosen_z(
    item: Looked, plane: Plane, choice: PlaneChoice | None, n: int
) -> Sequence[int | Projection]:
    if choice == "focus" and n > 1:
        return [sharpest_z(item.path, plane, n)]
    return _chosen(item, "z-plane", choice, n)


def _chosen(
    item: Looked, word: str, choice: PlaneChoice | None, n: int
) -> Sequence[int | Projection]:
    """Return the planes to take of ``n``."""
    if choice is None or n == 1:
        return [0]
    if choice == "each":
        return range(n)
    if isinstance(choice, str):
        return [Projection(choice)]
    if not 0 <= choice < n:
        raise ImageError(
            f"{item.title or item.path.name} has no {word} {choice}: they go from 0 to {n - 1}."
        )
    return [choice]


def _renamed(item: Looked, info: ImageInfo, names: tuple[str, ...]) -> ImageInfo:
    if len(names) != info.shape[0] or len(set(names)) != len(names):
        raise ImageError(
            f"{item.title or item.path.name} has {info.shape[0]} channels "
            f"({', '.join(info.channels)}); {len(names)} names were given: "
            "give each channel a name of its own."
        )
    return replace(info, channels=names)


def add_looked(
    project: Project, looked: LookResult, splits: Mapping[str, Split] | None = None
) -> Added:
    """Register the images and return what became of them.

    An image of the project whose file is gone, moved or renamed, is read from the file of the
    same content from now on.

    Parameters
    ----------
    splits : {file name or stem: Split}
        Official splits; if there are none, `hold_out` chooses. Images that they do not
        name are for training.
    """
    known = {(r.path, r.scene, r.t, r.z) for r in project.images.values()}
    there = {project.stored_path(item.path) for item in looked.images}
    kept = [
        r
        for r in project.images.values()
        if r.path in there and listed(r, splits or {}) not in (None, r.split)
    ]
    contents = {(r.fingerprint, r.scene, r.t, r.z): r for r in project.images.values()}
    fresh: list[ImageRecord] = []
    found: dict[str, ImageRecord] = {}
    for item in looked.images:
        record = _record(project, item)
        at = (record.scene, record.t, record.z)
        if (record.path, *at) in known:
            continue
        same = contents.setdefault((record.fingerprint, *at), record)
        if same is record:
            known.add((record.path, *at))
            fresh.append(record)
        elif same.image_id in project.images.keys() - found.keys() and _is_gone(project, same):
            found[same.image_id] = replace(
                same, path=record.path, files=record.files, stamp=record.stamp
            )
    records, problems = choose_splits(
        fresh, project.images.values(), project.settings.holdout_percent, splits
    )
    project.add_images(records)
    project.replace_images(list(found.values()))
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        problems.append(
            f"{kept[0].name}{more}: in the project already, as {kept[0].split}, which the lists do "
            "not change; split does."
        )
    known_already = len(looked.images) - len(records) - len(found)
    problems = [*looked.problems, *problems]
    return Added(tuple(records), known_already, len(found), tuple(problems), looked.notes)


def _is_gone(project: Project, record: ImageRecord) -> bool:
    """Return whether one of an image's files is not where it was."""
    files = project.plane(record.image_id).files or (project.image_path(record.image_id),)
    return not all(Path(file).exists() for file in files)


def make_pyramids(project: Project, image_ids: Iterable[str]) -> Job[list[str]]:
    """Make smaller copies of large images that have none; return what could not be made.

    They lie in the project's cache, and let the window show such an image at once.
    """
    cache = project.cache_folder
    images = [(project.image_path(key), project.plane(key)) for key in image_ids]
    problems: list[str] = []
    for path, plane in images:
        try:
            if needs_pyramid(path, plane):
                yield from make_pyramid(path, plane, cache)
        except ImageError as error:
            problems.append(str(error))
    return problems


def _record(project: Project, item: Looked) -> ImageRecord:
    info, plane, place = item.info, item.plane, item.place
    return ImageRecord(
        new_id(),
        project.stored_path(item.path),
        info.shape,
        info.dtype,
        info.channels,
        info.rgb,
        plane.scene,
        plane.t,
        plane.z,
        info.pixel_size_um,
        info.fingerprint,
        "/".join(place[part] for part in ("batch", "plate", "well") if part in place),
        files=tuple(project.stored_path(Path(file)) for file in plane.files),
        title=item.title,
        place=dict(place),
        colors=info.colors,
        stamp=info.stamp,
    )
