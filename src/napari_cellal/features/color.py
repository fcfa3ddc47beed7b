"""Colour and stain of a cell in an RGB picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .view import CellView


def names(channels: Sequence[str], rgb: bool) -> tuple[str, ...]:
    """Return the names of what `values` measures: nothing unless the picture is RGB."""
    if not rgb:
        return ()
    return tuple(
        f"Color_{name}"
        for name in (
            "RatioRedGreen",
            "RatioBlueGreen",
            "HueSin",
            "HueCos",
            "MeanSaturation",
            "StdSaturation",
            "MaxSaturation",
            "OpticalDensity_red",
            "OpticalDensity_green",
            "OpticalDensity_blue",
            "StainShare_red",
            "StainShare_blue",
        )
    )


def values(view: CellView) -> list[float]:
    """Return colour after white balance, and optical densities.

    Each channel is divided by the image's own bright level (95th percentile), which
    takes out the lamp's colour. Optical density is -log10 of what is left (Beer and
    Lambert; Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23, 2001); a stain's
    share of it in red and blue names the stain whatever its strength.
    """
    bright = np.maximum(view.levels.bright, 1e-9)[:, None].astype(np.float32)
    rgb = np.clip(view.inside_mask(view.pixels) / bright, 1e-3, 1.5)  # [3, n]
    red, green, blue = (float(v) for v in rgb.mean(axis=1))
    top = np.maximum(np.maximum(rgb[0], rgb[1]), rgb[2])
    bottom = np.minimum(np.minimum(rgb[0], rgb[1]), rgb[2])
    saturation = 1 - bottom / top
    most = int(0.95 * (saturation.size - 1))
    # the hue as a direction in the plane across the grey axis: no jump at red
    alpha, beta = red - (green + blue) / 2, (green - blue) * np.sqrt(3) / 2
    chroma = max(float(np.hypot(alpha, beta)), 1e-6)
    # clipped at 0.0: brighter than the background is no stain
    density = np.clip(-np.log10(rgb), 0.0, None).mean(axis=1)  # [3]
    total = max(float(density.sum()), 1e-3)
    return [
        red / green,
        blue / green,
        beta / chroma,
        alpha / chroma,
        float(saturation.mean()),
        float(saturation.std()),
        float(np.partition(saturation, most)[most]),
        *(float(d) for d in density),
        float(density[0]) / total,
        float(density[2]) / total,
    ]
