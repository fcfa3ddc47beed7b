"""Folders of pictures with a class each: by a table, or by the folder that they lie in."""

from __future__ import annotations

import csv
import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import AnnotationError

from .image_files import image_files, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FILE = ("filename", "file", "path", "filepath", "image", "imagename", "id", "idcode", "name")
_CLASS = ("label", "labels", "class", "classname", "celltype", "sirna", "target", "category")
_SPLIT = ("split", "set", "subset", "partition", "dataset")
_GROUP = ("group", "patient", "patientid", "donor", "slide", "slideid", "imageid", "wellid")
_SOURCE = ("source", "laboratory", "hospital", "plate", "experiment", "slide")
_SPLITS: Mapping[str, str] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
_TABLES = ("labels.csv", "train_labels.csv", "metadata.csv", "train.csv")
_SITE = re.compile(
    r"(?:^|/)(?P<well>[^/]+/Plate[^/]+/[^/_]+)_s(?P<site>[^/_]+)_w\d+\.[^./]+$", re.IGNORECASE
)  # of RxRx1
_MOST_NAMED = 3  # of many alike problems, so many are told by name


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One picture with its classes.

    Attributes
    ----------
    name : str
        Path within the folder.
    files : tuple of str
        One a channel, where each has its own; ``path`` is then the first of them.
    labels : tuple of str
        Class names; several where a picture may have several, none where it has none.
    split : str
        ``train``, ``val``, ``test``, or empty.
    """

    name: str
    path: str
    labels: tuple[str, ...]
    files: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class PatchFolder:
    """What a folder of pictures holds, and what was not taken, in sentences."""

    rows: tuple[LabelledFile, ...]
    problems: tuple[str, ...]
    multi_label: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """All that occur, in natural order."""
        names = {label for row in self.rows for label in row.labels}
        return tuple(sorted(names, key=natural_key))


@dataclass
class _Problems:
    """Problems of one kind after the other; many alike ones are counted."""

    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str) -> None:
        self.named.setdefault(what, []).append(name)

    def sentences(self) -> tuple[str, ...]:
        said = []
        for what, names in self.named.items():
            more = len(names) - _MOST_NAMED
            listed = ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
            said.append(f"{what}: {listed}.")
        return tuple(said)


def read_patch_folder(folder: str | Path, table: str | Path | None = None) -> PatchFolder:
    """Return the pictures of a folder with their classes.

    With a table (``labels.csv`` in the folder, or the only CSV in it): a column with the file
    (``filename``, ``id``, ...; its suffix may be missing; ``*`` stands for the channels, one file
    each) and one with the class (``label``, ``class``, ``sirna``, ...; several are joined by
    ``|`` or ``;``), and, where there are such, ``split``, ``group`` and ``source``. A table with
    ``experiment``, ``plate``, ``well`` and ``site``, as RxRx1 has, needs no file.
    Without one: the class is the folder that a picture lies in, under ``train``, ``val`` and
    ``test`` if there are such folders.

    Raises
    ------
    AnnotationError
        If the folder or the table cannot be read, or holds nothing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f"There is no folder '{folder}': check its name.")
    file = _table_of(folder) if table is None else Path(table)
    found = image_files(folder)
    if not found:
        raise AnnotationError(f"There are no pictures in '{folder}'.")
    problems = _Problems()
    if file is None:
        rows = list(_by_folder(folder, found, problems))
        multi = False
    else:
        rows, multi = _by_table(folder, file, found, problems)
    if not rows:
        reason = f" {problems.sentences()[0]}" if problems.named else ""
        raise AnnotationError(
            f"No picture of '{folder.name}' has a class.{reason} Put the pictures of each class "
            "into a folder of its name, or a table 'labels.csv' beside them, with the columns "
            "'filename' and 'label'."
        )
    return PatchFolder(tuple(rows), problems.sentences(), multi)


def _table_of(folder: Path) -> Path | None:
    tables = sorted(folder.glob("*.csv"))
    for name in _TABLES:
        if folder / name in tables:
            return folder / name
    return tables[0] if len(tables) == 1 else None


def _by_folder(folder: Path, found: Iterable[Path], problems: _Problems) -> Iterable[LabelledFile]:
    for path in found:
        *parts, name = path.relative_to(folder).parts
        split = _SPLITS.get(parts[0].lower(), "") if parts else ""
        if split:
            parts = parts[1:]
        if not parts:
            problems.add("Left out, since they lie in no folder of a class", name)
            continue
        source = "/".join(parts[1:])
        yield LabelledFile(
            path.relative_to(folder).as_posix(), str(path), (parts[0],), split=split, source=source
        )


class _Files:
    """Finds files by what a table calls them."""

    def __init__(self, folder: Path, found: Iterable[Path]) -> None:
        self.by_name = {p.relative_to(folder).as_posix(): p for p in found}
        self._sorted = sorted(self.by_name)
        self._sites: dict[str, dict[str, list[str]]] | None = None
        self._by_end: dict[str, list[str]] = {}
        for name in self.by_name:
            for key in {name.rsplit("/", 1)[-1], Path(name).stem}:
                self._by_end.setdefault(key, []).append(name)

    def find(self, said: str) -> list[str]:
        """Return names: one, the channels' for a name with ``*``, or none."""
        said = said.strip().replace("\\", "/").removeprefix("./")
        if said in self.by_name:
            return [said]
        if "*" in said:
            pattern = re.compile(translate(said))
            fits = [n for n in self._beginning(re.split(r"[*?[]", said)[0]) if pattern.match(n)]
            return sorted(fits, key=natural_key)
        ends = self._by_end.get(said.rsplit("/", 1)[-1], [])
        if "/" in said:
            ends = [n for n in ends if n.endswith(said) or n.rsplit(".", 1)[0].endswith(said)]
        return ends if len(ends) == 1 else []

    def _beginning(self, start: str) -> Iterator[str]:
        """Yield the names that begin so; a table has as many lines as there are pictures."""
        for k in range(bisect_left(self._sorted, start), len(self._sorted)):
            if not self._sorted[k].startswith(start):
                return
            yield self._sorted[k]

    def sites(self, well: str, site: str) -> list[list[str]]:
        """Return the files of each site of a well, a channel each; ``site`` may be empty.

        ``well`` is ``EXPERIMENT/PlateP/WELL``; what stands before it in a name does not count.
        """
        if self._sites is None:
            self._sites = {}
            for name in self._sorted:
                if found := _SITE.search(name):
                    own = self._sites.setdefault(found["well"], {})
                    own.setdefault(found["site"], []).append(name)
        own = self._sites.get(well, {})
        chosen = own.values() if not site else [own[site]] if site in own else []
        return [sorted(names, key=natural_key) for names in chosen]


def _by_table(
    folder: Path, file: Path, found: Iterable[Path], problems: _Problems
) -> tuple[list[LabelledFile], bool]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            headings = list(reader.fieldnames or ())
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{file.name} cannot be read: {error}.") from error
    column = _columns(headings)
    if "class" not in column or not ("file" in column or "well" in column):
        raise AnnotationError(
            f"{file.name} needs a column with the picture's file and one with its class, e.g. "
            f"'filename' and 'label'. It has: {', '.join(headings) or 'none'}."
        )
    files = _Files(folder, found)
    rows: dict[str, LabelledFile] = {}
    multi = any(re.search(r"[|;]", line.get(column["class"]) or "") for line in lines)
    for number, line in enumerate(lines, 2):
        cell = {role: (line.get(heading) or "").strip() for role, heading in column.items()}
        if not cell["class"] and not multi:
            problems.add(f"{file.name}, lines without a class", f"line {number}")
            continue
        labels = tuple(
            dict.fromkeys(s.strip() for s in re.split(r"[|;]", cell["class"]) if s.strip())
        )
        split = _SPLITS.get(cell.get("split", "").lower(), "")
        if cell.get("split") and not split:
            problems.add(f"{file.name}, splits that are not train, val or test", cell["split"])
        said = _said(cell)
        if "file" in column:
            groups = [files.find(said)]
        else:
            groups = files.sites(_well(cell), cell.get("site", ""))
        if not any(groups):
            problems.add(f"{file.name} names files that are not there; left out", said)
            continue
        for names in groups:
            if names[0] in rows:
                problems.add(f"{file.name} names files twice; the first counts", names[0])
                continue
            paths = tuple(str(files.by_name[n]) for n in names)
            rows[names[0]] = LabelledFile(
                names[0],
                paths[0],
                labels,
                paths if len(paths) > 1 else (),
                split,
                cell.get("group", ""),
                cell.get("source", ""),
            )
    return list(rows.values()), multi


def _columns(headings: Iterable[str]) -> dict[str, str]:
    """Return {what is meant: heading}."""
    plain = {re.sub(r"[^a-z0-9]", "", h.lower()): h for h in reversed(list(headings)) if h}
    roles = {"file": _FILE, "class": _CLASS, "split": _SPLIT, "group": _GROUP, "source": _SOURCE}
    found = {
        role: next(plain[n] for n in names if n in plain)
        for role, names in roles.items()
        if any(n in plain for n in names)
    }
    if {"experiment", "plate", "well"} <= plain.keys() and "filename" not in plain:
        found.pop("file", None)
        found |= {k: plain[k] for k in ("experiment", "plate", "well", "site") if k in plain}
        # experiments differ more than anything else: a well's own cell type is no class
        found |= {"group": plain["experiment"], "source": plain["experiment"]}
        if "sirna" in plain:
            found["class"] = plain["sirna"]
    return found


def _said(cell: Mapping[str, str]) -> str:
    if "file" in cell:
        return cell["file"]
    return f"{_well(cell)}_s{cell.get('site') or '*'}_w*"


def _well(cell: Mapping[str, str]) -> str:
    return f"{cell['experiment']}/Plate{cell['plate']}/{cell['well']}"


def counts(rows: Iterable[LabelledFile]) -> dict[str, int]:
    """Return how many pictures each class has, commonest first."""
    return dict(Counter(label for row in rows for label in row.labels).most_common())
