"""What a training had reached, kept on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from napari_cellal import __version__

log = logging.getLogger(__name__)
_EVERY_S = 30.0
_SHARE = 0.03  # of the time at most goes into writing
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


class Checkpoint:
    """The file of one training: its name is the request's hash, so only the same one goes on.

    It is removed when the training ends or is cancelled; only a killed process leaves it.
    """

    def __init__(self, request: Request) -> None:
        # The model's name is drawn anew each time; where it runs does not matter.
        same: Any = replace(
            request,  # type: ignore[type-var]
            model_id="",
            models_folder="",
            device="",
        )
        name = hashlib.sha256(f"{__version__} {same!r}".encode()).hexdigest()[:32]
        self.path = Path(request.models_folder, "unfinished", f"{name}.pt")
        self._next = time.monotonic() + _EVERY_S

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() >= self._next

    def save(self, values: dict[str, Any]) -> None:
        """Write numbers and tensors, all at once. A full disk does not end the training."""
        begun = time.monotonic()
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(values, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:
            log.warning("The state of the training could not be kept: %s", error)
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        took = time.monotonic() - begun
        self._next = time.monotonic() + max(_EVERY_S, took / _SHARE)

    def load(self) -> dict[str, Any] | None:
        """Return what a killed training had reached; None if there is none, or it is damaged."""
        if not self.path.is_file():
            return None
        try:
            values: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            log.warning("The state of an earlier training is damaged, so it begins anew: %s", error)
            return None
        return values

    def remove(self) -> None:
        """Remove the file, others that nobody came back to, and the folder if it is empty."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            for other in self.path.parent.glob("*"):
                if time.time() - other.stat().st_mtime > _OLD_S:
                    other.unlink(missing_ok=True)
            self.path.parent.rmdir()
