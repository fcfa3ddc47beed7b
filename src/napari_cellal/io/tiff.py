"""TIFF, OME-TIFF and ImageJ files as [C, Y, X] planes. `pixels` is the door to it."""

from __future__ import annotations

import logging
import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from napari_cellal.core.errors import ImageError

from .axes import Layout, pick, places, roles_of
from .image_errors import cut_short
from .tiff_chain import missing_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

PHOTOMETRIC_RGB = (2, 6)  # RGB, YCbCr


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tifffile's log lines of this thread away: what matters becomes an ImageError."""
    thread = threading.get_ident()

    class OtherThreads(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.thread != thread

    logger = logging.getLogger("tifffile")
    mine = OtherThreads()
    logger.addFilter(mine)
    try:
        yield
    finally:
        logger.removeFilter(mine)


def layout_of(series: Any, name: str) -> Layout:
    """Return how the axes of a tifffile series of the file ``name`` are read."""
    shape, page = tuple(series.shape), series.keyframe
    roles = roles_of(str(series.axes), shape, name)
    samples = math.prod(n for r, n in zip(roles, shape, strict=True) if r == "S")
    photometric = int(page.photometric) if page.photometric is not None else 1
    rgb = samples in (3, 4) and photometric in PHOTOMETRIC_RGB
    if rgb:
        samples = 3
    elif samples == 2 and any(int(e) in (1, 2) for e in page.extrasamples):
        samples = 1  # grey with alpha
    one = all(n == 1 for r, n in zip(roles, shape, strict=True) if r == "C")
    return Layout(roles, shape, samples, rgb and one)


def check_chain(path: Path) -> None:
    """Raise `ImageError` where the file ends before its last page's header."""
    if missing_from(path) is not None:
        raise cut_short(path)


def image_series(tif: tifffile.TiffFile, name: str) -> list[Any]:
    """Return the series that hold pictures: those with height and width."""
    series = [s for s in tif.series if "Y" in s.axes and "X" in s.axes and s.dtype is not None]
    if not series:
        raise ImageError(
            f"{name} holds no picture that can be read: save it again from the program "
            "that made it."
        )
    return series


def check_complete(series: Any, path: Path) -> None:
    """Raise `ImageError` where pixel data lie beyond the end of the file."""
    size = path.stat().st_size
    if series.dataoffset is not None:
        end = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize
    else:
        end = 0
        # The first thousand planes and the last: enough, and quick on long time series.
        pages = series.pages
        for k in sorted({*range(min(len(pages), 1000)), len(pages) - 1}):
            page = pages[k]
            if page is None or page.parent is not series.keyframe.parent:
                continue
            ends = (a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False))
            end = max(end, *ends, 0)
    if end > size:
        raise cut_short(path)


def read_plane(path: Path, tif: Any, series: Any, t: int, z: int) -> NDArray[Any]:
    """Return [C, Y, X] of one t and z, reading no other plane than it must."""
    layout = layout_of(series, path.name)
    if series.dataoffset is not None:
        return np.array(pick(map_series(path, tif, series), layout, t, z))
    page_shape = tuple(series.keyframe.shape)
    n_lead = len(series.shape) - len(page_shape)
    lead = tuple(series.shape[:n_lead])
    if tuple(series.shape[n_lead:]) != page_shape or math.prod(lead) != len(series.pages):
        return np.array(pick(series.asarray().reshape(series.shape), layout, t, z))
    numbers = np.arange(math.prod(lead)).reshape(lead)
    wanted = np.array(pick_lead(numbers, layout, n_lead, t, z))  # page numbers
    pages = _decode(path, tif, series, [int(k) for k in wanted.ravel()])
    part = pages.reshape(wanted.shape + page_shape)
    # What was picked already has length 1 and stays at 0.
    taken = Layout(layout.roles, tuple(part.shape), layout.samples, layout.rgb)
    t_in = t if "T" in layout.roles[n_lead:] else 0
    z_in = z if "Z" in layout.roles[n_lead:] else 0
    return np.array(pick(part, taken, t_in, z_in))


def map_series(path: Path, tif: Any, series: Any) -> NDArray[Any]:
    """Return a series that lies in one piece as a memory map.

    Also the only way into ImageJ stacks above 4 GB, which list their first page alone.
    """
    code = f"{tif.byteorder}{series.dtype.char}"
    return np.memmap(path, code, "r", series.dataoffset, tuple(series.shape))


def pick_lead(
    numbers: NDArray[np.intp], layout: Layout, n_lead: int, t: int, z: int
) -> NDArray[np.intp]:
    """Return the page numbers of one t and z, all axes kept, those picked of length 1."""
    for role, index in (("T", t), ("Z", z)):
        axes = [k for k, r in enumerate(layout.roles) if r == role]
        if not axes or max(axes) >= n_lead:
            continue
        for k, i in places(layout, role, index).items():
            numbers = numbers.take([i], axis=k)
    return numbers


def can_decode(page: Any) -> bool:
    """Return whether tifffile can unpack the page with the codecs installed."""
    codecs = tifffile.TIFF.DECOMPRESSORS
    return page.compression in codecs and page.predictor in tifffile.TIFF.UNPREDICTORS


def _decode(path: Path, tif: Any, series: Any, numbers: list[int]) -> NDArray[Any]:
    """Return the pages' pixels, [page, ...]."""
    keyframe = series.keyframe
    shape = (len(numbers), *keyframe.shape)
    pages = [series.pages[k] for k in numbers]
    if all(page is None for page in pages):  # OME-TIFF: planes that were never taken
        return np.zeros(shape, keyframe.dtype)
    if can_decode(keyframe):
        return np.asarray(tif.asarray(key=numbers, series=series)).reshape(shape)
    # Without imagecodecs tifffile cannot unpack LZW or JPEG; Pillow's libtiff can, though
    # only 8-bit colour and 8- or 16-bit grey.
    out = np.zeros(shape, keyframe.dtype)
    with path.open("rb") as file:
        picture: Image.Image = TiffImagePlugin.TiffImageFile(file)
        for row, page in zip(out, pages, strict=True):
            if page is None:
                continue
            picture.seek(page.index)
            if picture.mode not in ("L", "RGB", "RGBA", "YCbCr", "I;16", "I;16B", "F", "1"):
                raise _needs_codecs(path.name, keyframe)
            plane = np.asarray(picture.convert("RGB") if picture.mode == "YCbCr" else picture)
            if plane.shape != row.shape or plane.dtype.newbyteorder("=") != row.dtype:
                raise _needs_codecs(path.name, keyframe)
            row[...] = plane
    return out


def _needs_codecs(name: str, page: Any) -> ImageError:
    kind = getattr(page.compression, "name", str(page.compression))
    return ImageError(
        f"{name} is compressed as {kind}, which needs the package imagecodecs: "
        "'pip install imagecodecs', or save it with deflate (zip) or no compression."
    )
