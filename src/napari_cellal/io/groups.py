"""One file a channel: which files are one image, by a pattern of their names.

Nothing is opened here: a grouping is shown to the person before it is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellal.core.errors import ImageError

from .image_files import IMAGE_SUFFIXES, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PARTS: dict[str, str] = {
    "batch": r"[^/]+",
    "plate": r"[^/]+",
    "well": r"[A-Za-z]{1,2}\d{1,3}",
    "site": r"\d+",
    "field": r"\d+",
    "z": r"\d+",
    "t": r"\d+",
    "id": r"[^/]+",
    "channel": r"[^/]+?",
}
"""What may stand in a pattern, and what it matches."""

PRESETS: dict[str, tuple[str, ...]] = {
    "plate": (
        "{plate}_{well}_site{site}_ch{channel}",
        "{plate}_{well}_s{site}_w{channel}",
        "{plate}_{well}_s{site}_c{channel}",
        "{plate}_{well}_f{field}_c{channel}",
        "{plate}_{well}f{field}d{channel}",
    ),
    "hpa": ("{id}_{channel:red|green|blue|yellow}",),
    "rxrx1": ("{batch}/Plate{plate}/{well}_s{site}_w{channel:1|2|3|4|5|6}",),
}
"""Layouts in use, by name; of several patterns the first that matches counts."""

CHANNEL_NAMES: dict[str, dict[str, str]] = {
    # Thul et al., doi 10.1126/science.aal3321
    "hpa": {
        "red": "microtubules",
        "green": "protein",
        "blue": "nucleus",
        "yellow": "reticulum",
    },
    # Sypetkowski et al., arXiv:2301.05768, table 1
    "rxrx1": {
        "1": "nuclei",
        "2": "reticulum",
        "3": "actin",
        "4": "nucleoli",
        "5": "mitochondria",
        "6": "Golgi",
    },
}
"""What the channels of a preset show; their order is the channels' order."""


@dataclass(frozen=True, slots=True)
class FileGroup:
    """The files of one image.

    Attributes
    ----------
    name : str
        A file name for it: that of its files without the channel.
    files : tuple of Path
        In the order of `Grouping.channels`; what is missing is left out.
    missing : tuple of str
        Channels without a file.
    place : {part of the pattern: text}
        ``plate``, ``well``, ``site`` and the like.
    """

    name: str
    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    place: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a pattern makes of files.

    Attributes
    ----------
    channels : tuple of str
        Names of the channels, in their order.
    groups : tuple of FileGroup
        Incomplete ones too.
    unmatched : tuple of Path
        Files that the pattern says nothing about.
    """

    channels: tuple[str, ...]
    groups: tuple[FileGroup, ...]
    unmatched: tuple[Path, ...]
    problems: tuple[str, ...] = ()

    @property
    def complete(self) -> tuple[FileGroup, ...]:
        """The images that have a file for every channel."""
        return tuple(group for group in self.groups if not group.missing)


def group_files(files: Iterable[Path], pattern: str) -> Grouping:
    """Return which files are one image.

    Parameters
    ----------
    pattern : str
        The name of a preset, or a file name in which ``{plate} {well} {site} {field}
        {batch} {id} {z} {t} {channel}`` stand for what changes; ``{channel:A|B}`` takes
        only A and B. It may begin with folders (``{plate}/{well}_{channel}.tif``), and
        takes every kind of image file if it has no suffix. Capitals do not matter.

    Raises
    ------
    ImageError
        If the pattern makes no sense.
    """
    named = CHANNEL_NAMES.get(pattern, {})
    compiled = [_Pattern(text) for text in PRESETS.get(pattern, (pattern,))]
    found: dict[tuple[str, str], dict[str, Path]] = {}
    places: dict[tuple[str, str], dict[str, str]] = {}
    unmatched: list[Path] = []
    problems: list[str] = []
    for file in files:
        match = next(filter(None, (p.match(file) for p in compiled)), None)
        if match is None:
            unmatched.append(file)
            continue
        key, channel, place = match
        group = found.setdefault(key, {})
        if channel in group:
            problems.append(
                f"{file.name} is left out: {group[channel].name} is the same channel of the same "
                "image by this pattern."
            )
            continue
        group[channel] = file
        places[key] = place
    seen = {channel for group in found.values() for channel in group}
    order = list(named) or sorted(seen, key=natural_key)
    groups = tuple(
        FileGroup(
            key[1] + next(iter(group.values())).suffix,
            tuple(group[c] for c in order if c in group),
            tuple(named.get(c, _named(c)) for c in order if c not in group),
            places[key],
        )
        for key, group in found.items()
    )
    problems += [
        f"{group.name} is left out: its channel{'s' if len(group.missing) > 1 else ''} "
        f"{', '.join(group.missing)} {'are' if len(group.missing) > 1 else 'is'} missing."
        for group in groups
        if group.missing
    ]
    channels = tuple(named.get(c, _named(c)) for c in order) if groups else ()
    return Grouping(channels, groups, tuple(unmatched), tuple(problems))


def guess_pattern(files: Sequence[Path]) -> str | None:
    """Return the preset by which most files are images of several channels, None if few are."""
    best, most = None, len(files) / 2
    for name in PRESETS:
        grouping = group_files(files, name)
        fitting = sum(len(g.files) for g in grouping.groups if len(g.files) > 1)
        if fitting > most:
            best, most = name, fitting
    return best


def _named(channel: str) -> str:
    return f"Ch{channel}" if channel.isdecimal() else channel


class _Pattern:
    """A pattern, ready to be compared with files."""

    def __init__(self, text: str) -> None:
        self._text = text
        pieces = re.split(r"\{([^{}]*)\}", text.replace("\\", "/"))
        literals, holes = pieces[::2], pieces[1::2]
        if any(c in "{}" for c in "".join(literals)):
            raise self._wrong("has a bracket { or } without its other half")
        names = [hole.partition(":")[0].strip().lower() for hole in holes]
        for name in names:
            if name not in PARTS:
                raise self._wrong(
                    f"has {{{name}}}, which means nothing; use "
                    + ", ".join(f"{{{part}}}" for part in PARTS)
                )
            if names.count(name) > 1:
                raise self._wrong(f"has {{{name}}} twice")
        if "channel" not in names:
            raise self._wrong("needs {channel} where the files of an image differ")
        self._at = names.index("channel")
        self._names = names
        self._depth = text.count("/") + text.count("\\") + 1
        body = re.escape(literals[0])
        for name, hole, literal in zip(names, holes, literals[1:], strict=True):
            options = hole.partition(":")[2]
            inner = "|".join(map(re.escape, options.split("|"))) if options else PARTS[name]
            body += f"(?P<{name}>{inner}){re.escape(literal)}"
        if Path(text).suffix.lower() not in IMAGE_SUFFIXES:
            suffixes = "|".join(re.escape(s) for s in sorted(IMAGE_SUFFIXES))
            body += f"(?:{suffixes})"
        self._regex = re.compile(body, re.IGNORECASE)

    def _wrong(self, why: str) -> ImageError:
        return ImageError(
            f"The pattern '{self._text[:80]}' {why}. An example: "
            "{plate}_{well}_s{site}_w{channel}.tif."
        )

    def match(self, file: Path) -> tuple[tuple[str, str], str, dict[str, str]] | None:
        """Return (folder, name) of the image, the channel and the place; None if it is none."""
        tail = "/".join(file.parts[-self._depth :])
        match = self._regex.fullmatch(tail)
        if match is None:
            return None
        place = {n: match[n] for n in self._names if n != "channel"}
        # The name is what is left without the channel and the signs that lead to it.
        behind = tail[match.end("channel") :]
        ending = next((e for e in IMAGE_SUFFIXES if behind.lower().endswith(e)), "")
        behind = behind.removesuffix(behind[len(behind) - len(ending) :]) if ending else behind
        before = tail[: match.end(self._names[self._at - 1])] if self._at else ""
        name = f"{before}{behind}".replace("/", "_").strip("_- ") or file.parent.name or "image"
        folder = "/".join(file.parts[: -self._depth])
        return (folder, name), match["channel"].lower(), place
