"""The files that a training under way keeps: their names, and how they go. Light: no torch.

One holds what it has reached (`checkpoints`), one the request itself, so that it can go on
though a person has labelled more since.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from napari_cellal import __version__
from napari_cellal.core.errors import ModelError
from napari_cellal.core.records import new_id
from napari_cellal.io.atomic import write_atomic

_OLD_S = 7 * 86400.0
Wanted = TypeVar("Wanted")


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


def request_of(file: Path, kind: type) -> Path:
    """Return the file that holds the request of a training."""
    return file.with_suffix(f".{kind.__name__}.json")


def describe(request: Request) -> None:
    """Write the request of a training beside what it reaches, if it is not there yet."""
    path = request_of(file_of(request), type(request))
    if not path.exists():
        write_atomic(path, TypeAdapter(type(request)).dump_json(request))


def find(models_folder: Path, kind: type) -> list[Path]:
    """Return the files of trainings of a kind that were cut off, the last one first."""
    files = Path(models_folder, "unfinished").glob("*.pt")
    found = [file for file in files if request_of(file, kind).is_file()]
    return sorted(found, key=lambda file: -file.stat().st_mtime)


def read(file: Path, kind: type[Wanted]) -> Wanted:
    """Return the request of a training that was cut off, to go on in the folder where it lies.

    Raises
    ------
    ModelError
        If it cannot go on: the file is damaged, or another version of the program wrote it.
    """
    try:
        request = TypeAdapter(kind).validate_json(request_of(file, kind).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError("What is left of this training cannot be read. Train anew.") from error
    here: Any = replace(
        request,  # type: ignore[type-var]
        models_folder=str(file.parent.parent),
        model_id=new_id(),
    )
    if file_of(here) != file:
        raise ModelError("Another version of the program began this training. Train anew.")
    return here  # type: ignore[no-any-return]


def forget(request: Request) -> None:
    """Remove what a training had reached; see `forget_file`."""
    forget_file(file_of(request))


def forget_file(file: Path) -> None:
    """Remove a training's files, those that nobody came back to, and an empty folder."""
    with contextlib.suppress(OSError):
        for own in (file, *file.parent.glob(f"{file.stem}.*")):
            own.unlink(missing_ok=True)
        for other in file.parent.glob("*"):
            if time.time() - other.stat().st_mtime > _OLD_S:
                other.unlink(missing_ok=True)
        file.parent.rmdir()
