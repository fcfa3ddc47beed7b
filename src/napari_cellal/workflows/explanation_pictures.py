"""Explanations as pictures: what spoke for a class, what each channel adds, and the cells alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellal.core.errors import CellalError
from napari_cellal.io.atomic import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .explaining import Explained, Neighbour

_SCALE_PX = 384  # about the side of each half of the picture
_LINE_PX, _MOST_BARS, _LONGEST_NAME = 18, 8, 24  # of the words below a picture


def hot_picture(found: Explained) -> NDArray[np.float32]:
    """Return float32[h, w, 3], 0..1: the cell in grey, from red to yellow what spoke for it."""
    gray = _as_rgb(found.shown).mean(axis=2, keepdims=True) * 0.7
    heat = found.heat[:, :, None]
    color = np.concatenate([np.ones_like(heat), heat**1.5, np.zeros_like(heat)], axis=2)
    return np.asarray(gray * (1 - 0.75 * heat) + color * 0.75 * heat, np.float32)


def picture_beside(found: Explained) -> NDArray[np.uint8]:
    """Return uint8[h, 2 w + 2, 3]: the cell as the network saw it, and what spoke for the class."""
    plain = _as_rgb(found.shown)
    both = np.concatenate([plain, np.ones((len(plain), 2, 3)), hot_picture(found)], axis=1)
    return np.asarray(np.rint(both.clip(0, 1) * 255), np.uint8)


def write_picture(found: Explained, file: str | Path) -> None:
    """Write a PNG: the cell as the network saw it, and beside it what spoke for the class.

    Below them the class with its probability, what each channel adds to that as a bar, and the
    confirmed cells most like it, each with its class.

    Raises
    ------
    CellalError
        If the file cannot be written.
    """
    from PIL import Image

    image = Image.fromarray(picture_beside(found))
    times = max(1, _SCALE_PX // image.height)
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image = _with_words(image, found)
    if found.neighbours:
        image = _with_neighbours(image, found.neighbours)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        write_atomic(Path(file), buffer.getvalue())
    except OSError as error:
        raise CellalError(f"{file} cannot be written ({error.strerror or error}).") from error


def _with_words(image: Any, found: Explained) -> Any:
    """Return the picture with the class below it, and a bar for what each channel adds."""
    from PIL import Image, ImageDraw

    names = found.channel_names if len(found.channels) > 1 else ()
    ranked = sorted(zip(names, found.channels.tolist(), strict=False), key=lambda c: -abs(c[1]))
    shown = ranked[:_MOST_BARS]
    top = image.height
    sheet = Image.new("RGB", (image.width, top + _LINE_PX * (1 + len(shown)) + 6), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    p = found.probabilities[found.class_name]
    said = f"{found.class_name} {p:.2f}" + ("; without a channel it would be less by" * bool(shown))
    draw.text((4, top + 3), _plain(said), "black", font_size=13)
    zero, unit = image.width * 0.55, image.width * 0.4
    for k, (name, share) in enumerate(shown, 1):
        y = top + 3 + _LINE_PX * k
        draw.text((16, y), _plain(name)[:_LONGEST_NAME], "black", font_size=13)
        draw.text((zero - 56, y), f"{round(share, 2) + 0.0:+.2f}", "black", font_size=13)
        ends = sorted((zero, zero + unit * share))
        color = "#0072B2" if share >= 0 else "#D55E00"
        draw.rectangle((ends[0], y + 3, ends[1] + 1, y + 12), color)
    return sheet


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # all that Pillow's font has


def _with_neighbours(image: Any, neighbours: tuple[Neighbour, ...]) -> Any:
    """Return the picture with the neighbours in a row below it, and their classes in words."""
    from PIL import Image, ImageDraw

    side = (image.width - 2 * (len(neighbours) - 1)) // max(3, len(neighbours))
    sheet = Image.new("RGB", (image.width, image.height + side + 40), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.text((4, image.height + 3), "Confirmed cells most like it:", "black", font_size=13)
    for k, one in enumerate(neighbours):
        pixels = np.rint(_as_rgb(one.shown).clip(0, 1) * 255).astype(np.uint8)
        left, top = k * (side + 2), image.height + 21
        sheet.paste(Image.fromarray(pixels).resize((side, side)), (left, top))
        draw.text((left + 4, top + side + 2), _plain(one.class_name), "black", font_size=13)
    return sheet


def _as_rgb(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[h, w, 3]: colours as they are, other channels as their brightest."""
    if len(shown) == 3:
        return np.moveaxis(shown, 0, -1)
    low, high = np.percentile(shown, [1, 99], axis=(1, 2), keepdims=True)
    bright = ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1).max(axis=0)
    return np.repeat(bright[:, :, None], 3, axis=2)
