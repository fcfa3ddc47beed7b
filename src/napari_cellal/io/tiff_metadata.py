"""Channel names and pixel size from what OME-TIFF and ImageJ write beside the pixels."""

from __future__ import annotations

import math
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

# Bio-Formats writes the sign as U+00B5, others as U+03BC, ImageJ sometimes as "\u00B5m".
MICROMETERS = {
    "µm": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}


def channel_names(tif: Any, scene: int, n_channels: int) -> list[str]:
    """Return the channels' names, one a channel, or an empty list where they are unknown."""
    names: list[str] = []
    if (pixels := _ome_pixels(tif, scene)) is not None:
        names = [c.get("Name") or "" for c in pixels.findall("{*}Channel")]
    elif tif.is_imagej:
        meta = tif.imagej_metadata or {}
        # Labels name slices; they name channels where every slice is one.
        if int(meta.get("channels", 1)) == int(meta.get("images", 1)):
            names = [str(label).strip() for label in meta.get("Labels") or []]
    if len(names) != n_channels:
        return []
    return [name or f"Ch{k}" for k, name in enumerate(names, 1)]


def channel_colors(tif: Any, scene: int, n_channels: int) -> list[str]:
    """Return #RRGGBB for every channel, or an empty list where the file does not say.

    OME writes them as one signed number (RGBA), ImageJ as look-up tables of which the last
    entry is the colour of the brightest pixel.
    """
    if (pixels := _ome_pixels(tif, scene)) is not None:
        try:
            numbers = [int(c.get("Color") or "") for c in pixels.findall("{*}Channel")]
        except ValueError:
            return []
        colors = [f"#{(n >> 8) & 0xFFFFFF:06X}" for n in numbers]
    elif tif.is_imagej:
        tables = (tif.imagej_metadata or {}).get("LUTs") or []
        colors = ["#" + "".join(f"{int(v):02X}" for v in table[:, -1]) for table in tables]
    else:
        return []
    return colors if len(colors) == n_channels else []


def micrometers(value: object, unit: str) -> float | None:
    """Return a length in µm, or None where number or unit make no sense."""
    scale = MICROMETERS.get(unit.strip().lower())
    try:
        size = float(str(value)) * (scale or math.nan)
    except ValueError:
        return None
    return size if math.isfinite(size) and size > 0 else None


def pixel_size_um(tif: Any, scene: int) -> float | None:
    """Return the width of a pixel in µm, or None where the file does not say."""
    if (pixels := _ome_pixels(tif, scene)) is not None:
        return micrometers(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", ""))
        tag = tif.pages[0].tags.get("XResolution")
        if tag is not None and isinstance(tag.value, tuple) and tag.value[0]:
            return micrometers(tag.value[1] / tag.value[0], unit)
    # A plain TIFF's resolution is the printer's (72 or 96 dpi) far more often than the
    # microscope's: not believed.
    return None


def _ome_pixels(tif: Any, scene: int) -> Element | None:
    if not tif.is_ome or not tif.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except (ParseError, DefusedXmlException, ValueError):
        return None
    images: list[Element] = root.findall("{*}Image")
    return images[scene].find("{*}Pixels") if scene < len(images) else None
