"""What OME-Zarr writes beside its chunks, read as plain JSON and believed as little as needed.

OME-NGFF 0.1 to 0.5 (https://ngff.openmicroscopy.org): an image is a folder whose attributes
hold ``multiscales``; a plate lists wells, wells list images; bioformats2raw numbers its series.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from napari_cellal.core.errors import ImageError

from .image_errors import damaged

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
MAX_METADATA_BYTES = 64 * 2**20
MAX_CHUNK_BYTES = 2 * 2**30
# Codecs that only pack bytes. "pickle" and "json2" are among those left out: to decode a
# pickle is to run a program.
# fmt: off
CODECS = frozenset({
    "blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd", "packbits", "crc32c", "adler32",
    "fletcher32", "shuffle", "delta", "bitround", "fixedscaleoffset", "bytes", "transpose",
    "sharding_indexed",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """One array: a level of a pyramid."""

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    names: tuple[str, ...] = ()
    """Of the axes, where the array itself gives them."""


def is_zarr(path: Path) -> bool:
    """Return whether the folder is a Zarr group or array."""
    try:
        return path.is_dir() and any((path / name).is_file() for name in METADATA)
    except OSError:  # a name that is too long, a loop of links
        return False


def attributes(folder: Path) -> dict[str, Any]:
    """Return a group's OME attributes, empty where it has none."""
    if (folder / "zarr.json").is_file():
        values = _object(_load(folder / "zarr.json", folder).get("attributes", {}), folder)
        return _object(values.get("ome", values), folder)
    if (folder / ".zattrs").is_file():
        return _load(folder / ".zattrs", folder)
    return {}


def image_folders(folder: Path) -> list[Path]:
    """Return the images of a Zarr folder: itself, a plate's fields, or a file's series."""
    values = attributes(folder)
    if "plate" in values:
        found = []
        for well in _objects(_object(values["plate"], folder).get("wells"), folder):
            place = inside(folder, well.get("path"))
            well_values = _object(attributes(place).get("well", {}), place)
            found += [
                inside(place, field.get("path"))
                for field in _objects(well_values.get("images"), place)
            ]
        return found
    if "bioformats2raw.layout" in values:
        numbered = [p for p in folder.iterdir() if p.name.isdecimal() and is_zarr(p)]
        return sorted(numbered, key=lambda p: int(p.name))
    return [folder]


def plate_place(image: Path) -> tuple[Path | None, dict[str, str]]:
    """Return the Zarr folder that an image is a part of, None if it is whole, and its place."""
    for top in list(image.parents)[:3]:
        if not is_zarr(top):
            continue
        values = attributes(top)
        parts = image.relative_to(top).parts
        if "plate" in values and len(parts) == 3:
            plate = str(_object(values["plate"], top).get("name") or top.name.split(".")[0])
            return top, {"plate": plate, "well": parts[0] + parts[1], "field": parts[2]}
        if "bioformats2raw.layout" in values and len(parts) == 1:
            return top, {}
    return None, {}


def inside(folder: Path, part: object) -> Path:
    """Return a path below the folder.

    Raises
    ------
    ImageError
        If the path would lead out of it.
    """
    steps = PurePosixPath(str(part).replace("\\", "/"))
    if not isinstance(part, str | int) or steps.is_absolute() or ".." in steps.parts:
        raise ImageError(
            f"{folder.name} names a part outside of itself ({str(part)[:60]}): export it again."
        )
    return folder.joinpath(*steps.parts)


def array_header(folder: Path, top: Path) -> ArrayHeader:
    """Return an array's header, refusing what must not or cannot be decoded.

    Parameters
    ----------
    top : Path
        The image, for messages.
    """
    if (folder / "zarr.json").is_file():
        values = _load(folder / "zarr.json", top)
        if values.get("node_type") != "array":
            raise damaged(top)
        codecs = _codec_names(values.get("codecs", []), "name", top)
        grid = _object(_object(values["chunk_grid"], top)["configuration"], top)
        chunks, kind = grid["chunk_shape"], values["data_type"]
        names = tuple(str(n or "") for n in values.get("dimension_names") or ())
    elif (folder / ".zarray").is_file():
        values = _load(folder / ".zarray", top)
        packing = [values.get("compressor"), *(values.get("filters") or [])]
        codecs = _codec_names([c for c in packing if c is not None], "id", top)
        chunks, kind, names = values["chunks"], values["dtype"], ()
    else:
        raise ImageError(
            f"{top.name} has no data in {folder.relative_to(top)}: copy the whole folder again."
        )
    shape = tuple(int(n) for n in values["shape"])
    chunks = tuple(int(n) for n in chunks)
    if (
        not isinstance(kind, str)
        or len(shape) != len(chunks)
        or min((*shape, *chunks), default=0) < 1
    ):
        raise damaged(top)
    for codec in codecs:
        if codec.removeprefix("numcodecs.") not in CODECS:
            raise ImageError(
                f"{top.name} is packed with '{codec[:40]}', which is not opened here: write it "
                "again with blosc or zstd."
            )
    dtype = np.dtype(kind)
    if np.prod(chunks, dtype=float) * dtype.itemsize > MAX_CHUNK_BYTES:
        raise ImageError(
            f"{top.name} is stored in pieces above 2 GB, which no memory holds: write it again "
            "in chunks of about 1024 x 1024 px."
        )
    return ArrayHeader(folder, shape, chunks, dtype, names)


def _codec_names(codecs: object, key: str, top: Path) -> list[str]:
    """Return the names of all codecs, those within shards too."""
    names: list[str] = []
    for codec in _objects(codecs, top):
        names.append(str(codec.get(key)))
        inner = codec.get("configuration")
        if isinstance(inner, dict):
            for part in ("codecs", "index_codecs"):
                names += _codec_names(inner.get(part, []), key, top)
    return names


def _load(file: Path, top: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_METADATA_BYTES:
        raise damaged(top)
    try:
        return _object(json.loads(file.read_text(encoding="utf-8")), top)
    except (ValueError, RecursionError) as error:
        raise damaged(top) from error


def _object(value: object, top: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise damaged(top)
    return value


def _objects(value: object, top: Path) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise damaged(top)
    return [_object(item, top) for item in value]
