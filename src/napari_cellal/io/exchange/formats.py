"""The annotation formats there are. A new one is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from napari_cellal.core.errors import AnnotationError
from napari_cellal.io.image_files import IMAGE_SUFFIXES

from . import coco, geojson, labels, table, voc, yolo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_cellal.core.progress import Job

    from .report import (
        ExportClass,
        ExportImage,
        ExportReport,
        ImportedImage,
        ImportReport,
        ReadOptions,
    )


class Reader(Protocol):
    """Reads the files of one format; one that cannot be read is reported, the rest goes on."""

    def __call__(
        self, paths: Iterable[str | Path], options: ReadOptions, /
    ) -> Job[tuple[list[ImportedImage], ImportReport]]:
        """Return the annotated images and a report of all that was not taken as it stands."""


class Writer(Protocol):
    """Writes boxes in one format."""

    def __call__(
        self, out: str | Path, images: Sequence[ExportImage], classes: Sequence[ExportClass], /
    ) -> Job[ExportReport]:
        """Return a report of the files written and of what they cannot hold."""


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format.

    Attributes
    ----------
    title : str
        Its name for people.
    suffixes : tuple of str
        Of its files, in lower case.
    files : callable
        Returns the files of the format that files and folders stand for.
    one_file : str
        The suffix of the single file that it is written to; empty where it is a folder.
    """

    title: str
    suffixes: tuple[str, ...]
    files: Callable[[Iterable[str | Path]], list[Path]]
    read: Reader
    write: Writer
    one_file: str = ""


FORMATS = MappingProxyType(
    {
        "voc": Format(
            "Pascal VOC (XML)", (".xml",), voc.voc_files, voc.read_voc_files, voc.write_voc
        ),
        "geojson": Format(
            "QuPath (GeoJSON)",
            (".geojson",),
            geojson.geojson_files,
            geojson.read_geojson,
            geojson.write_geojson,
        ),
        "coco": Format(
            "COCO (JSON)", (".json",), coco.coco_files, coco.read_coco, coco.write_coco, ".json"
        ),
        "yolo": Format("YOLO (text)", (".txt",), yolo.yolo_files, yolo.read_yolo, yolo.write_yolo),
        "labels": Format(
            "Label images",
            tuple(IMAGE_SUFFIXES),
            labels.label_files,
            labels.read_labels,
            labels.write_labels,
        ),
        "csv": Format(
            "Table (CSV)",
            (".csv", ".tsv"),
            table.table_files,
            table.read_table,
            table.write_table,
            ".csv",
        ),
    }
)
"""By the name that the command line takes, those first whose files cannot be mistaken."""

AUTO = "auto"


def format_of(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    AnnotationError
        If there is none of that name.
    """
    if name not in FORMATS:
        raise AnnotationError(f"'{name}' is not a known format; use {', '.join(FORMATS)}.")
    return FORMATS[name]


def guess_format(paths: Iterable[str | Path]) -> str:
    """Return the name of the format that files or folders seem to hold.

    Raises
    ------
    AnnotationError
        If they hold files of none.
    """
    places = [Path(path) for path in paths]
    for name, known in FORMATS.items():
        for place in places:
            if known.files([place]) if place.is_dir() else place.suffix.lower() in known.suffixes:
                return name
    where = ", ".join(place.name or str(place) for place in places[:3])
    raise AnnotationError(
        f"{where}: no annotations were found there. Known formats: {', '.join(FORMATS)}."
    )
