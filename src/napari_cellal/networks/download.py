"""Published weights, from torch's cache or downloaded into it."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_TIMEOUT_S = 10
_CHUNK = 1 << 18


def kept_file(url: str) -> Path:
    """Return where published weights lie once they were downloaded: in torch's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch(url: str) -> Job[dict[str, Tensor]]:
    """Yield progress and return a published state, from torch's cache or downloaded into it.

    Raises
    ------
    ModelError
        If it is neither cached nor to be had, or damaged.
    """
    path = kept_file(url)
    if not path.is_file():
        try:
            yield from _download(url, path)
        except OSError as error:
            raise ModelError(
                f"The starting weights {path.name} could not be downloaded: {_reason(error, url)}. "
                "Connect to the network once, or choose other starting weights."
            ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ModelError(f"The cached weights '{path}' are damaged; delete the file.") from error
    return dict(state)


def _reason(error: OSError, url: str) -> str:
    """Return in words why a download failed."""
    server = urllib.parse.urlsplit(url).netloc
    if isinstance(error, urllib.error.HTTPError):
        return f"{server} answered with error {error.code}"
    if isinstance(error, urllib.error.URLError | TimeoutError):
        return f"{server} cannot be reached"
    return error.strerror or str(error)


def _download(url: str, path: Path) -> Job[None]:
    """Write the file once it is whole; torchvision's file names end in their SHA-256's start."""
    if not url.startswith("https://"):
        raise ModelError(f"Weights are only downloaded over https, not from {url}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with (
        _temporary(path.parent) as partial,
        partial.open("wb") as file,
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,
    ):
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            yield Progress(done, total, f"Downloading {path.name}")
        file.close()
        if not digest.hexdigest().startswith(path.stem.rsplit("-", 1)[-1]):
            raise ModelError(f"The download of {path.name} was damaged on the way. Try again.")
        os.replace(partial, path)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=folder, suffix=".partial")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
