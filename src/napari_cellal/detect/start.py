"""Starting weights: the shipped detector, COCO, ImageNet, a file, an earlier model, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchvision.models import get_weight

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.networks.download import fetch, kept_file
from napari_cellal.networks.layers import first_conv, widened
from napari_cellal.networks.model_files import CARD, load_record, load_state, load_tensors

from .shipped import FOLDER, SHIPPED, class_map, shipped_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_cellal.core.records import ModelRecord

    from .architectures import Architecture
    from .family import CellNetwork
    from .requests import TrainRequest

# torchvision 0.13 put the convolutions of published weights one or two levels deeper.
_FORMER_NAMES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(fpn\.\w+_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    (
        re.compile(r"mask_head\.mask_fcn(\d)\."),
        lambda found: f"mask_head.{int(found[1]) - 1}.0.",
    ),
]


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from.

    Attributes
    ----------
    words : str
        What they really are, for the card.
    state : {name: tensor}
        Named as in `network.build_detector`; empty for random weights.
    parent : ModelRecord or None
        The model that is trained further.
    shipped : bool
        Whether they are the shipped detector's: it is no parent, since it serves any image
        and a project's model one kind.
    """

    words: str
    state: dict[str, Tensor]
    parent: ModelRecord | None = None
    shipped: bool = False

    def known_ids(self, request: TrainRequest) -> tuple[int, ...] | None:
        """Return the request's ids of the weights' classes, -1 for others; None if unknown."""
        if self.shipped:
            same = class_map(zip(request.class_ids, request.class_names, strict=True))
            return tuple(same.get(c, -1) for c in shipped_record().class_ids)
        return None if self.parent is None else self.parent.class_ids


def find_start(start: str, architecture: Architecture) -> Job[Start]:
    """Yield the progress of downloads and return the starting weights.

    ``auto`` takes the shipped detector where it is of that architecture, else COCO if it can
    be had (cached or downloaded), else ImageNet, else none.

    Raises
    ------
    ModelError
        If what was asked for by name cannot be had.
    """
    if start == "scratch":
        return Start("scratch (random weights)", {})
    if start == SHIPPED or (start == "auto" and architecture.shipped):
        return _shipped(architecture)
    if start in ("coco", "imagenet"):
        return (yield from _published(start, architecture))
    if start == "auto":
        reasons = []
        for kind in ("coco", "imagenet"):
            try:
                return (yield from _published(kind, architecture))
            except ModelError as error:
                reasons.append(str(error))
        yield Progress(0, 0, f"Starting from random weights. {reasons[-1]}")
        return Start("scratch (random weights; no published ones could be had)", {})
    return _from_path(Path(start), architecture)


def _shipped(architecture: Architecture) -> Start:
    if not architecture.shipped:
        raise ModelError(
            "The shipped detector is a MobileNetV2: choose the preset fast, balanced or dense, or "
            "start from coco, imagenet or scratch."
        )
    state = {key: value.float() for key, value in load_state(FOLDER, shipped_record()).items()}
    return Start("shipped (the detector of the package)", state, shipped=True)


def _from_path(path: Path, architecture: Architecture) -> Start:
    folder = path if path.is_dir() else path.parent
    if (folder / CARD).is_file():
        record = load_record(folder)
        return Start(f"model {record.model_id}", load_state(folder, record), record)
    if path.is_dir():
        raise ModelError(f"'{path}' is not a model: it holds no {CARD}.")
    if path.suffix != ".safetensors":
        raise ModelError(
            f"Training cannot start from '{path}'. Give auto, shipped, coco, imagenet, scratch, a "
            "model's folder or a .safetensors file."
        )
    return Start(f"file {path.name}", _renamed(load_tensors(path), architecture))


def _renamed(state: dict[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """Return weights under the names that they have in a detector of today's torchvision."""
    for old, new in _FORMER_NAMES:
        state = {old.sub(new, key): value for key, value in state.items()}
    if any(key.startswith("backbone.") for key in state):
        return state
    prefix = architecture.body_prefix
    if prefix and any(key.startswith(prefix) for key in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return {f"backbone.body.{key}": value for key, value in state.items()}


def has_published(kind: str, architecture: Architecture) -> bool:
    """Return whether a network's weights of ``coco`` or ``imagenet`` are on this computer."""
    name = architecture.coco if kind == "coco" else architecture.imagenet
    return bool(name) and kept_file(get_weight(name).url).is_file()


def _published(kind: str, architecture: Architecture) -> Job[Start]:
    name = architecture.coco if kind == "coco" else architecture.imagenet
    if not name:
        raise ModelError(f"There are no {kind} weights for this architecture.")
    state = yield from fetch(get_weight(name).url)
    return Start(f"{kind} ({name})", _renamed(state, architecture))


def put_in(
    network: CellNetwork,
    start: Start,
    class_ids: tuple[int, ...],
    known_ids: tuple[int, ...] | None = None,
) -> None:
    """Copy all starting weights that fit into the network, which is changed.

    The first convolution is fitted to the channels. Of an earlier model's class layer the
    rows of the classes that both know are kept, so a new class does not cost the old ones.

    Parameters
    ----------
    known_ids : tuple of int or None
        The class of each row of the starting weights' class layer; None where they know none.

    Raises
    ------
    ModelError
        If the weights belong to another architecture.
    """
    if not start.state:
        return
    own = network.state_dict()
    source = dict(start.state)
    conv = f"backbone.body.{first_conv(network.backbone.body)[0]}.weight"
    if conv in source and source[conv].shape[2:] == own[conv].shape[2:]:
        source[conv] = widened(source[conv], own[conv].shape[1])
    layers = tuple(f"{rows.layer}." for rows in network.class_rows)
    known = {} if known_ids is None else _class_rows(network, source, known_ids, class_ids)
    # COCO's classes are other things, even where their number happens to be the same
    source = {k: v for k, v in source.items() if not k.startswith(layers)} | known
    fitting = {k: v for k, v in source.items() if k in own and v.shape == own[k].shape}
    body = [key for key in own if key.startswith("backbone.body.")]
    if sum(key in fitting for key in body) < 0.95 * len(body):
        raise ModelError(
            f"The starting weights ({start.words}) belong to another architecture. Choose the "
            "architecture that they were made for."
        )
    network.load_state_dict(fitting, strict=False)


def _class_rows(
    network: CellNetwork, old: dict[str, Tensor], old_ids: tuple[int, ...], ids: tuple[int, ...]
) -> dict[str, Tensor]:
    """Return the class layers' tensors with the rows of known classes taken over."""
    own = network.state_dict()
    same = [(k, old_ids.index(c)) for k, c in enumerate(ids) if c in old_ids]
    result = {}
    for layer, each, before in network.class_rows:
        places = [(k, k) for k in range(before)] + [(k + before, j + before) for k, j in same]
        for part in ("weight", "bias"):
            key = f"{layer}.{part}"
            if key not in old or old[key].shape[1:] != own[key].shape[1:]:
                continue
            result[key] = own[key].clone()
            for new, known in places:
                target = slice(new * each, (new + 1) * each)
                result[key][target] = old[key][known * each : (known + 1) * each]
    return result
