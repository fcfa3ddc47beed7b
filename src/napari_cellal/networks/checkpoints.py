"""What a training had reached, kept on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import time
from typing import TYPE_CHECKING, Any

import torch

from napari_cellal.core.progress import Abandoned

from .unfinished import describe, file_of, forget, partial_of

if TYPE_CHECKING:
    from .unfinished import Request

log = logging.getLogger(__name__)
_EVERY_S = 30.0
_SHARE = 0.03  # of the time at most goes into writing


class Checkpoint:
    """The file of one training: its name is the request's hash, so only the same one goes on.

    A training runs within it (``with``), and it is removed when that ends or is cancelled. It
    stays where the process was killed, or the training was `Abandoned`. Where a cancelled
    training had to be killed, whoever did that calls `unfinished.forget`.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.path = file_of(request)
        self._next = time.monotonic() + _EVERY_S

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, Abandoned):
            self.remove()

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() >= self._next

    def save(self, values: dict[str, Any]) -> None:
        """Write numbers and tensors, all at once. A full disk does not end the training."""
        begun = time.monotonic()
        partial = partial_of(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            describe(self._request)
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
        """Remove the file; see `unfinished.forget`."""
        forget(self._request)
