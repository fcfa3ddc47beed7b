"""Starting weights of a classifier: ImageNet, a file, an earlier classifier, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision.models import get_weight

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.networks.download import fetch, kept_file
from napari_cellal.networks.model_files import CARD, load_record, load_state, load_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from napari_cellal.core.records import ModelRecord

    from .architectures import Architecture
    from .network import Classifier


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from.

    Attributes
    ----------
    words : str
        What they really are, for the card.
    state : {name: tensor}
        Empty for random weights.
    parent : ModelRecord or None
        The model that is trained further.
    """

    words: str
    state: dict[str, Tensor]
    parent: ModelRecord | None = None

    def take_classes(self, network: Classifier, class_ids: tuple[int, ...]) -> None:
        """Copy the last layer's rows of the classes that both know, into the network."""
        weight, bias = self.state.get("head.weight"), self.state.get("head.bias")
        if self.parent is None or weight is None or bias is None:
            return
        with torch.no_grad():
            for new, class_id in enumerate(class_ids):
                if class_id in self.parent.class_ids:
                    old = self.parent.class_ids.index(class_id)
                    network.head.weight[new] = weight[old]
                    network.head.bias[new] = bias[old]


def find_start(start: str, architecture: Architecture) -> Job[Start]:
    """Yield the progress of a download and return the starting weights.

    Raises
    ------
    ModelError
        If what was asked for by name cannot be had.
    """
    if start == "scratch":
        return Start("scratch (random weights)", {})
    if start == "imagenet":
        return (yield from _imagenet(architecture))
    if start == "auto":
        try:
            return (yield from _imagenet(architecture))
        except ModelError as error:
            yield Progress(0, 0, f"Starting from random weights. {error}")
            return Start("scratch (random weights; no published ones could be had)", {})
    return _from_path(Path(start))


def has_imagenet(architecture: Architecture) -> bool:
    """Return whether a network's ImageNet weights are on this computer."""
    return kept_file(get_weight(architecture.imagenet).url).is_file()


def _imagenet(architecture: Architecture) -> Job[Start]:
    state = yield from fetch(get_weight(architecture.imagenet).url)
    return Start(f"imagenet ({architecture.imagenet})", state)


def _from_path(path: Path) -> Start:
    folder = path if path.is_dir() else path.parent
    if (folder / CARD).is_file():
        record = load_record(folder)
        if record.kind != "classifier":
            raise ModelError(f"Model '{record.model_id}' is a {record.kind}, not a classifier.")
        return Start(f"model {record.model_id}", load_state(folder, record), record)
    if path.is_dir():
        raise ModelError(f"'{path}' is not a model: it holds no {CARD}.")
    if path.suffix != ".safetensors":
        raise ModelError(
            f"Training cannot start from '{path}'. Give auto, imagenet, scratch, a classifier's "
            "folder or a .safetensors file."
        )
    return Start(f"file {path.name}", load_tensors(path))
