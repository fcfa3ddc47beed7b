"""PNG, JPEG and BMP files as [C, Y, X] arrays. `pixels` is the door to them."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin

from napari_cellal.core.errors import ImageError

from .axes import Layout
from .fingerprint import fingerprint_of
from .gray import MAX_LOOK_PIXELS, merge_gray
from .image_errors import cut_short, damaged
from .opened import Description

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .axes import Window

# These formats are decoded whole; what is larger belongs into a tiled TIFF.
MAX_PIXELS = 1_000_000_000
# Deflate packs 1,032:1 at most, so a header that claims more than this is a lie.
MAX_PIXELS_PER_BYTE = 8 * 1100

# catch_warnings changes the whole process: one thread at a time.
_warnings_lock = threading.Lock()


def open_picture(path: Path) -> ImageFile.ImageFile:
    """Return the file with its header read and its pixels not.

    Raises
    ------
    ImageError
        If it is none of these formats, or its header is damaged.
    """
    with path.open("rb") as file:
        head = file.read(8)
    opener: Any
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        opener = PngImagePlugin.PngImageFile
    elif head.startswith(b"\xff\xd8\xff"):
        opener = JpegImagePlugin.JpegImageFile
    elif head.startswith(b"BM"):
        opener = BmpImagePlugin.BmpImageFile
    else:
        raise ImageError(
            f"{path.name} is not a PNG, JPEG, BMP or TIFF image, whatever its name says: "
            "save it as TIFF or PNG from the program that made it."
        )
    # The classes themselves rather than Image.open, whose limit of 179 megapixels is one
    # setting for the whole process; the limit here is checked below.
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture: ImageFile.ImageFile = opener(path)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as error:
        raise damaged(path) from error
    width, height = picture.size
    if width < 1 or height < 1:
        picture.close()
        raise damaged(path)
    if width * height > MAX_PIXELS:
        picture.close()
        raise ImageError(
            f"{path.name} says that it is {width:,} x {height:,} px, too large to be read "
            "at once: save it as a tiled TIFF."
        )
    if width * height > MAX_PIXELS_PER_BYTE * path.stat().st_size:
        picture.close()
        raise damaged(path)
    return picture


def stored_form(picture: ImageFile.ImageFile) -> tuple[int, np.dtype[Any]]:
    """Return the number of channels and the type, from the header alone."""
    if picture.mode in ("1", "L", "LA", "La"):
        return 1, np.dtype("uint8")
    if picture.mode.startswith("I"):
        return 1, np.dtype("uint16" if picture.format == "PNG" else "int32")
    return 3, np.dtype("uint16" if _is_wide(picture) else "uint8")


def decode_picture(path: Path) -> NDArray[Any]:
    """Return [C, Y, X] as stored, without alpha: C is 1 or 3, uint8 or uint16.

    An orientation noted by a camera (EXIF) is not applied, as in napari.

    Raises
    ------
    ImageError
        If the file is cut short or damaged.
    """
    with open_picture(path) as picture:
        n_channels, dtype = stored_form(picture)
        if picture.format == "PNG" and n_channels == 3 and dtype == np.uint16:
            return _decode_wide(path, picture)
        load(path, picture)
        if n_channels == 1:
            grey = np.asarray(picture.getchannel(0) if picture.mode in ("LA", "La") else picture)
            return np.ascontiguousarray(grey.astype(dtype))[None]
        if picture.mode == "P":
            # Through RGBA: the direct way warns about palettes with transparency.
            color = picture.convert("RGBA").convert("RGB")
        else:
            color = picture if picture.mode == "RGB" else picture.convert("RGB")
        return np.ascontiguousarray(np.moveaxis(np.asarray(color), 2, 0))


def load(path: Path, picture: ImageFile.ImageFile) -> None:
    """Decode the pixels in place, or raise `ImageError`."""
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if "truncated" in str(error):
            raise cut_short(path) from error
        raise damaged(path) from error
    except MemoryError as error:
        raise ImageError(
            f"{path.name} does not fit into this computer's memory: save it as a tiled TIFF."
        ) from error


def _is_wide(picture: ImageFile.ImageFile) -> bool:
    return any(";16" in str(tile[3]) for tile in picture.tile)


def _decode_wide(path: Path, picture: ImageFile.ImageFile) -> NDArray[Any]:
    """Return uint16 colour, of which Pillow keeps the high bytes only.

    The data are decoded twice: as what they are, big-endian, and as little-endian, where
    Pillow takes for the high byte what is the low one.
    """
    if str(picture.tile[0][3]) not in ("RGB;16B", "RGBA;16B"):
        raise ImageError(
            f"{path.name} is 16-bit grey with transparency, which would lose its depth here: "
            "save it as TIFF or without transparency."
        )
    load(path, picture)
    high = np.asarray(picture)[..., :3].astype(np.uint16)
    with open_picture(path) as again:
        tile = again.tile[0]
        again.tile = [tile._replace(args=str(tile.args).replace("16B", "16L"))]
        load(path, again)
        low = np.asarray(again)[..., :3]
    return np.ascontiguousarray(np.moveaxis(high << 8 | low, 2, 0))


class PictureImage:
    """One picture; see `opened.Opened`. A part costs as much as the whole."""

    n_scenes = 1
    block: tuple[int, int] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_picture(path) as picture:
            n_channels, self.dtype = stored_form(picture)
            height, width = picture.height, picture.width
        self._plane: NDArray[Any] | None = None
        self._look = height * width <= MAX_LOOK_PIXELS
        if self._look:
            n_channels = len(self._decoded())
        self.layout = Layout("CYX", (n_channels, height, width), rgb=n_channels == 3)
        self.levels: tuple[tuple[int, int], ...] = ((height, width),)

    def _decoded(self) -> NDArray[Any]:
        if self._plane is None:
            plane = decode_picture(self._path)
            self._plane = merge_gray(plane) if self._look else plane
        return self._plane

    def describe(self) -> Description:
        """Return nothing: resolutions in pictures are those of printers."""
        return Description()

    def check(self) -> None:
        """Do nothing: pictures up to 100 megapixels are decoded when they are opened."""

    def fingerprint(self) -> str:
        """Return what changes when the content does."""
        return fingerprint_of(self._path)

    def read(self, t: int, z: int) -> NDArray[Any]:
        """Return the picture, [C, Y, X]."""
        return self._decoded()

    def read_part(
        self, t: int, z: int, window: Window, channels: slice, level: int
    ) -> NDArray[Any]:
        """Return a part of the picture, which is decoded whole."""
        y0, x0, y1, x1 = window
        return self._decoded()[channels, y0:y1, x0:x1]
