"""Whether images have the channels that a model was made for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.detect.shipped import can_read, suits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellal.core.records import ImageRecord, ModelRecord

_NAMELESS = re.compile(r"gr[ae]y|Ch\d+", re.IGNORECASE)


def check_channels(record: ModelRecord, images: Iterable[ImageRecord]) -> None:
    """Raise `ModelError` where an image has another number of channels than the model."""
    for image in images:
        if len(image.channels) != len(record.channels):
            raise ModelError(
                f"The model was trained on {len(record.channels)} channels "
                f"({', '.join(record.channels)}), but {image.name} has {len(image.channels)}. "
                "Choose another model for it."
            )


def channel_warnings(record: ModelRecord, images: Iterable[ImageRecord]) -> tuple[str, ...]:
    """Return a sentence for each set of channels that differs from the model's in more than number.

    Names that say nothing (``gray``, ``Ch1``) are not compared.
    """
    said = []
    seen: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        seen.setdefault(image.channels, []).append(image.name)
    for channels, names in seen.items():
        pairs = list(zip(channels, record.channels, strict=False))
        if all(a == b or _NAMELESS.fullmatch(a) or _NAMELESS.fullmatch(b) for a, b in pairs):
            continue
        same = sorted(channels) == sorted(record.channels)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(
            f"{names[0]}{more}: the model was trained on {', '.join(record.channels)}, "
            + ("here they stand in another order: " if same else "here the channels are ")
            + f"{', '.join(channels)}. Its boxes may be wrong."
        )
    return tuple(said)


def shipped_warnings(images: Iterable[ImageRecord]) -> tuple[str, ...]:
    """Return a sentence for each set of channels that the shipped detector may get wrong.

    Raises
    ------
    ModelError
        If it cannot look at an image at all.
    """
    said: dict[tuple[str, ...], str] = {}
    for image in images:
        if not can_read(image):
            raise ModelError(
                f"The shipped detector sees colour images and single channels, but {image.name} "
                f"has {len(image.channels)} channels. Use the classical one, or train one."
            )
        if not suits(image):
            said.setdefault(
                image.channels,
                f"{image.name}: the shipped detector learned from colour images and single "
                f"channels, these are {', '.join(image.channels)}. Its boxes may be wrong.",
            )
    return tuple(said.values())
