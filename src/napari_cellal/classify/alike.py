"""Which of the confirmed cells look most like one, to the network that classes it."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.features.nearest import nearest
from napari_cellal.io.reading import read_plane
from napari_cellal.networks.devices import autocast

from .pictures import Cutter
from .predict import BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellal.io.reading import Reader

    from .predict import TorchClassifier
    from .requests import Patch


def features_of(
    classifier: TorchClassifier,
    patches: Sequence[Patch],
    kept_in: Path | None = None,
    reader: Reader = read_plane,
) -> Job[tuple[list[Patch], NDArray[np.float32]]]:
    """Yield often and return the pictures that can be read and their features, float32[N, F].

    What the network's last layer is given. A file may keep them: they are computed once for a
    model and a box.
    """
    known = _kept(kept_in)
    named = [(_name(p), p) for p in patches]
    new = [(name, p) for name, p in named if name not in known]
    cutter = Cutter(classifier.view, reader)
    waiting: list[tuple[str, Tensor]] = []
    for k, (name, patch) in enumerate(new, 1):
        with contextlib.suppress(CellalError):  # a picture that is gone is like none
            waiting.append((name, classifier.look_at(patch, cutter)))
        if waiting and (len(waiting) == BATCH or k == len(new)):
            shown = torch.stack([picture for _, picture in waiting]).to(classifier.device)
            with torch.inference_mode(), autocast(classifier.device):
                answer = classifier.network.features(shown).float().cpu().numpy()
            known.update((n, row) for (n, _), row in zip(waiting, answer, strict=True))
            waiting.clear()
        yield Progress(k, len(new), "Looking at the confirmed cells")
    read = [(name, p) for name, p in named if name in known]
    rows = [known[name] for name, _ in read]
    width = classifier.network.head.in_features
    found = np.stack(rows) if rows else np.zeros((0, width), np.float32)
    if new and kept_in is not None:
        with contextlib.suppress(OSError):  # computed again the next time
            np.savez(kept_in, names=[name for name, _ in read], features=found)
    return [p for _, p in read], found


def most_alike(
    classifier: TorchClassifier,
    patch: Patch,
    others: Sequence[Patch],
    n: int = 3,
    kept_in: Path | None = None,
) -> Job[tuple[tuple[Patch, float], ...]]:
    """Yield often and return the others most like a picture, nearest first, with their distance.

    Every feature counts by its spread among the others; the distance is the root of the mean
    square, so that about 1.4 is what two cells taken at random are apart.
    """
    read, rows = yield from features_of(classifier, others, kept_in)
    here, own = yield from features_of(classifier, [patch])
    if not read or not here:
        return ()
    spread = np.maximum(rows.std(axis=0), 1e-6) * np.sqrt(rows.shape[1])
    found, distance = nearest(own / spread, rows / spread, n)
    return tuple((read[k], float(d)) for k, d in zip(found[0], distance[0], strict=True))


def _name(patch: Patch) -> str:
    """Return a hash of what is looked at; another box is another picture."""
    what = f"{patch.path} {patch.plane!r} {patch.box} {patch.mask!r}"
    return hashlib.sha256(what.encode()).hexdigest()[:24]


def _kept(file: Path | None) -> dict[str, NDArray[np.float32]]:
    if file is None or not file.is_file():
        return {}
    try:
        with np.load(file) as kept:
            return dict(zip(kept["names"].tolist(), kept["features"], strict=True))
    except (OSError, ValueError, KeyError, BadZipFile):  # half written, or of another kind
        return {}
