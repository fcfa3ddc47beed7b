"""The networks that can describe cells, by name, and where their weights come from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torchvision.models import get_weight
from torchvision.ops import FrozenBatchNorm2d

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.networks.devices import choose_device
from napari_cellal.networks.download import fetch
from napari_cellal.networks.model_files import CARD, load_tensors
from napari_cellal.networks.normalization import Normalization

from .architectures import ARCHITECTURES
from .embed import Embedder, Eye
from .shipped import FOLDER, SHIPPED
from .weights import composite_of, load_model

if TYPE_CHECKING:
    from torch import Tensor, nn

AUTO, IMAGENET = "auto", "imagenet"
_WEIGHTS = ARCHITECTURES["mobilenet_v2"].imagenet
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's ImageNet weights


def load_embedder(network: str = AUTO, device: str = "auto") -> Job[Embedder]:
    """Yield the progress of downloads and return the describer of a network.

    Parameters
    ----------
    network : str
        ``imagenet`` (MobileNetV2, from torch's cache or downloaded into it), ``shipped``
        (the detector of the package), a detector's folder, a .safetensors file with
        MobileNetV2's ImageNet weights, or ``auto``: ImageNet's where they can be had, else
        the shipped detector's, which tells cells apart less well (docs/benchmarks.md).

    Raises
    ------
    ModelError
        If there is no such network, or its weights cannot be had.
    """
    if network == AUTO:
        try:
            return (yield from load_embedder(IMAGENET, device))
        except ModelError as error:
            yield Progress(0, 0, f"{error} The shipped detector's network is used instead.")
            return (yield from load_embedder(SHIPPED, device))
    if network == IMAGENET:
        eye = _imagenet((yield from fetch(get_weight(_WEIGHTS).url)))
    elif network == SHIPPED:
        eye = _detector(FOLDER, SHIPPED)
    elif (Path(network) / CARD).is_file():
        eye = _detector(Path(network), Path(network).name)
    elif Path(network).suffix == ".safetensors":
        eye = _imagenet(load_tensors(Path(network)))
    else:
        raise ModelError(
            f"There is no network '{network}'. Give auto, imagenet, shipped, the folder of a "
            "detector or a .safetensors file."
        )
    return Embedder(eye, choose_device(device))


def _imagenet(state: dict[str, Tensor]) -> Eye:
    body = ARCHITECTURES["mobilenet_v2"].body(partial(FrozenBatchNorm2d, eps=1e-5))
    prefix = "features."
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        body.load_state_dict(own)
    except RuntimeError as error:
        raise ModelError("The weights are not those of a MobileNetV2.") from error
    return Eye(IMAGENET, list(body.children()), None, _MEAN, _STD)


def _detector(folder: Path, words: str) -> Eye:
    record, network = load_model(folder)
    norm = Normalization.from_dict(record.normalization)
    body: nn.Module = network.backbone.body
    in_colour = words == SHIPPED or composite_of(record) is not None
    channels = None if in_colour else record.channels
    return Eye(words, list(body.children()), channels, norm.mean, norm.std)
