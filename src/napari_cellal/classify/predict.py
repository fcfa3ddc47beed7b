"""A classifier applied to pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.reading import read_plane
from napari_cellal.networks.devices import autocast, choose_device
from napari_cellal.networks.normalization import EACH, Normalization

from .heads import as_probabilities, head_scores
from .pictures import Cutter, seen
from .requests import PatchFailure
from .weights import load_classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellal.core.records import ModelRecord
    from napari_cellal.io.reading import Reader

    from .heads import Arrays
    from .network import Classifier
    from .requests import Patch
    from .settings import NetworkSettings, ViewSettings

BATCH = 32


class TorchClassifier:
    """Gives class probabilities of pictures.

    Parameters
    ----------
    own_range : bool
        Whether every picture is scaled by its own intensities instead of the training
        pictures': for pictures of another microscope.
    """

    def __init__(
        self,
        record: ModelRecord,
        network: Classifier,
        head: Arrays | None,
        device: torch.device,
        *,
        own_range: bool = False,
    ) -> None:
        self.record = record
        self.network = network.to(device).eval()
        self.head = head
        self.device = device
        self.view, self.shape = settings_of(record)
        self.normalization = Normalization.from_dict(record.normalization)
        if own_range:
            self.normalization = replace(self.normalization, dtype=EACH)

    def show(self, pixels: NDArray[Any], outline: NDArray[np.bool_] | None = None) -> Tensor:
        """Return what the network sees of a picture that was cut, float32[C, h, w] in 0..1."""
        return torch.from_numpy(seen(pixels, self.normalization, self.view, outline))

    def look_at(self, patch: Patch, cutter: Cutter) -> Tensor:
        """Return what the network sees of a patch, float32[C, h, w] in 0..1.

        Raises
        ------
        ImageError
            If its image cannot be read.
        """
        return self.show(cutter.cut(patch), cutter.outline(patch))

    def probabilities(self, pictures: Tensor) -> NDArray[np.float32]:
        """Return float32[B, K] of float32[B, C, h, w] in 0..1.

        Raises
        ------
        ModelError
            If the network gives no numbers.
        """
        with torch.inference_mode(), autocast(self.device):
            if self.head is None:
                found = self.network(pictures.to(self.device)).float().cpu().numpy()
            else:
                features = self.network.features(pictures.to(self.device))
                found = head_scores(self.head, features.float().cpu().numpy())
        if not np.isfinite(found).all():
            raise ModelError(
                f"Model '{self.record.model_id}' gives no numbers for these pictures. It may be "
                "damaged; train it anew."
            )
        return as_probabilities(found, multi_label=self.shape.multi_label)


def settings_of(record: ModelRecord) -> tuple[ViewSettings, NetworkSettings]:
    """Return how a model sees a cell, and the shape of its network."""
    from .weights import network_settings, view_settings

    return view_settings(record), network_settings(record)


def load(
    folder: Path, device: str | torch.device = "auto", *, own_range: bool = False
) -> TorchClassifier:
    """Return the classifier in a folder.

    Raises
    ------
    ModelError
        If the model or the device cannot be used.
    """
    target = choose_device(device) if isinstance(device, str) else device
    record, network, head = load_classifier(folder)
    return TorchClassifier(record, network, head, target, own_range=own_range)


def predict(
    classifier: TorchClassifier, patches: Sequence[Patch], reader: Reader = read_plane
) -> Job[dict[str, NDArray[np.float32]]]:
    """Yield a `PatchFailure` for each picture that cannot be used; return {key: float32[K]}.

    Probabilities stand in the order of the record's ``class_ids``.
    """
    cutter = Cutter(classifier.view, reader)
    found: dict[str, NDArray[np.float32]] = {}
    waiting: list[tuple[str, Tensor]] = []
    total = len(patches)

    def answer() -> None:
        rows = classifier.probabilities(torch.stack([picture for _, picture in waiting]))
        found.update((key, row) for (key, _), row in zip(waiting, rows, strict=True))
        waiting.clear()

    for done, patch in enumerate(patches, 1):
        failure = None
        try:
            waiting.append((patch.key, classifier.look_at(patch, cutter)))
        except CellalError as error:
            named = Path(patch.key).name in str(error)
            failure = PatchFailure(patch.key, f"{error}" if named else f"{patch.key}: {error}")
        if len(waiting) == BATCH or (waiting and done == total):
            answer()
        yield Progress(done, total, "Classing", failure)
    return found
