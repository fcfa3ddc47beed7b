"""Names in other programs' files: cleaned, and never followed to a place on the disk."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from napari_cellal.io.image_files import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import ExportImage

MOST_CHARACTERS = 200
# Control characters and lone surrogates, which neither a database nor a label can show.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def clean_name(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return a text on one line, cut to ``most`` characters; empty for what is no text."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = f"{text:g}" if isinstance(text, float) else str(text)
    if not isinstance(text, str):
        return ""
    return _UNSHOWABLE.sub(" ", text[:most]).strip()


def class_name_of(text: object) -> str:
    """Return a class's name as a project can hold it: commas stand between names there."""
    return clean_name(text).replace(",", ";")


def image_name_of(text: object) -> tuple[str, tuple[str, ...]]:
    """Return an image's name and the folders before it, empty where there is none.

    The folders are those of another person's computer at best: they serve to tell images
    of one name apart, and no file is ever looked for by them.
    """
    if not isinstance(text, str):
        return clean_name(text), ()
    # The end is what counts: a path may be long, a name is not.
    parts = [clean_name(p) for p in text[-4000:].replace("\\", "/").split("/")]
    *parents, name = parts
    if name in ("", ".", ".."):
        return "", ()
    return name, tuple(p for p in parents if p not in ("", ".", ".."))


def distinct_paths(images: Sequence[ExportImage]) -> list[str]:
    """Return for each image its name, with as many folders before it as tell it apart."""
    places = [_parts(image) for image in images]
    depth = dict.fromkeys(places, 1)  # planes of one file, which no folder tells apart, are one
    for _ in range(max(map(len, places), default=1)):
        seen = Counter(p[-d:] for p, d in depth.items())
        more = [p for p, d in depth.items() if seen[p[-d:]] > 1 and d < len(p)]
        for place in more:
            depth[place] += 1
        if not more:
            break
    return ["/".join(p[-depth[p] :]) for p in places]


def _parts(image: ExportImage) -> tuple[str, ...]:
    # The name may be a title and not the file's, and hold what a path cannot.
    name = image.name.replace("\\", "/")
    if image.path is None:
        return tuple(p for p in PurePosixPath(name).parts if p not in ("/", "..")) or ("image",)
    folders = image.path.parent.parts
    return (*(p for p in folders if p != image.path.anchor), name.replace("/", "_") or "image")


class Outlets:
    """Gives every image a file of its own; case is no difference on Windows and macOS."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self._taken: set[str] = set()

    def of(self, path: str) -> str:
        """Return the path of the file that describes the image at ``path``.

        Its own name if that is free, else with the image's suffix, else with a number.
        """
        bare = PurePosixPath(path)
        stem = path if bare.name else "image"
        if bare.suffix.lower() in IMAGE_SUFFIXES:  # ``p.zarr_A_1_0`` has no suffix
            stem = str(bare.with_suffix(""))
        choices = [stem, path, *(f"{stem}_{k}" for k in range(2, len(self._taken) + 3))]
        chosen = next(c for c in choices if c.casefold() not in self._taken)
        self._taken.add(chosen.casefold())
        return chosen + self.suffix


def short(text: str, most: int = 60) -> str:
    """Return the text cut to what fits into a sentence."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
