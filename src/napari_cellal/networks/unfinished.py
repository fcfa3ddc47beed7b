"""The file that a training under way keeps: its name, and how it goes. Light: no torch."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from napari_cellal import __version__

_OLD_S = 7 * 86400.0


class Request(Protocol):
    """What a model is trained from: a frozen dataclass, whose values are its hash."""

    @property
    def model_id(self) -> str:
        """The model's name, drawn anew each time."""

    @property
    def models_folder(self) -> str:
        """Where models are written."""

    @property
    def device(self) -> str:
        """Where the training runs."""


def file_of(request: Request) -> Path:
    """Return where a training keeps what it has reached.

    The name is the request's hash, so only the same request goes on from it.
    """
    # The model's name is drawn anew each time; where it runs does not matter.
    same: Any = replace(
        request,  # type: ignore[type-var]
        model_id="",
        models_folder="",
        device="",
    )
    name = hashlib.sha256(f"{__version__} {same!r}".encode()).hexdigest()[:32]
    return Path(request.models_folder, "unfinished", f"{name}.pt")


def partial_of(file: Path) -> Path:
    """Return the file that is written first, and then takes the other's place."""
    return file.with_suffix(".partial")


def forget(request: Request) -> None:
    """Remove what a training had reached, files that nobody came back to, and an empty folder."""
    file = file_of(request)
    with contextlib.suppress(OSError):
        for own in (file, partial_of(file)):
            own.unlink(missing_ok=True)
        for other in file.parent.glob("*"):
            if time.time() - other.stat().st_mtime > _OLD_S:
                other.unlink(missing_ok=True)
        file.parent.rmdir()
